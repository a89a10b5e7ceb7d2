"""Being told to stop: a flag that a signal sets, and waiting that hears it."""

import signal
import time
from collections.abc import Callable
from types import FrameType

HEARING_SECONDS = 0.1


class StopSignal:
    """True once SIGTERM or SIGINT has come.

    A plain flag, not a `threading.Event`: setting that takes a lock which the interrupted main thread may be holding.
    """

    def __init__(self) -> None:
        self._came = False

    def install(self) -> None:
        """Listen from now on; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def __call__(self) -> bool:
        """Whether it has come."""
        return self._came

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self._came = True


def pause(seconds: float, should_stop: Callable[[], bool]) -> None:
    """Wait, but not much longer than `HEARING_SECONDS` after `should_stop` has become true."""
    end = time.monotonic() + seconds
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, HEARING_SECONDS))
