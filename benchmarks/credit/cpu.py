"""Credit assignment on one CPU thread, beside its peers: python benchmarks/credit/cpu.py

Each case first checks that both sides give the same numbers. verl takes part where it is installed.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from head import head_rows
from random_batches import padded, random_batch
from references import (
    bilevel_per_token,
    bilevel_tensors,
    gigpo_floats,
    gigpo_quadratic,
    mapo_floats,
    mapo_numpy,
)
from report import Row, milliseconds, paired, print_table, write_json
from torch import Tensor

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
    ours_ms, peer_ms = paired(ours, theirs)
    return Row(
        case=case,
        peer=peer,
        ours_ms=ours_ms,
        peer_ms=peer_ms,
        largest_difference=difference,
        target=target,
    )


def turn_level(num_trajectories: int, target: float) -> list[Row]:
    """MAPO and GiGPO, whose cost is in turns."""
    batch = random_batch(num_trajectories)
    name = f"{num_trajectories} trajectories, {batch.num_turns} turns"
    return [*mapo_rows(batch, name, target), *gigpo_rows(batch, name, target)]


def rows_of(batch: TurnBatch, column: Tensor) -> list[Any]:
    """A turn column as one list per trajectory."""
    return [values.tolist() for values in column.split(batch.cu_turns.diff().tolist())]


def flat(rows: list[list[float]]) -> Tensor:
    """The lists in one tensor."""
    return torch.tensor([value for row in rows for value in row])


def mapo_rows(batch: TurnBatch, name: str, target: float) -> list[Row]:
    """MAPO against floats and NumPy."""
    config = MapoConfig()
    rewards, group = rows_of(batch, batch.turn_rewards), batch.group_of_traj.tolist()
    columns = (batch.turn_rewards, batch.cu_turns, batch.traj_of_turn, batch.turn_index)
    arrays = [column.numpy() for column in (*columns, batch.group_of_traj)]

    def ours() -> Tensor:
        return mapo(batch, config).turn

    def floats() -> Tensor:
        return flat(mapo_floats(rewards, group, config.gamma))

    def by_numpy() -> Tensor:
        return torch.from_numpy(mapo_numpy(*arrays, config.gamma))

    return [
        compare(f"MAPO, {name}", "plain Python floats", ours, floats, target),
        compare(f"MAPO, {name}", "NumPy", ours, by_numpy),
    ]


def gigpo_rows(batch: TurnBatch, name: str, target: float) -> list[Row]:
    """GiGPO against floats and, up to ten thousand turns, its published form."""
    config = GigpoConfig()
    rewards, anchors = rows_of(batch, batch.turn_rewards), rows_of(batch, batch.anchor_of_turn)
    group, outcome = batch.group_of_traj.tolist(), batch.outcome.tolist()
    columns = (batch.traj_of_turn, batch.outcome, batch.anchor_of_turn, batch.group_of_traj)
    arrays = [column.numpy() for column in columns]

    def ours() -> Tensor:
        return gigpo(batch, config).turn

    def floats() -> Tensor:
        return flat(gigpo_floats(rewards, outcome, anchors, group, config.gamma))

    def searches() -> Tensor:
        reward = batch.turn_rewards.numpy()
        return torch.from_numpy(gigpo_quadratic(reward, *arrays, config.gamma))

    rows = [compare(f"GiGPO, {name}", "plain Python floats", ours, floats, target)]
    if batch.num_turns <= 10_000:
        peer = "published form, a search per row"
        rows.append(compare(f"GiGPO, {name}", peer, ours, searches))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerlCase:
    """One batch as verl wants it: padded rows."""

    batch: TurnBatch
    name: str
    core: Any
    """verl.trainer.ppo.core_algos."""
    mask: Tensor
    """[B, T] int64: sampled tokens."""
    scores: Tensor
    """[B, T]: the outcome on the last of them."""

    @classmethod
    def of(cls, num_trajectories: int, max_tokens: int) -> VerlCase:
        """Raises ImportError where verl is not installed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from verl.trainer.ppo import core_algos
        batch = random_batch(num_trajectories, max_tokens)
        mask = padded(batch, (batch.turn_of_token >= 0).long())
        scores = torch.zeros(mask.shape)
        last = (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)
        scores[torch.arange(num_trajectories), last] = batch.outcome
        name = f"{num_trajectories} x {max_tokens}"
        return cls(batch=batch, name=name, core=core_algos, mask=mask, scores=scores)


