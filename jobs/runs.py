"""Doorway: one slice of a run. Then it is put in again behind all that waits, so every job gets its turn."""

import logging

from jobs.queue import OPS, enqueue_run
from jobs.slice import Slice
from worker.errors import AnalyticsError
from worker.execute import execute
from worker.log import get_logger
from worker.runs import claim_run
from worker.settings import load_settings
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
            ending = execute(settings, run_id, mine, until)
            if ending.state == "queued":
                enqueue_run(client, run_id, mine)
    except AnalyticsError as error:  # the reviver finds the run, and lets it go on
        log.warning("run has to wait", run=run_id, why=str(error))
    else:
        level = logging.ERROR if ending.state == "failed" else logging.INFO
        log.log(level, f"run {ending.state or 'lost'}", run=run_id, why=ending.error)
