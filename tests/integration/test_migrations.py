"""The schema: applied once, by whoever comes first, whether through the program or through psql."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import redis

from tests.counting import TODAY, add, daily, drain, event
from tests.support import (
    add_specialists,
    fork_worker,
    fresh_database,
    run_postgres_program,
    run_worker,
    settings_for,
    settings_with,
)
from worker.embedded import Servers
from worker.errors import AnalyticsError, Stop
from worker.migrations import Migration, migrate, migrations, missing_migrations, production_script
from worker.queries import SQL_FOLDER
from worker.reading.period import parse_period
from worker.reading.read import read
from worker.settings import Settings
from worker.store import Connection
from worker.upkeep.packing import pack_months

SCRIPT = SQL_FOLDER / "apply_to_production.sql"
NAMES = [migration.name for migration in migrations()]


@pytest.fixture
def site(site_database: str) -> Iterator[Connection]:
    """A connection to a database as the site has it before our first migration."""
    with psycopg.connect(site_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(site: Connection) -> Iterator[str]:
    """A role without any right, with the name that suggests itself for the worker."""
    site.execute("CREATE ROLE analytics")
    yield "analytics"
    site.execute("RESET ROLE")
    site.execute("DROP OWNED BY analytics CASCADE")
    site.execute("DROP ROLE analytics")


def psql(url: str, file: Path) -> tuple[int, str, str]:
    return run_postgres_program("psql", url, "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={file}")


def dump(url: str, *options: str) -> str:
    """What pg_dump says, without the key that it makes up each time."""
    code, output, errors = run_postgres_program("pg_dump", url, *options)
    assert code == 0, errors
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", output)


def notes(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT name, checksum, applied_at FROM analytics.migration ORDER BY name").fetchall()


def has_schema(connection: Connection) -> bool:
    return connection.execute("SELECT FROM pg_namespace WHERE nspname = 'analytics'").fetchone() is not None


def test_migrate_applies_what_is_missing(site_database: str, site: Connection) -> None:
    """The command applies every migration, names each, and finds nothing to do the next time."""
    settings = settings_for(site_database, "redis://127.0.0.1:1")
    assert missing_migrations(site) == NAMES
    assert run_worker(settings, "migrate") == (0, "".join(f"applied {name}\n" for name in NAMES), "")
    assert missing_migrations(site) == []
    before = notes(site)
    assert run_worker(settings, "migrate") == (
        0,
        "all migrations were applied before; the view of outcomes and the rights of the worker were looked over\n",
        "",
    )
    assert notes(site) == before


def test_twenty_at_once(site_database: str, site: Connection) -> None:
    """Twenty processes that migrate at the same moment all end well, and each migration is applied by exactly one."""
    settings = settings_for(site_database, "redis://127.0.0.1:1")
    with site.transaction():
        site.execute("SELECT pg_advisory_xact_lock(hashtext('analytics.migrate'))")
        processes = [fork_worker(settings, "migrate") for _ in range(20)]
        wait_for_waiting(site, 20)
    outcomes = [process.ended() for process in processes]
    assert [(code, errors) for code, _, errors in outcomes] == [(0, "")] * 20
    said = [line for _, output, _ in outcomes for line in output.splitlines()]
    assert sorted(line for line in said if line.startswith("applied")) == [f"applied {name}" for name in NAMES]
    assert [name for name, *_ in notes(site)] == NAMES


def schemas_of_the_table(connection: Connection) -> list[str]:
    found = connection.execute(
        "SELECT schemaname FROM pg_tables WHERE tablename = 'SpecialistAnalyticsDaily'"
    ).fetchall()
    return [schema for (schema,) in found]


def wait_for_waiting(connection: Connection, wanted: int) -> None:
    """Until so many sessions wait for an advisory lock in this database."""
    deadline = time.monotonic() + 60
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
        while own.execute(waiting).fetchone() != (wanted,):
            assert time.monotonic() < deadline, "they did not come to the lock"
            time.sleep(0.01)


def test_a_role_named_like_the_schema(site_database: str, site: Connection, role: str) -> None:
    """To a role called analytics our schema is the first of its search_path, and yet the table joins the site's."""
    for grant in (
        f"GRANT CREATE ON DATABASE {site.info.dbname} TO {role}",
        f"GRANT CREATE ON SCHEMA public TO {role}",
        f'ALTER TABLE "SpecialistProfile" OWNER TO {role}',
    ):
        site.execute(grant.encode())
    outcomes: list[list[str]] = []
    failures: list[BaseException] = []

    def start() -> None:
        with psycopg.connect(site_database, autocommit=True) as own:
            own.execute(f"SET ROLE {role}".encode())
            try:
                outcomes.append(migrate(own, migrations()))
            except (AnalyticsError, psycopg.Error) as error:
                failures.append(error)

    threads = [Thread(target=start) for _ in range(20)]
    with site.transaction():
        site.execute("SELECT pg_advisory_xact_lock(hashtext('analytics.migrate'))")
        for thread in threads:
            thread.start()
        wait_for_waiting(site, 20)
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(outcomes) == [[]] * 19 + [NAMES]
    assert schemas_of_the_table(site) == ["public"]


