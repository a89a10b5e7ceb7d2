"""Being told to end (Ctrl-C, SIGTERM, a closed terminal) is a KeyboardInterrupt, once, and at a moment that suits."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupt:
    """Whether one came, and whether it has to wait."""

    came = False
    held = False


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """In this block the first of the signals raises KeyboardInterrupt, so that everything is put away."""
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """An interrupt waits until the end of this block: in which a process is started, say, and its end is arranged."""
    _Interrupt.held = True
    try:
        yield
    finally:
        _Interrupt.held = False
        if _Interrupt.came:
            raise KeyboardInterrupt


def hear_no_more() -> None:
    """Putting everything away takes a second or two, in which another Ctrl-C would only leave something behind."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    hear_no_more()
    _Interrupt.came = True
    if not _Interrupt.held:
        raise KeyboardInterrupt
