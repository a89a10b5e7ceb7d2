"""PostgreSQL: the position, the ledger, the daily rows. Every statement is a file in `sql/queries/`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb

from worker.batch import Batch, UuidArray
from worker.breaker import Breaker, Window
from worker.continuity import EntryId, Lost, Position, Restarted, StreamFacts
from worker.errors import Conflict, NotMigrated, Retry, Stop
from worker.queries import query
from worker.settings import UNREADABLE, Settings, without_credentials

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]

SMALL_BATCH = 5_000
"""Entries up to which PostgreSQL sorts within its default work_mem (4 MB), and planning is the larger part of the work:
such a batch uses a prepared statement. A larger one asks for more memory and for a plan of its own."""

NEVER = 2**31

REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
    "could not read root certificate file",
    "connection is bad: invalid",  # a parameter's value
)
"""What libpq says when trying again will not help."""


GONE_MEANWHILE = (
    psycopg.errors.ForeignKeyViolation,  # a specialist was deleted
    psycopg.errors.CheckViolation,  # a partition was dropped
    psycopg.errors.UniqueViolation,  # somebody made the same thing
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
"""What another transaction did in this very moment: with the memory thrown away, the next try goes well."""


PREPARED_BY_ANOTHER = (
    psycopg.errors.DuplicatePreparedStatement,
    psycopg.errors.InvalidSqlStatementName,  # it is there on another server connection only
    psycopg.errors.InvalidBinaryRepresentation,  # with other types of parameters
    psycopg.errors.ProtocolViolation,  # with another number of them
)
"""What PostgreSQL says to a client that is given another one's prepared statements, under the same names as its own."""


class _Pooler:
    """Whether prepared statements work: an old PgBouncer in transaction mode mixes up whose they are."""

    keeps_prepared = True


class UuidArrayDumper(Dumper):
    """Sends a `UuidArray` as it is."""

    format = Format.BINARY
    oid = 2951  # uuid[]

    def dump(self, obj: UuidArray) -> bytes:
        """The bytes themselves."""
        return obj


psycopg.adapters.register_dumper(UuidArray, UuidArrayDumper)

_PRISMA_PARAMETERS = {
    "connection_limit", "connect_timeout", "pgbouncer", "pool_timeout", "schema", "socket_timeout", "sslaccept",
    "statement_cache_size",
}  # fmt: skip


