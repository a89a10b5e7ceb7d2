"""Doorway: one slice of a shard's work. RQ repeats it for ever, so between slices other shards get their turn."""

import time

from jobs.queue import ROLLUP
from jobs.slice import SHORTEST_SECONDS, Slice
from jobs.work import stop_requested
from worker.errors import Stop
from worker.log import get_logger
from worker.pipeline import run_shard
from worker.settings import load_settings
from worker.stop import pause
from worker.stream import connect_redis

STUCK_SECONDS = 5.0  # until a person has put right what is wrong, one line so often is enough

log = get_logger(__name__)


def rollup(shard: int) -> dict[str, int]:
    """Drain one shard for up to a minute, less when the worker is to stop or another shard waits for one.

    Args:
        shard: its number, from 0.

    Returns:
        What was done, counted.

    Raises:
        Exception: whatever the pipeline raises; RQ logs it and runs the job again.
    """
    until = Slice(ROLLUP)
    try:
        settings = load_settings()
        with connect_redis(settings) as connection:
            until.connection = connection
            return run_shard(settings, shard, until, must_stop=stop_requested)
    except Stop as error:
        log.error("rollup cannot go on", shard=shard, why=str(error), seconds=STUCK_SECONDS)
        pause(STUCK_SECONDS, stop_requested)
        return {}
    finally:
        # RQ repeats at once what ended well and retries at once what failed: a lasting error would spin.
        pause(until.began + SHORTEST_SECONDS - time.monotonic(), stop_requested)
