"""Bring the database to the schema that this version of the code needs: `sql/migrations/`, each once, in order."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from psycopg.errors import RaiseException

from worker.errors import Stop
from worker.queries import SQL_FOLDER, query
from worker.store import Connection, postgres_errors

@dataclass(frozen=True, slots=True)
class Migration:
    """A folder of `sql/migrations/`; the layout is Prisma's, so a folder can be copied into the site's migrations."""

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
        Stop: an applied migration was changed later, or the site's table is missing.
        Retry: the server is away.
    """
    try:
        with postgres_errors(), connection.transaction():
            connection.execute(query("lock_migrations"))
            connection.execute(query("create_migration_schema"))
            connection.execute(query("create_migration_table"))
            applied = _applied(connection)
            missing = [migration for migration in known if migration.name not in applied]
            _refuse_changed(known, applied)
            for migration in missing:
                connection.execute(migration.text.encode())
                connection.execute(query("record_migration"), {"name": migration.name, "checksum": migration.checksum})
    except RaiseException as error:
        raise Stop(error.diag.message_primary or "a migration failed") from None
    return [migration.name for migration in missing]


def missing_migrations(connection: Connection) -> list[str]:
    """Names of the migrations that the database lacks; empty when the worker can start."""
    with postgres_errors():
        has_table = connection.execute(query("has_migration_table")).fetchone()
        applied = _applied(connection) if has_table and has_table[0] else {}
    return [migration.name for migration in migrations() if migration.name not in applied]


def _applied(connection: Connection) -> dict[str, str]:
    return dict(connection.execute(query("list_migrations")).fetchall())


def _refuse_changed(known: list[Migration], applied: dict[str, str]) -> None:
    for migration in known:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise Stop(f"the migration {migration.name} was changed after it had been applied: restore the file")


def production_script(known: list[Migration]) -> str:
    """`sql/apply_to_production.sql`: the same as `migrate`, as one statement for psql or a query console."""
    step = (SQL_FOLDER / "templates" / "apply_migration.sql").read_text("utf-8")
    steps = (
        step.replace("{{name}}", migration.name)
        .replace("{{checksum}}", migration.checksum)
        .replace("{{text}}", migration.text.rstrip())
        for migration in known
    )
    whole = (SQL_FOLDER / "templates" / "apply_to_production.sql").read_text("utf-8")
    return whole.replace("{{migrations}}", "".join(steps).rstrip())
