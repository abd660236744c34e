"""Tensor nouns of training: TurnBatch, Credit, Loss, StepResult. Ragged, never padded.

Legend: N tokens, K turns, B trajectories, G groups, S segments. `x_of_y[Y]` maps each y to its x,
`cu_y[X+1]` holds offsets into y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["SIZE_OF_COLUMN", "Credit", "Loss", "PolicyOutput", "StepResult", "TurnBatch"]


SIZE_OF_COLUMN: Mapping[str, str] = {
    **dict.fromkeys(("token_ids", "turn_of_token", "sampled_logprobs", "old_logprobs"), "N"),
    **dict.fromkeys(
        (
            "traj_of_turn",
            "turn_index",
            "exchange_of_turn",
            "anchor_of_turn",
            "turn_rewards",
            "reward_mask",
            "loss_mask",
            "turn_status",
            "temperature",
            "policy_version",
            "tokens_of_turn",
        ),
        "K",
    ),
    **dict.fromkeys(("group_of_traj", "outcome", "success", "truncated", "traj_mask"), "B"),
}
"""N, K or B for each per-token, per-turn and per-trajectory column of a TurnBatch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBatch:
    """Trajectories as flat columns; `trainers.batch.collate` makes it, `validate` checks it.

    Turns of one trajectory are adjacent and in order, tokens of one segment likewise. A trajectory
    whose failure was not the agent's keeps its rows and has `traj_mask` false.
    """

    token_ids: Tensor
    """[N] int64."""
    turn_of_token: Tensor
    """[N] int64, -1 where the token was not sampled by us."""
    sampled_logprobs: Tensor
    """[N] float32, the engine's; 0 where turn_of_token is -1."""
    old_logprobs: Tensor | None = None
    """[N] float32, the trainer's before the update; None means: take sampled_logprobs."""
    cu_tokens: Tensor
    """[S+1] int64."""
    traj_of_segment: Tensor
    """[S] int64."""
    traj_of_turn: Tensor
    """[K] int64, non-decreasing."""
    cu_turns: Tensor
    """[B+1] int64."""
    turn_index: Tensor
    """[K] int64, from 0 in each trajectory."""
    exchange_of_turn: Tensor
    """[K] int64, from 0 in each trajectory, non-decreasing, at most turn_index."""
    anchor_of_turn: Tensor
    """[K] int64 in 0..K-1, equal exactly where group and observable state are."""
    turn_rewards: Tensor
    """[K] float32, 0 where reward_mask is false; never contains the outcome."""
    reward_mask: Tensor
    """[K] bool: a turn reward exists."""
    loss_mask: Tensor
    """[K] bool: the tokens of the turn are trained."""
    turn_status: Tensor
    """[K] int8: index in TurnStatus."""
    temperature: Tensor
    """[K] float32."""
    policy_version: Tensor
    """[K] int64."""
    group_of_traj: Tensor
    """[B] int64 in 0..num_groups-1."""
    outcome: Tensor
    """[B] float32, 0 where traj_mask is false."""
    success: Tensor
    """[B] bool."""
    truncated: Tensor
    """[B] bool."""
    traj_mask: Tensor
    """[B] bool: enters loss, baselines and success rates."""
    num_groups: int
    max_turns: int
    """Longest trajectory in turns."""
    tokens_of_turn: Tensor | None = None
    """[K] int64 sampled tokens. This and the next five are the batch's table (`with_table`)."""
    sampled: Tensor | None = None
    """[tokens with turn_of_token >= 0] int64: where they lie."""
    traj_by_group: Tensor | None = None
    """[B] int64 trajectories, group after group."""
    cu_groups: Tensor | None = None
    """[G+1] int64 offsets into traj_by_group."""
    cu_traj_tokens: Tensor | None = None
    """[B+1] int64 offsets of trajectories into tokens."""
    largest_group: int = 0
    """Trajectories in the largest group; 0 without a table."""
    token_columns: Mapping[str, Tensor] = field(default_factory=dict)
    """Signal columns [N]."""
    turn_columns: Mapping[str, Tensor] = field(default_factory=dict)
    """Signal columns [K]."""
    traj_columns: Mapping[str, Tensor] = field(default_factory=dict)
    """Signal columns [B]."""

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.token_ids.shape[0]

    @property
    def num_turns(self) -> int:
        """K."""
        return self.traj_of_turn.shape[0]

    @property
    def num_trajectories(self) -> int:
        """B."""
        return self.group_of_traj.shape[0]

    @property
    def num_segments(self) -> int:
        """S."""
        return self.traj_of_segment.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the columns lie."""
        return self.token_ids.device

    @property
    def turn_mask(self) -> Tensor:
        """[K] bool: turns whose trajectory counts."""
        return self.traj_mask.index_select(0, self.traj_of_turn)

    def to(self, device: torch.device | str) -> TurnBatch:
        """The same batch on `device`."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device)
            if isinstance(value, Mapping):
                return {name: column.to(device) for name, column in value.items()}
            return value

        return TurnBatch(**{item.name: move(getattr(self, item.name)) for item in fields(self)})

    def with_columns(
        self,
        *,
        token: Mapping[str, Tensor] | None = None,
        turn: Mapping[str, Tensor] | None = None,
        traj: Mapping[str, Tensor] | None = None,
    ) -> TurnBatch:
        """A batch with more signal columns."""
        return replace(
            self,
            token_columns={**self.token_columns, **(token or {})},
            turn_columns={**self.turn_columns, **(turn or {})},
            traj_columns={**self.traj_columns, **(traj or {})},
        )

    def with_table(self) -> TurnBatch:
        """A batch that knows the tokens of each turn and the trajectories of each group.

        Kernels then need not find them out. Made where batches are: on a GPU it would wait.
        """
        sizes = torch.bincount(self.group_of_traj, minlength=self.num_groups)
        trajs = torch.arange(self.num_trajectories + 1, device=self.device)
        return replace(
            self,
            tokens_of_turn=torch.bincount(self.turn_of_token + 1, minlength=self.num_turns + 1)[1:],
            sampled=(self.turn_of_token >= 0).nonzero().squeeze(1),
            traj_by_group=torch.argsort(self.group_of_traj, stable=True),
            cu_groups=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            cu_traj_tokens=self.cu_tokens[torch.searchsorted(self.traj_of_segment, trajs)],
            largest_group=int(sizes.max()) if self.num_groups else 0,
        )

    def validate(self) -> None:
        """Check lengths, types, ranges and offsets.

        Raises:
            ValueError: names the column, what it holds and what was expected.
        """
        self._check_lengths()
        self._check_offsets("cu_tokens", self.cu_tokens, self.num_tokens)
        self._check_offsets("cu_turns", self.cu_turns, self.num_turns)
        self._check_range("turn_of_token", self.turn_of_token, -1, self.num_turns)
        self._check_range("traj_of_turn", self.traj_of_turn, 0, self.num_trajectories)
        self._check_range("traj_of_segment", self.traj_of_segment, 0, self.num_trajectories)
        self._check_range("group_of_traj", self.group_of_traj, 0, self.num_groups)
        counts = self.cu_turns.diff()
        expected = torch.repeat_interleave(
            torch.arange(self.num_trajectories, device=self.device), counts
        )
        if not torch.equal(self.traj_of_turn, expected):
            raise ValueError("traj_of_turn disagrees with cu_turns: turns must lie by trajectory")
        starts = self.cu_turns[:-1][self.traj_of_turn]
        if not torch.equal(
            self.turn_index, torch.arange(self.num_turns, device=self.device) - starts
        ):
            raise ValueError("turn_index must count from 0 in each trajectory")
        longest = int(counts.max()) if counts.numel() else 0
        if longest != self.max_turns:
            raise ValueError(f"max_turns is {self.max_turns}, the longest trajectory has {longest}")
        if self.traj_by_group is not None:
            self._check_table()
        self._check_tokens()
        self._check_keys()

    def _check_tokens(self) -> None:
        """Sampled tokens lie turn after turn, in segments of their own trajectory."""
        places = (self.turn_of_token >= 0).nonzero().squeeze(1)
        turns = self.turn_of_token[places]
        falls = (turns.diff() < 0).nonzero().squeeze(1)
        if falls.numel():
            at = int(falls[0])
            raise ValueError(
                f"turn_of_token must rise over the sampled tokens, got turn {int(turns[at])} at "
                f"token {int(places[at])} before turn {int(turns[at + 1])} at token "
                f"{int(places[at + 1])}: lay tokens out turn after turn"
            )
        segments = torch.repeat_interleave(
            torch.arange(self.num_segments, device=self.device), self.cu_tokens.diff()
        )[places]
        strays = (self.traj_of_segment[segments] != self.traj_of_turn[turns]).nonzero().squeeze(1)
        if strays.numel():
            at = int(strays[0])
            raise ValueError(
                f"token {int(places[at])} is of turn {int(turns[at])} of trajectory "
                f"{int(self.traj_of_turn[turns[at]])}, but lies in segment {int(segments[at])} of "
                f"trajectory {int(self.traj_of_segment[segments[at]])}"
            )

    def _check_keys(self) -> None:
        """What methods compare turns by: exchanges count up, no anchor is of two groups."""
        exchange, index = self.exchange_of_turn, self.turn_index
        falls = (exchange.diff(prepend=exchange.new_zeros(1)) < 0) & (index > 0)
        wrong = (falls | (exchange < 0) | (exchange > index)).nonzero().squeeze(1)
        if wrong.numel():
            turn = int(wrong[0])
            raise ValueError(
                f"exchange_of_turn must count from 0 in each trajectory, never fall and never pass "
                f"turn_index; turn {turn}, number {int(index[turn])} of its trajectory, has "
                f"{int(exchange[turn])}"
            )
        self._check_range("anchor_of_turn", self.anchor_of_turn, 0, self.num_turns)
        groups = self.group_of_traj[self.traj_of_turn]
        first = groups.new_zeros(self.num_turns).scatter_(0, self.anchor_of_turn, groups)
        shared = (first[self.anchor_of_turn] != groups).nonzero().squeeze(1)
        if shared.numel():
            turn = int(shared[0])
            anchor = int(self.anchor_of_turn[turn])
            raise ValueError(
                f"anchor {anchor} of anchor_of_turn is shared by the groups {int(groups[turn])} "
                f"and {int(first[anchor])}: equal states of different groups need anchors of "
                "their own"
            )

    def _check_table(self) -> None:
        fresh = self.with_table()
        for name in (
            "tokens_of_turn",
            "sampled",
            "traj_by_group",
            "cu_groups",
            "cu_traj_tokens",
            "largest_group",
        ):
            given, made = getattr(self, name), getattr(fresh, name)
            if given != made if isinstance(made, int) else not torch.equal(given, made):
                raise ValueError(f"{name} is of other groups or tokens: call with_table() last")

    def _check_lengths(self) -> None:
        sizes = {"N": self.num_tokens, "K": self.num_turns, "B": self.num_trajectories}
        named = [(name, getattr(self, name), size) for name, size in SIZE_OF_COLUMN.items()]
        named += [(f"token_columns[{n!r}]", c, "N") for n, c in self.token_columns.items()]
        named += [(f"turn_columns[{n!r}]", c, "K") for n, c in self.turn_columns.items()]
        named += [(f"traj_columns[{n!r}]", c, "B") for n, c in self.traj_columns.items()]
        for name, column, size in named:
            if column is not None and column.shape[0] != sizes[size]:
                raise ValueError(
                    f"{name} must have {size} = {sizes[size]} rows, got shape {tuple(column.shape)}"
                )
        if self.cu_tokens.shape[0] != self.num_segments + 1:
            raise ValueError(f"cu_tokens must have {self.num_segments + 1} entries")
        if self.cu_turns.shape[0] != self.num_trajectories + 1:
            raise ValueError(f"cu_turns must have {self.num_trajectories + 1} entries")

    @staticmethod
    def _check_offsets(name: str, offsets: Tensor, total: int) -> None:
        ends = (int(offsets[0]), int(offsets[-1]))
        if ends != (0, total) or bool((offsets.diff() < 0).any()):
            raise ValueError(f"{name} must rise from 0 to {total}, got ends {ends}")

    @staticmethod
    def _check_range(name: str, column: Tensor, low: int, high: int) -> None:
        if column.numel() and (int(column.min()) < low or int(column.max()) >= high):
            raise ValueError(
                f"{name} must lie in [{low}, {high}), got {int(column.min())}..{int(column.max())}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What a credit method gives back. Rows of masked trajectories are 0."""

    turn: Tensor
    """[K] float32 advantage of each turn."""
    token: Tensor | None = None
    """[N] float32 for token-level methods; None: every token takes its turn's advantage."""
    clip_scale: Tensor | None = None
    """[K] float32 factor on the clip range; None: 1."""
    weight: Tensor | None = None
    """[N] float32 weight of each token in the loss; None: 1."""
    returns: Tensor | None = None
    """[K] or [N] float32 regression target of a value head."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalar tensors: `float(...)` waits for the device, so only the logger reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutput:
    """What the policy says about the batch's tokens; position n speaks of token n."""

    logprobs: Tensor
    """[N] float32, 0 where turn_of_token is -1."""
    entropy: Tensor | None = None
    """[N] float32."""
    values: Tensor | None = None
    """[N] float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss with the denominators that it was divided by."""

    value: Tensor
    """Scalar with gradient."""
    denominators: Mapping[str, float]
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One optimizer step, as the logger prints it."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    num_turns: int
    policy_version: int
    skipped: bool = False
    """An update, of the policy or of a signal's model, was left out: loss or gradient not finite."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
