"""What the page reads: one head for everything, and chunks of trajectories loaded when wanted."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from turngym.errors import DataError
from turngym.report.curves import Curve, curves, merge, points_of
from turngym.report.folder import RunFolder, Stage
from turngym.report.records import Card, Credits, Kept, card, record
from turngym.report.tokens import token_text
from turngym.trainers.ledger import Credited
from turngym.triage import TAXONOMY
from turngym.types import Trajectory
from turngym.version import __version__

__all__ = ["CHUNK", "Library", "Shelf", "compress", "most_telling", "to_json"]

CHUNK = 64
"""Trajectories per chunk."""

TOKENS_FOR = 200
"""Trajectories whose reply tokens are shown one by one."""


@dataclass(slots=True)
class Shelf:
    """The trajectories of one file."""

    run: int
    stage: Stage
    cards: list[Card]
    credits: list[Credits]
    detailed: set[str]
    """Episodes that the run kept token by token."""


@dataclass(slots=True)
class Library:
    """All runs of a report. Files that have not changed are not worked through again."""

    runs: Sequence[RunFolder]

    def shelves(self) -> list[Shelf]:
        """One per file of trajectories."""
        return [
            run.derived(stage, "shelf", partial(self._shelve, number, run, stage))
            for number, run in enumerate(self.runs)
            for stage in run.stages()
        ]

    def head(self) -> dict[str, Any]:
        """Curves, settings and the list, for one JSON object."""
        shelves = self.shelves()
        series = [curves(run) for run in self.runs]
        return {
            "version": __version__,
            "taxonomy": {category: list(kinds) for category, kinds in TAXONOMY.items()},
            "runs": [
                {
                    "name": run.name,
                    "path": str(run.path),
                    "config": run.config,
                    "steps": len(run.metrics),
                    "curves": [asdict(curve) for curve in own],
                    "evaluations": run.evaluations,
                }
                for run, own in zip(self.runs, series, strict=True)
            ],
            "seeds": self._seed_groups(series),
            "shelves": [
                {
                    "run": shelf.run,
                    "kind": shelf.stage.kind,
                    "label": shelf.stage.label,
                    "step": shelf.stage.step,
                    "file": shelf.stage.path.name,
                    "size": len(shelf.cards),
                }
                for shelf in shelves
            ],
            "methods": _methods(),
            "chunk": CHUNK,
            "cards": _columns([each for shelf in shelves for each in shelf.cards]),
        }

    def chunk(self, shelf: Shelf, start: int, tokens_of: frozenset[int]) -> list[dict[str, Any]]:
        """The records of trajectories start .. start + CHUNK - 1 of a file.

        Args:
            shelf: the file.
            start: the first place.
            tokens_of: places in the file whose tokens are shown one by one.
        """
        run = self.runs[shelf.run]
        trajectories, details = run.trajectories(shelf.stage), run.details(shelf.stage)
        ledger = run.ledger(shelf.stage)
        piece = token_text(run)
        made = []
        for place in range(start, min(start + CHUNK, len(shelf.cards))):
            trajectory = trajectories[place]
            shown = piece if place in tokens_of else None
            kept = Kept(
                credits=shelf.credits[place],
                row=ledger.get(trajectory.episode),
                detail=details.get(trajectory.episode),
            )
            made.append(asdict(record(trajectory, kept, shown)))
        return made

    def _shelve(self, number: int, run: RunFolder, stage: Stage) -> Shelf:
        trajectories = run.trajectories(stage)
        credits = _credits(run, stage, trajectories)
        points_of(run, stage)  # now, while the trajectories are in memory
        pairs = zip(trajectories, credits, strict=True)
        return Shelf(
            run=number,
            stage=stage,
            cards=[card(trajectory, own) for trajectory, own in pairs],
            credits=credits,
            detailed=set(run.details(stage)),
        )

    def _seed_groups(self, series: Sequence[list[Curve]]) -> list[dict[str, Any]]:
        """Runs that differ in nothing but the seed, with their mean curves."""
        groups: dict[str, list[int]] = defaultdict(list)
        for number, run in enumerate(self.runs):
            settings = {key: value for key, value in run.config.items() if key != "seed"}
            groups[json.dumps(settings, sort_keys=True)].append(number)
        return [
            {
                "name": f"mean of {', '.join(self.runs[number].name for number in members)}",
                "runs": members,
                "curves": [asdict(curve) for curve in merge([series[n] for n in members])],
            }
            for settings, members in groups.items()
            if len(members) > 1 and settings != "{}"
        ]


def _credits(run: RunFolder, stage: Stage, trajectories: Sequence[Trajectory]) -> list[Credits]:
    """Credit of each trajectory's turns by every method that can be worked out from the files.

    What the run really gave stands in its ledger. Evaluations have no groups and get nothing.
    """
    ledger = run.ledger(stage)
    learnt = [t for t in trajectories if not ledger or t.episode in ledger]
    found: dict[str, dict[str, Sequence[float]]] = {}
    if stage.kind != "evaluation" and len({t.group for t in learnt}) < len(learnt):
        found = _work_out(learnt, list(ledger.values()))
    for episode, row in ledger.items():
        found.setdefault(episode, {})[row.method] = row.turn
    return [found.get(trajectory.episode, {}) for trajectory in trajectories]


def _work_out(
    trajectories: Sequence[Trajectory], ledger: Sequence[Credited]
) -> dict[str, dict[str, Sequence[float]]]:
    """By episode and method, at default settings; signal columns come from the ledger."""
    try:
        from turngym.trainers.batch import collate
        from turngym.trainers.bookkeeping import attach, in_order, missing
        from turngym.trainers.credit import CREDITS
    except ImportError:  # no torch: the ledger has to do
        return {}
    played = in_order(trajectories)
    try:
        batch = attach(collate(played, trained=False), played, ledger)
    except DataError:  # ids or the ledger do not fit the episodes
        return {}
    found: dict[str, dict[str, Sequence[float]]] = {t.episode: {} for t in played}
    for name in CREDITS:
        method = CREDITS[name]
        if missing(method.needs(method.config()), ledger):
            continue
        values, start = method(batch).turn.tolist(), 0
        for trajectory in played:
            stop = start + len(trajectory.turns)
            found[trajectory.episode][name] = values[start:stop]
            start = stop
    return found


def _methods() -> dict[str, list[str]]:
    """The signals that each credit method needs; empty where torch is not installed."""
    try:
        from turngym.trainers.credit import CREDITS
    except ImportError:
        return {}
    methods = {name: CREDITS[name] for name in CREDITS}
    return {
        name: list(dict.fromkeys(need.signal for need in method.needs(method.config())))
        for name, method in methods.items()
    }


def _columns(cards: Sequence[Card]) -> dict[str, list[Any]]:
    """The list by column, which is a third of the size and quicker to parse."""
    return {item.name: [getattr(each, item.name) for each in cards] for item in fields(Card)}


def most_telling(shelves: Sequence[Shelf], count: int = TOKENS_FOR) -> list[frozenset[int]]:
    """Places in each file of the trajectories that show most; those kept in detail come first."""
    ranked = sorted(
        (each.episode not in shelf.detailed, -each.telling, number, place)
        for number, shelf in enumerate(shelves)
        for place, each in enumerate(shelf.cards)
        if each.tokens
    )
    chosen: dict[int, set[int]] = defaultdict(set)
    for _, _, number, place in ranked[:count]:
        chosen[number].add(place)
    return [frozenset(chosen[number]) for number in range(len(shelves))]


def to_json(value: Any) -> bytes:
    """Compact JSON; half characters, which some tokenizers leave behind, become question marks."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def compress(value: Any) -> bytes:
    """Gzipped JSON; the same bytes for the same value."""
    return gzip.compress(to_json(value), compresslevel=9, mtime=0)
