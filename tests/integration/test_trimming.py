"""Streams that nobody reads any more do not lie in the memory of Redis for ever."""

import redis

from tests.counting import add, drain, event
from tests.support import add_specialists, settings_with
from worker.settings import Settings
from worker.store import Connection
from worker.upkeep.maintenance import trim_other_streams

ENTRIES = 250
"""Trimming goes by nodes of a hundred entries at most."""


def old_stream(settings: Settings, connection: Connection, client: redis.Redis) -> Settings:
    """A stream that was read, of days ago; then the number of shards was changed."""
    add_specialists(connection, ["anna"])
    for number in range(ENTRIES):
        client.xadd("analytics:events", event(), id=f"{number + 1}-0")
    drain(settings_with(settings, ANALYTICS_STREAM_RETENTION_HOURS="1000000"))
    return settings_with(
        settings, ANALYTICS_SHARDS="2", ANALYTICS_STREAM_RETENTION_HOURS="0", ANALYTICS_REWIND_MINUTES="0"
    )


def test_what_was_read_goes(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Of a stream of another number of shards what was read and is old is trimmed, and nothing that was not read."""
    now = old_stream(settings, connection, client)
    add(client, event(), event())
    trimmed = trim_other_streams(now)["trimmed"]
    assert 100 <= trimmed <= ENTRIES
    assert client.xlen("analytics:events") == ENTRIES + 2 - trimmed
    assert trim_other_streams(now) == {"trimmed": 0}
    drain(settings)
    assert connection.execute("SELECT entries_read, lost FROM analytics.stream_position").fetchone() == (252, 0)


def test_what_is_young_stays(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The retention holds for these streams too."""
    now = old_stream(settings, connection, client)
    kept = settings_with(now, ANALYTICS_STREAM_RETENTION_HOURS="24")
    assert trim_other_streams(kept) == {"trimmed": 0}


def test_another_stream_stays(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A stream that is not the one that was read is left alone: what lies below the position was perhaps never read."""
    now = old_stream(settings, connection, client)
    client.execute_command("DEBUG", "CHANGE-REPL-ID")  # type: ignore[no-untyped-call]
    assert trim_other_streams(now) == {"trimmed": 0}


def test_streams_that_are_read_are_not_touched(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Whoever reads a stream trims it: those of the settings are left to them."""
    old_stream(settings, connection, client)
    own = settings_with(settings, ANALYTICS_STREAM_RETENTION_HOURS="0", ANALYTICS_REWIND_MINUTES="0")
    assert trim_other_streams(own) == {"trimmed": 0}
