"""Signals: what credit methods read beyond rewards.

Importing this package registers ours.
"""

from turngym.trainers.signals.follow_up import FollowUp, FollowUpConfig
from turngym.trainers.signals.grounding import Grounding
from turngym.trainers.signals.implicit_reward import ImplicitReward, ImplicitRewardConfig
from turngym.trainers.signals.info_gain import InfoGain, InfoGainConfig
from turngym.trainers.signals.logprobs import OldLogprobs, Reference
from turngym.trainers.signals.progress import Progress, ProgressConfig
from turngym.trainers.signals.signal import SIGNALS, Columns, Models, Signal, signal
from turngym.trainers.signals.suite import Suite

SIGNALS.add("values", "turngym.trainers.critic:Critic")

__all__ = [
    "SIGNALS",
    "Columns",
    "FollowUp",
    "FollowUpConfig",
    "Grounding",
    "ImplicitReward",
    "ImplicitRewardConfig",
    "InfoGain",
    "InfoGainConfig",
    "Models",
    "OldLogprobs",
    "Progress",
    "ProgressConfig",
    "Reference",
    "Signal",
    "Suite",
    "signal",
]
