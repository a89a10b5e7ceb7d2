"""What Prisma's own schema engine thinks of our migrations: see `tests/prisma/`."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from tests.node import call, installed
from tests.support import SITE, SITE_OUTCOMES, TOP, fresh_database
from worker.embedded import Servers
from worker.migrations import migrate, migrations
from worker.queries import SQL_FOLDER
from worker.store import Connection

PRISMA = TOP / "tests/prisma"
MIGRATIONS = SQL_FOLDER / "migrations"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def prisma() -> Path:
    """A folder with the scripts and their packages."""
    return installed(PRISMA)


@pytest.fixture
def run(prisma: Path) -> Run:
    """Run one of the scripts on a database."""

    def script(name: str, *arguments: str, database: str = "") -> "subprocess.CompletedProcess[str]":
        return call("node", name, *arguments, cwd=prisma, DATABASE_URL=database)

    return script


def statements(script: str) -> list[str]:
    """The parts of a script of Prisma's; each begins with a comment that says what it does."""
    return re.split(r"\n\n(?=-- )", dedent(script).strip())


def test_prisma_finds_no_difference(run: Run, database: str) -> None:
    """Between a migrated database and the documented model Prisma has nothing to change."""
    asked = run("diff.mjs", database=database)
    assert (asked.returncode, asked.stdout) == (0, ""), asked.stderr


def test_prisma_does_not_see_the_view(run: Run, database: str, connection: Connection) -> None:
    """Our view over the site's tables of outcomes is nothing to Prisma."""
    connection.execute(SITE_OUTCOMES.encode())
    migrate(connection, migrations())
    external = [word for table in ("ConsultationRequest", "Order", "Review") for word in ("--external", table)]
    asked = run("diff.mjs", *external, database=database)
    assert (asked.returncode, asked.stdout) == (0, ""), asked.stderr


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        ('DROP INDEX "SpecialistAnalyticsDaily_date_idx"', 'CREATE INDEX "SpecialistAnalyticsDaily_date_idx"'),
        ('ALTER TABLE "SpecialistAnalyticsDaily" ALTER "orders" DROP DEFAULT', '"orders" SET DEFAULT 0'),
        ('ALTER TABLE "SpecialistAnalyticsDaily" ADD "extra" integer', 'DROP COLUMN "extra"'),
    ],
)
def test_prisma_finds_a_difference(run: Run, database: str, connection: Connection, damage: str, repair: str) -> None:
    """Where the database differs from the model, Prisma says how it would repair it: its silence means something."""
    connection.execute(damage.encode())
    asked = run("diff.mjs", database=database)
    assert asked.returncode == 2, asked.stderr
    assert repair in asked.stdout


def test_the_first_migration_is_what_prisma_writes(run: Run) -> None:
    """The statements of the first migration are Prisma's own for the documented model, to the letter."""
    asked = run("diff.mjs", "--from-empty")
    assert asked.returncode == 0, asked.stderr
    _schema, site, *wanted = statements(asked.stdout)
    assert site == f"-- CreateTable{SITE.rstrip()};"

    ours = migrations()[0].text
    inside = ours[ours.index("    -- CreateTable") : ours.index("END\n$migration$")]
    assert statements(inside) == wanted


def test_migrations_are_in_prismas_layout() -> None:
    """The folder of migrations names its provider, and each migration is a folder of its own."""
    assert 'provider = "postgresql"' in (MIGRATIONS / "migration_lock.toml").read_text()
    folders = sorted(path for path in MIGRATIONS.iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == [migration.name for migration in migrations()]
    assert all(re.fullmatch(r"\d{4}_[a-z_]+", folder.name) for folder in folders)


def test_prisma_applies_the_first_migration(run: Run, servers: Servers, tmp_path: Path) -> None:
    """Copied into the site's migrations, the first one is applied by Prisma, and `migrate` then leaves it alone."""
    shutil.copy(MIGRATIONS / "migration_lock.toml", tmp_path)
    (tmp_path / "20260101000000_site").mkdir()
    (tmp_path / "20260101000000_site/migration.sql").write_text(SITE)
    first = migrations()[0].name
    shutil.copytree(MIGRATIONS / first, tmp_path / f"20260202000000_{first}")

    with fresh_database(servers.database_url) as url, psycopg.connect(url, autocommit=True) as connection:

        def table() -> object:
            return connection.execute("""SELECT '"SpecialistAnalyticsDaily"'::regclass::oid""").fetchone()

        applied = run("apply.mjs", str(tmp_path), database=url)
        assert applied.returncode == 0, applied.stderr
        assert applied.stdout.splitlines() == ["20260101000000_site", f"20260202000000_{first}"]
        again = run("apply.mjs", str(tmp_path), database=url)
        assert (again.returncode, again.stdout) == (0, ""), again.stderr

        before = table()
        migrate(connection, migrations())
        assert table() == before
        asked = run("diff.mjs", database=url)
        assert (asked.returncode, asked.stdout) == (0, ""), asked.stderr
