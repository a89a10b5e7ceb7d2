"""Around every job of the schedule: a short outage is waited for, and how it ended is written down."""

import functools
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from rq import get_current_job

from jobs.queue import tick_of
from jobs.work import stop_requested
from worker.backoff import Backoff
from worker.errors import AnalyticsError, Conflict, Retry
from worker.log import get_logger
from worker.settings import Settings, load_settings
from worker.store import Connection, connect_postgres
from worker.upkeep.scheduled import note_begin, note_end

PATIENCE_S = 60.0
"""Seconds that a job of the schedule is tried again for: a server that is restarted is back by then."""
ERROR_CHARACTERS = 500

Result = TypeVar("Result", bound=Mapping[str, Any])

log = get_logger(__name__)


def scheduled(job: Callable[[], Result]) -> Callable[[], Result]:
    """Let a doorway write down each of its runs; it must be one that may be done twice.

    While PostgreSQL is away nothing can be written down, and the job fares as it would have without.
    """

    @functools.wraps(job)
    def run() -> Result:
        me, settings, started_at = get_current_job(), load_settings(), datetime.now(UTC)
        tick = tick_of(me.id) if me else None
        if me is None or tick is None:  # not of the clock: a person or a test called it
            return job()
        _note(settings, lambda connection: note_begin(connection, tick.name, started_at))
        try:
            result = _patiently(job)
        except Exception as error:
            why = _in_one_line(error)
            me.retries_left = None  # that is for a process that died: this was tried for long enough
            _note(settings, lambda connection: note_end(connection, tick, started_at, None, why))
            raise
        _note(settings, lambda connection: note_end(connection, tick, started_at, result, None))
        return result

    return run


def _patiently(job: Callable[[], Result]) -> Result:
    until, backoff = time.monotonic() + PATIENCE_S, Backoff()
    while True:
        try:
            return job()
        except (Retry, Conflict) as error:
            if stop_requested() or time.monotonic() + backoff.next_s > until:
                raise
            log.warning("a scheduled job is tried again", why=str(error), seconds=backoff.next_s)
            backoff.wait(stop_requested)


def _note(settings: Settings, write: Callable[[Connection], None]) -> None:
    try:
        with connect_postgres(settings, "schedule") as connection:
            write(connection)
    except AnalyticsError as error:
        log.warning("a scheduled job cannot be written down", why=str(error))


def _in_one_line(error: Exception) -> str:
    words = " ".join(str(error).split())[:ERROR_CHARACTERS]
    return words if isinstance(error, AnalyticsError) else f"{type(error).__name__}: {words}"
