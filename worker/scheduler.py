"""What runs when. Any number of schedulers may run: every tick is one job, and one job id, whoever puts it in."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from croniter import croniter
from redis import Redis
from redis.exceptions import RedisError

from jobs.keeper import RollupKeeper
from jobs.queue import enqueue_tick
from jobs.receiver import start_receiver
from jobs.reviver import start_reviver
from worker.alerting.watch import start_watch
from worker.log import get_logger
from worker.relief import Relief
from worker.settings import Settings
from worker.stop import StopSignal, pause
from worker.stream import connect_redis

LOOK_SECONDS = 1.0
AWAY_SECONDS = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Scheduled:
    """A line of the schedule. Ticks are moments of the clock on the wall, so all schedulers mean the same ones."""

    name: str
    cron: str
    """Minute, hour, day of the month, month, day of the week: in the zone that divides the days."""
    function: str
    purpose: str

    def latest_tick(self, now: datetime, zone: tzinfo) -> datetime:
        """The tick that is due at `now`, in UTC; those missed before it are not made up for."""
        return self._ticks(now, zone).get_prev(datetime).astimezone(UTC)

    def period(self, tick: datetime, zone: tzinfo) -> timedelta:
        """From a tick to the next one."""
        return self._ticks(tick, zone).get_next(datetime).astimezone(UTC) - tick

    def _ticks(self, moment: datetime, zone: tzinfo) -> croniter:
        # A tick at the very moment is one of those before. Sums are made in UTC: Python's ignore that clocks are set.
        after = moment.astimezone(UTC) + timedelta(microseconds=1)
        return croniter(self.cron, after.astimezone(zone))


SCHEDULE = (
    Scheduled(
        "partitions",
        "0 * * * *",
        "jobs.maintenance.partitions",
        "make partitions of the days to come, and seal old ones",
    ),
    Scheduled(
        "outcomes",
        "* * * * *",
        "jobs.outcomes.open_days",
        "count the outcomes and visitors of today and yesterday, and the totals of the profiles",
    ),
    Scheduled(
        "outcomes-nightly",
        "10 3 * * *",
        "jobs.outcomes.last_days",
        "count the outcomes of the last days, and the visitors of all days of the ledger",
    ),
    # Each hour and not once a night: a day that is not read to its end at midnight is then closed an hour later.
    Scheduled("close", "20 * * * *", "jobs.close.days", "close the days that are over: compare them with their events"),
    Scheduled(
        "books",
        "40 3 * * *",
        "jobs.close.books",
        "compare the last closed days with their events once more, and some packed months with their days",
    ),
    Scheduled("pack", "*/5 * * * *", "jobs.maintenance.pack", "pack the days that are over, for quick readings"),
    Scheduled("trim", "50 3 * * *", "jobs.maintenance.trim", "trim the streams of another number of shards"),
)


class Scheduler:
    """Keeps a rollup for every shard, and puts in what the clock asks for."""

    def __init__(
        self,
        connection: Redis,
        shards: int,
        zone: tzinfo = UTC,
        schedule: Sequence[Scheduled] = SCHEDULE,
        relief: Relief | None = None,
    ) -> None:
        self._connection = connection
        self._zone = zone
        self._relief = relief
        self._keeper = RollupKeeper(connection, shards)
        self._schedule = schedule
        self._ticked: dict[str, tuple[datetime, datetime]] = {}  # the tick that was put in, and the next one
        self._redis_away = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Repeat until `should_stop`, through any outage of Redis."""
        while not should_stop():
            began = time.monotonic()
            period = LOOK_SECONDS
            try:
                if self._relief:  # first, for what is done after it may need memory
                    self._relief.look(should_stop)
                self.run_once(datetime.now(UTC))
            except RedisError as error:
                period = AWAY_SECONDS
                self._ticked.clear()  # what was put in may be gone; ids tell what was done
                if not self._redis_away:
                    log.warning("Redis is away", error=str(error))
                self._redis_away = True
            else:
                if self._redis_away:
                    log.info("Redis is back")
                self._redis_away = False
            pause(began + period - time.monotonic(), should_stop)

    def run_once(self, now: datetime) -> None:
        """Look after the rollups, and put in the ticks that are due and that this scheduler has not seen done.

        Raises:
            RedisError: Redis is away; the next time catches up.
        """
        self._keeper.look()
        for line in self._schedule:
            if line.name in self._ticked:
                last, due = self._ticked[line.name]
                if last <= now < due:
                    continue
            tick = line.latest_tick(now, self._zone)
            period = line.period(tick, self._zone)
            # Twice the period: a scheduler that starts now must still find the id of this tick's job taken.
            keep = round(2 * period.total_seconds())
            if enqueue_tick(self._connection, line.name, line.function, tick, keep=keep):
                log.debug("tick enqueued", line=line.name, tick=tick.isoformat())
            self._ticked[line.name] = tick, tick + period


def run_scheduler(settings: Settings) -> int:
    """Schedule until SIGTERM or SIGINT.

    Args:
        settings: where Redis is, how many shards there are, and in which zone the clock hangs.

    Returns:
        The exit code, 0.
    """
    stop = StopSignal()
    stop.install()
    start_watch(settings)  # a thread, not a line of the schedule: a queue that is stuck must not silence it
    start_reviver(settings)
    start_receiver(settings)
    with connect_redis(settings) as connection:
        log.info("scheduler started", shards=settings.shards, lines=[line.name for line in SCHEDULE])
        zone = ZoneInfo(settings.time_zone)
        Scheduler(connection, settings.shards, zone, relief=Relief(connection, settings)).run(stop)
        log.info("scheduler stopped")
    return 0
