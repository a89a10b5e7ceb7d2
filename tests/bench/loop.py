"""What one writes in an afternoon: a consumer group, a dict, an upsert, an ack. No ledger, and repeats count twice."""

import time
from collections import Counter

import psycopg
import redis

from tests.bench.tally import Tally
from worker.continuity import EntryId
from worker.settings import Settings
from worker.store import libpq_url

COUNT = 10_000
BLOCK_MS = 100
SOURCES = ("catalog", "search", "direct")

UPSERT = b"""
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "profileViews", "contactViews", "sources", "updatedAt")
    VALUES (gen_random_uuid()::text, %s, %s, %s, %s,
            jsonb_build_object('catalog', %s::int, 'search', %s::int, 'direct', %s::int), now())
    ON CONFLICT ("specialistId", "date") DO UPDATE SET
        "profileViews" = daily."profileViews" + excluded."profileViews",
        "contactViews" = daily."contactViews" + excluded."contactViews",
        "sources" = jsonb_build_object(
            'catalog', (daily."sources" ->> 'catalog')::int + (excluded."sources" ->> 'catalog')::int,
            'search', (daily."sources" ->> 'search')::int + (excluded."sources" ->> 'search')::int,
            'direct', (daily."sources" ->> 'direct')::int + (excluded."sources" ->> 'direct')::int),
        "updatedAt" = excluded."updatedAt"
"""

Fields = dict[bytes, bytes]
Row = tuple[str, str, int, int, int, int, int]


def hand_written_loop(settings: Settings, tally: Tally) -> None:
    """The loop, until all is counted or it is told to stop."""
    stream, group = settings.stream, "loop"
    database = libpq_url(settings.database_url.get_secret_value())
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client, psycopg.connect(database) as connection:
        client.xgroup_create(stream, group, id="0", mkstream=True)
        while not tally.is_over():
            answer = client.xreadgroup(group, "one", {stream: ">"}, count=COUNT, block=BLOCK_MS)
            if not answer:
                continue
            batch: list[tuple[bytes, Fields]] = answer[0][1]
            with connection.cursor() as cursor:
                cursor.executemany(UPSERT, _rows([fields for _, fields in batch]))
            connection.commit()
            tally.answered(EntryId.of(batch[-1][0].decode()), len(batch))
            client.xack(stream, group, *(entry_id for entry_id, _ in batch))
        client.xgroup_destroy(stream, group)


def _rows(events: list[Fields]) -> list[Row]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for fields in events:
        day = time.strftime("%Y-%m-%d", time.gmtime(int(fields[b"occurredAt"]) / 1000))
        source = "contact" if fields[b"type"] == b"contact_view" else fields[b"source"].decode()
        counts[fields[b"specialistId"].decode(), day, source] += 1
    rows = []
    for specialist, day in sorted({key[:2] for key in counts}):
        catalog, search, direct = (counts[specialist, day, source] for source in SOURCES)
        contacts = counts[specialist, day, "contact"]
        rows.append((specialist, day, catalog + search + direct, contacts, catalog, search, direct))
    return rows
