"""`turngym emobench`: how well an agent understands feelings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["emobench"]


def emobench(
    questions: Annotated[list[Path], typer.Argument(help="EA.jsonl, EU.jsonl of your EmoBench.")],
    agent: Annotated[
        str,
        typer.Option(help="random:A|B|C|D, hf:PATH, http://HOST:PORT/v1#MODEL, replay:FILE ..."),
    ],
    language: Annotated[str | None, typer.Option(help="en or zh; without it both.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first items.", min=1)] = None,
    concurrency: Annotated[int, typer.Option(help="Questions at the same time.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Passed on to the agent.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
) -> None:
    """Score any agent on EmoBench: accuracy with a 95 % interval, by category.

    An item of EU counts when emotion and cause are both right. Failures that are not the agent's
    are left out and counted. To continue after an interruption, record: --agent record:FILE:AGENT

    Examples:

        turngym emobench EA.jsonl EU.jsonl --agent http://localhost:8000/v1#my-model

        turngym emobench EA.jsonl --agent "random:A|B|C|D"
    """
    from turngym.agents.load import load_agent
    from turngym.envs.emotional_support.emobench import evaluate, load_emobench
    from turngym.errors import ConfigError
    from turngym.trainers.intervals import wilson

    if language not in (None, "en", "zh"):
        raise ConfigError(f"--language is en or zh, got {language!r}")
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already: choose another --out")
    files = {path: load_emobench(path, language=language, limit=limit) for path in questions}
    player, scores = load_agent(agent), {}
    for path, asked in files.items():
        score = evaluate(player, asked, seed=seed, concurrency=concurrency)
        share = wilson(score.accuracy * score.items, score.items)
        scores[path.name] = {**asdict(score), "interval": [share.low, share.high]}
        typer.echo(
            f"{path.name}: accuracy {share} over {score.items} items "
            f"({score.unreadable} unreadable answers, {score.failed} items not asked)"
        )
        for name, value in score.by_category.items():
            typer.echo(f"    {name}: {value:.3f}")
    if out is not None:
        out.write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
