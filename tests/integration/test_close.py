"""A day is closed when all that had reached Redis by its end is counted, and its rows are then what its events say."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any

import psycopg
import pytest
import redis

from tests.counting import add, drain, event
from tests.support import add_outcomes, add_specialists, run_worker, settings_with, site_creates
from worker.alerting.alerts import Tally, judge
from worker.daily.recompute import diff_day, put_right
from worker.errors import Stop
from worker.inspection.observe import Observer
from worker.inspection.status import read_closing
from worker.migrations import migrate, migrations
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.upkeep import close
from worker.upkeep.close import close_days, compare_closed_days

NOW = datetime.now(UTC) - timedelta(days=1)
"""Of a day ago, so that the clock of Redis is beyond the days that are over, at whatever time the tests run."""
DAY = NOW.date() - timedelta(days=1)
NOON = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
STREAM = "analytics:events"


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def view(specialist: str = "anna", at: datetime = NOON, **changes: Any) -> dict[Any, Any]:
    return event(specialist, occurredAt=int(at.timestamp() * 1000), **changes)


def send(client: redis.Redis, at: datetime, fields: dict[Any, Any], stream: str = STREAM) -> None:
    """As if it had reached Redis at that moment."""
    client.xadd(stream, fields, id=f"{int(at.timestamp() * 1000)}-*")


def closed(connection: Connection) -> dict[date, tuple[int, int]]:
    """Rows and differences of the closed days."""
    found = connection.execute("SELECT date, rows, differences FROM analytics.closed_day").fetchall()
    return {day: (rows, differences) for day, rows, differences in found}


def differences(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT date, specialist_id, has_profile_views, profile_views, has_contact_views, contact_views,"
        " has_sources, sources FROM analytics.day_difference ORDER BY id"
    ).fetchall()


def complete_through(connection: Connection) -> date | None:
    return read_closing(connection).complete_through


def counted_day(settings: Settings, client: redis.Redis, at: datetime = NOON) -> None:
    """Two views of anna and one of boris, counted."""
    add(client, view(at=at), view(type="contact_view", at=at), view("boris", at=at))
    drain(settings)


def test_a_right_day_is_closed_and_nobody_waits(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A day whose rows are right is closed in the middle of a batch, which it neither waits for nor lets wait."""
    counted_day(settings, client)
    hasty = settings_with(
        settings, DATABASE_URL=settings.database_url.get_secret_value() + "?options=-c%20lock_timeout%3D100"
    )
    with psycopg.connect(settings.database_url.get_secret_value()) as batch:
        batch.execute("UPDATE analytics.stream_position SET committed_at = now()")
        assert close_days(hasty, NOW) == {"closed": 1, "differences": 0, "waits_for": None}
    assert closed(connection) == {DAY: (2, 0)}
    assert complete_through(connection) == DAY
    assert differences(connection) == []
    assert close_days(hasty, NOW) == {"closed": 0, "differences": 0, "waits_for": None}


