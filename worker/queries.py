"""The SQL statements, by file name. Their text is in `sql/queries/`, one statement a file."""

from functools import cache
from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parent.parent / "sql"


@cache
def query(name: str) -> bytes:
    """The statement in `sql/queries/<name>.sql`, with psycopg's `%(name)s` placeholders."""
    return (SQL_FOLDER / "queries" / f"{name}.sql").read_bytes()
