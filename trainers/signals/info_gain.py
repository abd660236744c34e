"""Information gain (A2TGPO, IGPO): how much each turn raised the probability of the true answer.

    p_s     = exp(mean log pi(answer tokens | the prompt of turn s))            teacher-forced
    ig_{i,t} = p_{t+1} - p_t                          for every turn but the last; log p if `logprob`

The prompt of turn s holds all turns before it with what the environment answered to them; that of the
first turn is the query. The last turn has no gain: nothing is asked after it. Where exchanges ask
for different answers (`Privileged.exchange_references`), gains are those of a question's turns about its
own answer, as if every question were an episode.

Source: arXiv 2605.06200 equations 2 and 3, 2510.14967. `ig_space = "logprob"` and
`baseline = "first_turn"` (no gain for the first turn) are the released A2TGPO code's. Several
references: the code takes the first; `max` and `mean` are ours. Probabilities are at temperature 1.

Legend: K turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.config import Config
from turngym.errors import ConfigError
from turngym.trainers.signals.signal import Columns, Models, Signal, signal
from turngym.trainers.signals.teacher_forcing import Branch, branch_scores
from turngym.trainers.types import TurnBatch
from turngym.types import Privileged, Trajectory

__all__ = ["InfoGain", "InfoGainConfig", "answer_branch", "gains"]

_SLOT = "{answer}"
_PROBES = 8


class InfoGainConfig(Config):
    """Settings of the signal `info_gain`."""

    ig_space: Literal["prob", "logprob"] = "prob"
    baseline: Literal["query", "first_turn"] = "query"
    """What the first gain is measured from: the query alone, or the end of the first turn."""
    several: Literal["max", "mean", "first"] = "max"
    """Which of several references counts; `max` and `mean` are taken at each turn, of
    probabilities."""
    template: str = Field(default=_SLOT, pattern=r"\{answer\}")
    """How the model would say an answer; only the tokens of the answer itself are scored."""
    as_reward: bool = False
    """Also let the gains be the turn rewards, for methods that read nothing else."""


def answer_branch(tokenizer: Any, template: str, answer: str, at: int) -> Branch:
    """The answer in its template as a branch at `at`; tokens that overlap the answer are scored.

    Raises:
        ConfigError: the tokenizer gives no character offsets, or the answer is empty.
    """
    if not answer.strip() or not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"cannot score the answer {answer!r}: it must hold text, and the tokenizer must be a "
            "fast one, which knows the characters of each token"
        )
    before, _, after = template.partition(_SLOT)
    low, high = len(before), len(before) + len(answer)
    coded = tokenizer(
        before + answer + after, add_special_tokens=False, return_offsets_mapping=True
    )
    scored = [start < high and end > low for start, end in coded["offset_mapping"]]
    length = len(scored) - scored[::-1].index(True)
    return Branch(at=at, ids=tuple(coded["input_ids"][:length]), scored=tuple(scored[:length]))


def gains(levels: Tensor, cu_turns: Tensor, first_turn: bool) -> tuple[Tensor, Tensor]:
    """[K] differences to the next turn's level and [K] bool where they exist.

    Args:
        levels: [K] level in the prompt of each turn; NaN where there is none.
        cu_turns: [B+1] offsets of the episodes, or of the questions in them.
        first_turn: the level after the first turn is the baseline, so that it has no gain.
    """
    following = torch.cat([levels[1:], levels.new_full((1,), torch.nan)])[: levels.shape[0]]
    gain = following - levels
    exists = gain.isfinite()
    occupied = cu_turns.diff() > 0
    exists[cu_turns[1:][occupied] - 1] = False
    if first_turn:
        exists[cu_turns[:-1][occupied]] = False
    return torch.where(exists, gain, 0.0), exists


@signal("info_gain")
class InfoGain(Signal[InfoGainConfig]):
    """Turn columns `info_gain` and `info_gain_mask`, by the weights that acted."""

    settings = InfoGainConfig

    def refusal(self, secrets: Iterable[Privileged]) -> str:
        """Refused when none of the first tasks has an answer."""
        seen = [
            any(self._answers(secret, exchange) for exchange in range(_exchanges(secret)))
            for secret in islice(secrets, _PROBES)
        ]
        if any(seen):
            return ""
        return (
            f"none of its first {len(seen)} training tasks has a reference answer in "
            "`privileged.references`. Choose another credit method"
        )

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metrics: mean gain, mean level of the first and last prompts, turns with a gain."""
        levels = torch.full((batch.num_turns,), torch.nan, device=batch.device)
        for index, trajectory in enumerate(trajectories):
            if trajectory.status.counts and trajectory.turns:
                start = int(batch.cu_turns[index])
                found = self._levels(trajectory, models)
                levels[start : start + found.shape[0]] = found
        first = self.config.baseline == "first_turn"
        gain, exists = gains(levels, _spans(trajectories, batch), first)
        replaced = {"turn_rewards": gain, "reward_mask": exists} if self.config.as_reward else {}
        known = levels[levels.isfinite()]
        return Columns(
            turn={"info_gain": gain, "info_gain_mask": exists},
            replaced=replaced,
            metrics={
                "gain": float(gain.sum() / exists.sum().clamp(min=1)),
                "level": float(known.mean()) if known.numel() else 0.0,
                "turns": float(exists.sum()),
            },
        )

    def _answers(self, secret: Privileged, exchange: int) -> tuple[str, ...]:
        given = secret.references
        if secret.exchange_references:
            given = ()
            for answers in secret.exchange_references[: exchange + 1]:
                given = given if answers is None else answers
        found = tuple(text for text in given if text.strip())
        return found[:1] if self.config.several == "first" else found

    def _levels(self, trajectory: Trajectory, models: Models) -> Tensor:
        """[T] level in the prompt of each turn; NaN without an answer."""
        asked = [self._answers(trajectory.privileged, t.exchange) for t in trajectory.turns]
        template = self.config.template
        bare = {
            answer: answer_branch(models.tokenizer, template, answer, 1)
            for answers in asked
            for answer in answers
        }
        parts = []
        for trunk, ats in _segments(trajectory):
            mine, asked = asked[: len(ats)], asked[len(ats) :]
            branches = [
                replace(bare[answer], at=at)
                for at, answers in zip(ats, mine, strict=True)
                for answer in answers
            ]
            scores = branch_scores(models.policy, trunk, branches)
            parts += [self._level(own) for own in torch.split(scores, [len(each) for each in mine])]
        return torch.stack(parts)

    def _level(self, scores: Tensor) -> Tensor:
        """Scalar level of one prompt from the mean log-probabilities [Q] of its answers."""
        if scores.numel() == 0:
            return scores.new_full((), torch.nan)
        best = scores.exp().mean().log() if self.config.several == "mean" else scores.amax()
        return best.exp() if self.config.ig_space == "prob" else best


def _exchanges(secret: Privileged) -> int:
    """How many exchanges have answers of their own; 1 if all share theirs."""
    return max(len(secret.exchange_references), 1)


def _spans(trajectories: Sequence[Trajectory], batch: TurnBatch) -> Tensor:
    """Offsets of the turns that are about one and the same question."""
    starts, place = list[int](), 0
    for trajectory in trajectories:
        given, before = trajectory.privileged.exchange_references, -1
        for turn in trajectory.turns:
            new = any(answers is not None for answers in given[before + 1 : turn.exchange + 1])
            if before < 0 or new:
                starts.append(place)
            before, place = turn.exchange, place + 1
    return torch.tensor([*starts, place], device=batch.device)


def _segments(trajectory: Trajectory) -> list[tuple[list[int], list[int]]]:
    """Tokens of each segment, and where in it the replies of its turns begin."""
    segments: list[tuple[list[int], list[int]]] = []
    for position, turn in enumerate(trajectory.turns):
        if turn.completion.opens_segment or position == 0:
            segments.append(([], []))
        ids, ats = segments[-1]
        ids.extend(turn.completion.new_prompt_ids)
        ats.append(len(ids))
        ids.extend(turn.completion.reply_ids)
    return segments
