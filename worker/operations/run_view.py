"""Operations on the command line: asked for, followed or done right here; and `python -m worker runs …`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.queue import OPS, enqueue_run
from jobs.view import jobs_and_workers
from worker.console import make_console
from worker.errors import AnalyticsError, Retry, Stop
from worker.operation import Arguments, Operation
from worker.operations.dead_letters_view import operator
from worker.operations.execute import execute
from worker.operations.refresh import REFRESH
from worker.operations.registry import OPERATIONS
from worker.operations.runs import (
    SILENT_S,
    Run,
    claim_run,
    list_problems,
    list_runs,
    load_run,
    open_run,
    revive_run,
    stop_run,
)
from worker.settings import Settings
from worker.stop import StopSignal
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis, redis_errors
from worker.units import utc

STOPPED = 1

LOOK_S = 0.2
PATIENCE_S = 3.0
"""Seconds that a run may wait for its turn before the follower looks whether there is a worker at all."""

IMPATIENCE_S = 2 * SILENT_S
"""Seconds after which a run whose execution has died would have been revived, if there were a scheduler."""

NARROW = 110
"""Columns of a terminal below which the arguments need the room of who asked, and of how long it took."""

Advance = Callable[[int, int | None], None]


def run_operation(
    settings: Settings, operation: Operation, arguments: Arguments, *, now: bool, wait: bool | None
) -> int:
    """Have an operation done: by a worker, or right here.

    Args:
        settings: where the servers are.
        operation: its kind.
        arguments: what is to be done.
        now: do it in this process, without RQ.
        wait: follow it to its end; None does so on a terminal.

    Returns:
        The exit code: 0 if it is done, or goes on by itself; 1 if it was stopped.

    Raises:
        Stop: it failed.
        Retry: PostgreSQL is away.
    """
    with connect_postgres(settings, operation.kind) as connection:
        run, is_new = open_run(connection, operation, arguments, operator())
        if not is_new:
            _tell(f"run {run.id} does the same since {utc(run.created_at)} UTC, asked for by {run.operator}")
        attempt = _take_on(connection, run) if now else None
    if attempt is not None:
        return _do_here(settings, run, attempt)
    if run.state == "queued":
        _enqueue(settings, run)
    if not (now or sys.stdout.isatty() if wait is None else wait):
        print(f"run {run.id}")
        return 0
    return _follow(settings, run)


def _take_on(connection: Connection, run: Run) -> int | None:
    """The attempt that is ours; None if a worker, or another person, is at it: then there is soon a sign of life."""
    before = run.silent_s
    while run.state == "running" and before <= run.silent_s <= SILENT_S:
        before = run.silent_s
        time.sleep(LOOK_S)
        run = _must_exist(connection, run.id)
    if run.state == "queued":
        return claim_run(connection, run.id, run.attempt)
    revived = revive_run(connection, run)
    return claim_run(connection, run.id, revived.attempt) if revived else None


def _do_here(settings: Settings, run: Run, attempt: int) -> int:
    """Step by step in this process; Ctrl-C and SIGTERM stop the run between two steps."""
    stop = StopSignal()
    stop.install()
    with _bar(run) as advance:
        ending = execute(settings, run.id, attempt, stop, lambda step: advance(step.done, step.total))
    if ending.state is None and not stop():
        return _follow(settings, run)  # somebody has taken it for dead
    with connect_postgres(settings, run.kind) as connection:
        if stop():
            stop_run(connection, run.id, operator())
        return _tell_end(_must_exist(connection, run.id))


def _enqueue(settings: Settings, run: Run) -> None:
    try:
        with connect_redis(settings) as client, redis_errors(settings):
            enqueue_run(client, run.id, run.attempt)
    except Retry as error:
        _tell(f"run {run.id} has to wait: {error}")


def _follow(settings: Settings, run: Run) -> int:
    """Show how a run goes on, to its end or to Ctrl-C."""
    try:
        with _bar(run) as advance:
            run = _watch(settings, run, advance)
    except KeyboardInterrupt:
        _tell(f"run {run.id} goes on: `python -m worker runs {run.id}` shows it, `runs stop {run.id}` stops it")
        return 0
    return _tell_end(run)


def _watch(settings: Settings, run: Run, advance: Advance) -> Run:
    is_away = told = False
    look_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            with connect_postgres(settings, "follow") as connection:
                is_away = False
                while run.is_open:
                    advance(run.done, run.total)
                    if not told and time.monotonic() > look_at:
                        told = _told_why_it_waits(settings, run)
                        look_at = time.monotonic() + PATIENCE_S
                    time.sleep(LOOK_S)
                    run = _must_exist(connection, run.id)
                advance(run.done, run.total)
                return run
        except Retry as error:
            if not is_away:
                _tell(str(error))
            is_away = True
            time.sleep(LOOK_S)


def _told_why_it_waits(settings: Settings, run: Run) -> bool:
    why = None
    if run.state == "running" and run.silent_s > IMPATIENCE_S:
        why = f"run {run.id} has given no sign of life for {run.silent_s:.0f} s: is a scheduler running?"
    elif run.state == "queued" and run.silent_s > PATIENCE_S:
        try:
            with connect_redis(settings) as client, redis_errors(settings):
                if not any(worker.queue == OPS for worker in jobs_and_workers(client).workers):
                    why = "no worker listens on the queue ops: start one with `python -m worker run`, or use --now here"
        except AnalyticsError as error:
            why = f"run {run.id} has to wait: {error}"
    if why:
        _tell(why)
    return why is not None


def run_list(settings: Settings, *, limit: int, everything: bool, as_json: bool) -> int:
    """Print the last runs, the newest first; refreshes, which pages ask for all the time, only with `everything`."""
    with connect_postgres(settings, "runs") as connection:
        runs = list_runs(connection, limit, but_kind=None if everything else REFRESH.kind)
    if as_json:
        print(json.dumps([document(run) for run in runs], default=str, indent=2, ensure_ascii=False))
        return 0
    console = make_console()
    headings = ("run", "kind", "arguments", "asked for by", "state", "done", "when, UTC", "took")
    shown = [name for name in headings if not (console.width < NARROW and name in ("asked for by", "took"))]
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in shown:
        table.add_column(heading, no_wrap=heading != "arguments")
    for run in runs:
        cells: tuple[str | Text, ...] = (
            str(run.id),
            run.kind,
            Text(arguments_in_words(run)),
            Text(run.operator),
            Text(run.state, style={"failed": "bold red", "running": "green"}.get(run.state, "")),
            progress(run),
            utc(run.created_at),
            took(run),
        )
        by_heading = dict(zip(headings, cells, strict=True))
        table.add_row(*(by_heading[heading] for heading in shown))
    nothing = "there was no run yet" if everything else "there was no run yet, refreshes apart: --all shows them too"
    console.print(table if runs else nothing)
    return 0


def run_show(settings: Settings, run_id: int, *, as_json: bool) -> int:
    """Print everything about one run.

    Raises:
        Stop: there is none with this number.
    """
    with connect_postgres(settings, "runs") as connection:
        run = _must_exist(connection, run_id)
        problems = list_problems(connection, run_id)
    if as_json:
        found = document(run) | {"problems": [problem._asdict() for problem in problems]}
        print(json.dumps(found, default=str, indent=2, ensure_ascii=False))
        return 0
    facts: list[tuple[str, str | None]] = [
        ("run", f"{run.id}, {run.state}"),
        ("kind", run.kind),
        ("arguments", arguments_in_words(run) or "–"),
        ("asked for by", f"{run.operator}, {utc(run.created_at)} UTC"),
        ("stopped by", run.stopped_by),
        ("started, UTC", utc(run.started_at) if run.started_at else None),
        ("took", took(run)),
        ("done", progress(run)),
        ("last sign of life", f"{run.silent_s:,.0f} s ago" if run.state == "running" else None),
        ("error", run.error),
        *result_in_words(run),
    ]
    console = make_console()
    console.print(_facts(facts))
    if problems:
        table = Table("not used because", "what", box=None, header_style="dim", pad_edge=False)
        for problem in problems:
            table.add_row(Text(problem.reason), Text(problem.subject))
        console.print("", table, sep="\n")
    return 0


def run_stop(settings: Settings, run_id: int) -> int:
    """Ask for a run's end between two of its steps; exit code 1 if it has ended already.

    Raises:
        Stop: there is none with this number.
    """
    with connect_postgres(settings, "runs") as connection:
        run = _must_exist(connection, run_id)
        state = stop_run(connection, run_id, operator())
    if state is None:
        print(f"run {run_id} has ended before: {run.state}")
        return STOPPED
    print(f"run {run_id} is stopped" if state == "stopped" else f"run {run_id} stops after the step that it is at")
    return 0


def _must_exist(connection: Connection, run_id: int) -> Run:
    run = load_run(connection, run_id)
    if run is None:
        raise Stop(f"there is no run {run_id}: `python -m worker runs` lists them")
    return run


def _tell_end(run: Run) -> int:
    """Say how a run ended.

    Raises:
        Stop: it failed.
    """
    if run.state == "failed":
        raise Stop(f"run {run.id} failed ({progress(run)}): {run.error}")
    if run.is_open:
        _tell(f"run {run.id} goes on: `python -m worker runs {run.id}` shows it, `runs stop {run.id}` stops it")
        return STOPPED
    by = f" by {run.stopped_by}" if run.state == "stopped" else ""
    console = make_console()
    console.print(f"run {run.id} {run.state}{by}: {progress(run)} in {took(run)}")
    console.print(_facts(result_in_words(run)))
    return STOPPED if run.state == "stopped" else 0


class _Count(ProgressColumn):
    """`3 of 7 days, 2.1 a second`."""

    def render(self, task: Task) -> Text:
        rate = f", {task.speed:,.1f} a second" if task.speed else ""
        total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{total} {task.fields['unit']}{rate}")


@contextmanager
def _bar(run: Run) -> Iterator[Advance]:
    """A progress bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"run {run.id}, {run.kind}", total=run.total, completed=run.done, unit=_unit(run))
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _tell(line: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(line))