def test_a_role_that_may_only_look(site: Connection, role: str) -> None:
    """Where all is applied, a role that may create nothing finds nothing to do."""
    migrate(site, migrations())
    site.execute(f"GRANT USAGE ON SCHEMA analytics TO {role}".encode())
    site.execute(f"GRANT SELECT ON analytics.migration TO {role}".encode())
    site.execute(f"SET ROLE {role}".encode())
    assert migrate(site, migrations()) == []


def test_a_role_that_was_given_a_schema(site: Connection, role: str) -> None:
    """A role that may not create schemas is told so, and need not where somebody did; the table joins the site's."""
    site.execute(f'GRANT CREATE ON SCHEMA public TO {role}; ALTER TABLE "SpecialistProfile" OWNER TO {role}'.encode())
    site.execute(f"SET ROLE {role}".encode())
    with pytest.raises(Stop, match="lacks a right: permission denied for database"):
        migrate(site, migrations())
    site.execute("RESET ROLE")
    site.execute(f"CREATE SCHEMA analytics AUTHORIZATION {role}".encode())
    site.execute(f"SET ROLE {role}".encode())
    assert migrate(site, migrations()) == NAMES
    assert schemas_of_the_table(site) == ["public"]


def test_without_the_sites_table(servers: Servers, tmp_path: Path) -> None:
    """Without "SpecialistProfile" one line names it, the exit code is 2, and nothing is left behind; so too in psql."""
    with fresh_database(servers.database_url) as url, psycopg.connect(url, autocommit=True) as connection:
        code, output, errors = run_worker(settings_for(url, "redis://127.0.0.1:1"), "migrate")
        assert (code, output, len(errors.splitlines())) == (2, "", 1)
        assert 'the table "SpecialistProfile" is missing' in errors
        assert not has_schema(connection)

        code, _, errors = psql(url, SCRIPT)
        assert code == 3
        assert 'the table "SpecialistProfile" is missing' in errors
        assert not has_schema(connection)


def test_a_table_of_prismas_is_left_alone(site: Connection, site_database: str) -> None:
    """A table that Prisma made earlier keeps its rows and its shape, even where something was changed in it."""
    text = migrations()[0].text
    site.execute(text[text.index("    CREATE TABLE") : text.index("END\n$migration$")].encode())
    site.execute("""
        INSERT INTO "SpecialistProfile" VALUES ('anna');
        INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", "date", "orders", "updatedAt")
        VALUES ('row', 'anna', '2026-01-31', 7, now());
        DROP INDEX "SpecialistAnalyticsDaily_date_idx";
        ALTER TABLE "SpecialistAnalyticsDaily" ADD "note" text""")
    state = """
        SELECT (SELECT relfilenode FROM pg_class WHERE relname = 'SpecialistAnalyticsDaily'),
               ctid, xmin, daily.* FROM "SpecialistAnalyticsDaily" AS daily"""
    of_the_site = ("--schema-only", "--schema=public", "--no-privileges")
    row, shape = site.execute(state.encode()).fetchall(), dump(site_database, *of_the_site)
    assert migrate(site, migrations()) == NAMES
    assert site.execute(state.encode()).fetchall() == row
    # Beside the room for updates in each page, which the second migration asks for, and our triggers.
    ours = r"\nWITH \(fillfactor='85'\)|-- Name: [^\n]*Type: TRIGGER;[^\n]*\n--\n\n[^\n]*analytics\.[^\n]*\n\n\n--\n"
    assert re.sub(ours, "", dump(site_database, *of_the_site)) == shape


def test_the_file_for_production_is_up_to_date() -> None:
    """`sql/apply_to_production.sql` holds exactly what `sql/migrations/` holds."""
    assert SCRIPT.read_text("utf-8") == production_script(migrations()), "sql/migrations changed: run `make sql`"


def test_psql_and_migrate_do_the_same(servers: Servers, site_template: str, site_database: str) -> None:
    """Both ways give the same schema and the same notes, and each finds nothing left to do after the other."""
    with (
        fresh_database(servers.database_url, site_template) as other_url,
        psycopg.connect(site_database, autocommit=True) as by_psql,
        psycopg.connect(other_url, autocommit=True) as by_program,
    ):
        code, _, errors = psql(site_database, SCRIPT)
        assert (code, re.findall(r"NOTICE:  (.*)", errors)) == (0, [f"applied {name}" for name in NAMES])
        migrate(by_program, migrations())
        assert dump(site_database, "--schema-only") == dump(other_url, "--schema-only")
        assert [note[:2] for note in notes(by_psql)] == [note[:2] for note in notes(by_program)]

        dumped, dumped_other = dump(site_database), dump(other_url)
        assert migrate(by_psql, migrations()) == []
        assert psql(other_url, SCRIPT) == (0, "DO\n", "")
        assert (dump(site_database), dump(other_url)) == (dumped, dumped_other)


