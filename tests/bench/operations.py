"""What operators have done: a day out of a file, the same day anew, outcomes of a day, old counters."""

import json
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.types.json import Jsonb

from tests.bench.figures import Figure, Results, Say
from tests.bench.ground import Ground
from tests.bench.traffic import Traffic
from tests.support import SITE_OUTCOMES, settings_for
from worker.daily.outcomes import refresh_outcomes
from worker.daily.recompute import RECOMPUTE, RecomputeArguments
from worker.migrations import migrate, migrations
from worker.operation import Arguments, Operation, Step
from worker.operations.backfill_events import BACKFILL_EVENTS, BackfillEventsArguments
from worker.operations.legacy import LEGACY_COUNTERS, LegacyArguments
from worker.settings import Settings
from worker.store import connect_postgres

SPECIALISTS, QUICK_SPECIALISTS = 20_000, 2_000
MANY, QUICK_MANY = 100_000, 10_000
"""Specialists that have outcomes: ten each, spread over twenty days."""

OUTCOME_DAYS, COUNTER_DAYS = 20, 365
FILE_S, RECOMPUTE_S, OUTCOMES_S, COUNTERS_S = 20.0, 3.0, 2.0, 60.0

COUNTERS = (("profile", "catalog"), ("profile", "search"), ("profile", "direct"), ("contact", "direct"))

OUTCOMES = """
    INSERT INTO "{table}" ("id", "{column}", "createdAt")
    SELECT gen_random_uuid()::text, "id", (current_date - 1 - ago)::timestamp + interval '12 hours'
    FROM "SpecialistProfile", generate_series(1, {each}) AS number,
         mod(abs(hashtext("id") % 1000) + number, {days}) AS ago
"""
SITES = (
    ("ConsultationRequest", "specialistProfileId", 5),
    ("Order", "specialistProfileId", 3),
    ("Review", "specialistId", 2),
)


def operations(ground: Ground, say: Say) -> Results:
    """Each by the steps that its run would take, in this process."""
    figures = [*_events(ground, say), _outcomes(ground, say), _counters(ground, say)]
    return Results(figures)


def _events(ground: Ground, say: Say) -> Iterator[Figure]:
    """Yesterday out of a file; then its rows, all of them wrong, assigned anew."""
    traffic = Traffic(QUICK_SPECIALISTS if ground.quick else SPECIALISTS)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with ground.database(traffic) as url, tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        settings = settings_for(url, ground.servers.redis_url)
        midnight_ms = int(datetime(yesterday.year, yesterday.month, yesterday.day, tzinfo=UTC).timestamp()) * 1000
        for number, event_id in enumerate(traffic.event_ids(ground.backlog_events)):
            file.write(json.dumps(_event(traffic, number, event_id, midnight_ms)) + "\n")
        file.flush()
        took, end = _run(settings, url, BACKFILL_EVENTS, BackfillEventsArguments(file=str(Path(file.name))))
        _expect(end.result["counted"], ground.backlog_events)
        say(f"a file of {ground.backlog_events:,} events")
        yield Figure(f"backfill of a file, {ground.backlog_events:,} events", took, "s", FILE_S)

        with psycopg.connect(url, autocommit=True) as connection:
            changed = connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = "profileViews" + 1')
            connection.execute("VACUUM ANALYZE")
        took, end = _run(settings, url, RECOMPUTE, RecomputeArguments(first=yesterday, last=yesterday))
        _expect(end.result["rows"], changed.rowcount)
        right, _ = _run(settings, url, RECOMPUTE, RecomputeArguments(first=yesterday, last=yesterday))
        say(f"recompute of {changed.rowcount:,} rows")
        yield Figure(
            f"recompute of a day, {ground.backlog_events:,} events, {changed.rowcount:,} wrong rows",
            took,
            "s",
            RECOMPUTE_S,
            beside=f"{right:.2f} s where all are right",
        )


def _outcomes(ground: Ground, say: Say) -> Figure:
    """A day of them, none of which is in the daily table yet; and once more."""
    many = QUICK_MANY if ground.quick else MANY
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with ground.database(Traffic(many)) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SITE_OUTCOMES)
            for table, column, each in SITES:
                statement = OUTCOMES.format(table=table, column=column, each=each, days=OUTCOME_DAYS)
                connection.execute(statement.encode())
                connection.execute(f'CREATE INDEX ON "{table}" ("createdAt")'.encode())
            migrate(connection, migrations())
            connection.execute("VACUUM ANALYZE")
        with connect_postgres(settings_for(url, ground.servers.redis_url), "bench") as worker:
            taken, changed = [], []
            for _ in range(2):
                began = time.perf_counter()
                changed.append(refresh_outcomes(worker, yesterday, "UTC"))
                taken.append(time.perf_counter() - began)
            _expect(changed[1], 0)
    say(f"outcomes of {changed[0]:,} rows")
    what = f"outcomes of a day, {many:,} specialists, {10 * many:,} outcomes, {changed[0]:,} new rows"
    return Figure(what, taken[0], "s", OUTCOMES_S, beside=f"{taken[1]:.2f} s where all are right")


def _counters(ground: Ground, say: Say) -> Figure:
    """Four keys for each specialist and date."""
    keys = ground.backlog_events
    traffic = Traffic(max(1, keys // (4 * COUNTER_DAYS)))
    today = datetime.now(UTC).date()
    names = [
        f"{kind}:view:{specialist.decode()}:{source}:{today - timedelta(days=ago)}"
        for specialist in traffic.specialists
        for ago in range(1, COUNTER_DAYS + 1)
        for kind, source in (
            ("profile", "catalog"),
            ("profile", "search"),
            ("profile", "direct"),
            ("contact", "direct"),
        )
    ]
    with ground.database(traffic) as url, redis.Redis.from_url(ground.servers.redis_url) as client:
        try:
            for start in range(0, len(names), 10_000):
                client.mset(dict.fromkeys(names[start : start + 10_000], 3))
            settings = settings_for(url, ground.servers.redis_url, ANALYTICS_LEDGER_DAYS="0")
            took, end = _run(settings, url, LEGACY_COUNTERS, LegacyArguments())
            _expect(end.result["counters"], len(names))
        finally:
            client.flushall()
    say(f"{len(names):,} legacy counters")
    return Figure(f"import of legacy counters, {len(names):,} keys, {COUNTER_DAYS} dates", took, "s", COUNTERS_S)


def _event(traffic: Traffic, number: int, event_id: bytes, midnight_ms: int) -> dict[str, Any]:
    return {
        "type": "profile_view" if number % 5 else "contact_view",
        "specialistId": traffic.specialists[number * 7_919 % len(traffic.specialists)].decode(),
        "eventId": event_id.decode(),
        "occurredAt": midnight_ms + number % 86_400_000,
        "source": ("catalog", "search", "direct")[number % 3],
    }


def _run(settings: Settings, url: str, operation: Operation, arguments: Arguments) -> tuple[float, Step]:
    """Seconds of all steps, and the last one."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "INSERT INTO analytics.run (kind, arguments, operator) VALUES (%s, %s, 'bench') RETURNING id",
            [operation.kind, Jsonb(arguments.model_dump(mode="json"))],
        ).fetchone()
        assert row is not None
        began = time.perf_counter()
        last = deque(operation.steps(settings, row[0], arguments, {}), maxlen=1).pop()
        took = time.perf_counter() - began
        connection.execute("UPDATE analytics.run SET state = 'done' WHERE id = %s", [row[0]])
    return took, last


def _expect(found: int, right: int) -> None:
    if found != right:
        raise RuntimeError(f"it came to {found:,} instead of {right:,}")
