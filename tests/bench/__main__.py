"""`python -m tests.bench`: what is measured, in which order, and how it is shown."""

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.api import api
from tests.bench.drain import checks, drain, sizes
from tests.bench.figures import Figure, Results, Say, Sheet, drawn
from tests.bench.freshness import freshness, linger
from tests.bench.ground import Ground, ground, machine
from tests.bench.idle import idle
from tests.bench.operations import operations
from tests.bench.page import page
from tests.bench.reading import reading

WIDTH = 150
"""Of what is written to a file, where there is no terminal that is narrower."""


class Scenario(StrEnum):
    """What can be measured alone."""

    DRAIN = "drain"
    CHECKS = "checks"
    SIZES = "sizes"
    FRESHNESS = "freshness"
    LINGER = "linger"
    IDLE = "idle"
    READING = "reading"
    PAGE = "page"
    OPERATIONS = "operations"
    API = "api"


SCENARIOS: dict[Scenario, Callable[[Ground, Say], Results]] = {
    Scenario.DRAIN: drain,
    Scenario.CHECKS: checks,
    Scenario.SIZES: sizes,
    Scenario.FRESHNESS: freshness,
    Scenario.LINGER: linger,
    Scenario.IDLE: idle,
    Scenario.READING: reading,
    Scenario.PAGE: page,
    Scenario.OPERATIONS: operations,
    Scenario.API: api,
}


def main(
    quick: Annotated[bool, typer.Option(help="A tenth of the events and short measurements: a minute or so.")] = False,
    only: Annotated[list[Scenario] | None, typer.Option(help="This alone; may be given more than once.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
) -> None:
    """Measure the worker with the embedded servers. Exit code 0, however slow; another one if something did not run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave in good order: no server, no folder
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    here, began = machine(), time.monotonic()
    console.print(here, style="dim")

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:4.0f} s[/]  {text}")

    figures, sheets = list[Figure](), list[Sheet]()
    with ground(quick=quick) as stands:
        for scenario in only or SCENARIOS:
            results = SCENARIOS[scenario](stands, say)
            figures += results.figures
            sheets += results.sheets
            for sheet in results.sheets:
                console.print(sheet.drawn())
    if quick:
        console.print("--quick: short runs are mostly beginning; the targets are about the whole one", style="dim")
    if figures:
        console.print(drawn(figures))
    if json_file:
        json_file.write_text(as_json(here, quick, figures, sheets))


def as_json(here: str, quick: bool, figures: Sequence[Figure], sheets: Sequence[Sheet]) -> str:
    """All of it for a program."""
    lines = [asdict(figure) | {"is_met": figure.is_met} for figure in figures]
    whole = {"machine": here, "quick": quick, "figures": lines, "sheets": [asdict(sheet) for sheet in sheets]}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    typer.run(main)
