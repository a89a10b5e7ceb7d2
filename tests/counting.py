"""What tests of counting do again and again: make an event, let the worker read the stream, look at the tables."""

from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import uuid4

import redis

from worker import store
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection
from worker.stream import connect_redis, read_backlog

TODAY = datetime.now(UTC).date()
"""At midnight UTC it is made anew, with all that the modules of tests have made of it: see `tests/conftest.py`."""
TODAY_MS = int(datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC).timestamp() * 1000)
"""Its beginning, in milliseconds since 1970: a moment of today that is never in the future."""
DAY_MS = 86_400_000


def position_of(connection: Connection) -> str | None:
    row = connection.execute("SELECT max(last_id) FROM analytics.stream_position").fetchone()
    assert row is not None
    return cast("str | None", row[0])


def drain(settings: Settings, shard: int = 0) -> None:
    """Read and count what is in the stream, by the worker's own loop."""
    stream = settings.stream_keys[shard]
    with connect_redis(settings) as client, store.connect_postgres(settings, "test") as connection:

        def all_is_read() -> bool:
            position = store.load_position(connection, stream)
            backlog = read_backlog(client, settings, stream, position)
            return position is not None and backlog.oldest_age_s is None and backlog.entries == 0

        run_shard(settings, shard, all_is_read)


def event(specialist: str = "anna", **changes: Any) -> dict[Any, Any]:
    fields: dict[Any, Any] = {
        "type": "profile_view",
        "specialistId": specialist,
        "eventId": str(uuid4()),
        "occurredAt": TODAY_MS,
        "source": "catalog",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def contact(ago: int = 0, **changes: Any) -> dict[Any, Any]:
    """A contact view, so many days ago."""
    return event(type="contact_view", occurredAt=TODAY_MS - ago * DAY_MS, source=None, **changes)


def add(client: redis.Redis, *events: dict[Any, Any], stream: str = "analytics:events") -> None:
    for fields in events:
        client.xadd(stream, fields)


def daily(connection: Connection) -> dict[tuple[str, date], tuple[int, int]]:
    """Profile and contact views by specialist and date."""
    rows = connection.execute(
        'SELECT "specialistId", date, "profileViews", "contactViews" FROM "SpecialistAnalyticsDaily"'
    )
    return {(specialist, day): (profile, contact) for specialist, day, profile, contact in rows}


def books(connection: Connection) -> tuple[int, ...]:
    """Read, counted, duplicates, excluded, dead-lettered; all streams together."""
    row = connection.execute(
        "SELECT sum(entries_read), sum(counted), sum(duplicates), sum(excluded), sum(dead_lettered)"
        " FROM analytics.stream_position"
    ).fetchone()
    assert row is not None
    return tuple(int(number or 0) for number in row)


def dead(connection: Connection) -> list[tuple[str, list[list[Any]]]]:
    """Reason and fields of the dead letters, in order."""
    return connection.execute("SELECT reason, fields FROM analytics.dead_letter ORDER BY id").fetchall()


def findings(connection: Connection) -> list[tuple[str, str, int | None]]:
    rows = connection.execute("SELECT verdict, action, lost FROM analytics.continuity_event ORDER BY id").fetchall()
    return rows
