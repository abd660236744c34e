"""turngym: agentic text environments and a multi-turn RL gym.

import turngym
env = turngym.make("turngym/WebShop-v0")
observation, info = env.reset(seed=0)
"""

from pathlib import Path

_here = Path(__file__).resolve().parent
if not (_here / "envs").is_dir():  # a checkout that lost its links (Windows, some archives)
    __path__.append(str(_here.parents[1]))

from turngym.bridge import call  # noqa: E402
from turngym.envs.check import check_env  # noqa: E402
from turngym.envs.env import TextEnv  # noqa: E402
from turngym.envs.registry import make, register  # noqa: E402
from turngym.types import Message, ToolCall, Trajectory, Turn  # noqa: E402
from turngym.version import __version__  # noqa: E402

__all__ = [
    "Message",
    "TextEnv",
    "ToolCall",
    "Trajectory",
    "Turn",
    "__version__",
    "call",
    "check_env",
    "make",
    "register",
]