def libpq_url(url: str) -> str:
    """DATABASE_URL as libpq reads it: the parameters that only Prisma knows are left out.

    Raises:
        Stop: it asks for another schema than `public`, where Prisma would keep the site's tables elsewhere.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Stop(f"DATABASE_URL {UNREADABLE}") from None
    parameters = parse_qsl(parts.query.replace("+", "%2B"))  # a plus is a space in forms, and a plus to libpq
    if dict(parameters).get("schema", "public") != "public":
        raise Stop("DATABASE_URL asks for another schema than public, which is not supported: remove ?schema=…")
    kept = [(name, value) for name, value in parameters if name not in _PRISMA_PARAMETERS]
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(kept, quote_via=quote)}"


def connect_postgres(settings: Settings, purpose: str) -> Connection:
    """A connection in autocommit mode, that prepares no statement by itself.

    Args:
        settings: says where.
        purpose: shown in pg_stat_activity.

    Raises:
        Stop: the URL, user, password or database is wrong.
        Retry: the server is away.
    """
    with _connecting(settings, purpose) as options:
        return psycopg.connect(**options)


async def connect_postgres_async(settings: Settings, purpose: str) -> AsyncConnection:
    """The same, for an event loop, which goes on meanwhile."""
    with _connecting(settings, purpose) as options:
        return await psycopg.AsyncConnection.connect(**options)


@contextmanager
def _connecting(settings: Settings, purpose: str) -> Iterator[dict[str, Any]]:
    """How to connect, and what it means if that fails."""
    url = settings.database_url.get_secret_value()
    try:
        yield {
            "conninfo": libpq_url(url),
            "autocommit": True,
            "prepare_threshold": NEVER,
            "connect_timeout": 5,
            "application_name": f"analytics {purpose}",
            "keepalives_idle": 5,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
    except psycopg.ProgrammingError:  # its words could hold a part of the password
        raise Stop(f"DATABASE_URL {UNREADABLE}") from None
    except psycopg.OperationalError as error:
        kind = Stop if any(refusal in str(error) for refusal in REFUSALS) else Retry
        raise kind(f"PostgreSQL at {without_credentials(url)}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Name psycopg's errors by what to do. After any of them, what is in memory about the database is worth nothing."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise NotMigrated(
            f"the database is not migrated ({_first_line(error)}): run `python -m worker migrate`"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise Stop(f"the database role lacks a right: {_first_line(error)}") from None
    except GONE_MEANWHILE as error:
        raise Conflict(f"PostgreSQL: {_first_line(error)}") from None
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
        raise Retry(f"PostgreSQL: {_first_line(error)}") from None
    except psycopg.Error as error:
        raise Stop(f"PostgreSQL refuses: {_first_line(error)}") from None


@contextmanager
def preparing() -> Iterator[bool]:
    """Whether to prepare the statement of the block. From the first mix-up on, this process prepares nothing.

    Raises:
        Conflict: that was the mix-up.
    """
    prepared = _Pooler.keeps_prepared
    try:
        yield prepared
    except PREPARED_BY_ANOTHER as error:
        if not prepared:
            raise
        _Pooler.keeps_prepared = False
        raise Conflict(f"PostgreSQL, without prepared statements from now on: {_first_line(error)}") from None


async def keep_plans(connection: AsyncConnection) -> None:
    """Have statements of this connection that are prepared planned once, where it is not a pooler's.

    For a statement that is short to execute: PostgreSQL takes a plan for any arguments to be dearer than one for these,
    and so spends more time on planning than on reading.
    """
    with postgres_errors():
        await connection.execute(query("keep_plans"), {"process": connection.info.backend_pid})


def check_time_zone(connection: Connection, name: str) -> None:
    """PostgreSQL has its own list of time zones, which must know the name too.

    Raises:
        Stop: it does not.
    """
    try:
        with postgres_errors():
            connection.execute(query("check_time_zone"), {"time_zone": name})
    except Stop as error:
        raise Stop(f"ANALYTICS_TIME_ZONE {error}") from None


class PositionRow(NamedTuple):
    """A row of `analytics.stream_position`, as text has it."""

    stream: str
    epoch: str
    last_id: str
    ordinal: int | None


def load_position(connection: Connection, stream: str) -> Position | None:
    """The stored position of a stream, or None if it was never read."""
    with postgres_errors(), connection.cursor(row_factory=class_row(PositionRow)) as cursor:
        return _position(cursor.execute(query("load_position"), {"stream": stream}).fetchone())


async def load_position_async(connection: AsyncConnection, stream: str) -> Position | None:
    """The same, for an event loop."""
    with postgres_errors():
        async with connection.cursor(row_factory=class_row(PositionRow)) as cursor:
            await cursor.execute(query("load_position"), {"stream": stream})
            return _position(await cursor.fetchone())


def _position(row: PositionRow | None) -> Position | None:
    return Position(row.stream, row.epoch, EntryId.of(row.last_id), row.ordinal) if row else None


class BreakerRow(NamedTuple):
    """The circuit breaker's columns of `analytics.stream_position`."""

    window_entries: float
    window_bad: float
    waived_until: str
    halted: bool


def load_breaker(connection: Connection, stream: str) -> Breaker:
    """What is stored of a stream's circuit breaker."""
    with postgres_errors(), connection.cursor(row_factory=class_row(BreakerRow)) as cursor:
        row = cursor.execute(query("load_breaker"), {"stream": stream}).fetchone()
    if row is None:
        return Breaker()
    return Breaker(Window(row.window_entries, row.window_bad), EntryId.of(row.waived_until), row.halted)


def halt_stream(connection: Connection, position: Position, waived_until: EntryId, because: str) -> None:
    """Note that a stream is halted at its position, unless that is noted already."""
    with postgres_errors():
        connection.execute(
            query("halt_stream"),
            {
                "stream": position.stream,
                "epoch": position.epoch,
                "last_id": str(position.last_id),
                "ordinal": position.ordinal,
                "waived_until": str(waived_until),
                "because": because,
            },
        )


def resume_stream(
    connection: Connection,
    stream: str,
    verdict: str,
    waived_until: EntryId | None = None,
    operator: str | None = None,
) -> bool:
    """Let a halted stream go on; whether it was halted.

    Args:
        connection: to the database.
        stream: its key.
        verdict: why it may go on: `mostly_good`, `waived`.
        waived_until: entries up to this one pass, however many are bad.
        operator: who said so.
    """
    with postgres_errors():
        row = connection.execute(
            query("resume_stream"),
            {
                "stream": stream,
                "verdict": verdict,
                "waived_until": str(waived_until) if waived_until else None,
                "operator": operator,
            },
        ).fetchone()
    return row is not None


def begin_position(connection: Connection, position: Position) -> None:
    """Store the first position of a stream, unless somebody else just did."""
    with postgres_errors():
        connection.execute(
            query("begin_position"),
            {
                "stream": position.stream,
                "epoch": position.epoch,
                "last_id": str(position.last_id),
                "ordinal": position.ordinal,
            },
        )


