"""Readings for pages and the API: read once for all who ask the same at the same time, and kept for a second."""

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import redis

from worker.days import local_date
from worker.errors import AnalyticsError, Conflict
from worker.link import Link
from worker.log import get_logger
from worker.reading.period import Asked, Span, parse_period
from worker.reading.read import (
    ATTEMPTS,
    Answer,
    Counting,
    NoSpecialist,
    Wanted,
    ask,
    ask_counting,
    check_specialist,
    counted_until,
    in_the_way,
    stream_for,
    understand,
)
from worker.reading.shape import Reading, to_json
from worker.settings import Settings
from worker.store import AsyncConnection, connect_postgres_async, keep_plans, load_position_async
from worker.stream import connect_redis
from worker.web.pool import Pool

FRESH_S = 1.0
"""Seconds that a reading is given out again: a page that is reloaded, or looked at by several."""

MOST_KEPT = 512
"""Readings: with their JSON a few megabytes."""

CONNECTIONS = 4
"""So that long periods on some hold up nobody on the others."""

TOGETHER = 16
"""Readings that are asked for at once, at most."""

APART_S = 0.014
"""Seconds from one statement to the next while many ask. A reading (a mix of what people ask for, on a slow machine)
takes 0.77 ms of PostgreSQL's processor and 0.50 of ours until it is here, and one of four 0.38 and 0.20. Of 500 a
second, beside 5,000 events/s, 99 % took there, in turns, 140 and 148 ms with 8 ms apart; 45, 50, 53, 57 and 136 with
14; 61 and 127 with 20."""

ANSWER_S = 3.0
"""Seconds until somebody hears that there is no answer. A year takes some milliseconds."""

LONG_DAYS = 366
"""A longer period is asked for alone: others would have to wait for it."""

MANY_DAYS, MANY_BYTES = 800, 100_000
"""A reading of more than a year, and the year before, can take a tenth of a second; so much of visitors' sketches more
than a millisecond (12 µs a kB, at worst). It is made in a thread, and others are answered meanwhile."""

MOST_WAITING = 256
"""Questions in the queue: what is read in less than half a second."""

AS_OF_S, AS_OF_AWAY_S = 1.0, 5.0
"""Seconds after which it is asked how far a stream is read; after the longer ones Redis, that could not say, is asked
again, and what it said is no longer true enough."""

REDIS_ANSWER_S = 0.5

COMPLAIN_EVERY_S = 10.0

log = get_logger(__name__)


class Finished(NamedTuple):
    """A reading, and its JSON."""

    reading: Reading
    body: bytes
    etag: str
    """Of the body, byte for byte."""


@dataclass(slots=True)
class _AsOf:
    moment: datetime | None = None
    learnt: float = -math.inf
    asked_again: float = -math.inf


class _Counting(NamedTuple):
    known: Counting
    until: float


class _Known(NamedTuple):
    """What a reading is made of."""

    wanted: Wanted
    answer: Answer
    counted_until: datetime | None


class _Kept(NamedTuple):
    answer: "asyncio.Task[Finished | NoSpecialist]"
    until: float


