"""Bring the database to the schema that this version of the code needs: `sql/migrations/`, each once, in order.

Run as a program, it prints `sql/apply_to_production.sql`.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg

from worker.errors import Stop
from worker.queries import SQL_FOLDER, query
from worker.store import Connection, postgres_errors


@dataclass(frozen=True, slots=True)
class Migration:
    """A folder of `sql/migrations/`, in Prisma's layout.

    The first one can be copied into the site's own migrations, under a name that comes after the one which makes
    "SpecialistProfile".
    """

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal: an applied migration must never change."""
        return sha256(self.text.encode()).hexdigest()


def migrations(folder: Path = SQL_FOLDER / "migrations") -> list[Migration]:
    """All migrations in the order of their numbers."""
    files = sorted(folder.glob("[0-9]*/migration.sql"))
    return [Migration(file.parent.name, file.read_text("utf-8")) for file in files]


def migrate(connection: Connection, known: list[Migration]) -> list[str]:
    """Apply what is missing, in one transaction; others who start at the same time wait and find nothing to do.

    Returns:
        Names of the migrations that were applied now.

    Raises:
        Stop: a migration failed (the site's table is missing, …), one was changed after it had been applied, or the
            table that the first one made is gone.
        Retry: the server is away, or somebody holds a table that is to be changed.
    """
    with postgres_errors(), connection.transaction():
        connection.execute(query("begin_migrations"))
        applied = _applied(connection)
        _refuse_changed(known, applied)
        missing = [migration for migration in known if migration.name not in applied]
        for migration in missing:
            _apply(connection, migration)
        _refuse_without_daily_table(connection)
        connection.execute(query("create_outcome_view"))
        connection.execute(query("watch_days"))
        connection.execute(query("grant_worker_rights"))
    return [migration.name for migration in missing]


def missing_migrations(connection: Connection) -> list[str]:
    """Names of the migrations that the database lacks; empty when the worker can start."""
    with postgres_errors():
        has_table = connection.execute(query("has_migration_table")).fetchone()
        applied = _applied(connection) if has_table and has_table[0] else {}
    return [migration.name for migration in migrations() if migration.name not in applied]


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        connection.execute(migration.text.encode())
    except psycopg.OperationalError:
        raise  # not the fault of the migration
    except psycopg.DatabaseError as error:
        raise Stop(f"{migration.name}: {error.diag.message_primary}") from None
    connection.execute(query("record_migration"), {"name": migration.name, "checksum": migration.checksum})


def _applied(connection: Connection) -> dict[str, str]:
    return dict(connection.execute(query("list_migrations")).fetchall())


def _refuse_changed(known: list[Migration], applied: dict[str, str]) -> None:
    for migration in known:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise Stop(f"the migration {migration.name} was changed after it had been applied: restore the file")


def _refuse_without_daily_table(connection: Connection) -> None:
    """An empty one would be wrong for all days before, so it is made anew only by somebody who then fills it."""
    has_table = connection.execute(query("has_daily_table")).fetchone()
    if not (has_table and has_table[0]):
        raise Stop(
            'the table "SpecialistAnalyticsDaily" is gone, though its migration was applied: restore it from a backup;'
            " or make it anew with sql/migrations/0001_specialist_analytics_daily/migration.sql, `migrate` again, and"
            " then `recompute` and `backfill outcomes` all of its dates"
        )


def production_script(known: list[Migration]) -> str:
    """`sql/apply_to_production.sql`: the same as `migrate`, as one statement for psql or a query console."""
    step = _text("templates", "apply_migration")
    steps = (
        step.replace("{{name}}", migration.name)
        .replace("{{checksum}}", migration.checksum)
        .replace("{{text}}", migration.text.rstrip())
        for migration in known
    )
    return (
        _text("templates", "apply_to_production")
        .replace("{{begin}}", _text("queries", "begin_migrations").rstrip())
        .replace("{{migrations}}", "".join(steps).rstrip())
        .replace("{{outcome_view}}", _text("queries", "create_outcome_view").rstrip())
        .replace("{{watch_days}}", _text("queries", "watch_days").rstrip())
        .replace("{{grants}}", _text("queries", "grant_worker_rights").rstrip())
    )


def _text(folder: str, name: str) -> str:
    """A file with its comments, for whoever pastes it into a console."""
    return (SQL_FOLDER / folder / f"{name}.sql").read_text("utf-8")


if __name__ == "__main__":
    print(production_script(migrations()), end="")
