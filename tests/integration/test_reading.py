"""A reading of real servers: what was counted is what it says, of one moment."""

import asyncio
import tempfile
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis
from msgspec.structs import asdict
from psycopg.types.json import Jsonb

from tests.counting import DAY_MS, TODAY, TODAY_MS, add, contact, drain, event, position_of
from tests.support import add_outcomes, add_specialists, settings_for, settings_with, site_creates
from worker.continuity import EntryId, Position
from worker.daily.outcomes import refresh_outcomes
from worker.daily.visitors import refresh_visitors
from worker.errors import NotMigrated, Retry
from worker.migrations import migrate, migrations
from worker.producer import stream_of
from worker.reading.figures import conversion_rate
from worker.reading.period import parse_period
from worker.reading.read import NoSpecialist, Wanted, ask, ask_counting, counted_until, read, understand
from worker.reading.shape import Reading
from worker.settings import Settings
from worker.store import Connection, connect_postgres, connect_postgres_async, load_position, seal_oldest_day

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def reading(settings: Settings, specialist: str = "anna", period: str | None = "week", **dates: str | None) -> Reading:
    asked = parse_period(period, dates.get("first"), dates.get("last"), TODAY)
    with connect_postgres(settings, "test") as connection:
        return read(settings, connection, specialist, asked)


def together(settings: Settings, *wanted: Wanted) -> list[Reading | None]:
    """What several are told who ask at the same time."""

    async def ask_all() -> list[Reading | None]:
        connection = await connect_postgres_async(settings, "test")
        counting = await ask_counting(settings, connection)
        answers = await ask(settings, connection, wanted, counting)
        await connection.close()
        return [
            understand(settings, each, answer, None) if answer.row.known else None
            for each, answer in zip(wanted, answers, strict=True)
        ]

    return asyncio.run(ask_all())


def row(connection: Connection, day: date, profile_views: int, specialist: str = "anna", sources: Any = None) -> None:
    connection.execute(
        """INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", "date", "profileViews", "sources", "updatedAt")
           VALUES (gen_random_uuid()::text, %s, %s, %s, %s, now())""",
        [specialist, day, profile_views, Jsonb(sources) if sources is not None else None],
    )