class Readings:
    """Reads for any number of requests at once."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._pool: Pool[Wanted, _Known | Finished | NoSpecialist] = Pool(
            lambda: connect_postgres_async(settings, "web"),
            keep_plans,
            self._read,
            connections=CONNECTIONS,
            together=TOGETHER,
            apart_s=APART_S,
            limit_s=ANSWER_S,
            most_waiting=MOST_WAITING,
        )
        self._redis: Link[redis.Redis] = Link("Redis", lambda: connect_redis(settings), REDIS_ANSWER_S)
        self._as_of: dict[str, _AsOf] = {}
        self._counting: _Counting | None = None
        self._kept: dict[Wanted, _Kept] = {}
        self._redis_away_until = -1.0
        self._silent_until = 0.0

    def close(self) -> None:
        """End the connections, before the event loop ends."""
        self._pool.close()
        self._redis.close()

    def asked(self, name: str | None, first: str | None, last: str | None) -> Asked:
        """Read what somebody asked for; today is what it is now.

        Raises:
            NoPeriod: see `parse_period`.
        """
        return parse_period(name, first, last, local_date(datetime.now(UTC), self._settings.time_zone))

    async def read(self, specialist: str, asked: Asked) -> Reading:
        """Everything about a specialist and a period, at most `FRESH_S` old; what is the same for all, twice that.

        Raises:
            NoSpecialist: there is none of this name.
            Retry: PostgreSQL is away, hangs, or is asked too much. Redis may be: then it is less exact of when the
                numbers are.
            Stop: PostgreSQL is not migrated, or refuses.
        """
        return (await self.finish(specialist, asked)).reading

    async def finish(self, specialist: str, asked: Asked) -> Finished:
        """The same, with its JSON."""
        check_specialist(specialist)
        try:
            found = await self._found(Wanted(specialist, asked))
        except AnalyticsError as error:
            if time.monotonic() > self._silent_until:  # not once for each who asks
                log.warning("no reading", why=str(error))
                self._silent_until = time.monotonic() + COMPLAIN_EVERY_S
            raise
        if isinstance(found, NoSpecialist):
            raise NoSpecialist(str(found))  # one of each who asks: what is raised keeps a trace of where
        return found

    async def _found(self, wanted: Wanted) -> Finished | NoSpecialist:
        now = time.monotonic()
        kept = self._kept.get(wanted)
        if kept is None or (kept.answer.done() and kept.until < now):
            self._kept.pop(wanted, None)
            asked = self._pool.ask(wanted, alone=_is_long(wanted.asked))
            answer = asyncio.get_running_loop().create_task(self._made(asked))
            answer.add_done_callback(_take_note)
            self._kept[wanted] = kept = _Kept(answer, now + FRESH_S)
            self._forget(now)
        return await asyncio.shield(kept.answer)  # others wait for the same

    def _forget(self, now: float) -> None:
        """Drop what is too old or too much. What came first is at the front."""
        while self._kept:
            wanted, kept = next(iter(self._kept.items()))
            if len(self._kept) <= MOST_KEPT and (kept.until >= now or not kept.answer.done()):
                break
            del self._kept[wanted]

    async def _read(
        self, connection: AsyncConnection, wanted: Sequence[Wanted]
    ) -> list[_Known | Finished | NoSpecialist]:
        """What is known of all that is wanted, in the same order. A reading that takes long to make is made here, so
        that there are never more of them at once than there are connections.
        """
        counted = [await self._counted_until(connection, each.specialist) for each in wanted]
        answers = await self._ask(connection, wanted)
        known = [_Known(*each) for each in zip(wanted, answers, counted, strict=True)]
        return [await asyncio.to_thread(self._finish, each) if _takes_long(each) else each for each in known]

    async def _made(self, asked: "asyncio.Future[_Known | Finished | NoSpecialist]") -> Finished | NoSpecialist:
        known = await asked
        return self._finish(known) if isinstance(known, _Known) else known

    def _finish(self, known: _Known) -> Finished | NoSpecialist:
        """That there is nobody is an answer, and kept like one."""
        try:
            found = understand(self._settings, *known)
        except NoSpecialist as nobody:
            return nobody
        body = to_json(found)
        return Finished(found, body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')

    async def _ask(self, connection: AsyncConnection, wanted: Sequence[Wanted]) -> list[Answer]:
        """What is the same for all is asked once a second: it took a quarter of PostgreSQL's time."""
        for _ in range(ATTEMPTS):
            with suppress(Conflict):
                now = time.monotonic()
                if self._counting is None or self._counting.until < now:
                    self._counting = _Counting(await ask_counting(self._settings, connection), now + FRESH_S)
                return await ask(self._settings, connection, wanted, self._counting.known)
            self._counting = None
        raise in_the_way()

    async def _counted_until(self, connection: AsyncConnection, specialist: str) -> datetime | None:
        """The whole minute: it is true for longer, so equal numbers are equal bytes, and can be kept by their ETag."""
        stream, now = stream_for(specialist, self._settings), time.monotonic()
        known = self._as_of.setdefault(stream, _AsOf())
        if max(known.asked_again, self._redis_away_until) < now:
            known.asked_again = now + AS_OF_S  # meanwhile others make do with what is known
            position = await load_position_async(connection, stream)
            try:
                if position:  # nothing is known of a stream that was never read
                    question = partial(counted_until, self._settings, position=position)
                    known.moment, known.learnt = await asyncio.to_thread(self._redis.ask, question), now
            except AnalyticsError:  # of all streams, or each would hold up a thread
                known.moment = None
                self._redis_away_until = time.monotonic() + AS_OF_AWAY_S
        if known.moment is None or known.learnt < now - AS_OF_AWAY_S:
            return None
        return known.moment.replace(second=0, microsecond=0)


def _is_long(asked: Asked) -> bool:
    return asked.first is None or Span(asked.first, asked.last).days > LONG_DAYS


def _takes_long(known: _Known) -> bool:
    row = known.answer.row
    return len(row.dates or ()) > MANY_DAYS or sum(map(len, row.visitor_sketches or ())) > MANY_BYTES


def _take_note(answer: "asyncio.Task[Finished | NoSpecialist]") -> None:
    """What was raised is known, also if nobody waits any more."""
    if not answer.cancelled():
        answer.exception()
