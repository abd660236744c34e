"""A whole turn-level credit method in at most three launches."""

from turngym.trainers.kernels.dispatch import backend, form_to_run
from turngym.trainers.kernels.turn_credit.plan import Norm, TurnPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["Norm", "TurnPlan", "may_fuse", "turn_credit"]

_LAUNCH = f"{__name__}.launch"


def may_fuse(batch: TurnBatch) -> bool:
    """Whether a plan for the batch is worth making."""
    return batch.outcome.is_cuda or backend() == "triton"


def turn_credit(batch: TurnBatch, plan: TurnPlan) -> Credit | None:
    """What `plan` says of `batch`; None where the method's torch form is to be run.

    That is everywhere but on CUDA (or under TURNGYM_KERNELS=triton), for batches without a table
    and for groups too large for one program.
    """
    launch = form_to_run(_LAUNCH, "turn_credit", (batch.outcome, batch.turn_rewards))
    made: Credit | None = None if launch is None else launch(batch, plan)
    return made
