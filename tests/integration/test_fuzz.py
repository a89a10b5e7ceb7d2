"""Whatever the parser lets through, PostgreSQL can store; whatever it rejects, PostgreSQL keeps as it was."""

from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.almost_valid import NOW_MS, almost_valid
from tests.support import fresh_database, settings_for
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.embedded import Servers
from worker.events import Event, Rejected, Rules, parse
from worker.intake import EPOCH
from worker.store import Connection, begin_position, commit_batch, connect_postgres, create_partition

RULES = Rules.at(NOW_MS, ledger_days=35, exclude_bots=True, secret=b"key")

entries = st.lists(
    st.one_of(almost_valid, almost_valid, st.lists(st.binary(max_size=80), max_size=12)), min_size=1, max_size=30
)


@pytest.fixture(scope="module")
def connection(servers: Servers, migrated_template: str) -> Iterator[Connection]:
    """One database for all examples."""
    with (
        fresh_database(servers.database_url, migrated_template) as url,
        connect_postgres(settings_for(url, "redis://127.0.0.1:1"), "test") as connection,
    ):
        yield connection


numbers = count(1)


@given(entries)
def test_whatever_is_parsed_is_stored(connection: Connection, entries: list[list[bytes]]) -> None:
    """A batch of anything is committed: every event stands in the ledger as it was parsed, and every entry that was
    rejected with its bytes."""
    stream = f"stream {next(numbers)}"
    verdicts = [parse(b"%d-0" % number, fields, RULES) for number, fields in enumerate(entries, 1)]
    events = [verdict for verdict in verdicts if isinstance(verdict, Event)]
    rejected = [verdict for verdict in verdicts if isinstance(verdict, Rejected)]
    committed = commit(connection, stream, events, rejected)
    assert sum(committed) == len(entries)
    assert committed[3] == len(rejected)
    assert stored(connection) == {event.entry_id: as_stored(event) for event in first_of_each(events)}
    assert buried(connection, stream) == {
        bad.entry_id: (bad.reason.value, list(bad.fields[: len(bad.fields) // 2 * 2])) for bad in rejected
    }


def commit(connection: Connection, stream: str, events: list[Event], rejected: list[Rejected]) -> tuple[int, ...]:
    position = Position(stream, "epoch", EntryId(0, 0), 0)
    batch = Batch(position)
    batch.add(EntryId(len(events) + len(rejected), 0), events, rejected)
    connection.execute("DELETE FROM analytics.event")
    connection.execute(
        'INSERT INTO "SpecialistProfile" (id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING',
        [[event.specialist_id for event in events]],
    )
    for day in batch.days:
        create_partition(connection, EPOCH + timedelta(days=day))
    begin_position(connection, position)
    return commit_batch(connection, batch, 0, "Europe/Berlin")


def first_of_each(events: list[Event]) -> list[Event]:
    """A repeat is the same id on the same UTC day."""
    first: dict[tuple[str, int], Event] = {}
    for event in events:
        first.setdefault((event.event_id.lower(), event.occurred_ms // 86_400_000), event)
    return list(first.values())


def as_stored(event: Event) -> tuple[Any, ...]:
    _, occurred_ms, *others, _ = event
    return (event.event_id.lower(), occurred_ms, *others)


def stored(connection: Connection) -> dict[str, tuple[Any, ...]]:
    found = connection.execute(
        "SELECT entry_id, event_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint, specialist_id, type::text,"
        " source::text, contact_type, replace(visitor::text, '-', ''), excluded::text FROM analytics.event"
    )
    return {entry_id: tuple(row) for entry_id, *row in found}


def buried(connection: Connection, stream: str) -> dict[str, tuple[str, list[bytes]]]:
    found = connection.execute(
        "SELECT entry_id, reason, fields FROM analytics.dead_letter WHERE stream = %s", [stream]
    ).fetchall()
    return {
        entry_id: (reason, [as_bytes(part) for pair in fields for part in pair]) for entry_id, reason, fields in found
    }


def as_bytes(part: Any) -> bytes:
    return b64decode(part["base64"]) if isinstance(part, dict) else str(part).encode()
