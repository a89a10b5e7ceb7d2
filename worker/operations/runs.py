"""PostgreSQL: the rows of `analytics.run`. Whoever executes a run knows its attempt, and nobody else can write it.

Its way: queued ─ claim ─► running ─ advance … ─ settle ─► done, failed or stopped. An execution that gives way settles
it as queued, and one that is lost is revived as queued; every claim and every revival is another attempt.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Json, Jsonb

from worker.errors import Conflict
from worker.log import hide_credentials
from worker.operation import Arguments, JsonObject, Operation, Problem, Step
from worker.queries import query
from worker.store import Connection, postgres_errors

State = Literal["queued", "running", "done", "failed", "stopped"]

SILENT_S = 6.0
"""Seconds without a sign of life, of which there is one a second, after which an execution is taken for dead. If it is
not, no harm is done: it finds that the run is somebody else's."""

UNQUEUED_S = 3.0
"""Seconds that a queued run may be in no queue: for a moment it is neither there nor claimed."""

MOST_DEATHS = 5
DIED = f"its process died {MOST_DEATHS} times in a row at the same step: look into the log of the worker"

PROBLEMS_SHOWN = 1_000


class Run(NamedTuple):
    """A row of `analytics.run`."""

    id: int
    kind: str
    arguments: JsonObject
    operator: str
    state: State
    attempt: int
    """The number of the execution that may go on with it."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    done: int
    total: int | None
    cursor: JsonObject
    result: JsonObject
    stopped_by: str | None
    """Who asked for an end between two steps."""
    error: str | None
    silent_s: float
    """Seconds since the last sign of life."""
    took_s: float | None
    """Seconds since it was started, or that it took; None if it has not begun."""

    @property
    def is_open(self) -> bool:
        """Whether it waits or goes on."""
        return self.state in ("queued", "running")


class Opened(NamedTuple):
    """The open run of an operation with its arguments."""

    run: Run
    is_new: bool
    """Whether it was begun by this call."""


class Revived(NamedTuple):
    """What became of a run whose execution was lost."""

    state: State
    attempt: int


def open_run(connection: Connection, operation: Operation, arguments: Arguments, operator: str) -> Opened:
    """Begin a run, or find the open one that does the same.

    Args:
        connection: in autocommit mode.
        operation: its kind.
        arguments: what is to be done.
        operator: who asks.

    Raises:
        Conflict: runs of this kind begin and end faster than one can look.
    """
    which = {"kind": operation.kind, "arguments": Jsonb(arguments.model_dump(mode="json"))}
    for _ in range(3):
        with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
            new = cursor.execute(query("create_run"), which | {"operator": operator}).fetchone()
            found = new or cursor.execute(query("find_open_run"), which).fetchone()
        if found:  # else it has ended between the two statements
            run = load_run(connection, found)
            assert run is not None  # nobody deletes runs
            return Opened(run, bool(new))
    raise Conflict(f"a run of {operation.kind} ends whenever it is looked for")


def load_run(connection: Connection, run_id: int) -> Run | None:
    """The run with this number, or None."""
    runs = list_runs(connection, 1, run_id=run_id)
    return runs[0] if runs else None


def list_runs(
    connection: Connection,
    limit: int,
    *,
    run_id: int | None = None,
    only_open: bool = False,
    but_kind: str | None = None,
) -> list[Run]:
    """The newest runs, the newest first; those of one kind can be left out."""
    parameters = {"id": run_id, "only_open": only_open, "but_kind": but_kind, "limit": limit}
    with postgres_errors(), connection.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(query("list_runs"), parameters).fetchall()


def list_problems(connection: Connection, run_id: int) -> list[Problem]:
    """What a run found and could not use; the first ones, if there are very many."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Problem)) as cursor:
        return cursor.execute(query("list_run_problems"), {"run": run_id, "limit": PROBLEMS_SHOWN}).fetchall()


def claim_run(connection: Connection, run_id: int, attempt: int) -> int | None:
    """Take on a queued run.

    Args:
        connection: in autocommit mode.
        run_id: its number.
        attempt: the one that it was queued with.

    Returns:
        The attempt that is ours from now on; None if somebody else has the run, or it has ended.
    """
    claimed: int | None = _scalar(connection, query("claim_run"), id=run_id, attempt=attempt)
    return claimed


