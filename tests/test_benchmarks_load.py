"""Every benchmark script finds what it imports, although nothing else imports it."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(FOLDER.rglob("*.py"))
PEERS = {
    "fleet.py": "ray",
    "peers/swe_rex.py": "swerex",
    "rollout/driver_trl.py": "trl",
    "rollout/driver_verifiers.py": "verifiers",
}
"""Scripts that run in the environment of another package."""

pytestmark = pytest.mark.skipif(not SCRIPTS, reason="needs the checkout")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_script_loads(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    for name in {path.stem for path in SCRIPTS} & set(sys.modules):
        monkeypatch.delitem(sys.modules, name)  # two folders may use a name
    peer = PEERS.get(str(script.relative_to(FOLDER)))
    if peer and importlib.util.find_spec(peer) is None:
        with pytest.raises(ModuleNotFoundError, match=peer):
            runpy.run_path(str(script), run_name="loaded")
    else:
        runpy.run_path(str(script), run_name="loaded")
