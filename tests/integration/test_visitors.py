"""Unique visitors of a date are a straight distinct count, whenever refreshed, and stay when the ledger goes."""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import redis

import jobs.outcomes
import worker.daily.visitors
from tests.counting import TODAY, add, drain, event
from tests.support import add_specialists, environment, run_worker, settings_with
from worker.daily.recompute import recompute_days
from worker.daily.visitors import (
    ERROR,
    Visitors,
    refresh_visitors,
    refresh_visitors_of_ledger,
    refresh_visitors_of_open_days,
    refresh_visitors_of_utc_day,
    visitors_of,
)
from worker.errors import Stop
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, create_partition, list_partitions
from worker.upkeep.maintenance import keep_ledger

OLD = TODAY - timedelta(days=60)
STATE = "SELECT ctid, xmin, daily.* FROM analytics.daily_visitors AS daily ORDER BY date, specialist_id"
"""The rows as they lie there: a row that was written again is another one."""


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris", "clara"])


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings_with(settings, ANALYTICS_SECRET="a long random text", ANALYTICS_BREAKER_SHARE="1")


def count(settings: Settings, client: redis.Redis, *events: dict[Any, Any]) -> None:
    """Count events by the live path, however old they are."""
    add(client, *events)
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))


def at(moment: datetime | date, visitor: str | None, specialist: str = "anna", **changes: Any) -> dict[Any, Any]:
    """A view; of a date, at its beginning in UTC, which is never in the future."""
    text = moment.isoformat() if isinstance(moment, datetime) else f"{moment}T00:00:00Z"
    return event(specialist, occurredAt=text, visitorId=visitor, **changes)


def kept(connection: Connection) -> dict[tuple[str, date], int]:
    rows = connection.execute("SELECT specialist_id, date, visitors FROM analytics.daily_visitors").fetchall()
    return {(specialist, day): visitors for specialist, day, visitors in rows}


def some_events(random: Random, start: datetime, hours: int, number: int) -> list[dict[Any, Any]]:
    """Views and more of few visitors; a tenth without a visitor, bots, looks at one's own profile."""
    return [
        at(
            start + timedelta(minutes=random.randrange(hours * 60)),
            random.choice([*"abcdefghi", None]),
            random.choice(("anna", "boris")),
            type=random.choice(("profile_view", "contact_view")),
            viewerId=random.choice(("anna", "x", None)),
            userAgent=random.choice(("Googlebot/2.1", None, None)),
        )
        for _ in range(number)
    ]


def straight(events: Sequence[dict[Any, Any]], time_zone: str) -> dict[tuple[str, date], set[str]]:
    """Who visited whom on which date, of the events that count."""
    visitors = defaultdict(set)
    for fields in events:
        excluded = fields.get("viewerId") == fields["specialistId"] or "userAgent" in fields
        if "visitorId" in fields and not excluded:
            day = datetime.fromisoformat(fields["occurredAt"]).astimezone(ZoneInfo(time_zone)).date()
            visitors[fields["specialistId"], day].add(fields["visitorId"])
    return visitors


ZONES = [
    ("UTC", "2025-06-01"),
    ("Europe/Berlin", "2025-10-24"),  # a day of 25 hours
    ("America/New_York", "2024-10-31"),
    ("Asia/Kathmandu", "2025-06-01"),  # 5:45 ahead
    ("America/Sao_Paulo", "2018-02-15"),  # a midnight that was there twice
    ("Pacific/Apia", "2011-12-28"),  # a date that was not
]