def test_what_was_counted(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Events that were sent, and outcomes of the site, are the numbers of all blocks, and of nobody else."""
    site_creates(connection, "ConsultationRequest", "Order", "Review")
    migrate(connection, migrations())
    add(client, event(), event(source="search"), event(source="search"), event(specialist="boris"))
    add(client, contact(contactType="phone"), contact(contactType="phone", ago=1), contact())
    drain(settings)
    now = datetime.now(UTC)
    add_outcomes(connection, "ConsultationRequest", "anna", now, now - DAY)
    add_outcomes(connection, "Order", "anna", now)
    for day in (TODAY, TODAY - DAY):
        refresh_outcomes(connection, day, "UTC")

    said = reading(settings)
    assert [(name, metric.value) for name, metric in asdict(said.metrics).items()] == [
        ("profile_views", 3), ("contact_views", 3), ("requests", 2), ("orders", 1), ("reviews", 0), ("visitors", None),
    ]  # fmt: skip
    assert [(each.source, each.views, each.share) for each in said.sources] == [
        ("catalog", 1, 33), ("search", 2, 67), ("direct", 0, 0), ("other", 0, 0),
    ]  # fmt: skip
    assert said.contact_types is not None
    assert [(kind.type, kind.views, kind.share) for kind in said.contact_types.types] == [
        ("phone", 2, 67),
        (None, 1, 33),
    ]
    points = said.trend.points
    assert [(point.profile_views, point.contact_views, point.requests) for point in points[-2:]] == [
        (0, 1, 1),
        (3, 2, 1),
    ]
    assert (said.funnel.profile_to_contact, said.funnel.contact_to_request, said.funnel.request_to_order) == (
        100,
        66.7,
        50,
    )


def test_several_at_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Who is asked for together with others, or twice, is told what each would be told alone."""
    shards = settings_with(settings, ANALYTICS_SHARDS="2")
    streams = {stream_of({b"specialistId": each}, shards.stream_keys) for each in (b"anna", b"boris", b"clara")}
    assert len(streams) == 2
    add_specialists(connection, ["clara"])
    for number, specialist in enumerate(("anna", "boris"), 1):
        for ago in (0, 3, 40, 400):
            row(connection, TODAY - timedelta(days=ago), number * (1 + ago), specialist)
    add(client, contact(contactType="phone"), contact(specialist="boris", contactType="mail"))
    drain(settings)
    asked = [
        Wanted(specialist, parse_period(period, None, None, TODAY))
        for period in ("week", "all", "year", "day")
        for specialist in ("boris", "nobody", "clara", "anna", "boris")
    ]
    with connect_postgres(shards, "test") as one_by_one:
        alone = [read(shards, one_by_one, *each) if each.specialist != "nobody" else None for each in asked]
    assert together(shards, *asked) == alone
    views = [each.metrics.profile_views.value for each in alone[:5] if each]
    assert views == [10, 0, 5, 10]


def test_visitors(settings: Settings, client: redis.Redis) -> None:
    """Who came on two days is one visitor of the week and one of each day, whoever else came."""
    known = settings_with(settings, ANALYTICS_SECRET="a long random text")
    add(client, *(event(visitorId=visitor) for visitor in "aab"))
    add(client, *(event(visitorId=visitor, occurredAt=TODAY_MS - DAY_MS) for visitor in "bcd"))
    drain(known)
    with connect_postgres(known, "test") as worker:
        for day in (TODAY, TODAY - DAY):
            refresh_visitors(worker, day, "UTC")
    said = reading(known)
    assert (said.metrics.visitors.value, said.metrics.visitors.estimated) == (4, False)
    assert [point.visitors for point in said.trend.points[-2:]] == [3, 2]
    assert reading(known, period="day").metrics.visitors.value == 2


def test_excluded_views_are_in_no_block(settings: Settings, client: redis.Redis) -> None:
    """A bot's look at a contact is in the ledger and in no number."""
    add(client, contact(contactType="phone", userAgent="Googlebot/2.1"), contact(contactType="email"))
    drain(settings)
    said = reading(settings)
    assert said.contact_types is not None
    assert [kind.type for kind in said.contact_types.types] == ["email"]
    assert said.metrics.contact_views.value == 1


@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_contact_types_are_those_of_the_dates(settings: Settings, client: redis.Redis, time_zone: str) -> None:
    """By whatever midnight, the types of a period add up to its contact views."""
    zoned = settings_with(settings, ANALYTICS_TIME_ZONE=time_zone)
    for hour in range(72):
        add(client, event(type="contact_view", occurredAt=TODAY_MS - hour * 3_600_000, contactType=f"type {hour % 3}"))
    drain(zoned)
    for last in (TODAY - DAY, TODAY - 2 * DAY):
        said = reading(zoned, period=None, first=str(last - DAY), last=str(last))
        assert said.contact_types is not None
        views = said.metrics.contact_views.value
        assert views and sum(kind.views for kind in said.contact_types.types) == views


def test_sealed_days_have_no_contact_types(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Once a day is sealed its contact views are a number without types; the block says since when it has them."""
    add(client, contact(40, contactType="phone"), contact(1, contactType="email"), contact(1))
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    assert seal_oldest_day(connection, 35, "UTC") == TODAY - 40 * DAY
    said = reading(settings, period="quarter")
    assert said.metrics.contact_views.value == 3
    assert said.contact_types is not None
    assert said.contact_types.first == TODAY - 39 * DAY
    assert sum(kind.views for kind in said.contact_types.types) == 2
    old = str(TODAY - 40 * DAY)
    assert reading(settings, period=None, first=old, last=old).contact_types is None


def test_counting_since(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Whoever was counted first says since when there are zeros, also for a specialist whom nobody has seen yet."""
    assert {point.profile_views for point in reading(settings).trend.points} == {None}
    add(client, event(specialist="boris", occurredAt=TODAY_MS - 2 * DAY_MS))
    drain(settings)
    said = reading(settings)
    assert [point.profile_views for point in said.trend.points] == [None] * 4 + [0] * 3
    assert said.freshness.counting_since == TODAY - 2 * DAY
    connection.execute("INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views) VALUES"
                       " (current_date - 5, 'boris', 'legacy', 1)")  # fmt: skip
    assert [point.profile_views for point in reading(settings).trend.points] == [None] + [0] * 6


def test_everything_begins_with_the_first_row(settings: Settings, connection: Connection) -> None:
    """`all` begins with the specialist's own first row; one that nobody can have written in earnest is left out."""
    row(connection, TODAY - 1_000 * DAY, 3)
    row(connection, date(1, 1, 1), 1)
    row(connection, TODAY + DAY, 100)
    said = reading(settings, period="all")
    assert (said.period.first, said.period.last) == (TODAY - 1_000 * DAY, TODAY)
    assert said.metrics.profile_views.value == 3


def test_rows_that_others_wrote(settings: Settings, connection: Connection) -> None:
    """Sources that are missing, odd or too few do not stop a reading: what they leave out came from elsewhere."""
    odd: list[Any] = [None, [], {"catalog": "many"}, {"catalog": -5, "other": 1}, {"search": 4, "vk": 3}]
    for ago, sources in enumerate(odd):
        row(connection, TODAY - ago * DAY, 10, sources=sources)
    said = reading(settings)
    assert {each.source: each.views for each in said.sources} == {"catalog": 0, "search": 4, "direct": 0, "other": 46}
    assert sum(each.share for each in said.sources) == 100


def test_the_largest_numbers(settings: Settings, connection: Connection) -> None:
    """Days whose sum is more than an integer of PostgreSQL holds add up all the same."""
    for ago in range(3):
        row(connection, TODAY - ago * DAY, 2**31 - 1)
    assert reading(settings).metrics.profile_views.value == 3 * (2**31 - 1)


def test_one_formula_for_rates(connection: Connection) -> None:
    """The rates of a period are rounded as those of a day are, which the database computes."""
    pairs = [
        (part, whole) for whole in (0, 1, 3, 7, 8, 16, 40, 999, 2000, 2**31 - 1) for part in (*range(60), 2**31 - 1)
    ]
    parts, wholes = zip(*pairs, strict=True)
    rates = connection.execute(
        "SELECT analytics.conversion_rate(part, whole) FROM unnest(%s::int[], %s::int[]) AS pair (part, whole)",
        [list(parts), list(wholes)],
    ).fetchall()
    assert [rate for (rate,) in rates] == [conversion_rate(part, whole) for part, whole in pairs]


HOSTILE = [
    "nobody",
    "",
    '\'; DROP TABLE "SpecialistAnalyticsDaily"; --',
    "<script>alert(1)</script>",
    "%(specialist)s %s %",
    "a\x00b",
    "\x1b[31manna",
    "анна",
    "\ud800",
    "a" * 1_000_000,
]


@pytest.mark.parametrize("specialist", HOSTILE, ids=range(len(HOSTILE)))
def test_no_specialist(settings: Settings, connection: Connection, specialist: str) -> None:
    """Who is no specialist is said so in one short line, whatever was typed, and nothing else happens."""
    with pytest.raises(NoSpecialist, match="there is no specialist") as refused:
        reading(settings, specialist)
    assert len(str(refused.value)) < 200 and str(refused.value).isprintable()
    assert reading(settings).metrics.profile_views.value is None  # nobody ever counted


def trace(connection: Connection, settings: Settings) -> str:
    """What a reading says to the server, message by message."""
    with tempfile.TemporaryFile("w+") as file:
        connection.pgconn.trace(file.fileno())
        read(settings, connection, "anna", parse_period("month", None, None, TODAY))
        connection.pgconn.untrace()
        file.seek(0)
        return file.read()


def test_one_statement(settings: Settings) -> None:
    """All that is of a specialist is the answer to one statement: of one moment. One before says what is so for all."""
    with connect_postgres(settings, "test") as connection:
        trace(connection, settings)
        said = trace(connection, settings)
    assert [said.count(message) for message in ("\tExecute", "\tSync", "\tReadyForQuery", "BEGIN")] == [2, 2, 2, 0]


def test_a_database_without_the_schema(site_database: str, redis_url: str) -> None:
    """Before the first migration a reading says to migrate."""
    with pytest.raises(NotMigrated, match="run `python -m worker migrate`"):
        reading(settings_for(site_database, redis_url))


def test_the_server_goes_away(settings: Settings, connection: Connection) -> None:
    """A connection that was ended is said to be away, not that there is no specialist."""
    with connect_postgres(settings, "test") as worker:
        connection.execute("SELECT pg_terminate_backend(%s)", [worker.info.backend_pid])
        with pytest.raises(Retry):
            read(settings, worker, "anna", parse_period("week", None, None, TODAY))


def test_losses(settings: Settings, connection: Connection) -> None:
    """What Redis lost in the period is told with its days; a restart without a loss, another's stream, and what a
    breaker did are none.
    """
    sharded = settings_with(settings, ANALYTICS_SHARDS="2")
    mine, other = (
        sharded.stream_keys if reading_stream(sharded) == sharded.stream_keys[0] else sharded.stream_keys[::-1]
    )

    def found(
        stream: str, verdict: str, lost: int | None, *, ago: int, action: str = "went_on", since: int = 0
    ) -> None:
        happened = datetime.fromtimestamp(TODAY_MS / 1000, UTC) - ago * DAY
        last_id = f"{TODAY_MS - (ago + since) * DAY_MS}-0"
        connection.execute(
            "INSERT INTO analytics.continuity_event (happened_at, stream, verdict, action, lost, stored, seen)"
            " VALUES (%s, %s, %s, %s, %s, %s, '{}')",
            [happened, stream, verdict, action, lost, Jsonb({"last_id": last_id})],
        )

    found(mine, "trimmed_unread", 30, ago=2, since=1)
    found(mine, "emptied", None, ago=1, action="rewound")
    found(mine, "restarted", None, ago=1, action="rewound")
    found(mine, "mostly_bad", None, ago=1, action="halted")
    found(other, "trimmed_unread", 7, ago=1)
    found("analytics:events", "trimmed_unread", 5, ago=0)
    found(mine, "trimmed_unread", 99, ago=20)
    losses = reading(sharded).freshness.losses
    assert [(loss.first, loss.last, loss.entries) for loss in losses] == [
        (TODAY, TODAY, 5),
        (TODAY - DAY, TODAY - DAY, None),
        (TODAY - 3 * DAY, TODAY - 2 * DAY, 30),
    ]
    day = str(TODAY - 3 * DAY)
    assert [loss.entries for loss in reading(sharded, period=None, first=day, last=day).freshness.losses] == [30]


def reading_stream(settings: Settings) -> str:
    return stream_of({b"specialistId": b"anna"}, settings.stream_keys)


def stored(connection: Connection) -> Position:
    position = load_position(connection, "analytics:events")
    assert position is not None
    return position


def test_as_of(settings: Settings, client: redis.Redis) -> None:
    """The numbers are as of now if all is read, else as of the oldest entry that is not; without Redis as of the last
    one that was read, and of no time if nothing ever was.
    """
    with connect_postgres(settings, "test") as connection:
        assert load_position(connection, "analytics:events") is None
        assert reading(settings).freshness.as_of is None
        add(client, event())
        drain(settings)
        last = EntryId.of(position_of(connection) or "")
        read_at = datetime.fromtimestamp(last.ms / 1000, UTC)
        assert reading(settings).freshness.as_of == read_at
        until = counted_until(settings, client, stored(connection))
        assert abs(until - datetime.now(UTC)) < timedelta(minutes=1)
        waiting = EntryId(last.ms + 1, 0)
        client.xadd("analytics:events", event(), id=str(waiting))
        until = counted_until(settings, client, stored(connection))
        assert abs(until.timestamp() - waiting.ms / 1000) < 0.001


def test_as_of_with_ids_from_the_future(settings: Settings, client: redis.Redis) -> None:
    """An entry whose id is years ahead does not make the numbers of the future."""
    client.xadd("analytics:events", event(), id=f"{TODAY_MS + 10_000 * DAY_MS}-0")
    drain(settings)
    as_of = reading(settings).freshness.as_of
    assert as_of is not None and as_of <= datetime.now(UTC)
    with connect_postgres(settings, "test") as connection:
        until = counted_until(settings, client, stored(connection))
    assert until <= datetime.now(UTC) + timedelta(minutes=1)


def grow(connection: Connection, events: int) -> None:
    """Contact views of today, as they lie in the ledger after a while: of one specialist after the other, in turn."""
    connection.execute(
        """INSERT INTO analytics.event
               (day, event_id, occurred_at, type, source, contact_type, specialist_id, stream, entry_id)
           SELECT %s, gen_random_uuid(), to_timestamp(%s),
                  'contact_view', 'search', 'phone', 'specialist ' || number %% 40, 0, '0-0'
           FROM generate_series(1, %s) AS number""",
        [TODAY, TODAY_MS / 1000, events],
    )


@pytest.mark.parametrize("young", [0, 2_000])
def test_contact_types_are_found_by_their_index(settings: Settings, connection: Connection, young: int) -> None:
    """A day's contact views are found by their index, also when the planner's statistics are of when it was young."""
    add_specialists(connection, ["specialist 7"])
    connection.execute("SELECT analytics.create_partition(%s)", [TODAY])
    partition = f"event_{TODAY:%Y%m%d}"
    grow(connection, young)
    connection.execute(f"VACUUM ANALYZE analytics.{partition}")
    asked = parse_period("week", None, None, TODAY)
    with connect_postgres(settings, "test") as reader:
        reader.execute("SET plan_cache_mode = force_generic_plan")
        read(settings, reader, "specialist 7", asked)
        grow(connection, 20_000)
        if young:  # else what was planned for an empty partition stays
            connection.execute(f"VACUUM analytics.{partition}")
        found = read(settings, reader, "specialist 7", asked)
        reader.execute("SELECT pg_stat_force_next_flush()")
    assert found.contact_types is not None
    assert [each.views for each in found.contact_types.types] == [(young + 20_000) // 40]
    through_index = dict[bool, int](
        connection.execute(
            """SELECT indpred IS NOT NULL, idx_tup_read
               FROM pg_stat_all_indexes AS stat JOIN pg_index USING (indexrelid) WHERE relname = %s""",
            [partition],
        ).fetchall()
    )
    without_one = connection.execute("SELECT seq_tup_read FROM pg_stat_all_tables WHERE relname = %s", [partition])
    assert through_index == {True: young // 40 + (young + 20_000) // 40, False: 0}
    assert without_one.fetchone() == (0,)
