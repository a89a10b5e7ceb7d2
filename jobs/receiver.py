"""Takes on what the web tier asks for: from the stream of requests into runs, and a job for them.

Any number of receivers may read. The position is in PostgreSQL and moves with the runs that it stands for, so a request
is taken on once. Should Redis be emptied or put back, requests are lost or read again, and neither does harm: who looks
at a page asks anew, and a refresh comes to the same however often it is done.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import NoReturn, Self

import redis

from jobs.queue import enqueue_run
from worker.continuity import BEGINNING, EntryId
from worker.days import local_date
from worker.errors import AnalyticsError, Conflict
from worker.link import Link
from worker.log import get_logger
from worker.operations.refresh import REFRESH, RefreshArguments
from worker.operations.refresh_many import MOST_AT_ONCE
from worker.operations.request_store import count_open_runs, load_request_position, take_requests
from worker.operations.requests import Refused, Request, RequestReason, parse_request
from worker.settings import Settings
from worker.store import Connection, connect_postgres, known_specialists
from worker.stream import Entry, Page, StreamReader, connect_redis, redis_errors

WAIT_MS = 1_000
"""Longest sleep in Redis, and so how long requests may lie unseen behind a position that is ahead of their ids."""

AWAY_S, FULL_S = 1.0, 0.02
ANSWER_S = 5.0

PAGE = 1_000

MOST_OPEN = MOST_AT_ONCE
"""Refreshes that may be open at once. The others wait in the stream, where they stand in nobody's way."""

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
        self._take(page.entries, room)

    def _read(self, client: redis.Redis) -> Page:
        reader = StreamReader(client, self._settings, self._stream)
        reader.wait(self._read_after, WAIT_MS)
        return reader.read(self._read_after, PAGE)

    def _take(self, entries: Sequence[Entry], room: int) -> None:
        """Take on as many as there is room for; those that ask for the same share one."""
        assert self._position is not None
        today = local_date(datetime.now(UTC), self._settings.time_zone)
        verdicts = _fitting([parse_request(entry_id, fields, today) for entry_id, fields in entries], room)
        accepted, refused = self._judge(verdicts, dict(entries))
        last_id = EntryId.of(verdicts[-1].entry_id)
        runs = self._postgres.ask(
            partial(
                take_requests,
                stream=self._stream,
                stored=self._position,
                last_id=last_id,
                operation=REFRESH,
                accepted=accepted,
                refused=refused,
                entries=len(verdicts),
            )
        )
        self._position = self._read_after = last_id
        for each in refused:
            log.warning("request refused", entry=each.entry_id, reason=each.reason.value)
        log.debug("requests taken on", requests=len(verdicts), runs=len(runs))
        self._redis.ask(partial(self._hand_on, runs=runs))

    def _judge(
        self, verdicts: Sequence[Request | Refused], fields: Mapping[bytes, Sequence[bytes]]
    ) -> tuple[list[RefreshArguments], list[Refused]]:
        """What is asked for, each once, and what nobody can do."""
        asked = {verdict.specialist_id for verdict in verdicts if isinstance(verdict, Request)}
        known = self._postgres.ask(partial(known_specialists, ids=asked)) if asked else set()
        accepted, refused = dict[tuple[str, date, date], None](), []
        for verdict in verdicts:
            if isinstance(verdict, Refused):
                refused.append(verdict)
            elif verdict.specialist_id in known:
                accepted[verdict.what] = None
            else:
                original = fields[verdict.entry_id.encode()]
                refused.append(Refused(verdict.entry_id, RequestReason.UNKNOWN_SPECIALIST, original))
        return [RefreshArguments(specialist=who, first=first, last=last) for who, first, last in accepted], refused

    def _hand_on(self, client: redis.Redis, runs: list[int]) -> None:
        """Drop what is taken on, and let a worker know: one job does all that wait. Should this be cut off, the reviver
        finds the runs.
        """
        with redis_errors(self._settings):
            client.xtrim(self._stream, minid=str(self._read_after.after), approximate=False)
            for run in runs[:1]:
                enqueue_run(client, run, 0)


def _fitting(verdicts: Sequence[Request | Refused], room: int) -> Sequence[Request | Refused]:
    """The first of them, with at most so many different requests, of which there may be any number of equal ones."""
    different = set[tuple[str, date, date]]()
    for number, verdict in enumerate(verdicts):
        if isinstance(verdict, Request):
            different.add(verdict.what)
            if len(different) > room:
                return verdicts[:number]
    return verdicts


def start_receiver(settings: Settings) -> None:
    """Read in a thread of its own, with connections of its own, for as long as the process lives."""
    threading.Thread(target=Receiver(settings).run, name="receiver", daemon=True).start()
