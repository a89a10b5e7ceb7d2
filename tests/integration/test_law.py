"""The law of counting: fold(a + b) = merge(fold(a), fold(b)), held against the statements that count."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import add_specialists, fresh_database, settings_for
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.daily.recompute import recompute_days
from worker.embedded import Servers
from worker.events import Event
from worker.store import Committed, Connection, begin_position, commit_batch, connect_postgres, create_partition

SPECIALISTS = ["anna", "Boris", "null"]
SOURCES = ["catalog", "search", "direct", "other"]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"]
DAY = date(2026, 10, 25)
"""The clocks of Berlin go back in its night."""
DAYS = [DAY + timedelta(days=number) for number in range(-2, 4)]
MIDNIGHT_MS = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000

Daily = dict[tuple[str, date], tuple[Any, ...]]


@dataclass(frozen=True)
class Counted:
    """The daily rows, but for ids and times of writing; and what became of the entries."""

    rows: Daily
    books: Committed


@pytest.fixture(scope="module")
def connection(servers: Servers, migrated_template: str) -> Iterator[Connection]:
    """One database for all examples: each deletes what the last one wrote."""
    with (
        fresh_database(servers.database_url, migrated_template) as url,
        connect_postgres(settings_for(url, "redis://127.0.0.1:1"), "test") as connection,
    ):
        add_specialists(connection, SPECIALISTS)
        for day in DAYS:
            create_partition(connection, day)
        yield connection


moments = st.one_of(
    st.integers(-36 * HOUR_MS, 60 * HOUR_MS),
    st.builds(lambda hours, ms: hours * HOUR_MS // 2 + ms, st.integers(-72, 120), st.integers(-1, 1)),
).map(lambda offset: MIDNIGHT_MS + offset)

ids = st.integers(1, 9).map(lambda number: str(UUID(int=number)))


def events(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        ids,
        moments,
        st.sampled_from(SPECIALISTS),
        st.sampled_from(["profile_view", "contact_view"]),
        st.sampled_from(SOURCES),
        st.sampled_from([None, "phone", 'a "quoted", {one}\\']),
        st.none(),
        st.sampled_from([None, None, None, "bot", "self_view"]),
        st.just("1-0"),
    )


def sent(events: Sequence[Event]) -> list[Event]:
    """Each in an entry of its own."""
    return [event._replace(entry_id=f"{number}-0") for number, event in enumerate(events, 1)]


def straight_count(events: Sequence[Event], zone: str) -> Counted:
    """The same in plain Python: of two events with one id on one UTC day the first counts."""
    sums: dict[tuple[str, date], Counter[str]] = {}
    seen, books = set(), Counter[str]()
    for event in events:
        moment = datetime.fromtimestamp(event.occurred_ms // 1000, UTC)
        if (key := (moment.date(), event.event_id)) in seen:
            books["duplicates"] += 1
            continue
        seen.add(key)
        books["excluded" if event.excluded else "counted"] += 1
        if not event.excluded:
            row = sums.setdefault((event.specialist_id, moment.astimezone(ZoneInfo(zone)).date()), Counter())
            row[event.source if event.type == "profile_view" else "contact"] += 1
    return Counted(
        {key: _daily_row(row) for key, row in sums.items()},
        Committed(books["counted"], books["duplicates"], books["excluded"], 0),
    )


def _daily_row(row: Counter[str]) -> tuple[Any, ...]:
    sources = {source: row[source] for source in SOURCES}
    profile, contact = sum(sources.values()), row["contact"]
    rate = int(1000 * contact / profile + 0.5) / 10 if profile else 0.0
    return (profile, contact, sources, rate, 0.0, 0.0, 0, 0, 0)


def begin(connection: Connection) -> None:
    connection.execute(
        'DELETE FROM analytics.event; DELETE FROM "SpecialistAnalyticsDaily"; DELETE FROM analytics.stream_position'
    )
    begin_position(connection, Position("stream", "epoch", EntryId(0, 0), 0))


def fold(connection: Connection, batches: Sequence[Sequence[Event]], zone: str) -> Counted:
    """Count the batches one after the other, from nothing."""
    begin(connection)
    position, total, number = Position("stream", "epoch", EntryId(0, 0), 0), Committed(0, 0, 0, 0), count(1)
    for events in batches:
        batch = Batch(position)
        batch.add(EntryId(next(number), 0), events, [])
        committed = commit_batch(connection, batch, 0, zone)
        total = Committed(*map(sum, zip(total, committed, strict=True)))
        position = batch.after
    return Counted(daily(connection), total)


def daily(connection: Connection) -> Daily:
    found = connection.execute(
        'SELECT "specialistId", date, "profileViews", "contactViews", sources, "conversionRateProfileToContact",'
        ' "conversionRateContactToRequest", "conversionRateRequestToOrder", "consultationRequests", orders, reviews'
        ' FROM "SpecialistAnalyticsDaily"'
    )
    return {(specialist, day): tuple(row) for specialist, day, *row in found}


def recomputed(connection: Connection, zone: str) -> Daily:
    for _ in recompute_days(connection, DAYS[0], DAYS[-1], zone):
        pass
    return daily(connection)


@given(st.data(), st.lists(events(ids), max_size=24), st.sampled_from(ZONES))
def test_batches_do_not_matter(connection: Connection, data: st.DataObject, entries: list[Event], zone: str) -> None:
    """However a stream is cut into batches, the rows and books are those of a straight count, ids colliding or not."""
    entries = sent(entries)
    cuts = data.draw(st.lists(st.integers(0, len(entries)), max_size=3).map(sorted))
    batches = [entries[start:end] for start, end in pairwise([0, *cuts, len(entries)])]
    assert fold(connection, batches, zone) == straight_count(entries, zone)


@given(
    st.lists(events(ids), max_size=9, unique_by=lambda event: event.event_id).flatmap(
        lambda pool: st.tuples(*[st.lists(st.sampled_from(pool), max_size=12) if pool else st.just([])] * 2)
    ),
    st.sampled_from(ZONES),
)
def test_order_does_not_matter(connection: Connection, a_and_b: tuple[list[Event], list[Event]], zone: str) -> None:
    """Both at once, a before b and b before a give the same rows, with repeats in and between them."""
    a, b = a_and_b
    right = straight_count(a + b, zone)
    for batches in ([a + b], [a, b], [b, a]):
        assert fold(connection, batches, zone) == right


@given(
    st.lists(events(ids), max_size=24),
    st.sampled_from(ZONES),
    st.sampled_from(
        [
            'DELETE FROM "SpecialistAnalyticsDaily"',
            'UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 0, "contactViews" = 0, sources = NULL',
            'UPDATE "SpecialistAnalyticsDaily" SET "contactViews" = "contactViews" + 1',
            """DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = 'anna'""",
        ]
    ),
)
def test_a_recompute_is_a_count(connection: Connection, entries: list[Event], zone: str, damage: str) -> None:
    """Counted and then recomputed, or damaged and then recomputed: the rows are those of a straight count."""
    counted = fold(connection, [sent(entries)], zone)
    assert recomputed(connection, zone) == counted.rows == straight_count(entries, zone).rows
    connection.execute(damage.encode())
    assert recomputed(connection, zone) == counted.rows


@given(st.lists(events(ids), max_size=24), st.lists(events(ids), max_size=12), st.sampled_from(ZONES))
def test_counting_goes_on_after_a_recompute(
    connection: Connection, before: list[Event], after: list[Event], zone: str
) -> None:
    """A recompute between two batches changes nothing, nor when all rows were lost before it."""
    right = straight_count(sent(before + after), zone).rows
    fold(connection, [sent(before)], zone)
    connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
    recomputed(connection, zone)
    batch = Batch(Position("stream", "epoch", EntryId(1, 0), len(before)))
    batch.add(EntryId(2, 0), after, [])
    commit_batch(connection, batch, 0, zone)
    assert daily(connection) == right
