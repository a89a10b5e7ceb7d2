"""Unique visitors: exact by specialist and date, and an estimate for weeks and years whose events are gone.

The exact numbers come from the ledger, and stay in `analytics.daily_visitors` when its days are dropped. Beside each
lies a HyperLogLog sketch of the same visitors (Apache DataSketches), for days must not be added up: who came on two is
one visitor. The library takes 20 MB with what it imports, so it is imported where a sketch is made or merged: in a work
horse, which ends.
"""

import struct
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

from psycopg.rows import class_row, scalar_row

from worker.days import days_before, days_between, local_date
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

LG_K = 14
"""Base-2 logarithm of a sketch's registers. Up to 1,536 visitors it holds each of them in 4 bytes, and is exact for all
that matters; a larger one has 8.3 kB. It must never change: sketches of two sizes merge into one of the smaller."""

ERROR = 0.0162
"""How far an estimate is off at most, as a share, in 95 of 100 cases: `hll_sketch.get_rel_err` of a merged `LG_K`."""

ROWS_AT_ONCE = 100
"""Some milliseconds of work, after which a rest leaves the processor to those who look at numbers."""

REST_PER_WORK = 3.0
"""How many times as long as the work it rests."""

LONGEST_REST_S = 0.1
"""What is slow because others hold it up is not to be slower still, within a transaction."""

REST_S = 10.0
"""Seconds of rest, about, for some dates together: half while events are counted, half while rows are written. Each
date's transaction keeps PostgreSQL from clearing away what others have changed since."""

VISITORS = "visitors"


class Visitors(NamedTuple):
    """Different visitors of a specialist."""

    number: int | None
    """None: there were views, but none whose visitor is known."""
    source: Literal["ledger", "stored", "estimate"]
    """The first two are exact. An estimate is off by `ERROR` at most, in 95 of 100 cases."""
    unknown_days: int
    """Dates with views, but none whose visitor is known: before the ledger, or sent without a visitorId."""

    @property
    def exact(self) -> bool:
        """Whether they were counted."""
        return self.source != "estimate"


class _Counted(NamedTuple):
    specialist_id: str
    events: int
    visitors: int
    hashes: bytes


class _InLedger(NamedTuple):
    visitors: int
    dates: list[date]
    in_ledger: bool


class _Stored(NamedTuple):
    date: date
    visitors: int
    sketch: bytes


def visitors_of(connection: Connection, specialist: str, first: date, last: date, time_zone: str) -> Visitors:
    """The different visitors of a specialist from one date to another.

    Where the ledger holds all the dates they are counted, by a scan of these days: 80 ms for each 1,000,000 events.
    Else the stored numbers and sketches are asked, which for the open days are at most a minute old.

    Args:
        connection: to the database.
        specialist: whose visitors.
        first: a date in `time_zone`.
        last: the last one, too.
        time_zone: IANA name; its midnight divides the days.

    Raises:
        Stop: the dates are no range.
        Retry: the server is away.
    """
    dates = days_between(first, last)
    which = {"specialist": specialist, "first": first, "last": last, "dates": dates, "time_zone": time_zone}
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        viewed = set(cursor.execute(query("list_viewed_dates"), which))
    with postgres_errors(), connection.cursor(row_factory=class_row(_InLedger)) as cursor:
        counted = cursor.execute(query("count_visitors"), which).fetchone()
    assert counted is not None  # a count is always one row
    if counted.in_ledger:
        return _known(counted.visitors, "ledger", viewed - set(counted.dates))
    with postgres_errors(), connection.cursor(row_factory=class_row(_Stored), binary=True) as cursor:
        stored = cursor.execute(query("list_daily_visitors"), which).fetchall()
    unknown = viewed - {day.date for day in stored}
    if len(stored) <= 1:
        return _known(sum(day.visitors for day in stored), "stored", unknown)
    return _known(merged([day.sketch for day in stored]), "estimate", unknown)


def _known(number: int, source: Literal["ledger", "stored", "estimate"], unknown: set[date]) -> Visitors:
    return Visitors(number if number or not unknown else None, source, len(unknown))


def sketch_of(hashes: bytes) -> bytes:
    """The sketch of some visitors.

    Args:
        hashes: eight bytes of each one's keyed hash.

    Returns:
        The compact form, which every later version of the library reads, by the word of its makers.
    """
    from datasketches import hll_sketch, tgt_hll_type  # noqa: PLC0415

    sketch = hll_sketch(LG_K, tgt_hll_type.HLL_4)
    for (number,) in struct.iter_unpack(">q", hashes):
        sketch.update(number)
    return bytes(sketch.serialize_compact())


