"""`python -m worker verify` and `sql/verify.sql`: what is as it should be, and every kind of damage."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import SITE, add_specialists, run_postgres_program, run_worker
from worker.embedded import EmbeddedPostgres
from worker.migrations import migrate, migrations
from worker.queries import SQL_FOLDER
from worker.settings import Settings
from worker.store import Connection
from worker.verify import verify

FILE = SQL_FOLDER / "verify.sql"

DAILY = '"SpecialistAnalyticsDaily"'
WRITE = "a row can be written"
PRIMARY_KEY = 'index "SpecialistAnalyticsDaily_pkey"'
UNIQUE = 'index "SpecialistAnalyticsDaily_specialistId_date_key"'
PAIR = 'index "SpecialistAnalyticsDaily_specialistId_date_idx"'
DATE = 'index "SpecialistAnalyticsDaily_date_idx"'
FOREIGN_KEY = 'foreign key "SpecialistAnalyticsDaily_specialistId_fkey"'

DROP_UNIQUE = 'DROP INDEX "SpecialistAnalyticsDaily_specialistId_date_key"'
NEW_UNIQUE = f'{DROP_UNIQUE}; CREATE UNIQUE INDEX "SpecialistAnalyticsDaily_specialistId_date_key" ON {DAILY}'
NEW_DATE = (
    f'DROP INDEX "SpecialistAnalyticsDaily_date_idx"; CREATE INDEX "SpecialistAnalyticsDaily_date_idx" ON {DAILY}'
)
DROP_FOREIGN_KEY = f'ALTER TABLE {DAILY} DROP CONSTRAINT "SpecialistAnalyticsDaily_specialistId_fkey"'
NEW_FOREIGN_KEY = (
    f'{DROP_FOREIGN_KEY}; ALTER TABLE {DAILY} ADD CONSTRAINT "SpecialistAnalyticsDaily_specialistId_fkey"'
    ' FOREIGN KEY ("specialistId") REFERENCES "SpecialistProfile" ("id")'
)
CASCADES = "ON UPDATE CASCADE ON DELETE CASCADE"

DAMAGE: dict[str, tuple[str, set[str]]] = {
    "a column of another type": (f'ALTER TABLE {DAILY} ALTER "orders" TYPE bigint', {'column "orders"'}),
    "a time without its precision": (f'ALTER TABLE {DAILY} ALTER "updatedAt" TYPE timestamp', {'column "updatedAt"'}),
    "a time with a zone": (f'ALTER TABLE {DAILY} ALTER "createdAt" TYPE timestamptz(3)', {'column "createdAt"'}),
    "json that is no jsonb": (f'ALTER TABLE {DAILY} ALTER "sources" TYPE json', {'column "sources"'}),
    "a dropped column": (f'ALTER TABLE {DAILY} DROP "reviews"', {'column "reviews"', WRITE}),
    "a renamed column": (f'ALTER TABLE {DAILY} RENAME "orders" TO "Orders"', {'column "orders"', WRITE}),
    "a column more that must be filled": (f'ALTER TABLE {DAILY} ADD "more" text NOT NULL', {WRITE}),
    "a missing default": (f'ALTER TABLE {DAILY} ALTER "orders" DROP DEFAULT', {'column "orders"'}),
    "another default": (f'ALTER TABLE {DAILY} ALTER "orders" SET DEFAULT 1', {'column "orders"'}),
    "a default too many": (f'ALTER TABLE {DAILY} ALTER "updatedAt" SET DEFAULT now()', {'column "updatedAt"'}),
    "a column that may be empty": (f'ALTER TABLE {DAILY} ALTER "orders" DROP NOT NULL', {'column "orders"'}),
    "a column that may not": (f'ALTER TABLE {DAILY} ALTER "sources" SET NOT NULL', {'column "sources"'}),
    "a dropped index": ('DROP INDEX "SpecialistAnalyticsDaily_specialistId_date_idx"', {PAIR}),
    "a renamed index": ('ALTER INDEX "SpecialistAnalyticsDaily_date_idx" RENAME TO "other"', {DATE}),
    "an index downwards": (f'{NEW_DATE} ("date" DESC)', {DATE}),
    "an index on an expression": (f"""{NEW_DATE} (date_trunc('month', "date"::timestamp))""", {DATE}),
    "an index of another kind": (f'{NEW_DATE} USING brin ("date")', {DATE}),
    "a partial index": (f'{NEW_DATE} ("date") WHERE "orders" > 0', {DATE}),
    "an unfinished index": (
        """UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"SpecialistAnalyticsDaily_date_idx"'::regclass""",
        {DATE},
    ),
    "a dropped unique index": (DROP_UNIQUE, {UNIQUE, WRITE}),
    "a partial unique index": (f'{NEW_UNIQUE} ("specialistId", "date") WHERE "orders" > 0', {UNIQUE, WRITE}),
    "a unique index that is not unique": (
        f'{NEW_UNIQUE.replace("UNIQUE INDEX", "INDEX")} ("specialistId", "date")',
        {UNIQUE, WRITE},
    ),
    "a unique index the other way round": (f'{NEW_UNIQUE} ("date", "specialistId")', {UNIQUE}),
    "a unique index of one column": (f'{NEW_UNIQUE} ("specialistId") INCLUDE ("date")', {UNIQUE, WRITE}),
    "a unique index for which nulls are equal": (
        f'{NEW_UNIQUE} ("specialistId", "date") NULLS NOT DISTINCT',
        {UNIQUE},
    ),
    "a unique constraint that waits": (
        f"""{DROP_UNIQUE}; ALTER TABLE {DAILY} ADD CONSTRAINT "SpecialistAnalyticsDaily_specialistId_date_key"
        UNIQUE ("specialistId", "date") DEFERRABLE""",
        {UNIQUE, WRITE},
    ),
    "no primary key": (f'ALTER TABLE {DAILY} DROP CONSTRAINT "SpecialistAnalyticsDaily_pkey"', {PRIMARY_KEY}),
    "a unique index instead of a primary key": (
        f"""ALTER TABLE {DAILY} DROP CONSTRAINT "SpecialistAnalyticsDaily_pkey";
        CREATE UNIQUE INDEX "SpecialistAnalyticsDaily_pkey" ON {DAILY} ("id")""",
        {PRIMARY_KEY},
    ),
    "no foreign key": (DROP_FOREIGN_KEY, {FOREIGN_KEY}),
    "a foreign key without cascade": (NEW_FOREIGN_KEY, {FOREIGN_KEY}),
    "a foreign key with one cascade": (f"{NEW_FOREIGN_KEY} ON DELETE CASCADE", {FOREIGN_KEY}),
    "a foreign key that was not checked": (f"{NEW_FOREIGN_KEY} {CASCADES} NOT VALID", {FOREIGN_KEY}),
    "a foreign key that waits": (f"{NEW_FOREIGN_KEY} {CASCADES} DEFERRABLE INITIALLY DEFERRED", {FOREIGN_KEY}),
    "a foreign key that is not enforced": (f"{NEW_FOREIGN_KEY} {CASCADES} NOT ENFORCED", {FOREIGN_KEY}),
    "a foreign key to somewhere else": (
        f"""CREATE TABLE "other" ("id" text PRIMARY KEY); INSERT INTO "other" VALUES ('anna');
        {NEW_FOREIGN_KEY.replace('"SpecialistProfile"', '"other"')} {CASCADES}""",
        {FOREIGN_KEY},
    ),
    "a table that a crash empties": (f"ALTER TABLE {DAILY} SET UNLOGGED", {f"table {DAILY}"}),
    "a lost migration": ("DELETE FROM analytics.migration WHERE name LIKE '0002%'", {"migrations"}),
    "no migrations": ("DROP SCHEMA analytics CASCADE", {"migrations"}),
    "a session that may only read": ("SET default_transaction_read_only = on", {WRITE}),
}

