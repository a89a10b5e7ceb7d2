"""The SQL statements, by file name. Their text is in `sql/queries/`, one statement a file."""

from functools import cache
from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parent.parent / "sql"


@cache
def query(name: str, folder: str = "queries") -> bytes:
    """The statement in `sql/<folder>/<name>.sql`, with psycopg's `%(name)s` placeholders."""
    return (SQL_FOLDER / folder / f"{name}.sql").read_bytes()
