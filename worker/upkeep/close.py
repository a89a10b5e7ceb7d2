"""The close of a day: once all that had reached Redis by its end is counted, its rows are held against its events.

They are always right. Where they are not, after a mistake of ours or a hand in the table, they are put right, and what
they were is kept. Events of a closed day that come late are counted as ever.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import redis
from psycopg.rows import scalar_row

from worker import store
from worker.daily.outcomes import refresh_outcomes
from worker.daily.recompute import EventsGone, put_right
from worker.days import days_before, end_of, local_date
from worker.doctor.stream_checks import Stand, read_stands
from worker.errors import Stop
from worker.inspection.status import read_closing
from worker.log import get_logger
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors
from worker.stream import connect_redis
from worker.units import utc

SETTLE = timedelta(minutes=5)
"""After its end a day has so long for events that were on their way to Redis."""

SLICE_S = 60.0
"""After so many seconds no other day is begun: the job may not take for ever, and the next hour goes on."""

DAYS_COMPARED_AGAIN = 7

log = get_logger(__name__)


class Horizon(NamedTuple):
    """The moment before which all that came into the streams is counted, and what is in the way of a later one."""

    moment: datetime
    because: str


NOWHERE = datetime.min.replace(tzinfo=UTC)


def close_days(settings: Settings, now: datetime) -> dict[str, int | str | None]:
    """Close the days that are over, the oldest first: those behind the last one that is closed, or all that the ledger
    has, and yesterday at least.

    Returns:
        How many days were `closed`, how many rows of them were `differences`, and what the next day `waits_for`.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`; or a server is away. The days before it are closed.
    """
    began, closed, differences, waits_for = time.monotonic(), 0, 0, None
    with connect_postgres(settings, "close") as connection, connect_redis(settings) as client:
        if due := _due(connection, settings, now):
            reached = read_horizon(settings, connection, client)
            for day in due:
                if end_of(day, settings.time_zone) + SETTLE > reached.moment:
                    waits_for = f"{day} is not closed: {reached.because}"
                    break
                if closed and time.monotonic() - began > SLICE_S:
                    waits_for = f"{day} is not closed: its turn comes in the next hour"
                    break
                differences += close_day(connection, day, settings.time_zone)
                closed += 1
    if waits_for:
        log.warning("a day is not closed", why=waits_for)
    return {"closed": closed, "differences": differences, "waits_for": waits_for}


def _due(connection: Connection, settings: Settings, now: datetime) -> list[date]:
    yesterday = local_date(now, settings.time_zone) - timedelta(days=1)
    through = read_closing(connection).complete_through
    first = through + timedelta(days=1) if through else min({yesterday, *store.list_partitions(connection)})
    return [first + timedelta(days=number) for number in range((yesterday - first).days + 1)]


def close_day(connection: Connection, day: date, time_zone: str) -> int:
    """Close one day, its outcomes first, so that a closed day has whole rows. Where the events are gone that its rows
    would be held against, the rows stay as they are, and that is noted: later days must not wait for what never comes.

    Returns:
        How many rows were put right.

    Raises:
        Stop, Conflict, Retry: see `refresh_outcomes`.
    """
    refresh_outcomes(connection, day, time_zone)
    rows, not_compared = 0, None
    try:
        rows = _compare(connection, day, time_zone)
    except EventsGone as error:
        not_compared = error.without_names
        log.error("a day is closed without being compared", day=str(day), why=not_compared)
    with postgres_errors():
        connection.execute(query("close_day"), {"date": day, "not_compared": not_compared})
    return rows


def compare_closed_days(settings: Settings, now: datetime) -> dict[str, int]:
    """Hold the last closed days against their events once more, with what came late: and those of which a part was
    sealed in the last week, for their events will never be there again.

    That the books of each stream balance needs no such look: a CHECK of the table refuses a commit with which they do
    not, and each read holds the stored ordinal against what Redis says was ever added.

    Returns:
        How many `days` were compared, and how many rows were `differences`, and were put right.

    Raises:
        Stop: the events of a day are gone; the other days were compared.
        Conflict, Retry: see `put_right`.
    """
    since = min(days_before(local_date(now, settings.time_zone), DAYS_COMPARED_AGAIN))
    differences, gone = 0, None
    with connect_postgres(settings, "close") as connection:
        with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
            days = cursor.execute(query("list_closed_days"), {"since": since}).fetchall()
        for day in days:
            try:
                differences += _compare(connection, day, settings.time_zone)
            except EventsGone as error:
                gone = f"{day} cannot be compared: {error.without_names}"
    if gone:
        raise Stop(gone)
    return {"days": len(days), "differences": differences}


def _compare(connection: Connection, day: date, time_zone: str) -> int:
    found = put_right(connection, day, time_zone)
    if found.rows:
        log.error(
            "daily rows were not what the events say: put right",
            day=str(day),
            rows=found.rows,
            profile_views=f"{found.profile_views:+}",
            contact_views=f"{found.contact_views:+}",
            see="analytics.day_difference",
        )
    return found.rows


def read_horizon(settings: Settings, connection: Connection, client: redis.Redis) -> Horizon:
    """Ask both servers how far all streams are read, by the clock of Redis.

    Raises:
        Stop, Retry: a server refuses us, or is away.
    """
    read, others, _ = read_stands(settings, connection, client)
    return horizon(read, others)


def horizon(read: Sequence[Stand], others: Iterable[Stand]) -> Horizon:
    """How far all streams are read. Pure.

    Args:
        read: the streams of the settings: each must be known to be read, even if nothing is in it.
        others: those of another number of shards: what waits there had reached Redis too.
    """
    horizons = [_wrong(stand) or _unread(stand) for stand in read]
    horizons += [_unread(stand, ", and nobody reads it: see `python -m worker doctor`") for stand in others]
    return min(horizons, key=lambda each: each.moment)


def _wrong(stand: Stand) -> Horizon | None:
    if stand.position is None:
        return Horizon(NOWHERE, f"{stand.stream} was never read")
    if stand.verdict is not None:
        return Horizon(NOWHERE, f"{stand.stream} is not the stream that was read, until somebody reads on from there")
    return None


def _unread(stand: Stand, more: str = "") -> Horizon:
    age_s, now = stand.backlog.oldest_age_s, datetime.fromtimestamp(stand.backlog.redis_s, UTC)
    if age_s is None:
        return Horizon(now, "it was not over yet by the clock of Redis")
    if stand.halted_because:
        more = f", and is halted: {stand.halted_because}"
    if age_s < 0:
        because = f"{stand.stream} has unread entries with ids from the future, which do not say when they came{more}"
        return Horizon(NOWHERE, because)
    oldest = now - timedelta(seconds=age_s)
    return Horizon(oldest, f"{stand.stream} has unread entries since {utc(oldest)} UTC{more}")
