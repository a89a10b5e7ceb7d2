"""SQL lives in files, each with its header, and none is left over."""

import re
from itertools import takewhile
from pathlib import Path

import pytest

from worker.queries import SQL_FOLDER

TOP = SQL_FOLDER.parent
CODE = {file: file.read_text("utf-8") for folder in ("worker", "jobs") for file in (TOP / folder).rglob("*.py")}
STATEMENTS = sorted([*(SQL_FOLDER / "queries").glob("*.sql"), *(SQL_FOLDER / "demo").glob("*.sql")])


@pytest.mark.parametrize("file", STATEMENTS, ids=lambda file: file.stem)
def test_a_statement_has_a_header_and_is_used(file: Path) -> None:
    """Every statement begins with a sentence about what it does, and the code asks for it by name."""
    assert file.read_text("utf-8").startswith("-- ")
    folder = "" if file.parent.name == "queries" else f', "{file.parent.name}"'
    assert any(f'query("{file.stem}"{folder})' in text for text in CODE.values())


@pytest.mark.parametrize("file", sorted((SQL_FOLDER / "queries").glob("*.sql")), ids=lambda file: file.stem)
def test_a_header_says_what_is_locked(file: Path) -> None:
    """Before its first line of SQL every statement of the worker says what it locks, even if that is nothing."""
    header = takewhile(lambda line: line.startswith("--"), file.read_text("utf-8").splitlines())
    assert re.search(r"\bLocks\b", " ".join(header))


def test_every_name_has_a_file() -> None:
    """Every statement that the code asks for is there."""
    for text in CODE.values():
        for name, folder in re.findall(r'\bquery\("(\w+)"(?:, "(\w+)")?\)', text):
            assert SQL_FOLDER / (folder or "queries") / f"{name}.sql" in STATEMENTS


def test_no_sql_in_python() -> None:
    """No statement is written in Python."""
    statement = re.compile(r'"[ \n]*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|TRUNCATE) ')
    for file, text in CODE.items():
        assert not statement.search(text), file
