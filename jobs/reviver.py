"""No run gets lost: once a second the reviver queues those again whose execution has died, or whose job is gone.

The rows in PostgreSQL say what is to be done; the jobs in Redis only say whose turn it is. So a Redis that was emptied
loses no run, and whoever revives one too early has only let it change hands.
"""

import threading
import time
from functools import partial
from typing import NoReturn, Self

import redis

from jobs.queue import enqueue_run, queued_runs
from worker.errors import AnalyticsError
from worker.link import Link
from worker.log import get_logger
from worker.operations.refresh import REFRESH
from worker.operations.runs import SILENT_S, UNQUEUED_S, Run, list_runs, revive_run
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis, redis_errors

LOOK_S = 1.0
ANSWER_S = 5.0
MOST_RUNS = 1_000

log = get_logger(__name__)


class Reviver:
    """Looks after the open runs. Any number of revivers may look at the same time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._postgres: Link[Connection] = Link("PostgreSQL", lambda: connect_postgres(settings, "reviver"), ANSWER_S)
        self._redis: Link[redis.Redis] = Link("Redis", lambda: connect_redis(settings), ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._postgres.close()
        self._redis.close()

    def run(self) -> NoReturn:
        """Look every second, for ever."""
        away = False
        while True:
            try:
                self.look()
                away = False
            except AnalyticsError as error:
                if not away:
                    log.warning("runs have to wait", why=str(error))
                away = True
            except Exception:  # what one look cannot do, the next one does
                log.exception("the reviver failed")
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Look once.

        Raises:
            AnalyticsError: a server is away, or the database is not migrated.
        """
        runs = self._postgres.ask(partial(list_runs, limit=MOST_RUNS, only_open=True))
        suspects = [run for run in runs if run.silent_s > (SILENT_S if run.state == "running" else UNQUEUED_S)]
        if not suspects:
            return
        queued = self._redis.ask(self._queued)
        refreshes_have_job = any((run.id, run.attempt) in queued for run in runs if run.kind == REFRESH.kind)
        for run in reversed(suspects):  # the oldest first
            if (run.id, run.attempt) in queued:
                continue
            shares_job = refreshes_have_job and run.kind == REFRESH.kind  # which does all that wait
            if run.state == "running" or not shares_job:
                self._revive(run, enqueue=not shares_job)
                refreshes_have_job |= run.kind == REFRESH.kind

    def _queued(self, client: redis.Redis) -> set[tuple[int, int]]:
        with redis_errors(self._settings):
            return queued_runs(client)

    def _revive(self, run: Run, *, enqueue: bool) -> None:
        revived = self._postgres.ask(partial(revive_run, run=run))
        if revived is None:
            return
        if revived.state == "queued":
            log.warning("run revived", run=run.id, kind=run.kind, attempt=revived.attempt)
            if enqueue:
                self._redis.ask(partial(self._enqueue, run_id=run.id, attempt=revived.attempt))
        elif revived.state == "failed":
            log.error("run failed", run=run.id, kind=run.kind, why="its process dies again and again")

    def _enqueue(self, client: redis.Redis, run_id: int, attempt: int) -> None:
        with redis_errors(self._settings):
            enqueue_run(client, run_id, attempt)


def start_reviver(settings: Settings) -> None:
    """Look in a thread of its own, with connections of its own, for as long as the process lives."""
    threading.Thread(target=Reviver(settings).run, name="reviver", daemon=True).start()
