"""`python -m worker doctor`: the checks of `worker.doctor`, with what RQ says, as one table or as JSON."""

import json
import os
from collections.abc import Callable, Sequence

import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.queue import OPS, ROLLUP
from jobs.view import jobs_and_workers, jobs_astray
from worker.doctor.check import Level
from worker.doctor.examination import Groups, examine
from worker.doctor.job_checks import JobFacts
from worker.settings import Settings

PIPE_WIDTH = 140
GB = 1000**3
STYLES = {Level.OK: "green", Level.WARNING: "bold yellow", Level.ERROR: "bold red"}
ALIVE_S = 30.0
"""A worker sends heartbeats at least every few seconds; RQ remembers a killed one for a minute and a half."""


def run_doctor(settings: Settings, *, as_json: bool, disk_gb: float | None) -> int:
    """Print every check; 1 if there is an error, else 0."""
    disk_bytes = None if disk_gb is None else round(disk_gb * GB)
    groups = examine(settings, read_jobs(settings), os.environ, disk_bytes)
    levels = [check.level for checks in groups.values() for check in checks]
    if as_json:
        print(json.dumps(_document(groups), indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = PIPE_WIDTH
        console.print(_table(groups))
        console.print(_sum(levels))
    return 1 if Level.ERROR in levels else 0


def read_jobs(settings: Settings) -> Callable[[redis.Redis], JobFacts]:
    """Asks RQ, through a client that is handed in."""

    def read(client: redis.Redis) -> JobFacts:
        alive = [each for each in jobs_and_workers(client).workers if each.heartbeat_age < ALIVE_S]
        astray = jobs_astray(client, settings.shards)
        return JobFacts(
            workers={queue: sum(each.queue == queue for each in alive) for queue in (ROLLUP, OPS)},
            missing_rollups=sorted(astray.missing_rollups),
            without_worker=sorted(astray.without_worker),
            without_hash=sorted(astray.without_hash),
            failed=sorted(astray.failed),
        )

    return read


def _sum(levels: Sequence[Level]) -> str:
    counts = [(level.value, levels.count(level)) for level in (Level.ERROR, Level.WARNING)]
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts if count) or "all is well"


def _document(groups: Groups) -> dict[str, list[dict[str, str]]]:
    return {group: [check._asdict() for check in checks] for group, checks in groups.items()}


def _table(groups: Groups) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for group, checks in groups.items():
        table.add_row("", Text(group, "bold"))
        for check in checks:
            level = Text(check.level, STYLES[check.level])
            table.add_row(level, Text(check.name), Text(check.found), Text(check.advice))
    return table
