"""What the scheduler, the keeper and the supervisor decide, without any server or process."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from redis import Redis

from jobs.keeper import Pulse
from jobs.queue import FUNCTIONS, OPS, AnalyticsQueue
from worker.scheduler import SCHEDULE, Scheduled
from worker.supervisor import RestartDelay

ALIVE = {"rollup-0:a": 100.0}


BERLIN = ZoneInfo("Europe/Berlin")


def line(cron: str) -> Scheduled:
    return Scheduled("line", cron, "jobs.maintenance.partitions", "for the test")


def test_the_latest_tick_is_not_after_the_moment() -> None:
    """Every moment of a period has the same latest tick, which is the moment itself at its beginning."""
    for minute, second, microsecond in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (59, 59, 999_999)):
        now = datetime(2026, 11, 22, 12, minute, second, microsecond, UTC)
        assert line("0 * * * *").latest_tick(now, BERLIN) == datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_clocks_are_set(day: datetime) -> None:
    """In the nights in which clocks are set there is a tick every minute, and a nightly one once."""
    nightly = set()
    for minute in range(6 * 60):
        now = day + timedelta(minutes=minute)
        assert line("* * * * *").latest_tick(now, BERLIN) == now
        assert line("* * * * *").period(now, BERLIN) == timedelta(minutes=1)
        nightly.add(line("10 3 * * *").latest_tick(now, BERLIN))
    assert [tick.astimezone(BERLIN).strftime("%H:%M") for tick in sorted(nightly)] == ["03:10", "03:10"]


def test_what_is_scheduled_may_run() -> None:
    """Every scheduled function is on the list of what may run, and every name can be part of a job id."""
    assert {each.function for each in SCHEDULE} <= FUNCTIONS
    assert all(each.name.replace("-", "").isalnum() and each.name.isascii() for each in SCHEDULE)
    assert len({each.name for each in SCHEDULE}) == len(SCHEDULE)


def test_what_may_run_exists() -> None:
    """Every function on the list can be called."""
    queue = AnalyticsQueue(OPS, Redis())
    assert all(callable(queue.create_job(function).func) for function in FUNCTIONS)


def test_a_queued_rollup_is_not_missed() -> None:
    """A rollup in the queue is all right, whatever its heartbeats say."""
    assert Pulse(ALIVE, missed=2).next(1, ALIVE).missed == 0


def test_a_heartbeat_that_moves_is_alive_on_any_clock() -> None:
    """A heartbeat is held against the one before, not against our clock; standing still is being missed."""
    pulse = Pulse().next(0, ALIVE)
    assert pulse.moved
    assert pulse.missed == 0
    assert not pulse.next(0, ALIVE).moved
    assert pulse.next(0, ALIVE).next(0, ALIVE).missed == 2
    assert pulse.next(0, {"rollup-0:a": 101.0}).missed == 0
    assert pulse.next(0, {"rollup-0:b": 7.0}).missed == 0
    assert pulse.next(0, {}).missed == 1


def test_waits_double_up_to_a_limit_until_a_part_has_settled() -> None:
    """A part that dies young is waited for longer each time; one that had lived starts anew at once."""
    backoff = RestartDelay(first=0.1, most=0.5, settled=10)
    waited = 0.0
    waits = [waited := backoff.after(1, waited) for _ in range(5)]
    assert waits == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert backoff.after(10, 0.5) == 0.1
