"""Settings of the whole suite."""

import os
import signal
import sys
from pathlib import Path

import pytest

# The checkout root on sys.path (`python -m pytest`) would let agents/ and docker/ shadow packages.
ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

# A shell ignores Ctrl-C on behalf of what it starts in the background, such as CI.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory):
    """Folder of a tiny policy with random weights."""
    from turngym.agents.tiny import tiny_model, tiny_tokenizer

    path = tmp_path_factory.mktemp("tiny")
    tiny_model(seed=3).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