def _facts(facts: list[tuple[str, str | None]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        if value is not None:
            table.add_row(name, Text(value))
    return table


def document(run: Run) -> dict[str, Any]:
    """A run as JSON has it."""
    return {name: value for name, value in run._asdict().items() if name not in ("attempt", "cursor")}


def _unit(run: Run) -> str:
    operation = OPERATIONS.get(run.kind)
    return operation.unit if operation else "steps"


def progress(run: Run) -> str:
    """`3 of 7 days`."""
    return f"{run.done:,}{'' if run.total is None else f' of {run.total:,}'} {_unit(run)}"


def took(run: Run) -> str:
    """For how long it has been going on, or did."""
    if run.took_s is None:
        return "–"
    return f"{run.took_s:.1f} s" if run.took_s < 60 else str(timedelta(seconds=round(run.took_s)))


def arguments_in_words(run: Run) -> str:
    """What is to be done: `first 2026-11-01, last 2026-11-07`."""
    operation = OPERATIONS.get(run.kind)
    names = [name for name in operation.arguments.model_fields if name in run.arguments] if operation else run.arguments
    said = ((name, run.arguments[name]) for name in names)
    return ", ".join(f"{_words(name)} {_argument(value)}" for name, value in said if value is not None)


def result_in_words(run: Run) -> list[tuple[str, str | None]]:
    """What came of it, each with its name."""
    return [(_words(name), _value(value)) for name, value in run.result.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _argument(value: Any) -> str:
    """A number that is asked for is that of a letter or a shard, not of how many."""
    return str(value) if type(value) is int else _value(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
