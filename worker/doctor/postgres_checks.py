"""The PostgreSQL server and its schema: whether the numbers can be written, how long they have room, and how fast."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from psycopg.rows import class_row, scalar_row

from worker.doctor.check import Check, error, ok, warning
from worker.queries import query
from worker.settings import Settings, without_credentials
from worker.store import Connection, postgres_errors
from worker.units import duration, size
from worker.verify import MIGRATIONS, verify

OLDEST_POSTGRES, OLDEST_TESTED = 14, 15
"""The functions of our schema have bodies in standard SQL, which came with 14; `sql/verify.sql` needs 15."""
CONNECTIONS_BESIDE_ROLLUPS = 11
"""Five of the jobs beside counting and of the scheduler, and six of the web process."""
DAY_S = 86_400
SOON_S, VERY_SOON_S = 14 * DAY_S, 3 * DAY_S
DAYS_MEASURED = 7
PLAIN_INDEX = 'index "SpecialistAnalyticsDaily_specialistId_date_idx"'


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What PostgreSQL says about itself."""

    where: str
    version: str
    read_only: bool
    pooled: bool
    """Whether somebody stands between us and the server: the process that answers is not the one that greeted us."""
    connections_left: int
    database_bytes: int
    wal_bytes: int
    """What it may keep of its write-ahead log."""
    free_bytes: int | None = None
    """Of its disk, if that is this machine's; no SQL can tell."""


class PartitionSize(NamedTuple):
    """A UTC day of the ledger."""

    day: date
    bytes: int


class OutcomeTable(NamedTuple):
    """One of the site's tables that requests, orders and reviews are counted from."""

    table: str
    exists: bool
    indexed: bool


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """What the database has of what we need."""

    failed: Mapping[str, str]
    """What `verify` finds wrong with the daily table."""
    redundant_indexes: Sequence[str]
    outcome_tables: Sequence[OutcomeTable]


def postgres_server(facts: PostgresFacts) -> Check:
    """Whether it is new enough, and one that can be written to."""
    found = f"PostgreSQL {facts.version} at {facts.where}{', through a pooler' if facts.pooled else ''}"
    major = int(facts.version.partition(".")[0])
    if major < OLDEST_POSTGRES:
        return error("PostgreSQL", f"{found} is too old", f"upgrade: {OLDEST_POSTGRES} is needed")
    if facts.read_only:
        return error(
            "PostgreSQL", f"{found} can only be read", "let DATABASE_URL name the primary, and a role that writes"
        )
    if major < OLDEST_TESTED:
        return warning("PostgreSQL", f"{found} is older than what this is tested with", f"upgrade to {OLDEST_TESTED}")
    return ok("PostgreSQL", found)


def connections(facts: PostgresFacts, rollups: int) -> Check:
    """Whether there is room for another worker and web process, as there are during a deploy; each rollup takes two."""
    needed = 2 * rollups + CONNECTIONS_BESIDE_ROLLUPS
    found = f"{facts.connections_left} of PostgreSQL's are free"
    if facts.connections_left < needed:
        return warning("connections", f"{found}; a deploy takes {needed}", "raise max_connections, or use PgBouncer")
    return ok("connections", found)


def disk(facts: PostgresFacts, ledger: Sequence[PartitionSize], today: date, ledger_days: int) -> Check:
    """When the ledger fills the disk, if each day brings what the last days brought.

    Args:
        facts: about the server.
        ledger: its partitions.
        today: the UTC day, which is not over and so not measured.
        ledger_days: how many days it keeps; 0: all.
    """
    per_day = daily_growth(ledger, today)
    found = f"database {size(facts.database_bytes)}"
    if per_day is None:
        growth = "growth not known before a day is over"
    else:
        kept = f"; {ledger_days} days take {size(ledger_days * per_day)}" if ledger_days else ", and all is kept"
        growth = f"{size(per_day)} a day{kept}"
    if facts.free_bytes is None:
        return ok("disk", f"{found}, {growth}; free space not known", "give the size of its disk: `doctor --disk-gb`")
    found = f"{size(facts.free_bytes)} free, {found}, {growth}"
    to_come = max(0, ledger_days * (per_day or 0) - sum(partition.bytes for partition in ledger))
    if facts.free_bytes > 0 and (not per_day or (ledger_days and to_come < facts.free_bytes)):
        return ok("disk", found)
    left_s = max(0, facts.free_bytes) / per_day * DAY_S if per_day else 0.0
    found, advice = f"{found}: full in {duration(left_s)}", "a larger disk, or fewer ANALYTICS_LEDGER_DAYS"
    if left_s < VERY_SOON_S:
        return error("disk", found, advice)
    return warning("disk", found, advice) if left_s < SOON_S else ok("disk", found, advice)


