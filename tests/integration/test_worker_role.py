"""The worker's own role in PostgreSQL. All tests with the fixture `settings` run the worker under it; these say what
it cannot do.
"""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.counting import TODAY
from tests.support import WORKER_ROLE, add_specialists, run_worker
from worker.migrations import Migration, migrate, migrations
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres

FORBIDDEN = [
    'SELECT "profileViews" FROM "SpecialistProfile"',
    'SELECT * FROM "SpecialistProfile"',
    'UPDATE "SpecialistProfile" SET "profileViews" = 0',
    'DELETE FROM "SpecialistProfile"',
    'INSERT INTO "SpecialistProfile" ("id") VALUES (\'x\')',
    'SELECT FROM "Order"',
    'DELETE FROM "SpecialistAnalyticsDaily"',
    'TRUNCATE "SpecialistAnalyticsDaily"',
    'DROP TABLE "SpecialistAnalyticsDaily"',
    'ALTER TABLE "SpecialistAnalyticsDaily" ADD COLUMN extra integer',
    'ALTER TABLE "SpecialistAnalyticsDaily" DISABLE TRIGGER ALL',
    'CREATE TRIGGER t BEFORE INSERT ON "SpecialistAnalyticsDaily"'
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "UPDATE analytics.event SET excluded = 'bot'",
    "DELETE FROM analytics.event",
    "TRUNCATE analytics.event",
    "DROP TABLE analytics.event",
    f"SELECT FROM analytics.event_{TODAY:%Y%m%d}",
    f"INSERT INTO analytics.event_{TODAY:%Y%m%d} DEFAULT VALUES",
    f"DROP TABLE analytics.event_{TODAY:%Y%m%d}",
    f"ALTER TABLE analytics.event DETACH PARTITION analytics.event_{TODAY:%Y%m%d}",
    "UPDATE analytics.dead_letter SET reason = ''",
    "DELETE FROM analytics.dead_letter",
    "UPDATE analytics.continuity_event SET lost = 0",
    "DELETE FROM analytics.stream_position",
    "INSERT INTO analytics.migration (name, checksum) VALUES ('9999_x', '')",
    "DELETE FROM analytics.migration",
    "CREATE TABLE analytics.mine ()",
    "CREATE TABLE public.mine ()",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "SET ROLE postgres",
    "COPY analytics.event TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "ALTER FUNCTION analytics.create_partition(date) RESET search_path",
    "CREATE OR REPLACE FUNCTION analytics.create_partition(day date) RETURNS boolean LANGUAGE sql RETURN false",
    "ALTER SYSTEM SET log_statement = 'all'",
]


@pytest.fixture
def worker(connection: Connection, settings: Settings) -> Iterator[Connection]:
    """A connection under the worker's role, in a database with a specialist, a table of the site's, and a partition."""
    add_specialists(connection, ["anna"])
    connection.execute('CREATE TABLE "Order" ("id" text, "price" integer)')
    with connect_postgres(settings, "test") as connected:
        connected.execute("SELECT analytics.create_partition(%s)", [TODAY])
        yield connected


def test_what_the_worker_has_no_right_to(worker: Connection) -> None:
    """Beyond counting, the role may do nothing: not look at the site, nor change a table, nor undo its own notes."""
    assert [statement for statement in FORBIDDEN if not is_forbidden(worker, statement)] == []


def is_forbidden(connection: Connection, statement: str) -> bool:
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_the_rights_are_these(worker: Connection, connection: Connection) -> None:
    """The catalogue knows no other right of the role: on no table, no column, no schema, and no membership."""
    tables = connection.execute(
        "SELECT oid::regclass::text, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
        " FROM pg_class CROSS JOIN aclexplode(relacl) WHERE grantee = %s::regrole GROUP BY 1",
        [WORKER_ROLE],
    ).fetchall()
    rights: dict[str, str] = dict(tables)
    assert {name: rights.pop(name) for name in sorted(rights) if not name.startswith("analytics.")} == {
        '"SpecialistAnalyticsDaily"': "INSERT SELECT UPDATE"
    }
    known = {
        "analytics.continuity_event": "INSERT SELECT",
        "analytics.dead_letter": "INSERT SELECT",
        "analytics.event": "INSERT SELECT",
        "analytics.migration": "SELECT",
        "analytics.stream_position": "INSERT SELECT UPDATE",
    }
    copies = {"analytics.changed_month", "analytics.packed_month"}
    assert {rights.pop(name) for name in copies} == {"DELETE INSERT SELECT UPDATE"}
    assert {name: rights[name] for name in known} == known
    assert set(rights.values()) <= {"SELECT", "INSERT SELECT", "INSERT SELECT UPDATE"}
    columns = connection.execute(
        "SELECT attrelid::regclass::text, attname, privilege_type FROM pg_attribute CROSS JOIN aclexplode(attacl)"
        " WHERE grantee = %s::regrole",
        [WORKER_ROLE],
    ).fetchall()
    assert sorted(columns) == [
        ('"SpecialistProfile"', "id", "SELECT"),
        ("analytics.dead_letter", "state", "UPDATE"),
    ]
    about = connection.execute(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,"
        " EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid),"
        " EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid)"
        " FROM pg_roles WHERE rolname = %s",
        [WORKER_ROLE],
    ).fetchone()
    assert about == (False, False, False)