HARMLESS = {
    "a default in other words": f"""
        ALTER TABLE {DAILY} ALTER "conversionRateProfileToContact" SET DEFAULT 0.0,
        ALTER "conversionRateContactToRequest" SET DEFAULT '0', ALTER "orders" SET DEFAULT '0',
        ALTER "createdAt" SET DEFAULT now()""",
    "room in the pages of an index": 'ALTER INDEX "SpecialistAnalyticsDaily_date_idx" SET (fillfactor = 70)',
    "an index more": f'CREATE INDEX ON {DAILY} ("orders")',
    "a column more": f'ALTER TABLE {DAILY} ADD "note" text',
    "a schema beside": 'CREATE SCHEMA "other"; SET search_path = "other", public',
}


def failing(connection: Connection) -> set[str]:
    return {check for check, holds, _ in verify(connection) if not holds}


@pytest.mark.parametrize("specialists", [[], ["anna", "boris"]], ids=["without specialists", "with specialists"])
def test_a_migrated_database_is_right(connection: Connection, specialists: list[str]) -> None:
    """On a migrated database all checks hold, with specialists and without, and nothing is left behind."""
    add_specialists(connection, specialists)
    assert failing(connection) == set()
    assert connection.execute(f"SELECT count(*) FROM {DAILY}".encode()).fetchone() == (0,)
    assert connection.execute("SELECT current_setting('analytics.try_to_write')").fetchone() == ("",)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(connection: Connection, damage: str) -> None:
    """Whatever was done to the table, exactly the checks that it concerns do not hold."""
    statement, concerned = DAMAGE[damage]
    if "NOT ENFORCED" in statement and connection.info.server_version < 180_000:
        pytest.skip("PostgreSQL before 18 always enforces a foreign key")
    add_specialists(connection, ["anna"])
    connection.execute(statement.encode())
    assert failing(connection) == concerned


@pytest.mark.parametrize("change", HARMLESS)
def test_what_is_as_good_is_right(connection: Connection, change: str) -> None:
    """What neither Prisma nor the worker would notice is no damage."""
    connection.execute(HARMLESS[change].encode())
    assert failing(connection) == set()


