"""What a rollup says about its work: every batch at DEBUG, a sum every few seconds at INFO."""

import time

from worker.log import get_logger
from worker.store import Committed

REPORT_EVERY_S = 10.0

log = get_logger("worker.pipeline")


class Report:
    """Adds up batches. A line a batch would be hundreds a second: more than a log service takes, or a person reads."""

    def __init__(self, shard: int) -> None:
        """Begin with nothing."""
        self.shard = shard
        self.total = Committed(0, 0, 0, 0)
        self._position = ""
        self._begin()

    def _begin(self) -> None:
        self._sum = Committed(0, 0, 0, 0)
        self._batches = 0
        self._read_s = self._commit_s = 0.0
        self._since = time.monotonic()

    def read(self, seconds: float) -> None:
        """Reading and parsing a batch took so long."""
        self._read_s += seconds

    def committed(self, batch: Committed, position: str, seconds: float) -> None:
        """A batch was committed, `seconds` after it was sent."""
        self.total = _sum(self.total, batch)
        self._sum = _sum(self._sum, batch)
        self._batches += 1
        self._commit_s += seconds
        self._position = position
        log.debug("batch", shard=self.shard, position=position, **batch._asdict(), commit_ms=round(seconds * 1000, 1))
        if time.monotonic() - self._since >= REPORT_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the line about what happened since the last one, if anything did."""
        if self._batches:
            log.info(
                "rolled up",
                shard=self.shard,
                position=self._position,
                batches=self._batches,
                entries=sum(self._sum),
                **self._sum._asdict(),
                read_ms=round(self._read_s * 1000, 1),
                commit_ms=round(self._commit_s * 1000, 1),
            )
        self._begin()


def _sum(a: Committed, b: Committed) -> Committed:
    return Committed(*(x + y for x, y in zip(a, b, strict=True)))
