"""Credit assignment: how much each turn was worth.

Every method is a registered pure function of a TurnBatch; importing this package registers ours.
"""

from collections.abc import Callable

from turngym.trainers.config import CreditSettings
from turngym.trainers.credit.a2tgpo import A2tgpoConfig, a2tgpo
from turngym.trainers.credit.credit import CREDITS, CreditMethod, Need, PresetConfig, credit
from turngym.trainers.credit.gae_bilevel import GaeBilevelConfig, gae_bilevel
from turngym.trainers.credit.gae_token import GaeTokenConfig, gae_token
from turngym.trainers.credit.gae_turn import GaeTurnConfig, gae_turn
from turngym.trainers.credit.gigpo import GigpoConfig, gigpo
from turngym.trainers.credit.grpo import GrpoConfig, grpo
from turngym.trainers.credit.igpo import IgpoConfig, igpo
from turngym.trainers.credit.mapo import MapoConfig, mapo
from turngym.trainers.credit.oprl import OprlConfig, oprl
from turngym.trainers.credit.raft import RaftConfig, raft
from turngym.trainers.credit.reinforce_pp import ReinforcePpConfig, reinforce_pp
from turngym.trainers.credit.reinforce_pp_baseline import (
    ReinforcePpBaselineConfig,
    reinforce_pp_baseline,
)
from turngym.trainers.credit.rloo import RlooConfig, rloo
from turngym.trainers.credit.spa import SpaConfig, spa
from turngym.trainers.types import Credit, TurnBatch

__all__ = [
    "CREDITS",
    "A2tgpoConfig",
    "CreditMethod",
    "GaeBilevelConfig",
    "GaeTokenConfig",
    "GaeTurnConfig",
    "GigpoConfig",
    "GrpoConfig",
    "IgpoConfig",
    "MapoConfig",
    "Need",
    "OprlConfig",
    "PresetConfig",
    "RaftConfig",
    "ReinforcePpBaselineConfig",
    "ReinforcePpConfig",
    "RlooConfig",
    "SpaConfig",
    "a2tgpo",
    "credit",
    "credit_method",
    "gae_bilevel",
    "gae_token",
    "gae_turn",
    "gigpo",
    "grpo",
    "igpo",
    "mapo",
    "oprl",
    "raft",
    "reinforce_pp",
    "reinforce_pp_baseline",
    "rloo",
    "spa",
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