@pytest.mark.parametrize(("zone", "first"), ZONES)
def test_a_straight_distinct_count(
    settings: Settings, connection: Connection, client: redis.Redis, zone: str, first: str
) -> None:
    """Events in any order, with repeats and refreshes in between: each date and range has its different visitors, by
    the ledger; and they still have them when all was sealed, though nobody had refreshed the half of it before.
    """
    settings = settings_with(settings, ANALYTICS_TIME_ZONE=zone)
    random = Random(first)
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    events = some_events(random, start, 5 * 24, 300)
    truth = straight(events, zone)
    for part in range(4):
        sent = events[part * 75 : (part + 1) * 75]
        count(settings, client, *sent, *random.sample(events[: (part + 1) * 75], 10))
        if part == 1:
            refresh_visitors_of_ledger(settings)
        if part == 2:
            refresh_visitors(connection, start.date() + timedelta(days=2), zone)
    days = [start.date() + timedelta(days=n) for n in range(-1, 7)]

    def all_ranges() -> dict[tuple[str, date, date], Visitors]:
        return {
            (who, days[a], days[b]): visitors_of(connection, who, days[a], days[b], zone)
            for who in ("anna", "boris")
            for a in range(len(days))
            for b in range(a, len(days))
        }

    def right(who: str, first: date, last: date) -> int:
        return len(set().union(*(seen for (of, day), seen in truth.items() if of == who and first <= day <= last)))

    for which, found in all_ranges().items():
        assert (found.number, found.exact) == (right(*which), True), which
    while min(list_partitions(connection)) < TODAY:
        keep_ledger(settings_with(settings, ANALYTICS_LEDGER_DAYS="1"))
    assert connection.execute("SELECT FROM analytics.event").fetchall() == []
    assert kept(connection) == {key: len(seen) for key, seen in truth.items()}
    for which, found in all_ranges().items():
        assert found.number == right(*which), which
        assert found.source == ("estimate" if which[1] < which[2] and found.number else "stored") or found.exact, which
    refresh_visitors_of_ledger(settings)
    assert kept(connection) == {key: len(seen) for key, seen in truth.items()}


def test_late_events(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What came late on a date that is over is found by night, and when the date is sealed without a night between."""
    settings = settings_with(settings, ANALYTICS_LEDGER_DAYS="61")
    count(settings, client, at(OLD, "a"), at(OLD + timedelta(days=1), "a"))
    refresh_visitors_of_ledger(settings)
    count(settings, client, at(OLD, "b"))
    refresh_visitors_of_open_days(settings)
    assert kept(connection)["anna", OLD] == 1
    refresh_visitors_of_ledger(settings)
    assert kept(connection)["anna", OLD] == 2
    count(settings, client, at(OLD, "c"))
    assert keep_ledger(settings_with(settings, ANALYTICS_LEDGER_DAYS="59"))["sealed"] == 1
    assert kept(connection) == {("anna", OLD): 3, ("anna", OLD + timedelta(days=1)): 1}


def test_half_a_date_is_sealed(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The number of a date is final when the first of its UTC days is sealed: what the other one then gets late does
    not change it, and what is missing does not make it smaller.
    """
    settings = settings_with(settings, ANALYTICS_TIME_ZONE="America/New_York", ANALYTICS_LEDGER_DAYS="59")
    evening = datetime(OLD.year, OLD.month, OLD.day, 23, tzinfo=UTC)
    count(settings, client, at(evening, "a"), at(evening + timedelta(hours=3), "b"))
    assert keep_ledger(settings)["sealed"] == 1
    assert kept(connection) == {("anna", OLD): 2}
    count(settings, client, *(at(evening + timedelta(hours=4), visitor) for visitor in "cdefg"))
    refresh_visitors_of_ledger(settings)
    assert kept(connection) == {("anna", OLD): 2}
    assert visitors_of(connection, "anna", OLD, OLD, settings.time_zone) == Visitors(2, "stored", 0)


def test_nothing_counted_nothing_done(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While the books stand still a minute looks at no row, and a row that is right is never written again."""
    count(settings, client, at(TODAY, "a"), at(TODAY, "b", "boris"))
    assert refresh_visitors_of_open_days(settings) == 2
    connection.execute("UPDATE analytics.daily_visitors SET events = 0 WHERE specialist_id = 'boris'")
    before = connection.execute(STATE).fetchall()
    assert refresh_visitors_of_open_days(settings) == 0
    assert connection.execute(STATE).fetchall() == before
    count(settings, client, at(TODAY, "a", "clara"))
    assert refresh_visitors_of_open_days(settings) == 2, "clara's, and the one that was made wrong"
    after = connection.execute(STATE).fetchall()
    assert [row for row in after if "anna" in row] == [row for row in before if "anna" in row]
    assert refresh_visitors_of_ledger(settings) == 0


def test_views_without_events(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Legacy counts of a date, which have no events, make no row's visitors look as if they were behind."""
    count(settings, client, at(TODAY, "a"))
    refresh_visitors_of_ledger(settings)
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, direct)"
        " VALUES (%s, 'anna', 'legacy', 5, 5)",
        [TODAY],
    )
    list(recompute_days(connection, TODAY, TODAY, "UTC"))
    before = connection.execute(STATE).fetchall()
    connection.execute("DELETE FROM analytics.event")  # whoever looked would find nothing
    which = {"date": TODAY, "time_zone": "UTC", "rest_s": 0}
    assert connection.execute(query("count_stale_visitors"), which).fetchall() == []
    refresh_visitors_of_ledger(settings)
    assert connection.execute(STATE).fetchall() == before


