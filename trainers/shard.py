"""Training in several processes that share the weights, with torch's `fully_shard` (FSDP2).

    torchrun --nproc-per-node 8 -m turngym train RECIPE

Every process samples from a whole copy of the policy and plays its share of the groups; episodes
are pooled, so that all hold the same global batch. The first one alone has the signals' models,
computes credit over the global batch and writes files. The update is split by trajectories; losses
carry the denominators of the global batch, so that splitting changes neither value nor gradient.

Legend: N tokens, B trajectories.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from turngym.trainers.batch import take
from turngym.trainers.forward import micro_batches, policy_output
from turngym.trainers.losses.denominators import loss_tokens, traj_of_token
from turngym.trainers.policy import blocks
from turngym.trainers.team import Part, Team
from turngym.trainers.types import PolicyOutput, TurnBatch

__all__ = ["Ranks", "shares"]

T = TypeVar("T")

PATIENCE = timedelta(hours=12)
"""How long one waits for another; the first process evaluates alone while the others wait."""


class Ranks(Team):
    """One of several processes; the environment says which (RANK, WORLD_SIZE, LOCAL_RANK)."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        cuda = torch.cuda.is_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # Episodes may be pooled by another thread while the optimizer works.
        self._episodes = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._scorer: Any = None

    def adopt(self, model: Any, dtype: str) -> None:
        """Shard the weights, kept in fp32; each block is gathered while it works."""
        model.float()
        mesh = init_device_mesh(model.device.type, (self.size,))
        policy = MixedPrecisionPolicy()
        if dtype != "float32":
            policy = MixedPrecisionPolicy(
                param_dtype=getattr(torch, dtype), reduce_dtype=torch.float32
            )
        for block in blocks(model):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        # Resharded after each forward, the root too: the weights are always seen as DTensors.
        self._scorer = fully_shard(
            _Scorer(model), mesh=mesh, mp_policy=policy, reshard_after_forward=True
        )

    def policy_output(self, model: Any, batch: TurnBatch, *, entropy: bool) -> PolicyOutput:
        """Through the module that gathers the weights."""
        assert self._scorer is not None, "adopt the model first"
        logprobs, spread = self._scorer(batch, entropy)
        return PolicyOutput(logprobs=logprobs, entropy=spread)

    def parts(self, batch: TurnBatch, max_tokens: int) -> list[Part]:
        """As many for every process: weights are gathered by all or by nobody.

        Only trajectories with trained tokens take part. Gradients are averaged over processes, so
        each part counts `size` times; a process with fewer parts repeats one with scale 0.
        """
        cut = [
            [
                Part(batch=p, tokens=tokens[t], turns=turns[k], scale=float(self.size))
                for p, t, k in micro_batches(part, max_tokens)
            ]
            for part, tokens, turns in (take(batch, rows) for rows in shares(batch, self.size))
        ]
        mine, count = cut[self.rank], max(map(len, cut))
        filler = [
            Part(batch=p.batch, tokens=p.tokens, turns=p.turns, scale=0.0)
            for p in (mine or cut[0])[:1]
        ]
        return mine + filler * (count - len(mine))

    def total(self, share: Tensor) -> Tensor:
        """Summed by all processes, in place."""
        dist.all_reduce(share)
        return share

    def mine(self, work: Sequence[T]) -> Sequence[T]:
        """A contiguous part, so that pooling gives the order of one process."""
        step = -(-len(work) // self.size)
        return work[self.rank * step : (self.rank + 1) * step]

    def pool(self, do: Callable[[], list[T]]) -> list[T]:
        """Everyone's list, one after the other."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, _attempt(do), group=self._episodes)
        for _, error in found:
            if error is not None:
                raise error
        return [item for items, _ in found for item in items]

    def first(self, do: Callable[[], T]) -> T:
        """Done by the first process, broadcast to the others."""
        box = [_packed(_attempt(do)) if self.rank == 0 else b""]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        found, error = _unpacked(box[0])
        if error is not None:
            raise error
        result: T = found
        return result

    def close(self) -> None:
        """Leave the process group."""
        dist.destroy_process_group()


def shares(batch: TurnBatch, size: int) -> list[Tensor]:
    """Rising trajectory rows of each of `size` processes, about equally many tokens for each.

    Trajectories without trained tokens belong to nobody.
    """
    owner = traj_of_token(batch)[loss_tokens(batch)]
    trained = torch.bincount(owner, minlength=batch.num_trajectories) > 0
    per_traj = torch.zeros(batch.num_trajectories, dtype=torch.int64, device=batch.device)
    lengths = per_traj.index_add(0, batch.traj_of_segment, batch.cu_tokens.diff()).tolist()
    rows = [row for row, counts in enumerate(trained.tolist()) if counts]
    load, taken = [0] * size, [list[int]() for _ in range(size)]
    for row in sorted(rows, key=lambda r: (-lengths[r], r)):
        rank = min(range(size), key=lambda r: (load[r], r))
        load[rank] += lengths[row]
        taken[rank].append(row)
    return [torch.tensor(sorted(t), dtype=torch.int64, device=batch.device) for t in taken]


class _Scorer(torch.nn.Module):
    """`policy_output` as a module's forward: fully_shard gathers weights around forward alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TurnBatch, entropy: bool) -> tuple[Tensor, Tensor | None]:
        output = policy_output(self.model, batch, entropy=entropy)
        return output.logprobs, output.entropy


def _attempt(do: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Result or error: whoever waits for this process must hear of either."""
    try:
        return do(), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # whatever the constructor of a stranger's error raises
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(data: bytes) -> Any:
    """What was packed by a process of this team, CUDA tensors on this process's own device."""

    def place(storage: Any, where: str) -> Any:
        return storage if where == "cpu" else storage.cuda()

    return torch.load(io.BytesIO(data), map_location=place, weights_only=False)