class Claim(NamedTuple):
    """A run, and the attempt that it has."""

    id: int
    attempt: int
    arguments: JsonObject


def claim_waiting_runs(connection: Connection, kind: str, *, differ_in: str, limit: int) -> list[Claim]:
    """Take on the oldest queued run of a kind, and those after it that do the same but for one argument.

    Args:
        connection: in autocommit mode.
        kind: of operation.
        differ_in: the name of that argument.
        limit: most runs.
    """
    which = {"kind": kind, "differ_in": differ_in, "limit": limit}
    with postgres_errors(), connection.cursor(row_factory=class_row(Claim)) as cursor:
        return sorted(cursor.execute(query("claim_waiting_runs"), which))


def find_waiting_run(connection: Connection, kind: str) -> Claim | None:
    """The oldest queued run of a kind, with the attempt that it can be taken on with; None if none waits."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Claim)) as cursor:
        return cursor.execute(query("find_waiting_run"), {"kind": kind}).fetchone()


def touch_runs(connection: Connection, runs: Sequence[Run | Claim]) -> None:
    """Give a sign of life of each."""
    with postgres_errors():
        connection.execute(query("touch_runs"), _fences(runs))


def finish_runs(connection: Connection, runs: Sequence[Run | Claim], results: Sequence[JsonObject], total: int) -> None:
    """End runs that are done, each in one step: those that are still ours.

    Args:
        connection: in autocommit mode.
        runs: as they were claimed.
        results: what came of each.
        total: what each has done, in the operation's unit.
    """
    with postgres_errors():
        connection.execute(query("finish_runs"), {**_fences(runs), "results": list(map(Json, results)), "total": total})


def _fences(runs: Sequence[Run | Claim]) -> dict[str, list[int]]:
    return {"ids": [run.id for run in runs], "attempts": [run.attempt for run in runs]}


def advance_run(connection: Connection, run_id: int, attempt: int, step: Step) -> bool | None:
    """Note a step; whether somebody has asked for a stop, or None if the run is not ours any more."""
    stop: bool | None = _scalar(
        connection,
        query("advance_run"),
        id=run_id,
        attempt=attempt,
        done=step.done,
        total=step.total,
        cursor=Jsonb(step.cursor),
        result=Json(step.result),
        reasons=[problem.reason for problem in step.problems],
        subjects=[problem.subject for problem in step.problems],
    )
    return stop


def settle_run(
    connection: Connection, run_id: int, attempt: int, state: State, error: str | None = None
) -> State | None:
    """End our execution of a run: it is done, failed or stopped, or `queued` for the next one.

    Returns:
        Its state, which is `stopped` where it was to be queued and somebody has asked for a stop; None if the run is
        not ours any more.
    """
    text = error and hide_credentials(error).replace("\0", "")  # PostgreSQL's text has no such character
    settled: State | None = _scalar(
        connection, query("settle_run"), id=run_id, attempt=attempt, state=state, error=text
    )
    return settled


def stop_run(connection: Connection, run_id: int, operator: str) -> State | None:
    """Ask for an end between two steps; `stopped` if it is one already, None if the run is not open."""
    state: State | None = _scalar(connection, query("stop_run"), id=run_id, operator=operator)
    return state


def revive_run(connection: Connection, run: Run) -> Revived | None:
    """Queue a run again whose execution is lost; None if it is not, or somebody else was faster."""
    parameters = {
        "id": run.id,
        "attempt": run.attempt,
        "silent_s": SILENT_S,
        "unqueued_s": UNQUEUED_S,
        "most_deaths": MOST_DEATHS,
        "error": DIED,
    }
    with postgres_errors(), connection.cursor(row_factory=class_row(Revived)) as cursor:
        return cursor.execute(query("revive_run"), parameters).fetchone()


def _scalar(connection: Connection, statement: bytes, **parameters: Any) -> Any:
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(statement, parameters).fetchone()
