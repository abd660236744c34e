"""OPRL (iStar): implicit step rewards against all steps of the group, on top of the outcome.

    A^E_i     = (R_i - mean_q R) / (std_q R + 1e-6)
    A^S_{i,t} = (r_{i,t} - mean_q r) / (std_q r + 1e-6)          over all turns of the group
    A_{i,t}   = A^E_i + alpha A^S_{i,t}

r is the column `step_reward`: beta times the summed log-ratio of the implicit reward model to the
policy that acted. `normalize` is the outcome estimator applied to both terms: `std` (GRPO), `mean`
(Dr.GRPO) or `leave_one_out` (RLOO).

Source: arXiv 2509.19199. Preset `released`: only means, and the step baseline from the first turn
of each trajectory (the published code removes duplicates by trajectory); a group of one keeps its
raw values. Sum or mean over steps in the reward model's own loss is a setting of the signal, the
step-level ratio of the loss. Not reproduced: the code's rescaling of step rewards by the largest
reverse sum on a rank, which depends on how the batch is sharded. Reduces to GRPO with alpha = 0.

Legend: K turns, B trajectories.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from turngym.trainers.credit.credit import (
    Need,
    PresetConfig,
    column,
    counted,
    credit,
    finish,
    group_of_turn,
    leave_one_out,
    of_turn,
)
from turngym.trainers.kernels.segment_norm import Normed, NormRule, Singleton, segment_norm
from turngym.trainers.kernels.turn_credit import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["STEP_REWARD", "OprlConfig", "oprl"]

STEP_REWARD = Need("step_reward", "turn", "implicit_reward")
"""[K] float32."""


class OprlConfig(PresetConfig):
    """Settings of `oprl`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "released": {"normalize": "mean", "step_rows": "first", "singleton": "raw"}
    }

    type: Literal["oprl"] = "oprl"
    preset: Literal["paper", "released"] = "paper"
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the step term."""
    normalize: Literal["std", "mean", "leave_one_out"] = "std"
    step_rows: Literal["all", "first"] = "all"
    """Which turns of a trajectory enter the step baseline."""
    singleton: Singleton = "zero"
    """A lone value; `raw`: itself, `drop`: a group of one has no loss."""
    ddof: int = Field(default=1, ge=0, le=1)
    eps: float = Field(default=1e-6, ge=0)


def _plan(config: OprlConfig) -> TurnPlan:
    alone = config.normalize == "leave_one_out"
    rule = NormRule(divide=False, singleton=config.singleton) if alone else _rule(config)
    share: Literal["row", "first"] = "row" if config.step_rows == "all" else "first"
    return TurnPlan(
        score=Norm(name="group", rule=rule, leave_one_out=alone),
        column="step_reward",
        before=Norm(name="step", rule=rule, leave_one_out=alone, share=share),
        own=config.alpha,
    )


@credit("oprl", needs=(STEP_REWARD,), plan=_plan)
def oprl(batch: TurnBatch, config: OprlConfig) -> Credit:
    """Episode and step advantages, added."""
    episode = _norm(config, batch.outcome, batch.group_of_traj, batch.num_groups, counted(batch))
    source = None if config.step_rows == "all" else batch.turn_index == 0
    step = _norm(
        config,
        column(batch, STEP_REWARD),
        group_of_turn(batch),
        batch.num_groups,
        batch.turn_mask,
        source,
    )
    return finish(
        batch,
        of_turn(batch, episode.values) + config.alpha * step.values,
        {"group": episode, "step": step},
        kept=of_turn(batch, episode.kept) if config.singleton == "drop" else None,
    )


def _norm(
    config: OprlConfig,
    values: Tensor,
    key: Tensor,
    num_keys: int,
    mask: Tensor,
    source: Tensor | None = None,
) -> Normed:
    if config.normalize == "leave_one_out":
        return leave_one_out(values, key, num_keys, config.singleton, mask=mask, source=source)
    return segment_norm(values, key, num_keys, _rule(config), mask=mask, source=source)


def _rule(config: OprlConfig) -> NormRule:
    return NormRule(
        ddof=config.ddof,
        eps=config.eps,
        divide=config.normalize == "std",
        singleton=config.singleton,
    )
