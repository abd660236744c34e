"""`turngym check-judge`: how easily a judge is fooled."""

import json
from typing import Annotated

import typer

__all__ = ["check_judge"]


def check_judge(
    judge: Annotated[str, typer.Argument(help="An agent, such as http://localhost:8000/v1#MODEL.")],
    limit: Annotated[
        float, typer.Option(help="Largest share of wrong verdicts that passes.", min=0, max=1)
    ] = 0.05,
    pairs: Annotated[
        int, typer.Option(help="How many of the bundled question pairs to ask about.", min=1)
    ] = 24,
    seed: Annotated[int, typer.Option(help="Keys the judge's noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per probe.")] = False,
) -> None:
    """Try a judge on answers that must not pass, and on its own habits.

    Empty phrases, wrong answers and answers that only point at the reference must not pass; the order
    of references must not matter; reasons come before the verdict; right answers pass. Shares come with
    95 % intervals. Exit code 1 when a share is above the limit, or when a probe got no verdict.

    Examples:

        turngym check-judge http://localhost:8000/v1#Qwen3-30B

        turngym check-judge "random:<verdict>same</verdict>"
    """
    from rich.console import Console
    from rich.table import Table

    from turngym.agents.load import load_agent
    from turngym.rewards.judge_pairs import PAIRS
    from turngym.rewards.judge_safety import check_judge as run
    from turngym.trainers.intervals import clustered_share

    counts = run(load_agent(judge), pairs=PAIRS[:pairs], seed=seed)
    bad = [each.name for each in counts if not each.rate <= limit]
    table = Table("probe", "wrong", "share", "95 %", "no verdict", "for example")
    for each in counts:
        share = clustered_share(each.by_pair)
        if as_json:
            row = {"probe": each.name, "wrong": each.bad, "asked": each.asked}
            more = {"low": share.low, "high": share.high, "no_verdict": each.failed}
            typer.echo(json.dumps({**row, **more, "passes": each.name not in bad}))
        table.add_row(
            each.name,
            f"{each.bad} of {each.asked}",
            f"{each.rate:.3f}",
            f"{share.low:.3f} to {share.high:.3f}",
            str(each.failed),
            each.examples[0][:60] if each.examples else "",
            style="red" if each.name in bad else None,
        )
    if not as_json:
        Console().print(table)
    if bad:
        typer.echo(f"not safe: {', '.join(bad)}", err=True)
        raise typer.Exit(1)
