"""Credit assignment on one CPU thread, beside its peers: python benchmarks/credit/cpu.py

Each case first checks that both sides give the same numbers. verl takes part where it is installed.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from head import head_rows
from references import (
    bilevel_per_token,
    bilevel_tensors,
    gigpo_floats,
    gigpo_quadratic,
    mapo_floats,
    mapo_numpy,
)
from report import Row, milliseconds, print_table, write_json
from torch import Tensor

from batches import padded, random_batch
from turngym.trainers.credit import (
    GaeBilevelConfig,
    GaeTokenConfig,
    GigpoConfig,
    GrpoConfig,
    MapoConfig,
    ReinforcePpConfig,
    RlooConfig,
    gae_bilevel,
    gae_token,
    gigpo,
    grpo,
    mapo,
    reinforce_pp,
    rloo,
)
from turngym.trainers.types import TurnBatch

TOLERANCE = 1e-5


def compare(
    case: str,
    peer: str,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    target: float | None = None,
    tolerance: float = TOLERANCE,
) -> Row:
    """Check equality, then time both.

    Raises:
        AssertionError: they differ by more than `tolerance`.
    """
    difference = float((ours().double() - theirs().double()).abs().max())
    assert difference <= tolerance, f"{case}: {peer} differs by {difference}"
    return Row(
        case=case,
        peer=peer,
        ours_ms=milliseconds(ours),
        peer_ms=milliseconds(theirs),
        largest_difference=difference,
        target=target,
    )


def turn_level(num_trajectories: int, target: float, quadratic: bool) -> list[Row]:
    """MAPO and GiGPO, whose cost is in turns."""
    batch = random_batch(num_trajectories)
    name = f"{num_trajectories} trajectories, {batch.num_turns} turns"
    spans = batch.cu_turns.tolist()

    def rows_of(column: Tensor) -> list[Any]:
        values = column.tolist()
        return [values[a:b] for a, b in zip(spans[:-1], spans[1:], strict=True)]

    def flat(rows: list[list[float]]) -> Tensor:
        return torch.tensor([value for row in rows for value in row])

    rewards, anchors = rows_of(batch.turn_rewards), rows_of(batch.anchor_of_turn)
    group, outcome = batch.group_of_traj.tolist(), batch.outcome.tolist()
    arrays = [
        column.numpy()
        for column in (
            batch.turn_rewards,
            batch.cu_turns,
            batch.traj_of_turn,
            batch.turn_index,
            batch.group_of_traj,
        )
    ]
    mapo_config, gigpo_config = MapoConfig(), GigpoConfig()

    def our_mapo() -> Tensor:
        return mapo(batch, mapo_config).turn

    def our_gigpo() -> Tensor:
        return gigpo(batch, gigpo_config).turn

    gamma = mapo_config.gamma
    rows = [
        compare(
            f"MAPO, {name}",
            "plain Python floats",
            our_mapo,
            lambda: flat(mapo_floats(rewards, group, gamma)),
            target,
        ),
        compare(
            f"MAPO, {name}",
            "NumPy",
            our_mapo,
            lambda: torch.from_numpy(mapo_numpy(*arrays, gamma)),
        ),
        compare(
            f"GiGPO, {name}",
            "plain Python floats",
            our_gigpo,
            lambda: flat(gigpo_floats(rewards, outcome, anchors, group, gigpo_config.gamma)),
            target,
        ),
    ]
    if quadratic:
        columns = (batch.traj_of_turn, batch.outcome, batch.anchor_of_turn, batch.group_of_traj)
        numbers = [column.numpy() for column in columns]
        reward = batch.turn_rewards.numpy()
        rows.append(
            compare(
                f"GiGPO, {name}",
                "published form, a search per row",
                our_gigpo,
                lambda: torch.from_numpy(gigpo_quadratic(reward, *numbers, gigpo_config.gamma)),
            )
        )
    return rows


def bilevel(num_trajectories: int, max_tokens: int) -> list[Row]:
    """Bi-level GAE against loops over tokens."""
    batch = random_batch(num_trajectories, max_tokens)
    config = GaeBilevelConfig(whiten=False)
    ours = batch.turn_of_token >= 0
    turn = batch.turn_of_token[ours]
    counts = torch.bincount(batch.traj_of_turn[turn], minlength=num_trajectories).tolist()
    values = batch.token_columns["values"][ours].split(counts)
    ends = torch.cat([turn[1:] != turn[:-1], torch.ones(1, dtype=torch.bool)])
    score = batch.turn_rewards.clone()
    score[batch.cu_turns[1:] - 1] += batch.outcome
    pad = torch.nn.utils.rnn.pad_sequence
    rewards = pad(torch.where(ends, score[turn], 0).split(counts), batch_first=True)
    dense_values, dense_ends = pad(values, batch_first=True), pad(ends.split(counts), True)
    floats = [row.tolist() for row in values]
    turns = [row.tolist() for row in turn.split(counts)]
    plain = batch.turn_rewards.tolist(), batch.outcome.tolist(), floats, turns, config.gamma_turn

    def mine() -> Tensor:
        token = gae_bilevel(batch, config).token
        assert token is not None
        return token[ours]

    def by_floats() -> Tensor:
        rows = bilevel_per_token(*plain)
        return torch.tensor([value for row in rows for value in row])

    def by_tensors() -> Tensor:
        rows = bilevel_tensors(rewards, dense_values, dense_ends, config.gamma_turn)
        return torch.stack([value for row in rows for value in row])

    case = f"bi-level GAE, {num_trajectories} x {max_tokens}, {len(turn)} tokens"
    tolerance = 1e-4 * max(counts) ** 0.5  # float32 sums over a turn's tokens
    return [
        compare(case, "published form, a loop per token", mine, by_tensors, 100, tolerance),
        compare(case, "plain Python floats", mine, by_floats, None, tolerance),
    ]


def verl_rows(num_trajectories: int, max_tokens: int) -> list[Row]:
    """verl's own functions on padded rows; ours on the packed batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from verl.trainer.ppo import core_algos
    batch = random_batch(num_trajectories, max_tokens)
    mask = padded(batch, (batch.turn_of_token >= 0).long())
    shape = f"{num_trajectories} x {max_tokens}"
    scores = torch.zeros(mask.shape)
    last = (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)
    scores[torch.arange(num_trajectories), last] = batch.outcome
    values = padded(batch, batch.token_columns["values"])
    uids = np.array([str(group) for group in batch.group_of_traj.tolist()], dtype=object)
    first = batch.cu_turns[:-1]
    float_mask = mask.float()
    packed = batch.turn_of_token >= 0
    rows = []

    def per_token(token: Tensor | None) -> Tensor:
        assert token is not None
        return padded(batch, torch.where(packed, token, 0))

    gae_config = GaeTokenConfig(gamma=0.99, lam=0.95, turn_reward_weight=0)
    rf_config = ReinforcePpConfig(gamma=0.99)
    token_cases: list[tuple[str, Callable[[], Tensor | None], Callable[[], Any]]] = [
        (
            "token GAE",
            lambda: gae_token(batch, gae_config).token,
            lambda: core_algos.compute_gae_advantage_return(scores, values, mask, 0.99, 0.95)[0],
        ),
        (
            "REINFORCE++",
            lambda: reinforce_pp(batch, rf_config).token,
            lambda: core_algos.compute_reinforce_plus_plus_outcome_advantage(
                scores, mask, replace_gamma(0.99)
            )[0],
        ),
    ]
    for name, ours, theirs in token_cases:
        expected = torch.where(mask > 0, theirs(), 0)
        difference = float((per_token(ours()) - expected).abs().max())
        assert difference <= 5e-5, f"{name} differs from verl by {difference}"
        rows.append(
            Row(
                case=f"{name}, {shape}, packed",
                peer="verl",
                ours_ms=milliseconds(ours),
                peer_ms=milliseconds(theirs),
                largest_difference=difference,
                target=10,
            )
        )
    grpo_config, rloo_config = GrpoConfig(), RlooConfig()
    methods: list[tuple[str, Callable[[], Tensor]]] = [
        ("grpo", lambda: grpo(batch, grpo_config).turn),
        ("rloo", lambda: rloo(batch, rloo_config).turn),
    ]
    for name, turn in methods:
        for suffix, target in (("", 5.0), ("_vectorized", 0.9)):
            function = getattr(core_algos, f"compute_{name}{suffix}_outcome_advantage")
            rows.append(
                compare(
                    f"{name.upper()}, {shape}, dense output",
                    f"verl {name}{suffix}",
                    lambda turn=turn: turn()[first, None] * float_mask,
                    lambda function=function: function(scores, mask, uids)[0],
                    target,
                    5e-5,
                )
            )
        rows.append(
            replace(
                rows[-1],
                case=f"{name.upper()}, {shape}, per trajectory",
                ours_ms=milliseconds(turn),
                target=20,
            )
        )
    return rows


