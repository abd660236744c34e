"""Follow-up likelihood: a reply is good if a contented answer becomes likely after it.

    f_t = mean log p(contented words | conversation up to reply t) - the same of disappointed ones

Each mean is over words first (per token, teacher-forced), then over the texts. The model that reads
is the policy the run started from, frozen, so that the policy cannot please itself; `policy` takes
the one in training. `turngym.rewards.emotion_followup` is the same for recorded episodes.

Legend: K turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from turngym.agents.render import Renderer
from turngym.config import Config
from turngym.rewards.emotion_followup import CONTENTED, DISAPPOINTED
from turngym.trainers.signals.info_gain import answer_branch
from turngym.trainers.signals.signal import Columns, Models, Signal, signal
from turngym.trainers.signals.teacher_forcing import Branch, branch_scores
from turngym.trainers.types import TurnBatch
from turngym.types import Trajectory, assistant, user

__all__ = ["FollowUp", "FollowUpConfig"]


class FollowUpConfig(Config):
    """Settings of the signal `follow_up`."""

    contented: tuple[str, ...] = Field(default=CONTENTED, min_length=1)
    """What the person would say if the reply were good."""
    disappointed: tuple[str, ...] = DISAPPOINTED
    """What they would say if it were not; () gives the plain likelihood."""
    reader: Literal["initial", "policy"] = "initial"
    as_reward: bool = False
    """Also let the values be the turn rewards, for methods that read nothing else."""


@signal("follow_up")
class FollowUp(Signal[FollowUpConfig]):
    """Turn column `follow_up`."""

    settings = FollowUpConfig

    def __init__(self, config: FollowUpConfig, models: Models) -> None:
        super().__init__(config, models)
        self._initial = models.initial() if config.reader == "initial" else None
        self._stops = Renderer(models.tokenizer).stop_ids
        self._between = _between(models.tokenizer)

    def columns(
        self, trajectories: Sequence[Trajectory], batch: TurnBatch, models: Models
    ) -> Columns:
        """Metric `mean`, over the turns that count."""
        found = torch.zeros(batch.num_turns, device=batch.device)
        for index, trajectory in enumerate(trajectories):
            if trajectory.status.counts and trajectory.turns:
                start = int(batch.cu_turns[index])
                values = self._values(trajectory, models)
                found[start : start + values.shape[0]] = values
        counted = batch.turn_mask
        replaced = {"turn_rewards": found, "reward_mask": counted} if self.config.as_reward else {}
        mean = float(found[counted].mean()) if bool(counted.any()) else 0.0
        return Columns(turn={"follow_up": found}, replaced=replaced, metrics={"mean": mean})

    def _values(self, trajectory: Trajectory, models: Models) -> Tensor:
        """[T] for the turns of one trajectory."""
        model = models.policy if self._initial is None else self._initial
        texts = (*self.config.contented, *self.config.disappointed)
        good = len(self.config.contented)
        parts = []
        for trunk, ends in _segments(trajectory):
            branches = [
                self._branch(models.tokenizer, trunk, at, text) for at in ends for text in texts
            ]
            scores = branch_scores(model, trunk, branches).view(len(ends), len(texts))
            bad = scores[:, good:].mean(1) if good < len(texts) else 0.0
            parts.append(scores[:, :good].mean(1) - bad)
        return torch.cat(parts)

    def _branch(self, tokenizer: Any, trunk: Sequence[int], at: int, text: str) -> Branch:
        """The text as the next user message after the first `at` tokens of the trunk."""
        between = self._between
        if trunk[at - 1] in self._stops:  # the model said this much of it itself
            between = between.removeprefix(tokenizer.decode([trunk[at - 1]]))
        return answer_branch(tokenizer, between + "{answer}", text, at)


def _between(tokenizer: Any) -> str:
    """What the chat template writes between the words of a reply and those of the next message."""
    marks = ("\u2603reply\u2603", "\u2603next\u2603")
    said = (user("?"), assistant(marks[0]), user(marks[1]))
    text: str = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in said], tokenize=False
    )
    return text.partition(marks[0])[2].partition(marks[1])[0]


def _segments(trajectory: Trajectory) -> list[tuple[list[int], list[int]]]:
    """Tokens of each segment, and where in it the replies of its turns end."""
    segments: list[tuple[list[int], list[int]]] = []
    for position, turn in enumerate(trajectory.turns):
        if turn.completion.opens_segment or position == 0:
            segments.append(([], []))
        ids, ends = segments[-1]
        ids.extend(turn.completion.new_prompt_ids)
        ids.extend(turn.completion.reply_ids)
        ends.append(len(ids))
    return segments
