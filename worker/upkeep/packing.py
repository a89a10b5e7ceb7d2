"""Packing the days of a specialist's month into one row, so that a year is read from 24 rows and not from 1,460.

A packed month is a copy, and only makes a reading quick: the days behind what is packed, and the months that changed
since, are read from the tables themselves. So whatever is done here, and whenever it is broken off, readings are right.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from psycopg.rows import class_row, scalar_row

from worker.log import get_logger
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

SPECIALISTS_AT_ONCE = 1_000
"""Of a month, in one transaction: a third of a second if their days are in memory, and far less than a job may take if
each has to come from a disk."""

SLICE_S = 20.0
"""After so many seconds no other step is begun: other jobs wait for this one, and the next tick goes on."""

SPECIALISTS_COMPARED = 1_000

DAY = timedelta(days=1)

log = get_logger(__name__)


class Packing(NamedTuple):
    """The row of `analytics.packing`, and what there is to be packed."""

    watched: bool
    """Whether there are the triggers that note what changes."""
    time_zone: str | None
    through: date | None
    """Up to here all is packed."""
    packing_through: date | None
    """What is being packed."""
    after_specialist: str
    newest: date
    """The last day that may be packed now."""
    first_kept: date | None
    """The first day behind `through` of which anything can be kept."""

    @property
    def is_ahead(self) -> bool:
        """Whether days are packed that are not over: the clock was wrong, and what is written there is not noted."""
        furthest = self.packing_through or self.through
        return furthest is not None and furthest > self.newest

    @property
    def target(self) -> date | None:
        """The day through which its month is packed next; None: all is packed."""
        if self.packing_through:
            return self.packing_through
        first = self.first_kept
        return min(_end_of_month(first), self.newest) if first and first <= self.newest else None


class Step(NamedTuple):
    """What one transaction has packed."""

    months: int
    """Of one specialist each, whether or not there was anything in them."""
    through: date | None
    """Up to here all is packed now."""


class _Changed(NamedTuple):
    month: date
    specialists: list[str]


def pack_months(settings: Settings) -> dict[str, int]:
    """Pack the months that changed since they were packed, then the days that are over, for some twenty seconds.

    Returns:
        How many `months` of a specialist were packed.

    Raises:
        Retry, Conflict: see `postgres_errors`; what was packed before stays.
    """
    began, months = time.monotonic(), 0
    with connect_postgres(settings, "pack") as connection:
        for step in pack_steps(connection, settings.time_zone):
            months += step.months
            if time.monotonic() - began > SLICE_S:
                log.info("packing goes on at the next tick", months=months, through=str(step.through))
                break
    return {"months": months}


def pack_steps(connection: Connection, time_zone: str) -> Iterator[Step]:
    """Pack all there is, each step a transaction of its own; nothing if somebody else is at it.

    Args:
        connection: in autocommit mode.
        time_zone: IANA name; its midnight divides the days.

    Raises:
        Retry, Conflict: see `postgres_errors`; the steps before stay.
    """
    changed: _Changed | None = _Changed(date.min, [""])
    while True:
        with postgres_errors(), connection.transaction():
            connection.execute(query("prepare_recompute"))
            packing = _lock_packing(connection)
            if packing is None:
                return
            if not packing.watched:
                log.error("nothing is packed: the daily table was made anew, or its triggers are off; run `migrate`")
                _note(connection, packing, through=None)
                return
            if packing.time_zone != time_zone or packing.is_ahead:
                _note(connection, packing._replace(time_zone=time_zone), through=None)
                step = Step(0, None)
            elif changed := changed and _next_changed(connection, packing, changed):
                _pack_changed(connection, packing, changed)
                step = Step(len(changed.specialists), packing.through)
            elif target := packing.target:
                step = _pack_next(connection, packing, target)
            else:
                return
        yield step


def _lock_packing(connection: Connection) -> Packing | None:
    with connection.cursor(row_factory=class_row(Packing)) as cursor:
        return cursor.execute(query("lock_packing")).fetchone()


def _next_changed(connection: Connection, packing: Packing, last: _Changed) -> _Changed | None:
    """The months that changed, each looked at once: they may change faster than they are packed."""
    which = {
        "through": packing.packing_through or packing.through,
        "month": last.month,
        "after": last.specialists[-1],
        "limit": SPECIALISTS_AT_ONCE,
    }
    with connection.cursor(row_factory=class_row(_Changed)) as cursor:
        return cursor.execute(query("list_changed_months"), which).fetchone()


def _pack_changed(connection: Connection, packing: Packing, changed: _Changed) -> None:
    """Pack months anew, as far as they are packed for anybody: else days would be missing once that is so for all."""
    furthest = packing.packing_through or packing.through
    assert furthest is not None and packing.time_zone is not None  # or nothing would be there to change
    _pack(
        connection, changed.specialists, changed.month, min(furthest, _end_of_month(changed.month)), packing.time_zone
    )


def _pack_next(connection: Connection, packing: Packing, target: date) -> Step:
    assert packing.time_zone is not None
    month = target.replace(day=1)
    if not packing.packing_through and (not packing.through or packing.through + DAY < month):
        connection.execute(query("delete_skipped_months"), {"through": packing.through, "month": month})
    which = {"after": packing.after_specialist, "limit": SPECIALISTS_AT_ONCE}
    with connection.cursor(row_factory=scalar_row) as cursor:
        specialists: list[str] = cursor.execute(query("list_specialists"), which).fetchall()
    _pack(connection, specialists, month, target, packing.time_zone)
    if len(specialists) < SPECIALISTS_AT_ONCE:
        _note(connection, packing, through=target)
        return Step(len(specialists), target)
    _note(connection, packing, packing.through, packing_through=target, after_specialist=specialists[-1])
    return Step(len(specialists), packing.through)


def _pack(connection: Connection, specialists: Sequence[str], month: date, through: date, time_zone: str) -> None:
    which = {"specialists": specialists, "month": month, "through": through, "time_zone": time_zone}
    connection.execute(query("delete_change_notes"), which)
    connection.execute(query("delete_packed_months"), which)
    connection.execute(query("pack_month"), which)


def _note(
    connection: Connection,
    packing: Packing,
    through: date | None,
    packing_through: date | None = None,
    after_specialist: str = "",
) -> None:
    connection.execute(
        query("note_packing"),
        {
            "time_zone": packing.time_zone,
            "through": through,
            "packing_through": packing_through,
            "after_specialist": after_specialist,
        },
    )


def compare_packed_months(settings: Settings) -> int:
    """Hold some packed months against their days. They are always right; where they are not, after a mistake of ours or
    a hand in the table, the days are read from then on, and packed anew.

    Returns:
        How many were not.

    Raises:
        Retry: the server is away.
    """
    which = {"time_zone": settings.time_zone, "limit": SPECIALISTS_COMPARED}
    with connect_postgres(settings, "pack") as connection, postgres_errors():
        wrong = connection.execute(query("compare_packed_months"), which).fetchall()
    if wrong:
        log.error("packed months were not what their days say: packed anew", months=len(wrong), month=str(wrong[0][1]))
    return len(wrong)


def _end_of_month(day: date) -> date:
    return (day.replace(day=28) + 4 * DAY).replace(day=1) - DAY
