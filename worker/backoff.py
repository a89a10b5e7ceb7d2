"""Waiting longer after each failure in a row."""

from collections.abc import Callable

from worker.stop import pause

FIRST_S, LONGEST_S = 0.1, 1.0


class Backoff:
    """Seconds to wait: none after the first failure, then 0.1, 0.2, 0.4 … up to 1. Success begins anew."""

    def __init__(self) -> None:
        self.next_s = 0.0

    def reset(self) -> None:
        """Something worked."""
        self.next_s = 0.0

    def wait(self, should_stop: Callable[[], bool]) -> None:
        """Wait after a failure, or until asked to stop."""
        seconds, self.next_s = self.next_s, min(max(FIRST_S, 2 * self.next_s), LONGEST_S)
        pause(seconds, should_stop)