def daily_growth(ledger: Sequence[PartitionSize], today: date) -> float | None:
    """Bytes that a day of the ledger takes, over those of the last seven that are over; None if there is none."""
    measured = [each.bytes for each in ledger if today - timedelta(DAYS_MEASURED) <= each.day < today]
    return sum(measured) / len(measured) if measured else None


def migrations(missing: Sequence[str]) -> Check:
    """Whether the database has the schema of this version; `missing` are those that it lacks."""
    if missing:
        return error("migrations", f"the database lacks the migration {missing[0]}", "run `python -m worker migrate`")
    return ok("migrations", "all are applied")


def schema(facts: SchemaFacts) -> list[Check]:
    """The daily table and the site's tables."""
    return [daily_table(facts), redundant_index(facts), outcome_tables(facts)]


def daily_table(facts: SchemaFacts) -> Check:
    """Whether the daily table is what the worker writes and Prisma reads. One index counting can do without."""
    failed = [f"{what}: {why}" for what, why in facts.failed.items() if (what, why) != (PLAIN_INDEX, "missing")]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        advice = "`python -m worker verify` lists all; bring the table to what the site's Prisma model says"
        return error("daily table", f"{failed[0]}{more}", advice)
    return ok("daily table", "as the worker and Prisma expect it")


def redundant_index(facts: SchemaFacts) -> Check:
    """Whether every new count is written into an index that nobody needs; it is the site's to keep or drop."""
    if facts.redundant_indexes:
        found = f"{', '.join(facts.redundant_indexes)} repeats the unique index: 20–28 % of the writing"
        return ok("redundant index", found, "the site may leave @@index([specialistId, date]) out of its model")
    return ok("redundant index", "none")


def outcome_tables(facts: SchemaFacts) -> Check:
    """Whether the outcomes of a day can be found without reading all that there ever were."""
    missing = [each.table for each in facts.outcome_tables if not each.exists]
    slow = [f'"{each.table}"' for each in facts.outcome_tables if each.exists and not each.indexed]
    counts_as_zero = f"not there, counts as zero: {', '.join(missing)}" if missing else ""
    if slow:
        found = "; ".join(filter(None, (f"no index on createdAt: {', '.join(slow)}", counts_as_zero)))
        advice = f'the site should add @@index([createdAt]), or `CREATE INDEX CONCURRENTLY ON {slow[0]} ("createdAt")`'
        return warning("outcomes", found, advice)
    return ok("outcomes", counts_as_zero or "all tables have an index on createdAt")


def profile_totals(refusal: str | None) -> Check:
    """Whether the totals of the site's profiles can be written, where they are to be."""
    if refusal:
        return error("profile totals", refusal, "do that, or switch ANALYTICS_PROFILE_TOTALS off")
    return ok("profile totals", "may be written")


def read_postgres(settings: Settings, connection: Connection, disk_bytes: int | None = None) -> PostgresFacts:
    """Ask PostgreSQL about itself; changes nothing.

    Args:
        settings: say where it is.
        connection: to it.
        disk_bytes: size of its disk, if somebody knows.
    """
    with postgres_errors():
        [row] = connection.execute(query("read_server"))
    version, read_only, backend, limit, connected, database_bytes, wal_bytes, folder = row
    if disk_bytes is not None:
        free = disk_bytes - database_bytes - wal_bytes
    else:
        free = _free_bytes(folder) if connection.info.hostaddr in ("", "127.0.0.1", "::1") else None
    return PostgresFacts(
        where=without_credentials(settings.database_url.get_secret_value()),
        version=version,
        read_only=read_only,
        pooled=backend != connection.info.backend_pid,
        connections_left=limit - connected,
        database_bytes=database_bytes,
        wal_bytes=wal_bytes,
        free_bytes=free,
    )


def _free_bytes(folder: str | None) -> int | None:
    with suppress(OSError):  # in a container beside us, or not ours to see
        return shutil.disk_usage(Path(folder)).free if folder else None
    return None


def read_ledger(connection: Connection) -> list[PartitionSize]:
    """The days of the ledger and what they take."""
    with postgres_errors(), connection.cursor(row_factory=class_row(PartitionSize)) as cursor:
        return cursor.execute(query("measure_partitions")).fetchall()


def read_schema(connection: Connection) -> SchemaFacts:
    """What the database has; as `verify` does, it writes a row and takes it back."""
    failed = {check.check: check.detail for check in verify(connection) if not check.holds}
    failed.pop(MIGRATIONS, None)
    with postgres_errors():
        indexes = connection.cursor(row_factory=scalar_row).execute(query("find_redundant_indexes")).fetchall()
        tables = connection.cursor(row_factory=class_row(OutcomeTable)).execute(query("list_outcome_tables")).fetchall()
    return SchemaFacts(failed, indexes, tables)


def utc_today() -> date:
    """The UTC day, which divides the ledger."""
    return datetime.now(UTC).date()
