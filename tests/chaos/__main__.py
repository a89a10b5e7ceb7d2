"""`python -m tests.chaos`: everything at once, and what came of it. Exit code 1 if the tables are not what was sent."""

import signal
import sys
import time
from math import isnan
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.faults import FAULTS, LONG_CUT, Group
from tests.chaos.storm import FLOWING_SECONDS, SEVERAL, Outcome, storm

WIDTH = 120


def main(
    seed: Annotated[int, typer.Option(help="Decides events and faults.")] = 1,
    events: Annotated[int, typer.Option(min=1, help="How many are sent, 5 % of them repeats.")] = 1_000_000,
    minutes: Annotated[float, typer.Option(min=0.1, help="In which they are sent, under faults all the time.")] = 6.0,
) -> None:
    """Kill, cut and restart at random while events come in; then hold the tables against a straight count."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave in good order: no server, no process, no folder
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"seed {seed}: {events:,} events in {minutes:g} minutes, 4 workers on 4 shards", style="dim")
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:4.0f} s[/]  {text}")

    outcome = storm(seed=seed, events=events, minutes=minutes, say=say)
    console.print(_table(outcome))
    console.print(_sums(outcome))
    for line in outcome.verdict.wrong:
        console.print(line, style="red")
    holds = not outcome.verdict.wrong
    console.print(
        "[bold green]The daily table, the ledger and the books equal a straight count of what reached Redis.[/]"
        if holds
        else "[bold red]The tables are not what reached Redis.[/]"
    )
    raise typer.Exit(0 if holds else 1)


def _table(outcome: Outcome) -> Table:
    table = Table(
        "fault",
        title="Seconds that a shard stood still (once the server was back)",
        title_justify="left",
        title_style="bold",
    )
    for column in ("times", "alone", "median", "most", "target"):
        table.add_column(column, justify="right")
    lines = [(fault.kind, f"{outcome.struck[fault.kind]}", f"≤ {fault.within_s:g}") for fault in (*FAULTS, LONG_CUT)]
    for kind, times, target in (*lines, (SEVERAL, "", "")):
        median, most = outcome.median_and_most(kind)
        table.add_row(kind, times, str(len(outcome.recoveries.get(kind, ()))), _seconds(median), _seconds(most), target)
    return table


def _seconds(seconds: float) -> str:
    """A shard that moved again sooner has not been seen to stand still."""
    if isnan(seconds):
        return "–"
    return f"{seconds:.2f}" if seconds > FLOWING_SECONDS else f"< {FLOWING_SECONDS}"


def _sums(outcome: Outcome) -> Table:
    verdict = outcome.verdict
    table = Table.grid(padding=(0, 2))
    rows = {
        "entries that reached Redis": outcome.entries,
        "of them repeats": outcome.repeats,
        "events pushed without an answer": outcome.unanswered,
        **{str(group): outcome.hit[group] for group in Group},
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "reported as lost": verdict.reported_lost,
        "seconds in all": round(outcome.seconds),
    }
    for what, number in rows.items():
        table.add_row(what, f"[bold]{number:>11,}[/]")
    return table


if __name__ == "__main__":
    typer.run(main)