def test_not_known_is_not_zero(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """No views, no visitors; views without a visitor, or of a worker without ANALYTICS_SECRET: not known."""
    yesterday = TODAY - timedelta(days=1)
    count(settings, client, at(TODAY, None), at(TODAY, "a", "boris", userAgent="Googlebot/2.1"))
    without = settings_with(settings, ANALYTICS_SECRET="")
    count(without, client, at(TODAY, "a", "clara"), at(yesterday, "a", "clara"))
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", date, "orders", "updatedAt")'
        " VALUES ('x', 'boris', %s, 1, now())",
        [yesterday],
    )
    refresh_visitors_of_open_days(settings)
    assert kept(connection) == {}
    assert visitors_of(connection, "anna", TODAY, TODAY, "UTC").number is None
    assert visitors_of(connection, "boris", yesterday, TODAY, "UTC") == Visitors(0, "ledger", 0)
    assert visitors_of(connection, "clara", yesterday, TODAY, "UTC") == Visitors(None, "ledger", 2)
    count(settings, client, at(yesterday, "a", "clara"))
    assert visitors_of(connection, "clara", yesterday, TODAY, "UTC") == Visitors(1, "ledger", 1)
    refresh_visitors_of_open_days(settings)
    connection.execute("INSERT INTO analytics.sealed_day (day, time_zone) VALUES (%s, 'UTC')", [yesterday])
    assert visitors_of(connection, "clara", yesterday, TODAY, "UTC") == Visitors(1, "stored", 1)
    assert visitors_of(connection, "anna", yesterday, TODAY, "UTC") == Visitors(None, "stored", 1)
    assert visitors_of(connection, "boris", yesterday, TODAY, "UTC") == Visitors(0, "stored", 0)


