"""When Redis is full it refuses RQ's own writes, so no job can run to make room. Then this counts without one."""

import time
from collections.abc import Callable

from redis import Redis

from worker.errors import AnalyticsError
from worker.log import get_logger
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.stream import short_of_memory

PATIENCE_LOOKS = 2  # a rollup that runs trims by itself
AGAIN_LOOKS = 10  # if it is other keys that fill Redis, no counting helps
LONGEST_SECONDS = 5.0

log = get_logger(__name__)


class Relief:
    """Looks whether Redis stays short of memory; then it counts every shard by itself, and trims what is committed.

    That a rollup may do the same at this moment is harmless: the position lets one of the two through.
    """

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._looks = 0

    def look(self, should_stop: Callable[[], bool]) -> None:
        """Look once; the caller does so about once a second.

        Raises:
            RedisError: Redis is away.
        """
        if not short_of_memory(self._connection):
            self._looks = 0
            return
        self._looks += 1
        if self._looks % AGAIN_LOOKS != PATIENCE_LOOKS:
            return
        log.warning("Redis stays short of memory: counting without jobs, to trim what is committed")
        for shard in range(self._settings.shards):
            until = time.monotonic() + LONGEST_SECONDS

            def enough(until: float = until) -> bool:
                return should_stop() or time.monotonic() >= until or not short_of_memory(self._connection)

            try:
                run_shard(self._settings, shard, enough, must_stop=should_stop)
            except AnalyticsError as error:
                log.error("cannot count without jobs", shard=shard, why=str(error))
