"""What the scheduler, the keeper and the supervisor decide, without any server or process."""

from datetime import UTC, datetime

from redis import Redis

from jobs.keeper import Pulse
from jobs.queue import FUNCTIONS, OPS, AnalyticsQueue
from worker.scheduler import SCHEDULE, Scheduled
from worker.supervisor import RestartDelay

ALIVE = {"rollup-0:a": 100.0}


def test_ticks_are_whole_multiples_of_their_period() -> None:
    """Every moment of a period has the same latest tick, and it is not after the moment."""
    hourly = Scheduled("hourly", 3600, "jobs.maintenance.partitions", "for the test")
    for minute, second in ((0, 0), (0, 1), (59, 59)):
        now = datetime(2026, 11, 22, 12, minute, second, 999_999, UTC)
        assert hourly.latest_tick(now) == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_what_is_scheduled_may_run() -> None:
    """Every scheduled function is on the list of what may run, and every name can be part of a job id."""
    assert {line.function for line in SCHEDULE} <= FUNCTIONS
    assert all(line.name.replace("-", "").isalnum() and line.name.isascii() for line in SCHEDULE)
    assert len({line.name for line in SCHEDULE}) == len(SCHEDULE)


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