def merged(sketches: Sequence[bytes]) -> int:
    """How many different visitors some sketches are of, together: an estimate."""
    from datasketches import hll_sketch, hll_union  # noqa: PLC0415

    union = hll_union(LG_K)
    for sketch in sketches:
        union.update(hll_sketch.deserialize(sketch))
    estimate: float = union.get_estimate()
    return round(estimate)


def refresh_visitors(connection: Connection, day: date, time_zone: str, rest_s: float = REST_S) -> int:
    """Count the visitors of one date anew where events have come since, in a transaction of its own. It only reads what
    others write; a date of which a UTC day is sealed stays as it is.

    Args:
        connection: in autocommit mode.
        day: a date in `time_zone`.
        time_zone: IANA name; its midnight divides the days.
        rest_s: seconds, about, that it may rest meanwhile.

    Returns:
        How many specialists' numbers were written.

    Raises:
        Retry: the server is away.
    """
    which = {"date": day, "time_zone": time_zone, "rest_s": rest_s / 2}
    written, rest_s = 0, rest_s / 2
    with postgres_errors(), connection.transaction():
        connection.execute(query("lock_visitors"))
        with connection.cursor("visitors", row_factory=class_row(_Counted)) as cursor:
            cursor.execute(query("count_stale_visitors"), which, binary=True)
            while counted := cursor.fetchmany(ROWS_AT_ONCE):
                began = time.monotonic()
                connection.execute(query("assign_visitors"), which | _columns(counted))
                written += len(counted)
                if len(counted) == ROWS_AT_ONCE:  # or there are no more
                    pause_s = min(REST_PER_WORK * (time.monotonic() - began), LONGEST_REST_S, rest_s)
                    rest_s -= pause_s
                    time.sleep(pause_s)
    return written


def _columns(counted: Sequence[_Counted]) -> dict[str, list[Any]]:
    return {
        "specialist_ids": [row.specialist_id for row in counted],
        "visitors": [row.visitors for row in counted],
        "events": [row.events for row in counted],
        "sketches": [sketch_of(row.hashes) for row in counted],
    }


def refresh_visitors_of_open_days(settings: Settings) -> int:
    """Refresh the visitors of yesterday and today, unless nothing was counted since the last time.

    Returns:
        How many specialists' numbers were written.

    Raises:
        Retry: the server is away.
    """
    today = local_date(datetime.now(UTC), settings.time_zone)
    with connect_postgres(settings, "visitors") as connection, postgres_errors():
        [(counted, refreshed)] = connection.execute(query("load_counted"), {"what": VISITORS})
        if counted == refreshed:
            return 0
        written = _refresh(connection, [today, *days_before(today, 1)], settings.time_zone)
        connection.execute(query("note_refreshed"), {"what": VISITORS, "counted": counted})
    return written


def refresh_visitors_of_ledger(settings: Settings) -> int:
    """Refresh the visitors of all dates that the ledger has a part of: for events that came late.

    Returns:
        How many specialists' numbers were written.

    Raises:
        Retry: the server is away; some dates are done.
    """
    return sum(refresh_visitors_by_date(settings))


def refresh_visitors_by_date(settings: Settings) -> Iterator[int]:
    """The same, a date at a time, the newest first.

    Yields:
        After each date, how many specialists' numbers were written.
    """
    with connect_postgres(settings, "visitors") as connection:
        dates = _ledger_dates(connection, settings.time_zone)
        for day in dates:
            yield refresh_visitors(connection, day, settings.time_zone, REST_S / len(dates))


def refresh_visitors_of_utc_day(connection: Connection, utc_day: date, time_zone: str) -> int:
    """Refresh the visitors of all dates that have a part in one day of the ledger: it is going to be dropped.

    Args:
        connection: in autocommit mode.
        utc_day: of the ledger.
        time_zone: IANA name; its midnight divides the days.

    Returns:
        How many specialists' numbers were written.

    Raises:
        Retry: the server is away.
    """
    return _refresh(connection, _ledger_dates(connection, time_zone, utc_day), time_zone)


def _ledger_dates(connection: Connection, time_zone: str, utc_day: date | None = None) -> list[date]:
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query("list_ledger_dates"), {"utc_day": utc_day, "time_zone": time_zone}).fetchall()


def _refresh(connection: Connection, days: Collection[date], time_zone: str) -> int:
    return sum(refresh_visitors(connection, day, time_zone, REST_S / len(days)) for day in days)
