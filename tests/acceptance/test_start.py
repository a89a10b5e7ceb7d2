"""What a person sees when the program cannot start: one line that says what to do, and exit code 2."""

import os

import psycopg
import pytest

from tests.forked import Forked
from worker.embedded import Servers
from worker.settings import Settings

NOBODY = "127.0.0.1:1"


def start(*arguments: str, **environment: str | None) -> tuple[int, list[str]]:
    """Exit code and lines of standard error."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "REDIS_URL", "REDIS_PUBLIC_URL")
    }
    env |= {name: value for name, value in environment.items() if value is not None}
    code, _, errors = Forked(env, *arguments).ended()
    return code, errors.splitlines()


@pytest.mark.parametrize("command", [("run",), ("work", "rollup"), ("schedule",)])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DATABASE_URL": None}, ["DATABASE_URL", "not set"]),
        ({"REDIS_URL": None}, ["REDIS_URL", "not set"]),
        ({"DATABASE_URL": "nonsense"}, ["DATABASE_URL", "postgresql://"]),
        ({"REDIS_URL": "nonsense"}, ["REDIS_URL", "redis://"]),
        ({"REDIS_URL": "redis://h:port/0"}, ["REDIS_URL"]),
        ({"DATABASE_URL": f"postgresql://u:geheim@{NOBODY}/x"}, ["PostgreSQL", NOBODY]),
        ({"REDIS_URL": f"redis://u:geheim@{NOBODY}/0"}, ["Redis", NOBODY]),
        ({"ANALYTICS_SHARDS": "none"}, ["ANALYTICS_SHARDS"]),
    ],
)
def test_wrong_environment(
    servers: Servers, settings: Settings, command: tuple[str, ...], changes: dict[str, str | None], words: list[str]
) -> None:
    """A missing or wrong URL, or a server that is down, is named in one line, without its password."""
    good = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }
    code, lines = start(*command, **(good | changes))
    assert code == 2
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines
    assert "geheim" not in lines[0]


def test_wrong_passwords(servers: Servers, settings: Settings) -> None:
    """A wrong password is said to be wrong, in one line that does not repeat it."""
    database, cache = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    wrong_database = with_password(database, "falsch")
    code, lines = start("run", DATABASE_URL=wrong_database, REDIS_URL=cache)
    assert (code, len(lines)) == (2, 1), lines
    assert "password authentication failed" in lines[0]
    code, lines = start("run", DATABASE_URL=database, REDIS_URL=with_password(cache, "falsch"))
    assert (code, len(lines)) == (2, 1), lines
    assert "REDIS_URL" in lines[0] and "falsch" not in lines[0]


def with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    user, _, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}:{password}@{host}"


def test_missing_migration(database: str, settings: Settings) -> None:
    """On a database that was never migrated the line says which command to run."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA analytics CASCADE")
    code, lines = start("run", DATABASE_URL=database, REDIS_URL=settings.redis_url.get_secret_value())
    assert (code, len(lines)) == (2, 1), lines
    assert "python -m worker migrate" in lines[0]