def replace_gamma(gamma: float) -> Any:
    """A config with `gamma`, which is all that the peer reads of it."""

    class Settings:
        pass

    settings = Settings()
    settings.gamma = gamma  # type: ignore[attr-defined]
    return settings


def linear_growth() -> dict[str, float]:
    """Time per turn of MAPO at growing sizes, in nanoseconds: flat means linear."""
    growth = {}
    for num_trajectories in (512, 4096, 16384, 65536):
        batch: TurnBatch = random_batch(num_trajectories)
        config = MapoConfig()
        taken = milliseconds(lambda batch=batch, config=config: mapo(batch, config))
        growth[str(batch.num_turns)] = round(1e6 * taken / batch.num_turns, 1)
    return growth


def main() -> None:
    """Run everything, print the table, write the file."""
    torch.set_num_threads(1)
    rows = [
        *turn_level(8, 1, quadratic=True),
        *turn_level(512, 5, quadratic=True),
        *turn_level(16384, 30, quadratic=False),
        *bilevel(32, 1024),
    ]
    head, share = head_rows()
    rows += head
    try:
        rows += verl_rows(512, 4096)
    except ImportError as error:
        print(f"verl is not installed here, its cases are left out: {error}")
    print_table(rows)
    growth = linear_growth()
    print(f"cost follows the tokens that are ours: {share}")
    print(f"MAPO, ns per turn by number of turns: {growth}")
    extra = {"mapo_ns_per_turn": growth, **share}
    print(write_json("credit_cpu", platform.processor() or platform.machine(), rows, extra))


if __name__ == "__main__":
    main()
