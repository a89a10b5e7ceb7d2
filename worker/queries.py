"""The SQL statements, by file name. Their text is in `sql/queries/`, one statement a file."""

import re
from functools import cache
from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parent.parent / "sql"

_comment_lines = re.compile(rb"^ *--.*\n", re.MULTILINE)
_placeholder = re.compile(rb"%\((\w+)\)s")


@cache
def query(name: str, folder: str = "queries") -> bytes:
    """The statement in `sql/<folder>/<name>.sql`, with psycopg's `%(name)s` placeholders and without the lines that are
    comments: psycopg parses a statement of more than 4,096 bytes anew each time, which takes as long as a small query.
    """
    return _comment_lines.sub(b"", (SQL_FOLDER / folder / f"{name}.sql").read_bytes())


@cache
def numbered_query(name: str) -> tuple[bytes, list[str]]:
    """The statement as PostgreSQL knows it, for a `RawCursor`, which parses nothing: with `$1` for a placeholder, and
    which one that is. It must have no `%%`.
    """
    text = query(name)
    names = list(dict.fromkeys(match.decode() for match in _placeholder.findall(text)))
    return _placeholder.sub(lambda match: b"$%d" % (names.index(match[1].decode()) + 1), text), names
