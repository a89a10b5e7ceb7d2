"""What runs when. Any number of schedulers may run: every tick is one job, and one job id, whoever puts it in."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError

from jobs.keeper import RollupKeeper
from jobs.queue import enqueue_tick
from worker.log import get_logger
from worker.relief import Relief
from worker.settings import Settings
from worker.stop import StopSignal, pause
from worker.stream import connect_redis
from worker.watch import start_watch

LOOK_SECONDS = 1.0
AWAY_SECONDS = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Scheduled:
    """A line of the schedule. Ticks are whole multiples of `every` since 1970, so all schedulers mean the same ones."""

    name: str
    every: int  # seconds
    function: str
    purpose: str

    def latest_tick(self, now: datetime) -> datetime:
        """The tick that is due at `now`; those missed before it are not made up for."""
        seconds = int(now.timestamp())
        return datetime.fromtimestamp(seconds - seconds % self.every, UTC)


SCHEDULE = (
    Scheduled("partitions", 3600, "jobs.maintenance.partitions", "make the ledger's partitions of the days to come"),
)


class Scheduler:
    """Keeps a rollup for every shard, and puts in what the clock asks for."""

    def __init__(
        self,
        connection: Redis,
        shards: int,
        schedule: Sequence[Scheduled] = SCHEDULE,
        relief: Relief | None = None,
    ) -> None:
        self._connection = connection
        self._relief = relief
        self._keeper = RollupKeeper(connection, shards)
        self._schedule = schedule
        self._ticked: dict[str, datetime] = {}
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
            tick = line.latest_tick(now)
            if tick == self._ticked.get(line.name):
                continue
            # Twice the period: a scheduler that starts now must still find the id of this tick's job taken.
            if enqueue_tick(self._connection, line.name, line.function, tick, keep=2 * line.every):
                log.debug("tick enqueued", line=line.name, tick=tick.isoformat())
            self._ticked[line.name] = tick


def run_scheduler(settings: Settings) -> int:
    """Schedule until SIGTERM or SIGINT.

    Args:
        settings: where Redis is, and how many shards there are.

    Returns:
        The exit code, 0.
    """
    stop = StopSignal()
    stop.install()
    start_watch(settings)  # a thread, not a line of the schedule: a queue that is stuck must not silence it
    with connect_redis(settings) as connection:
        log.info("scheduler started", shards=settings.shards, lines=[line.name for line in SCHEDULE])
        Scheduler(connection, settings.shards, relief=Relief(connection, settings)).run(stop)
        log.info("scheduler stopped")
    return 0