def record_continuity(
    connection: Connection, stored: Position, verdict: Lost | Restarted, moved_to: Position, seen: StreamFacts
) -> None:
    """Write down what was found about the stream, and move the position as the verdict says.

    Raises:
        Conflict: the position is no longer what the verdict was about.
    """
    facts = {name: str(value) if isinstance(value, EntryId) else value for name, value in asdict(seen).items()}
    with postgres_errors():
        row = connection.execute(
            query("record_continuity"),
            {
                "stream": stored.stream,
                "stored_epoch": stored.epoch,
                "stored_last_id": str(stored.last_id),
                "stored_ordinal": stored.ordinal,
                "epoch": moved_to.epoch,
                "last_id": str(moved_to.last_id),
                "ordinal": moved_to.ordinal,
                "verdict": verdict.verdict,
                "action": "went_on" if isinstance(verdict, Lost) else "rewound",
                "lost": verdict.count if isinstance(verdict, Lost) else None,
                "stored": Jsonb({"epoch": stored.epoch, "last_id": str(stored.last_id), "ordinal": stored.ordinal}),
                "seen": Jsonb(facts),
            },
        ).fetchone()
    if row is None:
        raise Conflict("the position moved while the stream was judged")


def known_specialists(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids that `"SpecialistProfile"` has."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query("known_specialists"), {"ids": list(ids)}))


def check_specialist(connection: Connection, specialist: str) -> None:
    """Nobody has a daily row who is not in `"SpecialistProfile"`: its foreign key sees to that.

    Raises:
        Stop: there is no such specialist.
    """
    if not specialist.isascii() or not known_specialists(connection, [specialist]):
        raise Stop(f'there is no specialist {specialist!r} in "SpecialistProfile"')


def list_partitions(connection: Connection) -> set[date]:
    """The UTC days that have a ledger partition."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query("list_partitions")))


def create_partition(connection: Connection, day: date) -> bool:
    """Make the ledger partition of a UTC day; whether it was missing.

    Raises:
        Conflict: the ledger is sealed up to this day or a later one.
    """
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return bool(cursor.execute(query("create_partition"), {"day": day}).fetchone())


def seal_oldest_day(connection: Connection, ledger_days: int, time_zone: str) -> date | None:
    """Fold the oldest UTC day of the ledger into the baseline and drop its partition, all of it or nothing.

    Args:
        connection: in autocommit mode, or live counting waits for the rest of the transaction.
        ledger_days: how many are kept, and one to spare; 0 keeps all.
        time_zone: IANA name; its midnight divides the days of the baseline.

    Returns:
        The day, or None if no day is old enough or somebody else seals.

    Raises:
        Retry: somebody reads or writes the ledger for longer than live counting is to wait.
        Conflict: the day was sealed before, and has a partition again.
    """
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        parameters = {"ledger_days": ledger_days, "time_zone": time_zone}
        sealed: date | None = cursor.execute(query("seal_oldest_day"), parameters).fetchone()
    return sealed


def load_newest_sealed_day(connection: Connection) -> date | None:
    """The UTC day up to which the ledger is sealed, or None if it never was."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        newest: date | None = cursor.execute(query("load_newest_sealed_day")).fetchone()
    return newest


def prune_refreshes(connection: Connection) -> int:
    """Forget refreshes that ended long ago; how many."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        pruned = cursor.execute(query("prune_refreshes")).fetchone()
    assert isinstance(pruned, int)  # a count is always one row
    return pruned


class Committed(NamedTuple):
    """What became of a batch's entries."""

    counted: int
    duplicates: int
    excluded: int
    dead_lettered: int


def commit_batch(connection: Connection, batch: Batch, shard: int, time_zone: str) -> Committed:
    """Write one micro-batch: all of it, or nothing.

    Raises:
        Conflict: somebody else moved the position first, or a row it relies on went away; nothing was written.
        Retry: the server or the connection failed; perhaps it was written, and the position will tell.
    """
    parameters = batch.parameters(shard, time_zone)
    with postgres_errors(), connection.cursor(row_factory=class_row(Committed)) as cursor:
        if batch.entries > SMALL_BATCH:
            with connection.pipeline():  # one implicit transaction, one round trip
                connection.execute(query("prepare_batch"))
                cursor.execute(query("commit_batch"), parameters, prepare=False)
        else:
            with preparing() as prepare:
                cursor.execute(query("commit_batch"), parameters, prepare=prepare)
        committed = cursor.fetchone()
    if committed is None:
        raise Conflict(f"somebody else moved the position of {batch.read_after.stream}")
    return committed