def test_a_row_in_the_place_of_the_trial_stays(connection: Connection) -> None:
    """If there is a row for the very day that the trial writes to, it stays as it is."""
    add_specialists(connection, ["anna"])
    row = f"INSERT INTO {DAILY} (id, \"specialistId\", date, \"updatedAt\") VALUES ('row', 'anna', 'epoch', now())"
    connection.execute(row.encode())
    before = connection.execute(f"SELECT ctid, * FROM {DAILY}".encode()).fetchall()
    assert failing(connection) == set()
    assert connection.execute(f"SELECT ctid, * FROM {DAILY}".encode()).fetchall() == before


def test_a_role_that_may_only_read(connection: Connection) -> None:
    """A role that may only read sees the shape of everything, and that it may not write."""
    connection.execute("CREATE ROLE reader")
    try:
        connection.execute("""
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
            GRANT USAGE ON SCHEMA analytics TO reader;
            GRANT SELECT ON analytics.migration TO reader;
            SET ROLE reader""")
        refused = [check for check in verify(connection) if not check.holds]
        assert refused == [(WRITE, False, "refused: permission denied for table SpecialistAnalyticsDaily")]
        connection.execute("RESET ROLE; REVOKE ALL ON SCHEMA analytics FROM reader; SET ROLE reader")
        assert failing(connection) == {WRITE, "migrations"}
    finally:
        connection.execute("RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")


def test_a_missing_table(connection: Connection) -> None:
    """Without the tables every check says so."""
    connection.execute('DROP TABLE "SpecialistProfile", "SpecialistAnalyticsDaily"')
    checks = verify(connection)
    assert [check.detail for check in checks if not check.holds][:21] == ["missing"] * 21
    assert [check.check for check in checks if check.holds] == ["migrations"]


def test_a_view_is_no_table(connection: Connection) -> None:
    """A view of that name is not taken for the table."""
    connection.execute(f'ALTER TABLE {DAILY} RENAME TO "behind"; CREATE VIEW {DAILY} AS TABLE "behind"'.encode())
    assert {f"table {DAILY}", UNIQUE, FOREIGN_KEY} <= failing(connection)


def test_half_of_the_file_is_not_enough(connection: Connection) -> None:
    """Where a console or a pooler tears the two statements apart, it is not said that a row can be written."""
    verify(connection)
    second = FILE.read_text().split("$try_to_write$;")[1]
    *_, last = connection.execute(second.encode())
    assert last == (WRITE, False, "unknown: both statements must run in one session")


def test_psql_says_the_same(database: str, connection: Connection) -> None:
    """`psql -f sql/verify.sql` shows what the program shows, without the migrations, which only the program knows."""
    add_specialists(connection, ["anna"])
    connection.execute(DROP_UNIQUE)
    options = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t", f"--file={FILE}")
    code, output, errors = run_postgres_program("psql", database, *options)
    rows = [line.split("\t") for line in output.splitlines()]
    assert (code, errors) == (0, "")
    assert [(check, holds == "t", detail) for check, holds, detail in rows] == verify(connection)[:-1]


def test_the_command(settings: Settings, connection: Connection) -> None:
    """The command prints each check on a line of its own; the exit code is 1 if one does not hold, else 0."""
    code, output, errors = run_worker(settings, "verify")
    marked = [line.split(maxsplit=1)[0] for line in output.splitlines()[1:-1]]
    assert (code, marked, errors) == (0, ["✓"] * 23, "")
    assert output.splitlines()[-1] == "all 23 checks hold"

    connection.execute(f'ALTER TABLE {DAILY} DROP "orders", ADD "orders" text[]'.encode())
    code, output, errors = run_worker(settings, "verify")
    found = [line.split(maxsplit=1)[1] for line in output.splitlines() if line.strip().startswith("✗")]
    assert (code, errors) == (1, "")
    assert [line.split("   ")[0] for line in found] == ['column "orders"', WRITE]
    assert "text[]" in found[0]
    assert "expected: integer NOT NULL DEFAULT 0" in found[0]
    assert output.splitlines()[-1] == "2 of 23 checks do not hold"


class OlderPostgres(EmbeddedPostgres):
    """PostgreSQL 16, which lies in the same package."""

    def _programs(self) -> Path:
        return super()._programs().parents[1] / "pginstall/bin"


@pytest.fixture
def older() -> Iterator[Connection]:
    with tempfile.TemporaryDirectory() as name:  # not `tmp_path`, which root keeps to itself
        server = OlderPostgres(Path(name))
        if not (server._programs() / "postgres").exists():
            pytest.skip("the package has no older PostgreSQL here")
        with server, psycopg.connect(server.url, autocommit=True) as connection:
            yield connection


def test_an_older_postgresql(older: Connection) -> None:
    """PostgreSQL 16 says everything in the same words: there too all is right, and damage is found."""
    assert older.info.server_version // 10_000 == 16
    older.execute(SITE)
    migrate(older, migrations())
    assert failing(older) == set()
    older.execute(f'{NEW_UNIQUE} ("specialistId", "date") NULLS NOT DISTINCT'.encode())
    assert failing(older) == {UNIQUE}
