"""Keeping our tables in shape: partitions of the ledger ahead, sealing behind, no old refreshes; and streams that
nobody else trims.
"""

from datetime import UTC, date, datetime, timedelta

from worker import store
from worker.daily.visitors import refresh_visitors_of_utc_day
from worker.doctor.stream_checks import read_stands
from worker.errors import Retry
from worker.log import get_logger
from worker.settings import Settings
from worker.stream import StreamReader, connect_redis

DAYS_AHEAD = 3
DAYS_SEALED_AT_ONCE = 5
"""More days are past the retention only after it was shortened; the next runs go on with them."""

log = get_logger(__name__)


def keep_ledger(settings: Settings) -> dict[str, int]:
    """Make the ledger partitions of today and of the days to come, seal days that are past the retention, and forget
    refreshes that ended long ago.

    So no event at midnight has to wait for a partition, and the ledger does not grow for ever.

    Returns:
        How many partitions were `made`, how many days `sealed`, and how many old refreshes `pruned`.

    Raises:
        Conflict: a sealed day has a partition again, which somebody made by hand; nothing is sealed.
        Retry: the server is away.
    """
    today = datetime.now(UTC).date()
    with store.connect_postgres(settings, "maintenance") as connection:
        days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
        made = sum(store.create_partition(connection, day) for day in days)
        pruned = store.prune_refreshes(connection)
        return {"made": made, "sealed": _seal_days(connection, settings, today), "pruned": pruned}


def _seal_days(connection: store.Connection, settings: Settings, today: date) -> int:
    for sealed in range(DAYS_SEALED_AT_ONCE):
        # Only its events can tell the visitors. A day early, for PostgreSQL's clock decides which day is sealed.
        oldest = min(store.list_partitions(connection))
        if settings.ledger_days and oldest <= today - timedelta(days=settings.ledger_days):
            refresh_visitors_of_utc_day(connection, oldest, settings.time_zone)
        try:
            day = store.seal_oldest_day(connection, settings.ledger_days, settings.time_zone)
        except Retry as error:  # somebody reads the ledger for long, a dump perhaps: nothing is lost by an hour
            log.warning("sealing is put off", why=str(error))
            return sealed
        if day is None:
            return sealed
        log.info("day sealed", day=str(day))
    return DAYS_SEALED_AT_ONCE


def trim_other_streams(settings: Settings) -> dict[str, int]:
    """Trim the streams of another number of shards, where committed entries would lie for ever: whoever reads a stream
    trims it, and these nobody reads. What was not read stays, and so does all of a stream that may be another one.

    Returns:
        How many entries were `trimmed`.

    Raises:
        Stop, Retry: a server refuses us, or is away.
    """
    trimmed = 0
    with store.connect_postgres(settings, "maintenance") as connection, connect_redis(settings) as client:
        _, others, _ = read_stands(settings, connection, client)
        for stand in others:
            if stand.position and stand.position.ordinal is not None and stand.verdict is None:
                reader = StreamReader(client, settings, stand.stream)
                while entries := reader.trim(stand.position.last_id, settings.stream_retention_ms):
                    trimmed += entries
    return {"trimmed": trimmed}
