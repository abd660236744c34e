"""Credit assignment: how much each turn was worth.

Every method is a registered pure function of a TurnBatch; importing this package registers ours.
"""

from collections.abc import Callable

from turngym.trainers.config import CreditSettings
from turngym.trainers.credit.credit import CREDITS, CreditMethod, Need, PresetConfig, credit
from turngym.trainers.credit.grpo import GrpoConfig, grpo
from turngym.trainers.types import Credit, TurnBatch

__all__ = [
    "CREDITS",
    "CreditMethod",
    "GrpoConfig",
    "Need",
    "PresetConfig",
    "credit",
    "credit_method",
    "grpo",
]


def credit_method(settings: CreditSettings) -> Callable[[TurnBatch], Credit]:
    """The registered method that `settings` names, with its own settings bound.

    Raises:
        UnknownNameError: no such method; lists the known ones and the closest.
        ConfigError: settings that the method does not know or that are out of range.
    """
    method = CREDITS[settings.method]
    config = method.parse(settings.model_extra or {})
    return lambda batch: method(batch, config)
