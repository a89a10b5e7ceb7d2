"""Readings for pages and the API say of when their numbers are."""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta

import redis

from tests.counting import TODAY, add, drain, event
from tests.support import add_specialists
from worker.reading.period import PeriodName, parse_period
from worker.settings import Settings
from worker.store import Connection
from worker.web.readings import AS_OF_S, Readings, _AsOf

WEEK = parse_period(PeriodName.WEEK, None, None, TODAY)


async def as_of(settings: Settings, age_s: float) -> datetime | None:
    """What a reading says, while somebody else is asking Redis, and what it said last was learnt so long ago."""
    readings = Readings(settings)
    learnt = datetime.now(UTC) - timedelta(seconds=age_s)
    readings._as_of["analytics:events"] = _AsOf(learnt, time.monotonic() - age_s, math.inf)
    try:
        return (await readings.read("anna", WEEK)).freshness.as_of
    finally:
        readings.close()


def test_what_was_learnt_long_ago(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What Redis said is given out again for some seconds; after a quiet night the newest entry's time is better."""
    add_specialists(connection, ["anna"])
    add(client, event())
    drain(settings)
    now = datetime.now(UTC)
    old = asyncio.run(as_of(settings, 4 * 3_600))
    assert old is not None and now - old < timedelta(minutes=1)
    young = asyncio.run(as_of(settings, AS_OF_S))
    assert young is not None and young.second == 0 and now - young < timedelta(minutes=2)
