"""`python -m worker verify`: whether the database is what the worker writes and Prisma reads."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.daily.profile_totals import read_access
from worker.errors import Stop
from worker.migrations import missing_migrations
from worker.queries import SQL_FOLDER
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

MIGRATIONS = "migrations"
PIPE_WIDTH = 400
"""A pipe or a file has no width of its own: there each check is one line."""


class Check(NamedTuple):
    """Something that must be so, and what was found."""

    check: str
    holds: bool
    detail: str


def run_verify(settings: Settings) -> int:
    """Print every check; 0 if all hold, else 1.

    Raises:
        Stop: the URL, user, password or database is wrong.
        Retry: the server is away.
    """
    with connect_postgres(settings, "verify") as connection:
        checks = verify(connection)
        if settings.profile_totals:
            refusal = read_access(connection).refusal
            checks.append(Check("profile totals", refusal is None, refusal or "may be written"))
    failed = sum(not check.holds for check in checks)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(_table(checks))
    console.print(f"{failed} of {len(checks)} checks do not hold" if failed else f"all {len(checks)} checks hold")
    return 1 if failed else 0


def verify(connection: Connection) -> list[Check]:
    """All checks of `sql/verify.sql`, and whether the migrations are applied."""
    script = (SQL_FOLDER / "verify.sql").read_bytes()
    with postgres_errors():
        *_, last = connection.execute(script).results()
        checks = [Check._make(row) for row in last]
    return [*checks, _migrations_applied(connection)]


def _migrations_applied(connection: Connection) -> Check:
    try:
        missing = missing_migrations(connection)
    except Stop as error:
        return Check(MIGRATIONS, False, str(error))
    return Check(MIGRATIONS, not missing, f"missing: {', '.join(missing)}" if missing else "all are applied")


def _table(checks: list[Check]) -> Table:
    table = Table("", "check", "detail", box=None)
    for check, holds, detail in checks:
        table.add_row(Text("✓", "green") if holds else Text("✗", "bold red"), Text(check), Text(detail))
    return table