def test_pasted_into_a_console(site: Connection) -> None:
    """The file is one statement: a console that prepares what it is given, or wraps it in a transaction, takes it."""
    with site.transaction():
        site.execute(SCRIPT.read_bytes(), prepare=True)
    assert missing_migrations(site) == []


def test_begun_with_psql_and_ended_with_migrate(site: Connection) -> None:
    """What psql began the program goes on with, and the other way round."""
    site.execute(production_script(migrations()[:1]).encode())
    assert migrate(site, migrations()) == NAMES[1:]
    newer = [*migrations(), Migration("9999_newer", "CREATE TABLE analytics.newer ()")]
    site.execute(production_script(newer).encode())
    assert migrate(site, newer) == []


def test_an_older_program_leaves_a_newer_schema_alone(site: Connection) -> None:
    """In a rolling deploy the old version finds a migration that it does not know, and has nothing to do."""
    migrate(site, migrations())
    assert migrate(site, migrations()[:1]) == []


def test_a_changed_migration_is_refused(site: Connection) -> None:
    """A migration that was changed after it had been applied is named and nothing is applied, in both ways."""
    migrate(site, migrations())
    first, *others = migrations()
    changed = [Migration(first.name, first.text + "-- more"), *others, Migration("9999_newer", "CREATE TABLE newer ()")]
    with pytest.raises(Stop, match=f"{first.name} was changed after it had been applied"):
        migrate(site, changed)
    with pytest.raises(psycopg.errors.RaiseException, match=f"{first.name} was changed after it had been applied"):
        site.execute(production_script(changed).encode())
    assert [name for name, *_ in notes(site)] == NAMES


def test_a_failing_migration_leaves_nothing(site: Connection) -> None:
    """If a migration fails, it is named with the server's words, and none of those before it is applied either."""
    broken = [*migrations(), Migration("9999_broken", "CREATE TABLE newer (); SELECT 1 / 0")]
    with pytest.raises(Stop, match="9999_broken: division by zero"):
        migrate(site, broken)
    assert not has_schema(site)
    with pytest.raises(psycopg.errors.DivisionByZero):
        site.execute(production_script(broken).encode())
    assert not has_schema(site)
    assert migrate(site, migrations()) == NAMES, "the connection is as good as before"


def test_nobody_queues_behind_a_migration_for_long(site: Connection) -> None:
    """A migration that waits for the lock of a table gives up after seconds; the setting goes with the transaction."""
    before = site.execute("SHOW lock_timeout").fetchone()
    asking = Migration("9999_asking", "CREATE TABLE analytics.answer AS SELECT current_setting('lock_timeout')")
    migrate(site, [*migrations(), asking])
    assert site.execute("SELECT * FROM analytics.answer").fetchone() == ("5s",)
    assert site.execute("SHOW lock_timeout").fetchone() == before == ("0",)


def test_the_daily_table_is_gone(
    settings: Settings, database: str, connection: Connection, client: redis.Redis
) -> None:
    """Who misses the daily table is sent to `migrate`, which says how all of it comes back; and so it does."""
    add_specialists(connection, ["anna"])
    connection.execute(
        """INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, contact_views, catalog)
           VALUES (%s, 'anna', 'legacy', 5, 1, 5)""",
        [TODAY - timedelta(days=9)],
    )
    add(client, event(), event(source="search"))
    drain(settings)
    dates = ("--from", str(TODAY - timedelta(days=9)), "--to", str(TODAY))
    assert run_worker(settings, "recompute", *dates, "--now")[0] == 0
    before = daily(connection)
    assert len(before) == 2
    assert pack_months(settings)["months"]

    def views_of_a_month() -> int | None:
        asked = parse_period("month", None, None, TODAY)
        return read(settings, connection, "anna", asked).metrics.profile_views.value

    full = views_of_a_month()

    connection.execute('DROP TABLE "SpecialistAnalyticsDaily"')
    code, _, errors = run_worker(settings, "report", "anna")
    assert (code, "run `python -m worker migrate`" in errors) == (2, True)
    owner = settings_with(settings, DATABASE_URL=database)
    code, _, errors = run_worker(owner, "migrate")
    assert (code, len(errors.splitlines())) == (2, 1)
    file = re.search(r"sql/migrations/\S+", errors)
    assert file is not None and "recompute" in errors

    connection.execute((SQL_FOLDER.parent / file[0].rstrip(",")).read_bytes())
    assert run_worker(owner, "migrate")[0] == 0
    assert views_of_a_month() == 0
    assert run_worker(settings, "recompute", *dates, "--now")[0] == 0
    assert daily(connection) == before
    assert views_of_a_month() == full == 7
