"""Trajectories in other people's formats: plain functions from and to JSON-safe data.

| file | what | exact |
| --- | --- | --- |
| `atif.py` | Agent Trajectory Interchange Format v1.8 (Harbor) | back and forth, privileged facts if asked for |
| `rows.py` | rows with fixed columns for Hugging Face `datasets` | likewise |
| `chat.py` | conversations for supervised fine-tuning, as TRL reads them | messages |
| `preference.py` | a better and a worse end of one beginning, as TRL reads them | messages and outcomes |
"""

from turngym.formats.atif import from_atif, to_atif
from turngym.formats.chat import from_chat, to_chat
from turngym.formats.preference import Pair, from_pair, pairs, to_pair
from turngym.formats.rows import features, from_row, to_row

__all__ = [
    "Pair",
    "features",
    "from_atif",
    "from_chat",
    "from_pair",
    "from_row",
    "pairs",
    "to_atif",
    "to_chat",
    "to_pair",
    "to_row",
]
