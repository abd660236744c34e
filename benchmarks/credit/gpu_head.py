"""The head on the device: log-probabilities and the policy loss from hidden states, and its peers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from gpu_device import MATRIX_TARGET, Device, Limits, Sizes
from gpu_peers import Head, heads
from random_batches import random_batch
from report import Row
from torch import Tensor

from turngym.trainers.kernels.linear_logprob import linear_logprob
from turngym.trainers.losses import (
    ClipConfig,
    Denominators,
    clip_loss,
    fused_policy_loss,
    plan_scoring,
)
from turngym.trainers.types import Credit, PolicyOutput, TurnBatch

EXTRA_GIB = 1.5
"""Memory that the one-pass form may take beside its gradients, the head's in float32."""
SHARE_OURS = 0.43
"""Of all tokens in a random batch."""


def head_rows(
    device: Device, sizes: Sizes, limits: Limits
) -> tuple[list[Row], dict[str, Any], list[str]]:
    """Our forms and the peers at equal tokens, our figures beside the limits, absent peers.

    Raises:
        AssertionError: two forms disagree.
    """
    differences = check(device)
    task = Task(device, sizes)
    name = f"policy loss from hidden states, {task.scored} tokens"
    once, twice = device.ms(lambda: task.step(True)), device.ms(lambda: task.step(False))
    scores = device.ms(task.scores)
    rows = [
        Row(case=name, peer="the same, logits made twice (8NHV)", ours_ms=once, peer_ms=twice,
            largest_difference=differences["one pass, gradients"], target=1.25),
    ]  # fmt: skip
    absent = []
    for peer in heads():
        try:
            if peer.needs_cuda and device.kind != "cuda":
                raise ImportError("it runs on CUDA only")
            made, found = peer_rows(device, task, peer, name, once, scores)
            rows += made
            differences[peer.name] = found
        except Exception as error:  # a peer that fails here is reported, not ours to mend
            absent.append(f"{peer.name}: {type(error).__name__}: {error}")
            print(f"left out: {absent[-1]}", flush=True)
    products = 2 * task.scored * sizes.hidden * sizes.vocab
    extra = {
        "tokens": task.batch.num_tokens,
        "scored": task.scored,
        "one_pass_ms": once,
        "linear_logprob_ms": scores,
        "linear_logprob_forward_ms": device.ms(task.forward_only),
        "floor_ms": 3 * products / limits.bf16_tflop_per_s / 1e9,
        "tflop_per_s": 3 * products / once / 1e9,
        "share_of_matrix_rate": 3 * products / once / 1e9 / limits.bf16_tflop_per_s,
        "share_of_matrix_rate_target": MATRIX_TARGET,
        "extra_gib": device.extra_gib(lambda: task.step(True), task.gradient_bytes),
        "extra_gib_target": EXTRA_GIB,
        "differences": differences,
    }
    return rows, extra, absent


class Task:
    """One batch with its hidden states and head, in bfloat16 on CUDA."""

    def __init__(self, device: Device, sizes: Sizes) -> None:
        dtype = torch.bfloat16 if device.kind == "cuda" else torch.float32
        longest = min(8192, max(sizes.scored, 64))
        count = max(round(sizes.scored / SHARE_OURS / (0.75 * longest)), 2)
        batch = random_batch(count, longest)
        draw = torch.Generator().manual_seed(1)
        self.batch = replace(
            batch,
            token_ids=torch.randint(sizes.vocab, (batch.num_tokens,), generator=draw),
            sampled_logprobs=torch.full((batch.num_tokens,), -12.0),
        ).to(device.kind)
        size = (batch.num_tokens, sizes.hidden)
        self.hidden = torch.randn(size, device=device.kind, dtype=dtype).requires_grad_()
        head = torch.randn(sizes.vocab, sizes.hidden, device=device.kind).mul_(0.02).to(dtype)
        self.head = head.requires_grad_()
        self.credit = Credit(turn=torch.randn(batch.num_turns, generator=draw).to(device.kind))
        self.plan = plan_scoring(self.batch, "turn")
        self.denominators = Denominators.of(self.batch)
        rows = self.plan.tokens - 1
        self.states = self.hidden.detach()[rows].requires_grad_()
        self.targets = self.batch.token_ids[self.plan.tokens]

    @property
    def scored(self) -> int:
        """Tokens that meet the head."""
        return self.plan.tokens.shape[0]

    @property
    def gradient_bytes(self) -> int:
        """Of the hidden states in their own type, of the head in float32."""
        return self.hidden.numel() * self.hidden.element_size() + self.head.numel() * 4

    def step(self, one_pass: bool) -> None:
        """Forward and backward of the policy loss."""
        plan = replace(self.plan, one_pass=one_pass)
        loss = fused_policy_loss(
            self.hidden, self.head, self.batch, self.credit, self.denominators, CONFIG, plan
        )
        torch.autograd.grad(loss.value, (self.hidden, self.head))

    def scores(self) -> None:
        """Forward and backward of the log-probabilities alone, of the scored states."""
        every = torch.arange(self.scored, device=self.states.device)
        logprobs, _ = linear_logprob(self.states, self.head, every, self.targets)
        torch.autograd.grad(logprobs.sum(), (self.states, self.head))

    def forward_only(self) -> None:
        """Log-probabilities without gradients, as before an update."""
        every = torch.arange(self.scored, device=self.states.device)
        with torch.no_grad():
            linear_logprob(self.states, self.head, every, self.targets)


