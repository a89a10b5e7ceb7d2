"""Through the real PgBouncer in transaction mode, where no two transactions need have the same server connection."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from tests.counting import add, drain, event
from tests.course import run_course
from tests.debian import Unavailable
from tests.pgbouncer import PREPARED_STATEMENTS_SINCE, PgBouncer, find_pgbouncer, version_of
from tests.support import WORKER_ROLE, add_specialists, run_worker, settings_for, settings_with, url_of
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.daily.visitors import refresh_visitors_of_open_days
from worker.embedded import Servers
from worker.errors import Conflict
from worker.events import Reason, Rejected
from worker.reading.period import parse_period
from worker.reading.read import read
from worker.settings import Settings
from worker.store import (
    Connection,
    _Pooler,
    begin_position,
    commit_batch,
    connect_postgres,
    connect_postgres_async,
    keep_plans,
)

KEPT_APART = 100


@pytest.fixture(params=[0, KEPT_APART], ids=["prepared statements mixed up", "prepared statements kept apart"])
def pooler(servers: Servers, worker_password: str, request: pytest.FixtureRequest) -> Iterator[PgBouncer]:
    try:
        program = find_pgbouncer()
    except Unavailable as reason:
        pytest.skip(f"no PgBouncer: {reason}")
    if request.param and version_of(program) < PREPARED_STATEMENTS_SINCE:
        pytest.skip("this PgBouncer cannot keep prepared statements apart")
    owner = conninfo_to_dict(servers.database_url)
    users = {str(owner["user"]): str(owner["password"]), WORKER_ROLE: worker_password}
    with (
        tempfile.TemporaryDirectory() as folder,
        PgBouncer(Path(folder), program, servers.postgres, users, request.param) as running,
    ):
        yield running


def test_everything_through_pgbouncer(
    pooler: PgBouncer, site_database: str, worker_password: str, redis_url: str, tmp_path: Path
) -> None:
    """Migrated, run with two shards, killed again and again, all through the pooler: the counts are exact."""
    owner = pooler.in_front_of(site_database)
    assert run_worker(settings_for(owner, redis_url), "migrate")[0] == 0
    settings = settings_for(url_of(owner, WORKER_ROLE, worker_password), redis_url, ANALYTICS_SHARDS="2")
    run_course(settings, site_database, tmp_path / "log", rounds=8, kill=True)
    assert run_worker(settings, "verify")[0] == 0
    code, output, errors = run_worker(settings, "status", "--json")
    assert code == 0, errors
    assert all(shard["books_balance"] and shard["lag_entries"] == 0 for shard in json.loads(output)["shards"])
    mixed_up = "without prepared statements from now on" in (tmp_path / "log").read_text()
    assert mixed_up == (not pooler.prepared)


@pytest.fixture
def behind(pooler: PgBouncer, settings: Settings) -> Settings:
    """The worker's settings, with PostgreSQL behind the pooler."""
    database_url = pooler.in_front_of(settings.database_url.get_secret_value())
    return settings_for(database_url, settings.redis_url.get_secret_value())


def test_visitors(behind: Settings, connection: Connection, client: redis.Redis) -> None:
    """A refresh of visitors reads through a cursor, in one transaction, and comes to the same."""
    add_specialists(connection, ["anna"])
    add(client, *(event(visitorId=visitor) for visitor in ("a", "b", "a")))
    settings = settings_with(behind, ANALYTICS_SECRET="a long random text")
    drain(settings)
    assert refresh_visitors_of_open_days(settings) == 1
    assert connection.execute("SELECT visitors FROM analytics.daily_visitors").fetchall() == [(2,)]


def test_a_setting_is_not_left_to_the_next_client(behind: Settings, settings: Settings) -> None:
    """How statements are planned is set on a connection of our own, and never on one that a pooler lends."""

    async def kept(where: Settings) -> object:
        asked = await connect_postgres_async(where, "test")
        async with asked:
            await keep_plans(asked)
            return await (await asked.execute("SHOW plan_cache_mode")).fetchone()

    assert [asyncio.run(kept(where)) for where in (settings, behind)] == [("force_generic_plan",), ("auto",)]


def test_a_prepared_statement_of_another_client(
    pooler: PgBouncer, behind: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given another client's statement of the same name, prepared for smaller numbers, a batch is read again, no more.

    Two who hold a transaction open decide which server connection is left for the next.
    """
    monkeypatch.setattr(_Pooler, "keeps_prepared", True)
    small, large = (Position(f"stream {ordinal}", "epoch", EntryId(0, 0), ordinal) for ordinal in (1, 5_000_000_000))
    with ExitStack() as stack:
        first, second, *holders = (stack.enter_context(connect_postgres(behind, "test")) for _ in range(4))
        for position in (small, large):
            begin_position(connection, position)
        commit_batch(first, one_bad_entry(small), 0, "UTC")
        with held(holders[0]):
            batch = one_bad_entry(large)
            commit_batch(second, batch, 0, "UTC")
            stack.enter_context(held(holders[1]))
        again = one_bad_entry(batch.after)
        if not pooler.prepared:
            with pytest.raises(Conflict, match="incorrect binary data format"):
                commit_batch(second, again, 0, "UTC")
        commit_batch(second, again, 0, "UTC")
    read = connection.execute("SELECT entries_read FROM analytics.stream_position WHERE ordinal > 2").fetchone()
    assert read == (2,)


def one_bad_entry(read_after: Position) -> Batch:
    batch = Batch(read_after)
    entry_id = EntryId(read_after.last_id.ms + 1, 0)
    batch.add(entry_id, [], [Rejected(str(entry_id), Reason.MISSING_TYPE, [])])
    return batch


@contextmanager
def held(connection: Connection) -> Iterator[None]:
    """One server connection of the pool is taken."""
    with connection.transaction():
        connection.execute("SELECT 1")
        yield


def test_readings_of_many_clients(behind: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prepared which statement on the server connection that a client is given, its reading is there."""
    monkeypatch.setattr(_Pooler, "keeps_prepared", True)
    add_specialists(connection, ["anna"])
    month, day = (parse_period(name, None, None, date(2026, 11, 22)) for name in ("month", "day"))
    with ExitStack() as stack:
        clients = [stack.enter_context(connect_postgres(behind, "test")) for _ in range(4)]
        for asked in (month, day, month):
            for client in clients:
                assert read(behind, client, "anna", asked).period.days == asked.span(None).days


def test_a_wrong_password_behind_the_pooler(behind: Settings) -> None:
    """A password that the pooler refuses is said to be wrong in one line, without repeating it."""
    wrong = url_of(behind.database_url.get_secret_value(), WORKER_ROLE, "falsch")
    code, _, errors = run_worker(settings_with(behind, DATABASE_URL=wrong), "run")
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert "authentication failed" in errors
    assert "falsch" not in errors
