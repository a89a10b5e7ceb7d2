"""`python -m worker send`: push the events of a file, as the web tier would."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from worker.errors import AnalyticsError, Retry, Stop
from worker.event_file import EventFile, Shift
from worker.producer import Fields, Pusher
from worker.settings import Settings
from worker.stream import connect_redis, redis_errors

INTERRUPTED = 130


def send_file(settings: Settings, file: Path, *, rate: float | None, shift_to_today: bool) -> int:
    """Push every event of the file into the stream.

    Args:
        settings: where Redis is, and the names of the streams.
        file: NDJSON; `-` is standard input.
        rate: events a second; None is as fast as Redis takes them.
        shift_to_today: move all times by whole days, so that the newest UTC day is today's.

    Returns:
        The exit code: 0, or 130 after Ctrl-C.

    Raises:
        Stop: the file cannot be read, or a line is no JSON object; everything before that line has been sent.
        Retry: Redis is away.
    """
    if rate is not None and rate <= 0:
        raise Stop("--rate must be more than 0 events a second")
    source = EventFile(file)
    code = 0
    with connect_redis(settings) as client:
        pusher = Pusher(client, settings.stream_keys)
        try:
            events = _moved_to_today(source) if shift_to_today else source
            with redis_errors(settings), _progress(source, pusher) as progress:
                for _ in pusher.push(events, rate):
                    progress.advance()
        except AnalyticsError as error:
            at_least = "at least " if isinstance(error, Retry) else ""
            raise type(error)(f"{error}; {at_least}{pusher.sent} events had been sent") from None
        except KeyboardInterrupt:
            code = INTERRUPTED
    print(f"sent {pusher.sent} events to {_names(settings)}")
    return code


def _moved_to_today(source: EventFile) -> Iterable[Fields]:
    # A pipe can be read only once, and its newest day must be known first.
    events = list(source) if source.size is None else source
    shift = Shift.to_today(events, datetime.now(UTC))
    if shift.ahead:
        note = f"note: {shift.ahead} events are of later today: today they become dead letters (in_the_future)"
        print(note, file=sys.stderr)
    return shift.of(events)


def _names(settings: Settings) -> str:
    first, *others = settings.stream_keys
    return f"{first} … {others[-1]}" if others else first


class _Bar:
    """A bar that follows the bytes read: to count the lines first would be to read the file twice."""

    def __init__(self, progress: Progress, source: EventFile, pusher: Pusher) -> None:
        self._progress, self._source, self._pusher = progress, source, pusher
        self._task = progress.add_task("", total=source.size, sent=0, rate=0.0)

    def advance(self) -> None:
        task = self._progress.tasks[self._task]
        rate = self._pusher.sent / (task.elapsed or 1.0)
        self._progress.update(self._task, completed=self._source.bytes_read, sent=self._pusher.sent, rate=rate)


@contextmanager
def _progress(source: EventFile, pusher: Pusher) -> Iterator[_Bar]:
    columns = (
        TextColumn("sent {task.fields[sent]:,}"),
        BarColumn(),
        TextColumn("{task.fields[rate]:,.0f} events/s"),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, source, pusher)