def test_a_forgotten_visitor(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A hash that is replaced by a random one for each specialist and date leaves all numbers of dates as they are."""
    days = [OLD + timedelta(days=n) for n in range(3)]
    count(settings, client, *(at(day, visitor) for day in days for visitor in ("a", "b", "a")))
    refresh_visitors_of_ledger(settings)
    before = kept(connection)
    row = connection.execute("SELECT visitor FROM analytics.event LIMIT 1").fetchone()
    assert row is not None
    for day in days:
        connection.execute(
            "UPDATE analytics.event SET visitor = %s WHERE day = %s AND visitor = %s",
            [UUID(bytes=Random(str(day)).randbytes(16)), day, row[0]],
        )
    count(settings, client, *(at(day, "c") for day in days))
    refresh_visitors_of_ledger(settings)
    assert kept(connection) == {key: visitors + 1 for key, visitors in before.items()}


def test_a_ledger_that_lost_events(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Where the ledger has fewer events than were counted, a dump without it was restored: the number is kept."""
    count(settings, client, at(TODAY, "a"), at(TODAY, "b"), at(TODAY, "c"))
    refresh_visitors_of_open_days(settings)
    connection.execute("DELETE FROM analytics.event")
    count(settings, client, at(TODAY, "d"))
    refresh_visitors_of_open_days(settings)
    assert kept(connection) == {("anna", TODAY): 3}


def test_another_zone(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After a change of the zone the next night divides the visitors of what the ledger holds by the new midnight, also
    where a date has as many events as it had.
    """
    evening = datetime(OLD.year, OLD.month, OLD.day, 23, tzinfo=UTC)
    before, after = evening - timedelta(days=1), evening + timedelta(hours=2)
    seen = ((before, "c"), (before, "c"), (evening, "a"), (evening, "b"), (after, "a"))
    count(settings, client, *(at(*one) for one in seen))
    days = [OLD + timedelta(days=n) for n in (-1, 0, 1)]
    refresh_visitors_of_ledger(settings)
    assert kept(connection) == dict(zip((("anna", day) for day in days), (1, 2, 1), strict=True))
    berlin = settings_with(settings, ANALYTICS_TIME_ZONE="Europe/Berlin")
    create_partition(connection, OLD - timedelta(days=2))
    list(recompute_days(connection, days[0], days[-1], "Europe/Berlin"))
    refresh_visitors_of_ledger(berlin)
    assert kept(connection) == dict(zip((("anna", day) for day in days), (0, 1, 2), strict=True))


def test_a_year(settings: Settings, connection: Connection) -> None:
    """Of a year of thousands of visitors a day, most of it sealed, the estimate is as near as is said."""
    days = [TODAY - timedelta(days=n) for n in range(0, 360, 40)]
    for day in days:
        create_partition(connection, day)
        connection.execute(
            "INSERT INTO analytics.event"
            " (day, event_id, occurred_at, type, source, specialist_id, visitor, entry_id, stream)"
            " SELECT %(day)s, gen_random_uuid(), %(day)s::timestamp AT TIME ZONE 'UTC', 'profile_view', 'direct',"
            " 'anna', md5((n * n %% 30011)::text)::uuid, '1-1', 0"
            " FROM generate_series(%(from)s::bigint, %(from)s + 4000) AS n",
            {"day": day, "from": 1_500 * (TODAY - day).days // 40},
        )
    list(recompute_days(connection, days[-1], TODAY, "UTC"))
    [(truth,)] = connection.execute("SELECT count(DISTINCT visitor) FROM analytics.event").fetchall()
    assert visitors_of(connection, "anna", days[-1], TODAY, "UTC") == Visitors(truth, "ledger", 0)
    refresh_visitors_of_ledger(settings)
    assert keep_ledger(settings)["sealed"] == 5
    found = visitors_of(connection, "anna", days[-1], TODAY, "UTC")
    assert found.source == "estimate"
    assert abs(found.number or 0) - truth == pytest.approx(0, abs=ERROR * truth)


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_rests(
    settings: Settings,
    connection: Connection,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    rows_at_once: int,
) -> None:
    """Behind each whole piece it rests for those who look at numbers, but not for longer than it may in all."""
    count(settings, client, *(at(TODAY, "x", specialist) for specialist in ("anna", "boris", "clara")))
    slept: list[float] = []
    monkeypatch.setattr(worker.daily.visitors, "ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(time, "sleep", slept.append)
    rest_s = 1e-6
    assert refresh_visitors(connection, TODAY, "UTC", rest_s) == 3
    assert len(slept) == 3 // rows_at_once
    assert sum(slept) <= rest_s / 2


def test_counting_does_not_wait(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While a refresh has written and not yet committed, events are counted."""
    count(settings, client, at(TODAY, "a"))
    with connection.transaction():
        assert refresh_visitors(connection, TODAY, "UTC") == 1
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '20s'")
        count(settings, client, at(TODAY, "b"))
    assert refresh_visitors(connection, TODAY, "UTC") == 1
    assert kept(connection) == {("anna", TODAY): 2}


def test_the_jobs(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of each minute refreshes the visitors of today, and the nightly one those of all days of the ledger."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    count(settings, client, at(TODAY, "a"), at(OLD, "a"))
    assert jobs.outcomes.open_days()["visitors"] == 1
    assert jobs.outcomes.last_days()["visitors"] == 1
    assert kept(connection) == {("anna", TODAY): 1, ("anna", OLD): 1}


def test_which_dates_a_day_of_the_ledger_has_a_part_in(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Those are refreshed before it is dropped, and no others."""
    settings = settings_with(settings, ANALYTICS_TIME_ZONE="Asia/Tokyo")
    evening = datetime(OLD.year, OLD.month, OLD.day, 23, tzinfo=UTC)
    count(settings, client, *(at(evening + timedelta(hours=hours), "a") for hours in (-36, -12, 0, 12, 36)))
    refresh_visitors_of_utc_day(connection, OLD, "Asia/Tokyo")
    assert kept(connection) == {("anna", OLD): 1, ("anna", OLD + timedelta(days=1)): 1}


def test_a_range_that_is_none(connection: Connection) -> None:
    """A range the wrong way round, or an endless one, is one clear line."""
    for first, last in ((TODAY, OLD), (date(1, 1, 1), TODAY)):
        with pytest.raises(Stop, match=r"turn them round|at most"):
            visitors_of(connection, "anna", first, last, "UTC")


def test_explain_tells_them(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """`explain` says how many different visitors a row has, and where that is from."""
    count(settings, client, at(OLD, "a"), at(OLD, "b"), at(OLD, "a"), at(TODAY, None))

    def visitors(day: date) -> str:
        _, output, errors = run_worker(settings, "explain", "anna", str(day))
        assert errors == ""
        return next(
            line.removeprefix("visitors").strip() for line in output.splitlines() if line.startswith("visitors")
        )

    assert visitors(OLD) == "2 different ones, counted in the ledger"
    assert visitors(TODAY) == "not known: no event that counts names one"
    keep_ledger(settings)
    assert visitors(OLD) == "2 different ones, counted before the events were sealed"
