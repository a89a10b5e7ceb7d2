"""Waiting longer after each failure in a row."""

import time
from collections.abc import Callable

FIRST_S, LONGEST_S, STEP_S = 0.1, 2.0, 0.05


class Backoff:
    """Seconds to wait: none after the first failure, then 0.1, 0.2, 0.4 … up to 2. Success begins anew."""

    def __init__(self) -> None:
        """Begin without a failure."""
        self.next_s = 0.0

    def reset(self) -> None:
        """Something worked."""
        self.next_s = 0.0

    def wait(self, should_stop: Callable[[], bool]) -> None:
        """Wait after a failure, or until asked to stop."""
        until = time.monotonic() + self.next_s
        self.next_s = min(max(FIRST_S, 2 * self.next_s), LONGEST_S)
        while time.monotonic() < until and not should_stop():
            time.sleep(STEP_S)
