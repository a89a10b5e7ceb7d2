"""Outcomes: requests, orders and reviews of a specialist and date, counted from the view `analytics.outcome`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row, scalar_row
from pydantic import model_validator

from worker.days import days_before, days_between, local_date
from worker.log import get_logger
from worker.operation import Arguments, JsonObject, Operation, Step
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

log = get_logger(__name__)


class WrongOutcomes(NamedTuple):
    """A daily row whose outcomes are not what the site's tables have."""

    specialist_id: str
    has_requests: int | None
    """None: there is no row."""
    requests: int
    has_orders: int | None
    orders: int
    has_reviews: int | None
    reviews: int


class Noted(NamedTuple):
    """What is missing of the site."""

    missing_tables: list[str]
    is_new: bool
    """Whether it was otherwise the last time."""


def refresh_outcomes(connection: Connection, day: date, time_zone: str) -> int:
    """Assign the outcomes of one day, in a transaction of its own; counting goes on meanwhile.

    Args:
        connection: in autocommit mode.
        day: a date in `time_zone`.
        time_zone: IANA name; its midnight divides the days.

    Returns:
        How many daily rows changed.

    Raises:
        Stop: the view `analytics.outcome` is gone or cannot be read.
        Conflict: a specialist was deleted in this very moment; the next time goes well.
        Retry: the server is away.
    """
    return _assign(connection, {"first": day, "last": day, "time_zone": time_zone, "specialists": None})


def refresh_outcomes_of(
    connection: Connection, specialists: Sequence[str], first: date, last: date, time_zone: str
) -> dict[str, int]:
    """Assign the outcomes of some specialists; while all are right, which is nearly always, nobody waits for anybody.

    Args:
        connection: in autocommit mode.
        specialists: whose.
        first: a date in `time_zone`.
        last: the last one, too.
        time_zone: IANA name; its midnight divides the days.

    Returns:
        How many daily rows were wrong, of those specialists who had any.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`.
    """
    which = {"first": first, "last": last, "time_zone": time_zone}
    with postgres_errors():
        rows = connection.execute(query("count_wrong_outcomes"), {**which, "specialists": specialists}).fetchall()
    wrong: dict[str, int] = dict(rows)
    if wrong:
        _assign(connection, {**which, "specialists": list(wrong)})
    return wrong


def diff_outcomes(
    connection: Connection, day: date, time_zone: str, specialist: str | None = None
) -> list[WrongOutcomes]:
    """What a refresh of the day, or of one specialist's row of it, would change; locks nothing.

    Raises:
        Stop: the view `analytics.outcome` is gone or cannot be read.
        Retry: the server is away.
    """
    which = {"date": day, "time_zone": time_zone, "specialists": [specialist] if specialist else None}
    with postgres_errors(), connection.transaction(), connection.cursor(row_factory=class_row(WrongOutcomes)) as cursor:
        connection.execute(query("prepare_recompute"))
        return cursor.execute(query("list_wrong_outcomes"), which).fetchall()


def _assign(connection: Connection, which: dict[str, Any]) -> int:
    with postgres_errors(), connection.transaction(), connection.cursor(row_factory=scalar_row) as cursor:
        connection.execute(query("lock_outcome_refresh"))
        changed = cursor.execute(query("refresh_outcomes"), which).fetchone()
    assert isinstance(changed, int)  # a count is always one row
    return changed


def refresh_open_days(settings: Settings) -> dict[str, int]:
    """Refresh yesterday and today in the configured zone, and note that. A table that is missing is told once.

    Returns:
        How many `rows` changed.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`.
    """
    today = local_date(datetime.now(UTC), settings.time_zone)
    with connect_postgres(settings, "outcomes") as connection:
        changed = _refresh(connection, [*days_before(today, 1), today], settings.time_zone)
        noted = _note(connection)
    if noted.is_new and noted.missing_tables:
        log.warning(
            "a table of the site is missing: its outcomes count as 0 (when it is there, run migrate)",
            tables=noted.missing_tables,
        )
    return {"rows": changed}


def refresh_last_days(settings: Settings) -> dict[str, int]:
    """Refresh the last days that are over: what was added late or taken back.

    Returns:
        How many `rows` changed.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`; the days before it are done.
    """
    today = local_date(datetime.now(UTC), settings.time_zone)
    with connect_postgres(settings, "outcomes") as connection:
        return {"rows": _refresh(connection, days_before(today, settings.outcome_days), settings.time_zone)}


class OutcomesArguments(Arguments):
    """Which days to count anew."""

    first: date
    last: date

    @model_validator(mode="after")
    def _days_are_a_range(self) -> "OutcomesArguments":
        days_between(self.first, self.last)
        return self


def backfill_steps(settings: Settings, _run: int, arguments: OutcomesArguments, cursor: JsonObject) -> Iterator[Step]:
    """Refresh day after day, a step each.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`.
    """
    days = days_between(arguments.first, arguments.last)
    done, rows = cursor.get("done", 0), cursor.get("rows", 0)
    if done == len(days):
        return
    with connect_postgres(settings, "outcomes") as connection:
        for day in days[done:]:
            done, rows = done + 1, rows + refresh_outcomes(connection, day, settings.time_zone)
            yield Step(done=done, total=len(days), cursor={"done": done, "rows": rows}, result={"rows": rows})


BACKFILL_OUTCOMES = Operation("backfill-outcomes", "days", OutcomesArguments, backfill_steps)


def _refresh(connection: Connection, days: Iterable[date], time_zone: str) -> int:
    return sum(refresh_outcomes(connection, day, time_zone) for day in days)


def _note(connection: Connection) -> Noted:
    with postgres_errors(), connection.cursor(row_factory=class_row(Noted)) as cursor:
        noted = cursor.execute(query("note_outcome_refresh")).fetchone()
    assert noted is not None  # the migration has made the row
    return noted