def token_rows(case: VerlCase) -> list[Row]:
    """Token GAE and REINFORCE++: ours packed, verl's padded."""
    batch, core = case.batch, case.core
    values = padded(batch, batch.token_columns["values"])
    gae_config = GaeTokenConfig(gamma=0.99, lam=0.95, turn_reward_weight=0)
    rf_config = ReinforcePpConfig(gamma=0.99)
    settings = SimpleNamespace(gamma=0.99)
    cases: list[tuple[str, Callable[[], Tensor | None], Callable[[], Any]]] = [
        (
            "token GAE",
            lambda: gae_token(batch, gae_config).token,
            lambda: core.compute_gae_advantage_return(case.scores, values, case.mask, 0.99, 0.95),
        ),
        (
            "REINFORCE++",
            lambda: reinforce_pp(batch, rf_config).token,
            lambda: core.compute_reinforce_plus_plus_outcome_advantage(
                case.scores, case.mask, settings
            ),
        ),
    ]
    rows = []
    for name, ours, theirs in cases:
        token = ours()
        assert token is not None
        mine = padded(batch, torch.where(batch.turn_of_token >= 0, token, 0))
        difference = float((mine - torch.where(case.mask > 0, theirs()[0], 0)).abs().max())
        assert difference <= 5e-5, f"{name} differs from verl by {difference}"
        ours_ms, peer_ms = paired(ours, theirs)
        rows.append(
            Row(
                case=f"{name}, {case.name}, packed",
                peer="verl",
                ours_ms=ours_ms,
                peer_ms=peer_ms,
                largest_difference=difference,
                target=10,
            )
        )
    return rows


def outcome_rows(case: VerlCase) -> list[Row]:
    """GRPO and RLOO: dense output as verl's, and per trajectory."""
    batch = case.batch
    uids = np.array([str(group) for group in batch.group_of_traj.tolist()], dtype=object)
    first, mask = batch.cu_turns[:-1], case.mask.float()
    grpo_config, rloo_config = GrpoConfig(), RlooConfig()
    methods: list[tuple[str, Callable[[], Tensor]]] = [
        ("grpo", lambda: grpo(batch, grpo_config).turn),
        ("rloo", lambda: rloo(batch, rloo_config).turn),
    ]
    rows = []
    for name, turn in methods:
        for suffix, target in (("", 5.0), ("_vectorized", 0.9)):
            function = getattr(case.core, f"compute_{name}{suffix}_outcome_advantage")
            rows.append(
                compare(
                    f"{name.upper()}, {case.name}, dense output",
                    f"verl {name}{suffix}",
                    lambda turn=turn: turn()[first, None] * mask,
                    lambda function=function: function(case.scores, case.mask, uids)[0],
                    target,
                    5e-5,
                )
            )
        per_trajectory = f"{name.upper()}, {case.name}, per trajectory"
        taken = milliseconds(turn)
        rows.append(replace(rows[-1], case=per_trajectory, ours_ms=taken, target=20))
    return rows


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
        *turn_level(8, 1),
        *turn_level(32, 1),
        *turn_level(512, 5),
        *turn_level(16384, 30),
        *bilevel(32, 1024),
    ]
    head, share = head_rows()
    rows += head
    try:
        case = VerlCase.of(512, 4096)
        rows += [*token_rows(case), *outcome_rows(case)]
    except ImportError as error:
        print(f"verl is not installed here, its cases are left out: {error}")
    print_table(rows)
    growth = linear_growth()
    print(f"cost follows the tokens that are ours: {share}")
    print(f"MAPO, ns per turn by number of turns: {growth}")
    extra = {"clock": "CPU time of one thread", "mapo_ns_per_turn": growth, **share}
    print(write_json("credit_cpu", platform.processor() or platform.machine(), rows, extra))


if __name__ == "__main__":
    main()
