"""The clocks of Redis, of PostgreSQL and of this machine, which together decide the day of an event."""

import time
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import redis

from worker.doctor.check import Check, ok, warning
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, postgres_errors
from worker.stream import redis_errors

SKEW_S = 2.0
"""The contract takes events that are up to 5 minutes ahead; a clock that is set by NTP is off by milliseconds."""
TRIES = 3


class Offset(NamedTuple):
    """How far a clock is ahead of this machine's, in seconds: somewhere between the two.

    The answer was made at some moment of the round trip, so a slow link widens the bounds and is not taken for skew.
    """

    least: float
    most: float

    def ahead_of(self, other: "Offset") -> float:
        """Seconds by which this clock is ahead of the other for certain; negative: behind it; 0: perhaps the same."""
        least, most = self.least - other.most, self.most - other.least
        return max(least, 0.0) + min(most, 0.0)


HERE = Offset(0.0, 0.0)


def clocks(redis_clock: Offset | None, postgres_clock: Offset | None) -> Check:
    """Whether the clocks agree, as far as the servers answer (None: it does not)."""
    known = {"this machine": HERE, "Redis": redis_clock, "PostgreSQL": postgres_clock}
    present = [(name, offset) for name, offset in known.items() if offset is not None]
    skews = [(later.ahead_of(first), name, other) for (other, first), (name, later) in combinations(present, 2)]
    skew, name, other = max(skews, key=lambda found: abs(found[0]), default=(0.0, "", ""))
    if abs(skew) > SKEW_S:
        found = f"{name} is {abs(skew):,.1f} s {'ahead of' if skew > 0 else 'behind'} {other}"
        return warning("clocks", found, "set them by NTP: events count on a wrong day, or are refused as in_the_future")
    return ok(
        "clocks", f"{' and '.join(name for name, _ in present)} agree" if skews else "only this machine's is known"
    )


def read_redis_clock(settings: Settings, client: redis.Redis) -> Offset:
    """How far the clock of Redis is ahead."""

    def now() -> float:
        seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6)

    with redis_errors(settings):
        return _narrowest(now)


def read_postgres_clock(connection: Connection) -> Offset:
    """How far the clock of PostgreSQL is ahead."""

    def now() -> float:
        return float(connection.execute(query("read_clock")).fetchall()[0][0])

    with postgres_errors():
        return _narrowest(now)


def _narrowest(now: Callable[[], float]) -> Offset:
    offsets = []
    for _ in range(TRIES):
        asked = time.time()
        answer = now()
        offsets.append(Offset(answer - time.time(), answer - asked))
    return min(offsets, key=lambda offset: offset.most - offset.least)
