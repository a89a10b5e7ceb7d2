"""What a page of numbers takes: everything about one specialist and a period, out of a table with very many rows.

The rows lie as they come in a site's life, day by day: each of a specialist's is on a page of its own. A specialist's
first reading may have to fetch these pages from the disk; the figure is that of a table which is in memory.
"""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from tests.bench.figures import Figure, Results, Say, Sheet, number
from tests.bench.freshness import percentile
from tests.bench.ground import Ground
from tests.bench.traffic import Traffic
from tests.support import settings_for
from worker.daily.visitors import sketch_of
from worker.reading.period import PeriodName, parse_period
from worker.reading.read import read
from worker.store import connect_postgres
from worker.upkeep.packing import pack_steps

YEAR_MS = 20.0
DAYS = 730
"""A year, and the one before, which the changes are against."""

ROWS, QUICK_ROWS = 10_000_000, 365_000
LEDGER_DAYS = 35
ASKED, QUICK_ASKED = 200, 50

INDEXES = """
    SELECT indexdef, format('%s.%I', schemaname, indexname) FROM pg_indexes
    WHERE tablename = 'SpecialistAnalyticsDaily' AND indexname <> 'SpecialistAnalyticsDaily_pkey'
"""
DAILY = """
    INSERT INTO "SpecialistAnalyticsDaily"
        ("id", "specialistId", "date", "profileViews", "contactViews", "consultationRequests", "orders", "sources",
         "updatedAt")
    SELECT gen_random_uuid()::text, "id", current_date - ago, 10 + ago %% 7, 4, 2, 1,
           '{"catalog": 5, "search": 3, "direct": 2, "other": 0}', now()
    FROM generate_series(%s, 0, -1) AS ago, "SpecialistProfile"
"""
EVENTS = """
    INSERT INTO analytics.event
        (day, event_id, occurred_at, type, source, specialist_id, contact_type, entry_id, stream)
    SELECT current_date - ago, gen_random_uuid(), (current_date - ago)::timestamp AT TIME ZONE 'UTC', 'contact_view',
           'catalog', "id", 'phone', '0-0', 0
    FROM generate_series(%s, 0, -1) AS ago, "SpecialistProfile"
"""
VISITORS = """
    INSERT INTO analytics.daily_visitors (date, specialist_id, visitors, events, time_zone, sketch)
    SELECT current_date - ago, "id", 5, 10, 'UTC', %s FROM generate_series(%s, 0, -1) AS ago, "SpecialistProfile"
"""


def reading(ground: Ground, say: Say) -> Results:
    """Each period of many specialists, one after the other."""
    rows = QUICK_ROWS if ground.quick else ROWS
    traffic = Traffic(rows // DAYS)
    sheet = Sheet("Reading", ("period", "p50 ms", "p95 ms", "p99 ms", "first time: p50 ms", "p95 ms"))
    with ground.database(traffic) as url:
        fill(url, DAYS)
        say(f"{rows:,} daily rows")
        ids = [specialist.decode() for specialist in traffic.specialists]
        asked = QUICK_ASKED if ground.quick else ASKED
        for period in PeriodName:
            chosen = random.Random(period).sample(ids, asked)
            first, again = _read_all(url, period, chosen)
            cells = [percentile(again, share) for share in (50, 95, 99)] + [
                percentile(first, share) for share in (50, 95)
            ]
            sheet.rows.append((period, *map(number, cells)))
            if period is PeriodName.YEAR:
                figure = Figure(
                    f"reading a year, {rows:,} rows, p95",
                    cells[1],
                    "ms",
                    YEAR_MS,
                    beside=f"half within {number(cells[0])} ms; the first time {number(cells[4])} ms",
                )
    return Results([figure], [sheet])


def _read_all(url: str, period: str, specialists: Sequence[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each specialist's first reading and of the next, in order."""
    settings = settings_for(url, "redis://127.0.0.1/0")
    asked = parse_period(period, None, None, datetime.now(UTC).date())
    rounds = []
    with connect_postgres(settings, "bench") as connection:
        for _ in range(2):
            taken = []
            for specialist in specialists:
                began = time.perf_counter()
                found = read(settings, connection, specialist, asked)
                taken.append((time.perf_counter() - began) * 1000)
                if not found.metrics.profile_views.value:
                    raise RuntimeError(f"a {period} of {specialist} is empty")
            rounds.append(sorted(taken))
    return rounds[0], rounds[1]


def fill(url: str, days: int) -> None:
    """Rows and events of so many days, the oldest first, and the packed months. Indexes are made at the end: that is
    ten times as fast.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # nobody looks whether each specialist is there
        connection.execute("SET maintenance_work_mem = '512MB'")
        indexes = connection.execute(INDEXES).fetchall()
        for _, name in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        connection.execute(DAILY, [days - 1])
        for definition, _ in indexes:
            connection.execute(definition.encode())
        connection.execute("SELECT analytics.create_partition(current_date - ago) FROM generate_series(0, %s) AS ago",
                           [LEDGER_DAYS - 1])  # fmt: skip
        connection.execute(EVENTS, [LEDGER_DAYS - 1])
        connection.execute(VISITORS, [sketch_of(random.randbytes(8 * 5)), days - 1])
        connection.execute("ANALYZE")
    with connect_postgres(settings_for(url, "redis://127.0.0.1/0"), "bench") as connection:
        for _ in pack_steps(connection, "UTC"):
            pass
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