def test_a_difference_is_repaired_recorded_and_alarmed(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """What is not what the events say is put right, both numbers are kept row by row, and there is an alert."""
    counted_day(settings, client)
    connection.execute("""UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9 WHERE "specialistId" = 'anna'""")
    connection.execute("""DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = 'boris'""")
    assert close_days(settings, NOW) == {"closed": 1, "differences": 2, "waits_for": None}
    with connect_postgres(settings, "test") as own:
        assert diff_day(own, DAY, "UTC") == []
    one = {"catalog": 1, "search": 0, "direct": 0, "other": 0}
    assert differences(connection) == [
        (DAY, "anna", 9, 1, 1, 1, one, one),
        (DAY, "boris", None, 1, None, 0, None, one),
    ]
    assert closed(connection) == {DAY: (2, 2)}
    with Observer(settings, "test") as observer:
        alert = judge(observer.look(), Tally(0, 0), settings)["wrong_rows"]
    assert alert is not None
    assert f"2 daily rows of {DAY} were not" in alert.text and "profile views -7, contact views +0" in alert.text


def test_outcomes_come_first(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A closed day has its outcomes; while they cannot be counted it is not closed."""
    counted_day(settings, client)
    site_creates(connection, "ConsultationRequest", "Order", "Review")
    migrate(connection, migrations())
    add_outcomes(connection, "ConsultationRequest", "anna", NOON, NOON)
    connection.execute("DROP VIEW analytics.outcome")
    with pytest.raises(Stop):
        close_days(settings, NOW)
    assert complete_through(connection) is None
    migrate(connection, migrations())
    close_days(settings, NOW)
    requests = """SELECT "consultationRequests" FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = 'anna'"""
    assert connection.execute(requests).fetchone() == (2,)
    assert complete_through(connection) == DAY


def midnight(settings: Settings, client: redis.Redis) -> None:
    """An entry came a second before the end of the day, and nobody reads."""
    send(client, NOON + timedelta(hours=12, seconds=-1), view())


def on_its_way(settings: Settings, client: redis.Redis) -> None:
    """An entry came a little after the end of the day."""
    send(client, NOON + timedelta(hours=12, minutes=4), view())


def from_the_future(settings: Settings, client: redis.Redis) -> None:
    """Somebody sent an id of the next century."""
    client.xadd(STREAM, view(), id="4102444800000-0")


def another_server(settings: Settings, client: redis.Redis) -> None:
    """Redis was failed over, and the reader has not looked yet."""
    client.execute_command("DEBUG", "CHANGE-REPL-ID")  # type: ignore[no-untyped-call]


def emptied(settings: Settings, client: redis.Redis) -> None:
    """FLUSHALL, and the reader has not looked yet."""
    client.delete(STREAM)


def another_number_of_shards(settings: Settings, client: redis.Redis) -> None:
    """The web tier still sends to a stream that nobody reads."""
    send(client, NOON, view(), stream="analytics:events:{3}")


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (midnight, rf"unread entries since {DAY} 23:59:59 UTC"),
        (on_its_way, "unread entries since .* 00:04:00 UTC"),
        (from_the_future, "ids from the future"),
        (another_server, "not the stream that was read"),
        (emptied, "not the stream that was read"),
        (another_number_of_shards, r"analytics:events:\{3\} has unread entries .* nobody reads it"),
    ],
)
def test_a_day_that_is_not_read_to_its_end_stays_open(
    settings: Settings,
    connection: Connection,
    client: redis.Redis,
    happens: Callable[[Settings, redis.Redis], None],
    says: str,
) -> None:
    """As long as an entry may be uncounted that had reached Redis by the end of the day, the day is not closed."""
    send(client, NOON, view("boris"))
    drain(settings)
    happens(settings, client)
    result = close_days(settings, NOW)
    assert result["closed"] == 0
    assert re.match(f"{DAY} is not closed: .*{says}", str(result["waits_for"]))
    assert complete_through(connection) is None


@pytest.mark.parametrize("happens", [midnight, on_its_way, another_server, emptied])
def test_it_is_closed_once_the_reader_is_beyond(
    settings: Settings, connection: Connection, client: redis.Redis, happens: Callable[[Settings, redis.Redis], None]
) -> None:
    """What kept a day open is over as soon as the reader has dealt with it, and what waited is counted in that day."""
    send(client, NOON, view("boris"))
    drain(settings)
    happens(settings, client)

    def is_closed() -> bool:
        close_days(settings, NOW)
        return complete_through(connection) == DAY

    assert not is_closed()
    run_shard(settings, 0, is_closed)
    assert differences(connection) == []


def test_a_shard_that_was_never_read(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Each shard must be read, also one that has nothing in it; what comes after the day does not matter."""
    two = settings_with(settings, ANALYTICS_SHARDS="2")
    drain(two, 0)
    assert "analytics:events:{1} was never read" in str(close_days(two, NOW)["waits_for"])
    drain(two, 1)
    add(client, view(), stream="analytics:events:{1}")
    assert close_days(two, NOW)["closed"] == 1


def test_a_halted_shard(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A halted shard keeps the day open and is said to be halted."""
    drain(settings)
    send(client, NOON, {"type": "nonsense"})
    connection.execute("UPDATE analytics.stream_position SET halted_at = now(), halted_because = '9 of 9 are bad'")
    assert "is halted: 9 of 9 are bad" in str(close_days(settings, NOW)["waits_for"])


def test_the_clock_of_redis_decides(settings: Settings, client: redis.Redis) -> None:
    """A day that is not over by the clock that gives entries their ids is not closed, whatever our clock says."""
    drain(settings)
    result = close_days(settings, datetime.now(UTC) + timedelta(days=1))
    assert result["closed"] == 0
    assert "not over yet by the clock of Redis" in str(result["waits_for"])


def test_after_an_outage_of_days(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All days since the last closed one are closed, the oldest first; what takes too long goes on an hour later."""
    counted_day(settings, client)
    close_days(settings, NOW - timedelta(days=3))
    assert complete_through(connection) == DAY - timedelta(days=3)
    monkeypatch.setattr(close, "SLICE_S", 0.0)
    assert "in the next hour" in str(close_days(settings, NOW)["waits_for"])
    assert complete_through(connection) == DAY - timedelta(days=2)
    monkeypatch.setattr(close, "SLICE_S", 60.0)
    assert close_days(settings, NOW)["closed"] == 2
    assert complete_through(connection) == DAY
    assert list(closed(connection)) == [DAY - timedelta(days=ago) for ago in (3, 2, 1, 0)]


def test_the_first_start(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The first close begins with the first day that the ledger has."""
    counted_day(settings, client, NOON - timedelta(days=5))
    assert close_days(settings, NOW)["closed"] == 6
    assert min(closed(connection)) == DAY - timedelta(days=5)


def test_a_gap(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A day whose note somebody deleted is closed anew, and until then all is complete up to the day before only."""
    counted_day(settings, client, NOON - timedelta(days=2))
    close_days(settings, NOW)
    connection.execute("DELETE FROM analytics.closed_day WHERE date = %s", [DAY - timedelta(days=1)])
    assert complete_through(connection) == DAY - timedelta(days=2)
    close_days(settings, NOW)
    assert complete_through(connection) == DAY


def test_events_that_are_gone_block_nothing(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A day whose ledger is gone keeps its rows and is closed without being compared; later days are closed too."""
    counted_day(settings, client, NOON - timedelta(days=1))
    counted_day(settings, client)
    connection.execute(f"DROP TABLE analytics.event_{DAY - timedelta(days=1):%Y%m%d}".encode())
    close_days(settings, NOW - timedelta(days=1))
    close_days(settings, NOW)
    assert complete_through(connection) == DAY
    closing = read_closing(connection)
    gone = f"the events of {DAY - timedelta(days=1)} (UTC) are gone and were not sealed"
    assert closing.not_compared == gone, "and no name of a specialist in what nobody erases"
    assert closing.wrong_rows == 0
    assert closed(connection) == {DAY - timedelta(days=1): (2, 0), DAY: (2, 0)}
    assert compare_closed_days(settings, NOW) == {"days": 1, "differences": 0}


def test_events_that_go_later(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If the ledger of a closed day goes, the next comparison says so after it has compared the other days."""
    counted_day(settings, client, NOON - timedelta(days=1))
    counted_day(settings, client)
    close_days(settings, NOW)
    connection.execute(f"DROP TABLE analytics.event_{DAY - timedelta(days=1):%Y%m%d}".encode())
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    with pytest.raises(
        Stop, match=f"^{DAY - timedelta(days=1)} cannot be compared: the events of [-0-9]+ .UTC. are gone"
    ):
        compare_closed_days(settings, NOW)
    assert {row[0] for row in differences(connection)} == {DAY}


def test_late_events_and_hands(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After the close a late event counts and is right; what a hand changed is found when days are compared again."""
    counted_day(settings, client)
    close_days(settings, NOW)
    counted_day(settings, client)
    assert compare_closed_days(settings, NOW) == {"days": 1, "differences": 0}
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "contactViews" = 7')
    assert compare_closed_days(settings, NOW) == {"days": 1, "differences": 2}
    assert [(row[1], row[4], row[5]) for row in differences(connection)] == [("anna", 7, 2), ("boris", 7, 0)]
    with connect_postgres(settings, "test") as own:
        assert diff_day(own, DAY, "UTC") == []
    assert compare_closed_days(settings, NOW + timedelta(days=30)) == {"days": 0, "differences": 0}


def test_sealing_between(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A day that was sealed after its close is compared once more, and is right."""
    counted_day(settings, client, NOON - timedelta(days=9))
    close_days(settings, NOW - timedelta(days=9))
    assert connection.execute("SELECT analytics.seal_oldest_day(5, 'UTC')").fetchone() == (DAY - timedelta(days=9),)
    assert compare_closed_days(settings, NOW) == {"days": 1, "differences": 0}
    connection.execute("UPDATE analytics.baseline SET profile_views = profile_views + 1")
    assert compare_closed_days(settings, NOW) == {"days": 1, "differences": 2}


def test_killed_between_repair_and_note(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If the job dies after a repair, the day is closed the next time, with the differences that were found then."""
    counted_day(settings, client)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    with connect_postgres(settings, "test") as own:
        put_right(own, DAY, "UTC")
    close_days(settings, NOW)
    assert closed(connection) == {DAY: (2, 2)}


def test_two_at_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Jobs that close the same days at the same time record every difference once."""
    counted_day(settings, client, NOON - timedelta(days=3))
    counted_day(settings, client)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    closers = [Thread(target=close_days, args=(settings, NOW)) for _ in range(4)]
    for each in closers:
        each.start()
    for each in closers:
        each.join()
    assert complete_through(connection) == DAY
    assert len(differences(connection)) == 4
    assert sum(found for _, found in closed(connection).values()) == 4


def test_traffic(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While a day is damaged and put right again and again, late events of that very day are counted exactly."""
    done, sent = Flag(), 1_500
    counting = Thread(target=run_shard, args=(settings, 0, done.is_set))
    sending = Thread(target=lambda: add(client, *(view() for _ in range(sent))))
    counting.start()
    sending.start()

    def read() -> tuple[Any, ...] | None:
        return connection.execute("SELECT sum(entries_read) FROM analytics.stream_position").fetchone()

    times = 0
    try:
        with connect_postgres(settings, "test") as own:
            while sending.is_alive() or read() != (sent,):
                connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = "profileViews" + 1')
                times += put_right(own, DAY, "UTC").rows
    finally:
        sending.join()
        done.set()
        counting.join()
    assert times > 3
    assert connection.execute('SELECT sum("profileViews") FROM "SpecialistAnalyticsDaily"').fetchone() == (sent,)
    assert all(has == should + 1 for _, _, has, should, *_ in differences(connection))


def test_another_zone(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The midnight of the configured zone ends a day."""
    new_york = settings_with(settings, ANALYTICS_TIME_ZONE="America/New_York")
    drain(new_york)
    send(client, datetime(NOW.year, NOW.month, NOW.day, 3, 30, tzinfo=UTC), view())
    noon = datetime(NOW.year, NOW.month, NOW.day, 12, tzinfo=UTC)
    assert f"{DAY} is not closed" in str(close_days(new_york, noon)["waits_for"])
    assert close_days(settings_with(settings, ANALYTICS_TIME_ZONE="Asia/Tokyo"), noon)["closed"] == 1
    drain(new_york)
    add(client, view())
    assert close_days(new_york, noon)["waits_for"] is None
    assert complete_through(connection) == DAY


def test_status_says_how_far(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """`status` says up to which day all is counted, and why the next day is not closed."""
    _, output, _ = run_worker(settings, "status")
    assert "no day is closed yet" in output
    counted_day(settings, client)
    close_days(settings, NOW)
    connection.execute(
        "INSERT INTO analytics.scheduled VALUES ('close', now(), now(), now(), now(), %s, NULL),"
        " ('books', now(), now(), now(), now(), NULL, 'no right')",
        [json.dumps({"closed": 0, "waits_for": "because of this"})],
    )
    code, output, errors = run_worker(settings, "status")
    assert code == 0, errors
    assert f"complete through {DAY}; because of this" in output
    assert "scheduled job failed: books: no right" in output
    document = json.loads(run_worker(settings, "status", "--json")[1])
    assert document["completeThrough"] == str(DAY)
    assert document["closing"]["waits_for"] == "because of this"
    assert document["failed_jobs"] == {"books": "no right"}
