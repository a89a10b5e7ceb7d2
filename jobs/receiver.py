"""Takes on what the web tier asks for: from the stream of requests into runs, and a job for them.

Any number of receivers may read. The position is in PostgreSQL and moves with the runs that it stands for, so a request
is taken on once. Should Redis be emptied or put back, requests are lost or read again, and neither does harm: who looks
at a page asks anew, and a refresh comes to the same however often it is done.
"""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn, Self

import redis

from jobs.queue import enqueue_run
from worker.continuity import BEGINNING, EntryId
from worker.days import local_date
from worker.errors import AnalyticsError, Conflict
from worker.link import Link
from worker.log import get_logger
from worker.refresh import REFRESH, RefreshArguments
from worker.request_store import count_open_runs, load_request_position, take_requests
from worker.requests import Refused, Request, RequestReason, parse_request
from worker.settings import Settings
from worker.store import Connection, connect_postgres, known_specialists
from worker.stream import Entry, Page, StreamReader, connect_redis, redis_errors

WAIT_MS = 1_000
"""Longest sleep in Redis, and so how long requests may lie unseen behind a position that is ahead of their ids."""

AWAY_S, FULL_S = 1.0, 0.1
ANSWER_S = 5.0

MOST_OPEN = 30
"""Refreshes that may be open at once: what one worker does in about a second. The others wait in the stream, where they
stand in nobody's way."""

RUNS_A_JOB = 10
"""So many runs get one job, which does them one after the other: a job of its own would cost each of them a process."""

log = get_logger(__name__)


class Receiver:
    """Reads the stream of requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream = settings.requests
        self._postgres: Link[Connection] = Link("PostgreSQL", lambda: connect_postgres(settings, "receiver"), ANSWER_S)
        self._redis: Link[redis.Redis] = Link("Redis", lambda: connect_redis(settings), ANSWER_S)
        self._position: EntryId | None = None  # as it is stored; None: not known
        self._read_after = BEGINNING

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._postgres.close()
        self._redis.close()

    def run(self) -> NoReturn:
        """Read for ever: what a look cannot do, the next one does."""
        away = False
        while True:
            try:
                self.look()
                away = False
            except Conflict:
                self._position = None
            except AnalyticsError as error:
                self._position = None
                if not away:
                    log.warning("requests have to wait", why=str(error))
                away = True
                time.sleep(AWAY_S)
            except Exception:
                self._position = None
                log.exception("the receiver failed")
                time.sleep(AWAY_S)

    def look(self) -> None:
        """Wait for requests, and take on those that are there.

        Raises:
            Conflict: somebody else was faster, and nothing was done.
            AnalyticsError: a server is away, or refuses us.
        """
        if self._position is None:
            self._position = self._postgres.ask(partial(load_request_position, stream=self._stream))
            self._read_after = self._position
        page = self._redis.ask(self._read)
        if page.facts.last_generated < self._position:
            self._read_after = BEGINNING  # another stream than the one that was read, with ids from an earlier time
        if not page.entries:
            return
        room = MOST_OPEN - self._postgres.ask(partial(count_open_runs, operation=REFRESH))
        if room <= 0:
            time.sleep(FULL_S)
            return
        self._take(page.entries[:room])

    def _read(self, client: redis.Redis) -> Page:
        reader = StreamReader(client, self._settings, self._stream)
        reader.wait(self._read_after, WAIT_MS)
        return reader.read(self._read_after, MOST_OPEN)

    def _take(self, entries: Sequence[Entry]) -> None:
        assert self._position is not None
        accepted, refused = self._parse(entries)
        last_id = EntryId.of(entries[-1][0].decode())
        runs = self._postgres.ask(
            partial(
                take_requests,
                stream=self._stream,
                stored=self._position,
                last_id=last_id,
                operation=REFRESH,
                accepted=accepted,
                refused=refused,
            )
        )
        self._position = self._read_after = last_id
        for each in refused:
            log.warning("request refused", entry=each.entry_id, reason=each.reason.value)
        log.debug("requests taken on", requests=len(entries), runs=len(runs))
        self._redis.ask(partial(self._hand_on, runs=runs))

    def _parse(self, entries: Sequence[Entry]) -> tuple[list[RefreshArguments], list[Refused]]:
        today = local_date(datetime.now(UTC), self._settings.time_zone)
        verdicts = [parse_request(entry_id, fields, today) for entry_id, fields in entries]
        asked = {verdict.specialist_id for verdict in verdicts if isinstance(verdict, Request)}
        known = self._postgres.ask(partial(known_specialists, ids=asked)) if asked else set()
        accepted, refused = [], []
        for (_, fields), verdict in zip(entries, verdicts, strict=True):
            if isinstance(verdict, Refused):
                refused.append(verdict)
            elif verdict.specialist_id not in known:
                refused.append(Refused(verdict.entry_id, RequestReason.UNKNOWN_SPECIALIST, fields))
            else:
                accepted.append(
                    RefreshArguments(specialist=verdict.specialist_id, first=verdict.first, last=verdict.last)
                )
        return accepted, refused

    def _hand_on(self, client: redis.Redis, runs: list[int]) -> None:
        """Drop what is taken on, and let workers know. Should this be cut off, the reviver finds the runs."""
        with redis_errors(self._settings):
            client.xtrim(self._stream, minid=str(self._read_after.after), approximate=False)
            for run in runs[::RUNS_A_JOB]:
                enqueue_run(client, run, 0)


def start_receiver(settings: Settings) -> None:
    """Read in a thread of its own, with connections of its own, for as long as the process lives."""
    threading.Thread(target=Receiver(settings).run, name="receiver", daemon=True).start()
