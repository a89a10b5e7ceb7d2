"""What a measured process notes about itself: when how many entries were done, and whether that is all."""

import time
from collections.abc import Callable
from typing import Any

from worker.continuity import EntryId


class Tally:
    """The clock runs from the moment that it is made: connecting to the servers is measured, loading Python is not."""

    def __init__(self, entries: int, stop: Callable[[], bool]) -> None:
        self._wanted = entries
        self._stop = stop
        self._began = time.time()
        self._entries = 0
        self._answers: list[tuple[float, EntryId, int]] = []

    def answered(self, last_id: EntryId, entries: int) -> None:
        """So many entries, up to this one, are done."""
        self._answers.append((time.time(), last_id, entries))
        self._entries += entries

    def is_over(self) -> bool:
        """Whether all are done, or a signal said to stop."""
        return self._stop() or 0 < self._wanted <= self._entries

    def result(self) -> dict[str, Any]:
        """As JSON takes it; the clock stopped at the last answer."""
        ended = self._answers[-1][0] if self._answers else self._began
        return {"entries": self._entries, "seconds": ended - self._began, "answers": self._answers}
