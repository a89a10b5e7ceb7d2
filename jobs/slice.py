"""A turn of a long job: it ends early when another job of its queue waits for a worker."""

import time

from redis import Redis
from redis.exceptions import RedisError

from jobs.queue import others_wait
from jobs.work import stop_requested

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 1.0


class Slice:
    """Called, it says whether a slice is over. Cheap: it asks Redis no more than once a second."""

    def __init__(self, queue: str) -> None:
        self.began = time.monotonic()
        self.connection: Redis | None = None
        self._queue = queue
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
            return others_wait(self.connection, self._queue)
        except RedisError:
            return False  # who works on a slice meets the same server, or can do without it
