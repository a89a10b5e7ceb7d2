"""How the lines of the schedule ran last: a row each in `analytics.scheduled`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from worker.queries import query
from worker.store import Connection, postgres_errors
from worker.units import utc

LONGEST_S = 600.0
"""Seconds after which a run that has not ended never will: three times what a job may take."""
FORGOTTEN_S = 2 * 86_400.0
"""Seconds after which a failure is that of a line that is no longer in the schedule: each is tried once a day."""


class Tick(NamedTuple):
    """A line of the schedule at one of its moments."""

    name: str
    at: datetime


class Ran(NamedTuple):
    """A row of `analytics.scheduled`, with its age. From `tick` to `error` it is about the run that ended last."""

    name: str
    tick: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
    begun_at: datetime
    begun_s_ago: float

    @property
    def has_not_ended(self) -> bool:
        """Whether it was begun since it ended last."""
        return self.ended_at is None or self.begun_at > self.ended_at

    @property
    def failure(self) -> str | None:
        """Why its last run came to nothing, in one line; None if it did not fail, or nobody runs it any more."""
        if self.begun_s_ago > FORGOTTEN_S:
            return None
        if self.has_not_ended and self.begun_s_ago > LONGEST_S:
            begun = f"{utc(self.begun_at)} UTC"
            return f"begun at {begun} and never ended: it was killed, or PostgreSQL went away"
        return self.error


def note_begin(connection: Connection, name: str, begun_at: datetime) -> None:
    """Write down that a line of the schedule begins."""
    with postgres_errors():
        connection.execute(query("begin_scheduled"), {"name": name, "begun_at": begun_at})


def note_end(
    connection: Connection, tick: Tick, started_at: datetime, result: Mapping[str, Any] | None, error: str | None
) -> None:
    """Write down how a line of the schedule ended: what it returned, or why it failed."""
    parameters = {
        "name": tick.name,
        "tick": tick.at,
        "started_at": started_at,
        "ended_at": datetime.now(UTC),
        "result": None if result is None else Jsonb(dict(result)),
        "error": error,
    }
    with postgres_errors():
        connection.execute(query("end_scheduled"), parameters)


def read_scheduled(connection: Connection) -> list[Ran]:
    """How every line that was ever begun ran last."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Ran)) as cursor:
        return cursor.execute(query("list_scheduled")).fetchall()
