"""Readings for pages and the API say of when their numbers are."""

import asyncio
import math
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

import worker.web.readings
from tests.counting import TODAY, add, contact, drain, event
from tests.support import add_specialists, settings_with
from worker.errors import Retry
from worker.reading.period import PeriodName, parse_period
from worker.reading.read import ATTEMPTS, Answer, ask
from worker.settings import Settings
from worker.store import Connection, seal_oldest_day
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


OLD = TODAY - timedelta(days=50)
DAYS = 2 * ATTEMPTS
"""What fails is asked once more."""


@pytest.fixture
def old_days(settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """One contact view on each of `DAYS` that may be sealed, and on one of late. What is known is kept for long."""
    add_specialists(connection, ["anna"])
    add(client, contact(1), *(contact(50 - day) for day in range(DAYS)))
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    monkeypatch.setattr(worker.web.readings, "FRESH_S", 60.0)


async def contact_types(readings: Readings, first: date) -> tuple[date, int]:
    """Since when a reading tells them, and of how many views."""
    block = (await readings.read("anna", parse_period(None, str(first), None, TODAY))).contact_types
    assert block is not None
    return block.first, sum(kind.views for kind in block.types)


@pytest.mark.usefixtures("old_days")
def test_a_day_is_sealed_between_two_readings(settings: Settings, connection: Connection) -> None:
    """Of a day that was sealed a moment ago no contact views by type are told, and the reading says so."""

    async def before_and_after() -> None:
        readings = Readings(settings)
        try:
            assert await contact_types(readings, OLD) == (OLD, DAYS + 1)
            assert seal_oldest_day(connection, 35, "UTC") == OLD
            assert await contact_types(readings, OLD - timedelta(days=1)) == (OLD + timedelta(days=1), DAYS)
        finally:
            readings.close()

    asyncio.run(before_and_after())


@pytest.mark.usefixtures("old_days")
@pytest.mark.parametrize("sealed", [ATTEMPTS - 1, DAYS])
def test_days_are_sealed_while_it_is_read(
    settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch, sealed: int
) -> None:
    """Days that are sealed one right after the other hold up a reading; at last it says to ask again."""
    left = sealed

    async def ask_after_sealing(*of: Any) -> list[Answer]:
        nonlocal left
        if left:
            left -= 1
            seal_oldest_day(connection, 35, "UTC")
        return await ask(*of)

    monkeypatch.setattr(worker.web.readings, "ask", ask_after_sealing)

    async def read_once() -> tuple[date, int]:
        readings = Readings(settings)
        try:
            return await contact_types(readings, OLD)
        finally:
            readings.close()

    if sealed < DAYS:
        assert asyncio.run(read_once()) == (OLD + timedelta(days=sealed), DAYS + 1 - sealed)
    else:
        with pytest.raises(Retry):
            asyncio.run(read_once())
