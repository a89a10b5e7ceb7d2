"""PostgreSQL's own time for the same rows by the fastest way: COPY in binary without looking for repeats, one upsert.

The rows come out of a database that the worker has filled, ready to be sent, so that the client has nothing to do.
"""

import time
from dataclasses import dataclass

import psycopg

from tests.bench.ground import Ground, Processors
from tests.bench.traffic import Traffic

BATCH = 50_000

NUMBER = b"""
    CREATE TEMP TABLE numbered AS
    SELECT (row_number() OVER (ORDER BY tableoid, ctid) - 1) / %d AS batch, * FROM analytics.event
"""
COLUMNS = b"""
    day, event_id, occurred_at, type, source, excluded, specialist_id, contact_type, visitor, entry_id, stream
"""
COPY_OUT = b"COPY (SELECT %b FROM numbered WHERE batch = %d ORDER BY event_id) TO STDOUT (FORMAT binary)"
COPY_IN = b"COPY analytics.event (%b) FROM STDIN (FORMAT binary)" % COLUMNS
DAILY_OUT = b"""
    SELECT array_agg(specialist_id)::text, array_agg(day)::text, array_agg(views)::text, array_agg(contacts)::text,
           array_agg(catalog)::text, array_agg(search)::text, array_agg(direct)::text
    FROM (
        SELECT specialist_id, day,
               count(*) FILTER (WHERE type = 'profile_view') AS views,
               count(*) FILTER (WHERE type = 'contact_view') AS contacts,
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog') AS catalog,
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'search') AS search,
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct') AS direct
        FROM numbered WHERE batch = %s GROUP BY 1, 2 ORDER BY 1, 2
    ) AS daily
"""
DAILY_IN = b"""
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "profileViews", "contactViews", "sources",
         "conversionRateProfileToContact", "updatedAt")
    SELECT gen_random_uuid()::text, specialist, day, views, contacts,
           analytics.sources(catalog, search, direct, 0), analytics.conversion_rate(contacts, views), now()
    FROM unnest(%s::text[], %s::date[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[])
        AS fresh (specialist, day, views, contacts, catalog, search, direct)
    ON CONFLICT ("specialistId", "date") DO UPDATE SET
        "profileViews" = daily."profileViews" + excluded."profileViews",
        "contactViews" = daily."contactViews" + excluded."contactViews",
        "sources" = analytics.add_sources(daily."sources", excluded."sources"),
        "conversionRateProfileToContact" = analytics.conversion_rate(
            daily."contactViews" + excluded."contactViews", daily."profileViews" + excluded."profileViews"),
        "updatedAt" = excluded."updatedAt"
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as PostgreSQL takes it."""

    events: bytes
    daily: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Floor:
    """What PostgreSQL took for it."""

    seconds: float
    cpu_seconds: float


def rows_of(database_url: str) -> list[Rows]:
    """What a filled database holds, by batches in the order in which they came."""
    with psycopg.connect(database_url) as connection:
        connection.execute(NUMBER % BATCH)
        (last,) = connection.execute("SELECT max(batch) FROM numbered").fetchone() or (0,)
        batches = []
        for batch in range(last + 1):
            with connection.cursor().copy(COPY_OUT % (COLUMNS, batch)) as copy:
                events = b"".join(copy)
            daily = connection.execute(DAILY_OUT, [batch]).fetchone()
            batches.append(Rows(events, daily or ()))
        return batches


def load(ground: Ground, traffic: Traffic, batches: list[Rows]) -> Floor:
    """Write the rows into a fresh database, one transaction a batch."""
    with ground.database(traffic) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT analytics.create_partition(current_date - days) FROM generate_series(0, 1) days")
            before, began = Processors.of(ground.servers), time.perf_counter()
            for rows in batches:
                with connection.transaction(), connection.cursor() as cursor:
                    with cursor.copy(COPY_IN) as copy:
                        copy.write(rows.events)
                    cursor.execute(DAILY_IN, rows.daily)
            seconds = time.perf_counter() - began
        return Floor(seconds, Processors.of(ground.servers).postgres - before.postgres)