def test_every_table_of_ours_can_be_read(worker: Connection, connection: Connection) -> None:
    """The role can read every table and view of the schema, also those of later migrations: none was forgotten."""
    for name, kind in connection.execute(
        "SELECT oid::regclass::text, relkind FROM pg_class WHERE relnamespace = 'analytics'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition"
    ).fetchall():
        assert worker.execute(f"SELECT count(*) FROM {name}".encode()).fetchone(), (name, kind)


def test_in_the_owners_name(connection: Connection) -> None:
    """What runs with the owner's rights looks nothing up where a caller can put something, and is not for everybody."""
    definers = connection.execute(
        "SELECT proname, proconfig, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
        " WHERE pronamespace = 'analytics'::regnamespace AND prosecdef"
    ).fetchall()
    assert "create_partition" in {name for name, _, _ in definers}
    for name, configuration, for_everybody in definers:
        assert configuration and "search_path=pg_catalog, pg_temp" in configuration, name
        assert not for_everybody, name


def test_names_of_a_caller_are_not_looked_up(worker: Connection, connection: Connection) -> None:
    """A caller who puts functions and types of his own first does not get them run by the owner."""
    worker.execute("CREATE FUNCTION pg_temp.to_char(date, text) RETURNS text LANGUAGE sql RETURN 'event_taken'")
    worker.execute("CREATE FUNCTION pg_temp.hashtext(text) RETURNS integer LANGUAGE sql RETURN 1 / 0")
    worker.execute("SET search_path = pg_temp, pg_catalog")
    assert worker.execute("SELECT analytics.create_partition('2001-02-03')").fetchone() == (True,)
    assert connection.execute("SELECT to_regclass('analytics.event_20010203') IS NOT NULL").fetchone() == (True,)


def test_the_role_does_not_migrate(database: str, settings: Settings, connection: Connection) -> None:
    """Where all is applied the role finds nothing to do; where something is missing one line says what it lacks."""
    assert run_worker(settings, "migrate") == (
        0,
        "all migrations were applied before; the view of outcomes and the rights of the worker were looked over\n",
        "",
    )
    connection.execute("DROP SCHEMA analytics CASCADE")
    code, output, errors = run_worker(settings, "migrate")
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert "lacks a right" in errors


def test_verify_under_the_role(settings: Settings) -> None:
    """`verify` finds everything in order under the role too."""
    code, output, errors = run_worker(settings, "verify")
    assert (code, errors) == (0, ""), output


def test_rights_follow_each_migration(connection: Connection, settings: Settings) -> None:
    """A table of a later migration is the worker's to write as soon as that is applied, with nothing else to be run."""
    migrate(connection, [*migrations(), Migration("9999_newer", "CREATE TABLE analytics.newer (n integer)")])
    with connect_postgres(settings, "test") as worker:
        worker.execute("INSERT INTO analytics.newer VALUES (1)")
        worker.execute("UPDATE analytics.newer SET n = 2")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute("DELETE FROM analytics.newer")


def test_where_there_is_no_such_role(connection: Connection) -> None:
    """Without the role, giving it its rights does nothing: a worker with the owner's account needs none."""
    without = query("grant_worker_rights").replace(WORKER_ROLE.encode(), b"nobody_of_that_name")
    assert connection.execute(without).statusmessage == "DO"


def test_rights_that_are_not_the_migrators_to_give(connection: Connection) -> None:
    """If the site's tables belong to somebody else than who migrates, what can be given is given all the same."""
    owner = sql.Identifier("owner_of_ours")
    connection.execute(sql.SQL("CREATE ROLE {}").format(owner))
    try:
        connection.execute(sql.SQL("ALTER SCHEMA analytics OWNER TO {}").format(owner))
        connection.execute(sql.SQL("CREATE TABLE analytics.newer (n integer)"))
        connection.execute(sql.SQL("ALTER TABLE analytics.newer OWNER TO {}").format(owner))
        connection.execute(sql.SQL("SET ROLE {}").format(owner))
        connection.execute(query("grant_worker_rights"))
        connection.execute("RESET ROLE")
        given = connection.execute(
            "SELECT has_table_privilege(%s, 'analytics.newer', 'UPDATE')", [WORKER_ROLE]
        ).fetchone()
        assert given == (True,)
    finally:
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(owner))
        connection.execute(sql.SQL("DROP ROLE {}").format(owner))
