"""A whole token-level credit method in three launches."""

from turngym.trainers.kernels.dispatch import form_to_run
from turngym.trainers.kernels.token_credit.plan import TokenPlan
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["TokenPlan", "token_credit"]

_LAUNCH = f"{__name__}.launch"


def token_credit(batch: TurnBatch, plan: TokenPlan) -> Credit | None:
    """What `plan` says of `batch`; None where the method's torch form is to be run.

    That is everywhere but on CUDA (or under TURNGYM_KERNELS=triton), and for batches without a
    table.
    """
    launch = form_to_run(_LAUNCH, "token_credit", (batch.outcome, batch.turn_rewards))
    made: Credit | None = None if launch is None else launch(batch, plan)
    return made
