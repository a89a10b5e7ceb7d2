"""What is an alert, what is none yet, and what people read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import settings_for
from worker.alerting.alerts import (
    ALERTS,
    AT_ONCE,
    SHARE_WINDOW_S,
    Message,
    Patience,
    Readings,
    Tally,
    judge,
    payload,
)
from worker.errors import Retry
from worker.inspection.observe import Finding, Observation, Records
from worker.inspection.status import Books, Closing, Outcomes, ShardStatus
from worker.settings import Settings
from worker.upkeep.scheduled import Ran

NOTHING_READ = Tally(0, 0)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOTHING_CLOSED = Closing(None, None, 0, [], 0, 0, None)
RECORDS = Records({}, [], [], Outcomes(NOON, 0.0, []), NOTHING_CLOSED, [])


def settings(**variables: str) -> Settings:
    return settings_for("postgresql://h/d", "redis://h", **variables)


def shard(stream: str = "s", lag_s: float = 0.0, newest_s: float | None = 0.0) -> ShardStatus:
    return ShardStatus(stream, "1-0", 7, lag_s, lag_s, newest_s, 0.0, None)


def seen(*shards: ShardStatus, findings: tuple[Finding, ...] = ()) -> Observation:
    return Observation(replace(RECORDS, findings=findings), shards, {})


def books(read: int, dead: int, stream: str = "s") -> dict[str, Books]:
    return {stream: Books(stream, "e", "1-0", 1, read, read - dead, 0, 0, dead, 0, None, None, 0.0)}


def text(observation: Observation, name: str, last_hour: Tally = NOTHING_READ, **variables: str) -> str | None:
    alert = judge(observation, last_hour, settings(**variables))[name]
    return alert.text if alert else None


def test_all_is_well() -> None:
    """With both servers there and nothing unread every alert is known not to hold."""
    assert judge(seen(shard()), NOTHING_READ, settings()) == dict.fromkeys(ALERTS)


def test_what_cannot_be_known_is_not_judged() -> None:
    """With a server away only what the other one knows is judged: an alert neither begins nor ends by guessing."""
    why = Retry("away")
    without_redis = judge(Observation(RECORDS, None, {"redis": why}), NOTHING_READ, settings())
    assert without_redis.keys() == ALERTS.keys() - {"lag", "silence"}
    without_postgresql = judge(Observation(None, None, {"postgresql": why}), NOTHING_READ, settings())
    assert without_postgresql.keys() == {"postgresql_away", "redis_away"}
    assert without_postgresql["postgresql_away"] is not None
    assert without_postgresql["redis_away"] is None


def test_lag() -> None:
    """Lag is one alert for all streams, and names the worst of them."""
    assert text(seen(shard(lag_s=60.0)), "lag") is None
    words = text(seen(shard("a", 61), shard("b", 300), shard("c")), "lag")
    assert words is not None and "5 min old" in words and "stream b" in words and "2 of 3 streams" in words
    assert text(seen(shard(lag_s=61)), "lag", ANALYTICS_ALERT_LAG_SECONDS="90") is None
    ahead = replace(shard(lag_s=-3600), books=books(1, 0)["s"]._replace(committed_s_ago=61.0))
    assert text(seen(ahead), "lag") is not None, "an entry from the future hides that nobody reads"


def test_silence() -> None:
    """Silence is off unless asked for, is broken by an event in any stream, and holds when none ever came."""
    assert text(seen(shard(newest_s=1e6)), "silence") is None

    def words(*shards: ShardStatus) -> str | None:
        return text(seen(*shards), "silence", ANALYTICS_ALERT_SILENCE_MINUTES="10")

    assert words(shard(newest_s=601)) == "the last event came 10 min ago"
    assert words(shard(newest_s=601), shard("b", newest_s=3)) is None
    assert "ever come" in str(words(shard(newest_s=None)))


def test_stale_outcomes() -> None:
    """Outcomes that were not counted for too long are an alert, unless nobody wants it."""

    def stale(minutes: float) -> Observation:
        return Observation(replace(RECORDS, outcomes=Outcomes(NOON, 60 * minutes, [])), [], {})

    assert text(stale(15), "stale_outcomes") is None
    assert "last counted 16 min ago" in str(text(stale(16), "stale_outcomes"))
    assert text(stale(16), "stale_outcomes", ANALYTICS_ALERT_OUTCOMES_MINUTES="20") is None
    assert text(stale(1e6), "stale_outcomes", ANALYTICS_ALERT_OUTCOMES_MINUTES="0") is None


@pytest.mark.parametrize(
    ("dead", "entries", "holds"), [(5, 100, False), (6, 100, True), (49, 49, False), (0, 0, False)]
)
def test_share_of_dead_letters(dead: int, entries: int, holds: bool) -> None:
    """More than the share is an alert; of a few entries it says nothing."""
    assert bool(text(seen(), "dead_letters", Tally(entries, dead))) is holds


def test_share_can_be_off() -> None:
    """A share of 1 is never exceeded."""
    assert text(seen(), "dead_letters", Tally(100, 100), ANALYTICS_ALERT_DEAD_SHARE="1") is None


def test_lost_entries() -> None:
    """Recent findings are an alert with the number lost; old ones are none."""
    assert text(seen(findings=(Finding("trimmed_unread", 3, 0, 0),)), "lost_entries") is None
    words = text(seen(findings=(Finding("trimmed_unread", 3, 2, 12),)), "lost_entries")
    assert words == "12 entries were lost before they were read (2 × trimmed_unread)"
    words = text(seen(findings=(Finding("restarted", 1, 1, 0),)), "lost_entries")
    assert words is not None and "cannot be known" in words


def test_wrong_rows() -> None:
    """Rows of closed days that were put right are an alert with their sums, and so is a day that nobody can compare."""
    days = [NOON.date(), NOON.date() + timedelta(days=1)]
    closing = NOTHING_CLOSED._replace(wrong_rows=3, wrong_days=days, profile_views=1_200, contact_views=-1)
    words = text(Observation(replace(RECORDS, closing=closing), [], {}), "wrong_rows")
    assert (
        words is not None and "3 daily rows of 2026-11-22, 2026-11-23" in words and "+1,200" in words and "-1;" in words
    )
    closing = NOTHING_CLOSED._replace(not_compared="the events of 2026-11-22 are gone")
    words = text(Observation(replace(RECORDS, closing=closing), [], {}), "wrong_rows")
    assert words == "a day was closed without being compared: the events of 2026-11-22 are gone"


def test_failed_jobs() -> None:
    """A line whose last run failed or never ended is an alert, until it ends well or is no longer tried at all."""

    def words(**changes: Any) -> str | None:
        ran = Ran("close", NOON, NOON, NOON, {}, None, NOON, 5.0)._replace(**changes)
        return text(Observation(replace(RECORDS, scheduled=[ran]), [], {}), "failed_job")

    later = NOON + timedelta(minutes=1)
    assert words() is None
    assert words(error="no right") == "close: no right"
    assert words(error="no right", begun_at=later, begun_s_ago=30.0) == "close: no right", "while it is tried again"
    assert words(begun_at=later, begun_s_ago=30.0) is None
    assert "2026-11-22 12:01:00 UTC and never ended" in str(words(begun_at=later, begun_s_ago=601.0))
    assert "never ended" in str(words(tick=None, started_at=None, ended_at=None, begun_s_ago=601.0))
    assert words(error="no right", begun_s_ago=3 * 86_400.0) is None


def test_halted_shards() -> None:
    """A halted shard is an alert at once, with its reason."""
    halted = {"s": books(10, 0)["s"]._replace(halted_at=NOON, halted_because="9 of 9 are bad")}
    judged = judge(Observation(replace(RECORDS, books=halted), [], {}), NOTHING_READ, settings())
    alert = judged["halted"]
    assert alert is not None and alert.text == "1 of 1 shards have halted: 9 of 9 are bad"
    assert Patience(15.0).ripe(judged, 0) == {"halted": 0}


def test_the_last_hour() -> None:
    """The share is of the entries read within the last hour, and not of what was read before this process began."""
    readings = Readings()
    assert readings.add(0.0, books(1000, 1000)) == Tally(0, 0)
    assert readings.add(10.0, books(1060, 1006)) == Tally(60, 6)
    assert readings.add(SHARE_WINDOW_S, books(1100, 1006)) == Tally(100, 6)
    assert readings.add(SHARE_WINDOW_S + 1, books(1100, 1006)) == Tally(40, 0)


def test_books_that_went_back() -> None:
    """After the database was restored to an earlier moment the hour begins anew."""
    readings = Readings()
    readings.add(0.0, books(1000, 10))
    assert readings.add(10.0, books(900, 10)) == Tally(0, 0)
    assert readings.add(20.0, books(950, 20)) == Tally(50, 10)


def test_what_passes_is_no_alert() -> None:
    """Something must hold without interruption; what is not known interrupts nothing."""
    lagging = judge(seen(shard(lag_s=99)), NOTHING_READ, settings())
    well = judge(seen(shard()), NOTHING_READ, settings())
    unknown = judge(Observation(None, None, {"redis": Retry("away")}), NOTHING_READ, settings())
    patience = Patience(15.0)
    assert patience.ripe(lagging, 0) == {}
    assert patience.ripe(well, 10) == {}
    assert patience.ripe(lagging, 20) == {}
    assert patience.ripe(unknown, 30) == {}
    assert patience.ripe(lagging, 35) == {"lag": 20}


def test_losses_do_not_wait() -> None:
    """What has happened is an alert at once."""
    assert "lost_entries" in AT_ONCE
    judged = judge(seen(findings=(Finding("trimmed_unread", 1, 1, 5),)), NOTHING_READ, settings())
    assert Patience(15.0).ripe(judged, 0) == {"lost_entries": 0}


def test_messages() -> None:
    """A message says what it is about in words, for chats, and in fields, for programs."""
    start = Message(7, "lag", True, NOON, None, "it is late", 99.0, 60.0)
    assert payload(start) == {
        "text": "ALERT lag: it is late",
        "content": "ALERT lag: it is late",
        "event": "start",
        "alert": "lag",
        "detail": "it is late",
        "value": 99.0,
        "threshold": 60.0,
        "started_at": "2026-11-22T12:00:00+00:00",
        "ended_at": None,
        "id": 7,
    }
    end = payload(start._replace(is_start=False, ended_at=NOON + timedelta(minutes=5)))
    assert end["text"] == "OVER lag, after 5 min. At its worst: it is late"
    assert (end["event"], end["ended_at"]) == ("end", "2026-11-22T12:05:00+00:00")


def test_a_start_told_late_is_still_a_start() -> None:
    """If the alert is over before its start could be told, the first message is about the start."""
    message = payload(Message(7, "lag", True, NOON, NOON + timedelta(minutes=1), "it is late", 99.0, 60.0))
    assert (message["event"], message["ended_at"]) == ("start", None)
