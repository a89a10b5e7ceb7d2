"""Doorway: one slice of a shard's work. RQ repeats it for ever, so between slices other shards get their turn."""

import time

from redis import Redis
from redis.exceptions import RedisError

from jobs.queue import others_wait
from jobs.work import stop_requested
from worker.errors import Stop
from worker.log import get_logger
from worker.pipeline import run_shard
from worker.settings import load_settings
from worker.stop import pause
from worker.stream import connect_redis

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 1.0
STUCK_SECONDS = 5.0  # until a person has put right what is wrong, one line so often is enough

log = get_logger(__name__)


def rollup(shard: int) -> dict[str, int]:
    """Drain one shard for up to a minute, less when the worker is to stop or another shard waits for one.

    Args:
        shard: its number, from 0.

    Returns:
        What was done, counted.

    Raises:
        Exception: whatever the pipeline raises; RQ logs it and runs the job again.
    """
    until = Slice()
    try:
        settings = load_settings()
        with connect_redis(settings) as connection:
            until.connection = connection
            return run_shard(settings, shard, until, must_stop=stop_requested)
    except Stop as error:
        log.error("rollup cannot go on", shard=shard, why=str(error), seconds=STUCK_SECONDS)
        pause(STUCK_SECONDS, stop_requested)
        return {}
    finally:
        # RQ repeats at once what ended well and retries at once what failed: a lasting error would spin.
        pause(until.began + SHORTEST_SECONDS - time.monotonic(), stop_requested)


class Slice:
    """Called, it says whether a slice is over. Cheap: it asks Redis no more than once a second."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.connection: Redis | None = None
        self._look_at = self.began + SHORTEST_SECONDS
        self._over = False

    def __call__(self) -> bool:
        """Whether the slice is over; once it is, it stays so."""
        if not self._over:
            now = time.monotonic()
            self._over = stop_requested() or now >= self.began + LONGEST_SECONDS or self._others_wait(now)
        return self._over

    def _others_wait(self, now: float) -> bool:
        if self.connection is None or now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        try:
            return others_wait(self.connection)
        except RedisError:
            return False  # the pipeline reads from the same server and knows what to do about it
