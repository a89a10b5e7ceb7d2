"""Looks at both servers for the operator's page: one a second, however many pages are open."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

import redis
from starlette.concurrency import run_in_threadpool

from jobs.view import JobsView, jobs_and_workers
from worker.errors import AnalyticsError
from worker.inspection.observe import POSTGRESQL, REDIS, Observer, Records
from worker.inspection.status import (
    RUNS_SHOWN,
    Books,
    ContinuityEvent,
    DeadLetters,
    rates,
    read_continuity,
    read_dead_letters,
)
from worker.operations.dead_letters import Glimpse, list_latest
from worker.operations.refresh import REFRESH
from worker.operations.request_store import RequestBooks, RequestStand, read_request_books, read_request_stand
from worker.operations.runs import Run, list_runs
from worker.settings import Settings
from worker.store import Connection
from worker.stream import redis_errors
from worker.web.ops_verdict import Look

GOOD_FOR_S = 1.0
"""Seconds for which a look is shown to everybody who asks."""

RATE_OVER_S = 30.0
"""Seconds that may lie between two looks for their difference to be called a rate."""

LETTERS_MS, LETTERS_SHARE = 1_000, 0.05
"""Milliseconds that each question about dead letters may take, and the share of the time that goes into them: where
there are millions they are counted now and then."""

LETTERS_SHOWN = 5
"""Of each reason."""
LAST_RUNS = 10
"""Beside those that are open."""


T = TypeVar("T")


class _More(NamedTuple):
    """What PostgreSQL says beside what is observed anyway."""

    findings: Sequence[ContinuityEvent] = ()
    runs: Sequence[Run] | None = None
    requests: RequestBooks | None = None


class _Letters(NamedTuple):
    """What is known of dead letters; counts that are None are not known."""

    counted: Sequence[DeadLetters] | None = None
    latest: Sequence[Glimpse] = ()


class Looks:
    """Looks with an observer of its own, so that a page that is slow holds up neither `/healthz` nor `/metrics`."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        """Nothing is looked at yet."""
        self._settings = settings
        self._observer = observer
        self._one_at_a_time = asyncio.Lock()
        self._look: Look | None = None
        self._good_until = 0.0
        self._before: tuple[float, Mapping[str, Books]] | None = None
        self._rate: Mapping[str, float] = {}
        self._letters = _Letters()
        self._read_letters_at = 0.0

    async def latest(self) -> Look:
        """A look that is at most a second old. Who asks while one is being taken gets that one."""
        async with self._one_at_a_time:
            if self._look is None or time.monotonic() >= self._good_until:
                self._look = await run_in_threadpool(self._take)
                self._good_until = time.monotonic() + GOOD_FOR_S
            return self._look

    def forget(self) -> None:
        """Something was done: the next page shows it."""
        self._good_until = self._read_letters_at = 0.0

    def _take(self) -> Look:
        at, seen = datetime.now(UTC), self._observer.look()
        more, letters = _More(), _Letters()
        if POSTGRESQL not in seen.away:
            more = self._of_postgres(self._read_more) or more
            letters = self._read_letters()
        jobs = requests = None
        if REDIS not in seen.away:
            jobs, requests = self._of_redis(partial(self._read_redis, books=more.requests)) or (None, None)
        return Look(
            at=at,
            seen=seen,
            rates=self._rates(seen.records),
            dead_letters=letters.counted,
            latest_letters=letters.latest,
            findings=more.findings,
            runs=more.runs,
            requests=requests,
            jobs=jobs,
        )

    def _of_postgres(self, question: Callable[[Connection], T]) -> T | None:
        """The answer; None if the server has gone away since it was observed, or it takes too long."""
        with suppress(AnalyticsError):
            return self._observer.postgres.ask(question)
        return None

    def _of_redis(self, question: Callable[[redis.Redis], T]) -> T | None:
        with suppress(AnalyticsError):
            return self._observer.redis.ask(question)
        return None

    def _read_more(self, connection: Connection) -> _More:
        last = list_runs(connection, LAST_RUNS, but_kind=REFRESH.kind)
        still_open = [run for run in list_runs(connection, RUNS_SHOWN, only_open=True) if run.kind != REFRESH.kind]
        runs = {run.id: run for run in (*last, *still_open)}
        return _More(
            read_continuity(connection),
            sorted(runs.values(), key=lambda run: (not run.is_open, -run.id)),
            read_request_books(connection, self._settings.requests),
        )

    def _read_redis(self, client: redis.Redis, books: RequestBooks | None) -> tuple[JobsView, RequestStand | None]:
        with redis_errors(self._settings):
            stand = None if books is None else read_request_stand(self._settings, client, books)
            return jobs_and_workers(client), stand

    def _read_letters(self) -> _Letters:
        """How many dead letters there are, and the latest ones; those of a while ago, if they take long."""
        began = time.monotonic()
        if began >= self._read_letters_at:
            counted = self._of_postgres(partial(read_dead_letters, within_ms=LETTERS_MS))
            reasons = [dead.reason for dead in counted or ()]
            latest = partial(list_latest, reasons=reasons, letters=LETTERS_SHOWN, within_ms=LETTERS_MS)
            self._letters = _Letters(counted, self._of_postgres(latest) or () if reasons else ())
            ended = time.monotonic()
            self._read_letters_at = ended + (ended - began) / LETTERS_SHARE
        return self._letters

    def _rates(self, records: Records | None) -> Mapping[str, float]:
        """By the books of the look before, if that was lately; of two that are close together the rate before them."""
        now = time.monotonic()
        if records is None:
            self._before, self._rate = None, {}
        elif self._before is None:
            self._before = now, records.books
        elif (elapsed_s := now - self._before[0]) >= GOOD_FOR_S:
            self._rate = rates(self._before[1], records.books, elapsed_s) if elapsed_s <= RATE_OVER_S else {}
            self._before = now, records.books
        return self._rate