CONFIG = ClipConfig(ratio="turn")


def peer_rows(
    device: Device, task: Task, peer: Head, name: str, once: float, scores: float
) -> tuple[list[Row], float]:
    """One peer at equal tokens against both our forms, after its numbers agreed with ours."""
    function = peer.load()
    few = slice(0, min(512, task.scored))
    states, targets = task.states[few].detach(), task.targets[few]
    with torch.no_grad():
        every = torch.arange(states.shape[0], device=states.device)
        ours, _ = linear_logprob(states, task.head, every, targets)
        theirs = function(states, task.head, targets).float()
        theirs = theirs if theirs.shape == ours.shape else theirs.reshape(1)
        ours = ours if theirs.shape == ours.shape else ours.sum()[None]
    difference = float(((ours - theirs) / ours.abs().clamp_min(1)).abs().max())
    assert difference <= 2e-2, f"its log-probabilities differ by {difference}"

    def both() -> None:
        made = function(task.states, task.head, task.targets).sum()
        torch.autograd.grad(made, (task.states, task.head))

    taken = device.ms(both)
    return [
        Row(case=case, peer=peer.name, ours_ms=mine, peer_ms=taken,
            largest_difference=difference, target=target)
        for case, mine, target in (
            (name, once, peer.target),
            ("linear_logprob, forward and backward", scores, None),
        )
    ], difference  # fmt: skip


def check(device: Device) -> dict[str, float]:
    """Largest differences from all logits at once in float64, at a small size.

    Raises:
        AssertionError: one is larger than its type explains.
    """
    found = {}
    types = {"float32": (torch.float32, 1e-3)}
    if device.kind == "cuda":
        types["bfloat16"] = (torch.bfloat16, 2e-2)
    for label, (dtype, bound) in types.items():
        values, gradients = _errors(device, dtype)
        found[f"loss, {label}"], found[f"gradients, {label}"] = values, gradients
        assert max(values, gradients) <= bound, f"the head in {label} is off: {found}"
    found["one pass, gradients"] = max(v for k, v in found.items() if k.startswith("gradients"))
    return found


def _errors(device: Device, dtype: torch.dtype) -> tuple[float, float]:
    """Of the one-pass loss and its gradients, in units of the largest."""
    sizes = Sizes(scored=400, hidden=64, vocab=509)
    task = Task(device, sizes)
    hidden = task.hidden.detach().to(dtype).requires_grad_()
    head = task.head.detach().to(dtype).requires_grad_()
    arguments = (task.batch, task.credit, task.denominators, CONFIG)
    loss = fused_policy_loss(hidden, head, *arguments, task.plan)
    gradients = torch.autograd.grad(loss.value, (hidden, head))
    wide = [leaf.detach().double().requires_grad_() for leaf in (hidden, head)]
    expected = _all_logits(wide[0], wide[1], task.batch, task.credit, task.denominators)
    exact = torch.autograd.grad(expected, wide)
    scale = [float(each.abs().max()) for each in exact]
    worst = max(
        float((left.double() - right).abs().max()) / size
        for left, right, size in zip(gradients, exact, scale, strict=True)
    )
    return float((loss.value.detach().double() - expected.detach()).abs()), worst


def _all_logits(
    hidden: Tensor, head: Tensor, batch: TurnBatch, credit: Credit, denominators: Denominators
) -> Tensor:
    """`clip_loss` of log-probabilities from all logits."""
    states = torch.cat([hidden.new_zeros(1, hidden.shape[1]), hidden[:-1]])
    table = (states @ head.T).log_softmax(-1)
    logprobs = table.gather(1, batch.token_ids[:, None])[:, 0]
    logprobs = torch.where(batch.turn_of_token >= 0, logprobs, 0)
    wide = replace(batch, sampled_logprobs=batch.sampled_logprobs.double())
    credit = replace(credit, turn=credit.turn.double())
    return clip_loss(PolicyOutput(logprobs=logprobs), wide, credit, denominators, CONFIG).value
