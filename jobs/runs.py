"""Doorway: one slice of a run. Then it is put in again behind all that waits, so every job gets its turn."""

import logging

from redis import Redis

from jobs.queue import OPS, enqueue_run
from jobs.slice import Slice
from worker.errors import AnalyticsError
from worker.execute import execute
from worker.log import get_logger
from worker.refresh import REFRESH
from worker.runs import claim_next_run, claim_run, find_waiting_run
from worker.settings import Settings, load_settings
from worker.store import connect_postgres
from worker.stream import connect_redis, redis_errors

log = get_logger(__name__)


def step_on(run_id: int, attempt: int) -> None:
    """Go on with a run for up to a minute, less when the worker is to stop or another job waits for one.

    Nothing happens if somebody else has the run, or it has ended: a job may be doubled, or come late.

    Args:
        run_id: number of a row of `analytics.run`.
        attempt: the one that it was queued with.
    """
    settings = load_settings()
    until = Slice(OPS)
    try:
        with connect_postgres(settings, "runs") as connection:
            mine = claim_run(connection, run_id, attempt)
        if mine is None:
            return
        with connect_redis(settings) as client, redis_errors(settings):
            until.connection = client
            _go_on(settings, client, run_id, mine, until)
            _do_refreshes(settings, client, until)
    except AnalyticsError as error:  # the reviver finds the run, and lets it go on
        log.warning("run has to wait", run=run_id, why=str(error))


def _go_on(
    settings: Settings, client: Redis, run_id: int, attempt: int, until: Slice, *, usual: int = logging.INFO
) -> None:
    ending = execute(settings, run_id, attempt, until)
    if ending.state == "queued":
        enqueue_run(client, run_id, attempt)
    level = logging.ERROR if ending.state == "failed" else usual
    log.log(level, f"run {ending.state or 'lost'}", run=run_id, kind=ending.kind, why=ending.error)


def _do_refreshes(settings: Settings, client: Redis, until: Slice) -> None:
    """Do the refreshes that wait, for as long as the slice lasts: they are many and short, and a process is there."""
    with connect_postgres(settings, "runs") as connection:
        while not until() and (claimed := claim_next_run(connection, REFRESH.kind)):
            _go_on(settings, client, *claimed, until, usual=logging.DEBUG)
        if waiting := find_waiting_run(connection, REFRESH.kind):
            enqueue_run(client, *waiting)
