"""Doorway: one slice of a run. Then it is put in again behind all that waits, so every job gets its turn."""

import logging

from redis import Redis

from jobs.queue import OPS, enqueue_run
from jobs.slice import Slice
from worker.errors import AnalyticsError
from worker.log import get_logger
from worker.operations.execute import execute, pulse
from worker.operations.refresh import REFRESH
from worker.operations.refresh_many import refresh_waiting
from worker.operations.runs import claim_run, find_waiting_run, settle_run
from worker.settings import Settings, load_settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis, redis_errors

log = get_logger(__name__)


def step_on(run_id: int, attempt: int) -> None:
    """Do the refreshes that wait, which are short; then go on with a run for the rest of a minute, less when the worker
    is to stop or another job waits for one.

    Nothing happens to the run if somebody else has the run, or it has ended: a job may be doubled, or come late.

    Args:
        run_id: number of a row of `analytics.run`.
        attempt: the one that it was queued with.
    """
    settings = load_settings()
    until = Slice(OPS)
    try:
        with connect_redis(settings) as client, redis_errors(settings):
            until.connection = client
            with connect_postgres(settings, "runs") as connection:
                _do_refreshes(settings, client, connection, until)
                mine = claim_run(connection, run_id, attempt)
            if mine is not None:
                _go_on(settings, client, run_id, mine, until)
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


def _do_refreshes(settings: Settings, client: Redis, runs: Connection, until: Slice) -> None:
    with connect_postgres(settings, "refresh") as connection:
        while not until() and (left := refresh_waiting(runs, connection, settings.time_zone)) is not None:
            with pulse(runs, left):
                for claim in left:
                    if until():
                        settle_run(runs, claim.id, claim.attempt, "queued")
                    else:
                        _go_on(settings, client, claim.id, claim.attempt, until, usual=logging.DEBUG)
    if waiting := find_waiting_run(runs, REFRESH.kind):
        enqueue_run(client, waiting.id, waiting.attempt)
