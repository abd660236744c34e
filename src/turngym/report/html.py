"""The report as one HTML file: the page's parts and the data, packed together."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from turngym.report.folder import RunFolder
from turngym.report.payload import CHUNK, Library, compress, most_telling

__all__ = ["MAX_BYTES", "Written", "page", "write_report"]


MAX_BYTES = 50_000_000
"""A report grows no larger; texts of the least telling files are left out first."""

SCRIPTS = ("dom", "source", "charts", "list", "detail", "settings", "main")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What `write_report` made."""

    path: Path
    bytes: int
    trajectories: int
    left_out: int
    """Trajectories that are in the list, but whose text did not fit."""


def write_report(runs: Sequence[RunFolder], target: Path, *, max_bytes: int = MAX_BYTES) -> Written:
    """Write one self-contained file: no network, no server, the same bytes for the same runs.

    Args:
        runs: to show side by side.
        target: file to write.
        max_bytes: bound on its size.
    """
    library = Library(runs)
    head = _packed(compress(library.head()))
    blank = page(", ".join(run.name for run in runs), "")
    chunks = _chunks(library, max_bytes - len(blank.encode()) - len(head) - 200)
    listed = sum(len(shelf.cards) for shelf in library.shelves())
    data = [f'<script type="text/plain" id="head">{head}</script>']
    data += [f'<script type="text/plain" id="{name}">{text}</script>' for name, _, text in chunks]
    text = page(", ".join(run.name for run in runs), "\n".join(data))
    target.parent.mkdir(parents=True, exist_ok=True)
    written = target.write_bytes(text.encode())
    shown = sum(size for _, size, _ in chunks)
    return Written(path=target, bytes=written, trajectories=listed, left_out=listed - shown)


def page(title: str, data: str) -> str:
    """The page around `data`; its policy lets exactly its own script and style run."""
    folder = files("turngym.report") / "page"
    style = (folder / "page.css").read_text(encoding="utf-8")
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    script = '"use strict";\n' + "\n".join(parts)
    slots = {
        "title": html.escape(f"turngym: {title}"),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "data": data,
    }
    # One pass by hand: the parts hold braces of their own, and must not be filled in again.
    text = (folder / "page.html").read_text(encoding="utf-8")
    pieces = []
    while "{" in text:
        before, _, rest = text.partition("{")
        name, _, text = rest.partition("}")
        pieces += [before, slots[name]]
    return "".join([*pieces, text])


def _chunks(library: Library, room: int) -> list[tuple[str, int, str]]:
    """(element id, trajectories, packed text) of the most telling chunks that fit."""
    packed = sorted(_every_chunk(library), key=lambda each: -each[0])
    kept = []
    for _, name, size, text in packed:
        room -= len(text) + len(name) + 48
        if room < 0:
            break
        kept.append((name, size, text))
    return sorted(kept)


def _every_chunk(library: Library) -> Iterator[tuple[float, str, int, str]]:
    shelves = library.shelves()
    chosen = most_telling(shelves)
    for number, (shelf, places) in enumerate(zip(shelves, chosen, strict=True)):
        for start in range(0, len(shelf.cards), CHUNK):
            cards = shelf.cards[start : start + CHUNK]
            text = _packed(compress(library.chunk(shelf, start, places)))
            telling = max(each.telling for each in cards)
            yield telling, f"chunk-{number}-{start}", len(cards), text


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
