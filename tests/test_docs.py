"""Every Python block of the README and the guides runs, top to bottom, one document at a time.

A block under a line `<!-- no-run -->` is left out: it needs a server, a GPU or minutes.
"""

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest

import turngym  # noqa: F401  # registers its environments before a page does

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))) if path.exists()
]
BLOCK = re.compile(r"^(?P<skip><!-- no-run -->\n+)?```python\n(?P<code>.*?)^```$", re.M | re.S)


pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="needs the checkout, not an installed wheel"
)


def blocks(text):
    """(first line, code) of each block that runs."""
    return [
        (text.count("\n", 0, found.start("code")) + 1, found["code"])
        for found in BLOCK.finditer(text)
        if not found["skip"]
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A real module, so that classes of the page can be pickled.
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = dict(gymnasium.registry)
    try:
        for line, code in blocks(page.read_text(encoding="utf-8")):
            padded = "\n" * (line - 1) + code  # so that a traceback shows the line of the page
            exec(compile(padded, str(page), "exec"), module.__dict__)
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)


def test_blocks_are_found_and_marked_ones_left_out():
    text = "a\n```python\nx = 1\n```\n<!-- no-run -->\n```python\ny\n```\n```toml\nz\n```\n"
    assert blocks(text) == [(3, "x = 1\n")]


def test_the_environment_guide_has_blocks():
    assert len(blocks((ROOT / "docs/environments.md").read_text(encoding="utf-8"))) >= 6


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_every_example_runs(path, capsys):
    before = dict(gymnasium.registry)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)
    assert "success 1.000" in capsys.readouterr().out
