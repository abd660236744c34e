"""Settings of the whole suite."""

import os
import sys
from pathlib import Path

# The checkout root on sys.path (`python -m pytest`) would let agents/ and docker/ shadow packages.
ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
