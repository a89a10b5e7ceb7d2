"""The scheduler on a real Valkey: ticks, outages, stops."""
# ruff: noqa: F811 - the fixtures are imported

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from redis.exceptions import RedisError

from jobs.queue import OPS, AnalyticsQueue
from tests.rq_fixtures import Lab, lab, redis_alone, wait_for  # noqa: F401
from worker.scheduler import SCHEDULE, Scheduled, Scheduler

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERY_MINUTE = (Scheduled("minute", "* * * * *", "jobs.maintenance.partitions", "for the test"),)


def ticks(lab: Lab) -> list[str]:
    return [job_id.removeprefix("minute-") for job_id in AnalyticsQueue(OPS, lab.redis).job_ids]


def test_a_tick_is_put_in_once(lab: Lab) -> None:
    """However often and by however many schedulers the clock is read, a tick is one job."""
    schedulers = [Scheduler(lab.redis, 1, schedule=EVERY_MINUTE) for _ in range(3)]
    for second in range(0, 180, 10):
        for scheduler in schedulers:
            scheduler.run_once(NOON + timedelta(seconds=second))
    assert ticks(lab) == ["20261122T120000Z", "20261122T120100Z", "20261122T120200Z"]


def test_of_missed_ticks_the_last_is_made_up_for(lab: Lab) -> None:
    """A scheduler that starts late, or slept, puts in the latest tick and none before it."""
    scheduler = Scheduler(lab.redis, 1, schedule=EVERY_MINUTE)
    scheduler.run_once(NOON + timedelta(seconds=59))
    scheduler.run_once(NOON + timedelta(minutes=10, seconds=1))
    assert ticks(lab) == ["20261122T120000Z", "20261122T121000Z"]


@pytest.mark.parametrize("emptied", [False, True])
def test_a_restarted_scheduler_makes_up_once(lab: Lab, emptied: bool) -> None:
    """After hours without a scheduler the latest tick runs once, by however many start; so too if Redis was emptied."""
    nightly = (Scheduled("minute", "10 3 * * *", "jobs.maintenance.partitions", "for the test"),)
    Scheduler(lab.redis, 1, schedule=nightly).run_once(NOON)
    if emptied:
        lab.redis.flushall()
    later = [Scheduler(lab.redis, 1, schedule=nightly) for _ in range(2)]
    for hour in (49, 50, 51):
        for scheduler in later:
            scheduler.run_once(NOON + timedelta(hours=hour))
    assert ticks(lab) == [*["20261122T031000Z"][emptied:], "20261124T031000Z"]


def test_a_tick_is_not_done_again_after_a_restart(lab: Lab) -> None:
    """A scheduler that starts in the same period as another one ended puts nothing in; of an emptied Redis it does."""
    nightly = (Scheduled("minute", "10 3 * * *", "jobs.maintenance.partitions", "for the test"),)
    for hours in (0, 1, 14):
        Scheduler(lab.redis, 1, schedule=nightly).run_once(NOON + timedelta(hours=hours))
    assert ticks(lab) == ["20261122T031000Z"]
    lab.redis.flushall()
    Scheduler(lab.redis, 1, schedule=nightly).run_once(NOON + timedelta(hours=14))
    assert ticks(lab) == ["20261122T031000Z"]


def test_a_zone_of_its_own(lab: Lab) -> None:
    """A nightly tick is at its time in the configured zone, once a night, also after a scheduler was away all day."""
    nightly = (Scheduled("minute", "10 3 * * *", "jobs.maintenance.partitions", "for the test"),)
    scheduler = Scheduler(lab.redis, 1, ZoneInfo("America/New_York"), nightly)
    for hour in (0, 8, 9, 24 + 20):
        scheduler.run_once(NOON.replace(hour=0) + timedelta(hours=hour))
    assert ticks(lab) == ["20261121T081000Z", "20261122T081000Z", "20261123T081000Z"]
    assert 47 * 3600 < lab.redis.ttl("rq:job:minute-20261123T081000Z") <= 48 * 3600


def test_a_tick_missed_in_an_outage_is_made_up_for(lab: Lab) -> None:
    """A tick that could not be put in is put in when Redis is back."""
    scheduler = Scheduler(lab.redis, 1, schedule=EVERY_MINUTE)
    lab.server.kill()
    with pytest.raises(RedisError):
        scheduler.run_once(NOON)
    lab.server.start()
    scheduler.run_once(NOON + timedelta(seconds=30))
    assert ticks(lab) == ["20261122T120000Z"]


def test_there_is_one_rollup_for_every_shard(lab: Lab) -> None:
    """Every shard has its rollup; when there are fewer shards, the others' are taken out."""
    Scheduler(lab.redis, 3, schedule=()).run_once(NOON)
    assert lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0", b"rollup-1", b"rollup-2"]
    Scheduler(lab.redis, 1, schedule=()).run_once(NOON)
    assert lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"]
    assert not lab.redis.exists("rq:job:rollup-1", "rq:job:rollup-2")


def test_schedulers_together_run_a_tick_once(lab: Lab) -> None:
    """Three scheduler processes and a worker: the job of a tick runs once, and there is one rollup."""
    programs = [lab.start("schedule") for _ in range(3)]
    worker = lab.start("work", "ops")
    wait_for(lambda: all(program.said("scheduler started") for program in programs))
    wait_for(lambda: len(worker.said("Job OK")) >= len(SCHEDULE))
    wait_for(lambda: not lab.redis.exists("rq:queue:ops"))
    worker.stop()
    assert len(lab.traces("partitions")) == len(lab.traces("last_days")) == 1
    assert lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"]


def test_a_scheduler_stops_at_once(lab: Lab) -> None:
    """SIGTERM ends a scheduler, with Redis and without."""
    for away in (False, True):
        scheduler = lab.start("schedule")
        if away:
            lab.server.kill()
        wait_for(lambda: scheduler.said("Redis is away" if away else "rollup enqueued"))  # noqa: B023 - waited for here
        seconds = scheduler.stop()
        print(f"scheduler stopped: {seconds:.2f} s")
        assert seconds <= 2
        assert scheduler.process.returncode == 0
        assert scheduler.said("scheduler stopped")
        if not away:
            lab.redis.flushall()
    lab.server.start()


def test_an_outage_is_told_once_and_survived(lab: Lab) -> None:
    """A scheduler without Redis says so once, waits, and when Redis is back, emptied, puts in all that was in it."""
    scheduler = lab.start("schedule")
    wait_for(lambda: lab.redis.llen("rq:queue:ops") >= len(SCHEDULE))
    lab.redis.flushall()
    lab.server.stop()
    wait_for(lambda: scheduler.said("Redis is away"))
    lab.server.start()
    wait_for(lambda: scheduler.said("Redis is back"))
    wait_for(lambda: lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"])
    wait_for(lambda: lab.redis.llen("rq:queue:ops") >= len(SCHEDULE))
    assert len(scheduler.said("Redis is away")) == 1
    assert scheduler.process.poll() is None
