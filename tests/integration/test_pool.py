"""Asking PostgreSQL from an event loop: each answer once and to whom it belongs, in time, and no connection lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import psycopg
import pytest

from tests.support import wait_until
from worker.errors import Retry, Stop
from worker.settings import Settings
from worker.store import AsyncConnection, Connection, connect_postgres_async, postgres_errors
from worker.web import pool as module
from worker.web.pool import Pool

LIMIT_S = 0.3


async def no_preparation(_: AsyncConnection) -> None:
    """Most tests need none."""


class Asked:
    """A pool, and what it was asked."""

    def __init__(
        self,
        settings: Settings,
        prepare: Callable[[AsyncConnection], Awaitable[None]] = no_preparation,
        *,
        connections: int = 1,
        together: int = 1,
        apart_s: float = 0.0,
        limit_s: float = LIMIT_S,
    ):
        self.opened: list[int] = []
        self.statements: list[list[str]] = []
        self._settings = settings
        self.pool = Pool(
            self._connect,
            prepare,
            self._ask,
            connections=connections,
            together=together,
            apart_s=apart_s,
            limit_s=limit_s,
            most_waiting=5,
        )

    async def _connect(self) -> AsyncConnection:
        connection = await connect_postgres_async(self._settings, "pool")
        self.opened.append(connection.info.backend_pid)
        return connection

    async def _ask(self, connection: AsyncConnection, statements: Sequence[str]) -> list[object]:
        """The first value of the first row of each."""
        self.statements.append(list(statements))
        values = []
        with postgres_errors():
            for statement in statements:
                [value] = await (await connection.execute(statement.encode())).fetchone() or [None]
                values.append(value)
        return values

    def ask(self, statement: str) -> "asyncio.Future[object]":
        return self.pool.ask(statement)


@pytest.fixture
def asked(settings: Settings) -> Iterator[Asked]:
    asked = Asked(settings)
    yield asked
    asked.pool.close()


def backends(connection: Connection) -> int:
    [(number,)] = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'analytics pool' AND state = 'active'"
    )
    return int(number)


def test_answers(asked: Asked) -> None:
    """All who ask at once have their own answer, by one connection."""

    async def run() -> list[object]:
        first = asked.ask("SELECT 1")
        return [await first, *await asyncio.gather(asked.ask("SELECT 2"), asked.ask("SELECT 3"))]

    assert asyncio.run(run()) == [1, 2, 3]
    assert len(asked.opened) == 1


@pytest.fixture
def gathering(settings: Settings) -> Iterator[Asked]:
    asked = Asked(settings, together=3, limit_s=2.0)
    yield asked
    asked.pool.close()


async def outcomes(*answers: "asyncio.Future[object]") -> list[object]:
    """The answers, and what was raised as its type."""
    found = await asyncio.gather(*answers, return_exceptions=True)
    return [type(each) if isinstance(each, BaseException) else each for each in found]


def test_together(gathering: Asked) -> None:
    """What comes while the connection is busy is asked together, as much as may be, and each has its own answer."""

    async def run() -> list[object]:
        first = gathering.ask("SELECT 0")
        await asyncio.sleep(0)
        return [await first, *await outcomes(*(gathering.ask(f"SELECT {number}") for number in range(1, 6)))]

    assert asyncio.run(run()) == [*range(6)]
    assert gathering.statements == [["SELECT 0"], ["SELECT 1", "SELECT 2", "SELECT 3"], ["SELECT 4", "SELECT 5"]]


def test_who_comes_alone(settings: Settings) -> None:
    """Whoever comes first is answered at once, and whoever comes right after is not, though a connection is free."""
    asked = Asked(settings, connections=2, apart_s=3_600)

    async def run() -> list[object]:
        return [await asked.ask("SELECT 1"), *await outcomes(asked.ask("SELECT 2"))]

    assert asyncio.run(run()) == [1, Retry]
    assert asked.statements == [["SELECT 1"]]
    asked.pool.close()


def test_who_comes_later(settings: Settings) -> None:
    """Whoever comes when the last statement is long ago is answered at once, also the second time."""
    asked = Asked(settings, connections=2, apart_s=1, limit_s=0.5)

    async def run() -> list[object]:
        first = await asked.ask("SELECT 1")
        await asyncio.sleep(1.1)
        return [first, *await outcomes(asked.ask("SELECT 2"))]

    assert asyncio.run(run()) == [1, 2]
    asked.pool.close()


def test_gathered(settings: Settings) -> None:
    """What comes shortly after a statement is asked together, though one came before the other."""
    asked = Asked(settings, connections=2, together=3, apart_s=1, limit_s=60)

    async def run() -> list[object]:
        first = await asked.ask("SELECT 1")
        second = asked.ask("SELECT 2")
        for _ in range(10):
            await asyncio.sleep(0)
        return [first, *await outcomes(second, asked.ask("SELECT 3"))]

    assert asyncio.run(run()) == [1, 2, 3]
    assert asked.statements == [["SELECT 1"], ["SELECT 2", "SELECT 3"]]
    asked.pool.close()


def test_a_wrong_one_among_others(gathering: Asked) -> None:
    """What PostgreSQL refuses is refused to who asked it; those who were asked together with it have their answers."""

    async def run() -> list[object]:
        return await outcomes(*(gathering.ask(f"SELECT 1 / {number}") for number in (1, 0, 1, 0, 1)))

    assert asyncio.run(run()) == [1, Stop, 1, Stop, 1]
    assert gathering.statements[0] == ["SELECT 1 / 1", "SELECT 1 / 0", "SELECT 1 / 1"]


def test_nobody_waits_any_more(gathering: Asked, connection: Connection) -> None:
    """What was asked together is broken off when the last who waits for a part of it gives up."""

    async def run() -> list[object]:
        waiting = [gathering.ask("SELECT pg_sleep(60)"), gathering.ask("SELECT 1")]
        while not (gathering.statements or waiting[0].done()):
            await asyncio.sleep(0)
        waiting[1].cancel()
        return [*await outcomes(waiting[0]), *await outcomes(gathering.ask("SELECT 2"))]

    assert asyncio.run(run()) == [Retry, 2]
    assert gathering.statements == [["SELECT pg_sleep(60)", "SELECT 1"], ["SELECT 2"]]
    wait_until(lambda: backends(connection) == 0, "nothing is asked any more")


def test_one_gives_up(settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who still waits for a part of what was asked together has an answer, though another gave up meanwhile."""
    asked, cancelled = Asked(settings, together=3, limit_s=60), list[AsyncConnection]()

    async def cancel(self: AsyncConnection, *, timeout: float) -> None:
        cancelled.append(self)

    monkeypatch.setattr(psycopg.AsyncConnection, "cancel_safe", cancel)

    async def run() -> list[object]:
        connection.execute("SELECT pg_advisory_lock(1)")
        both = [asked.ask("SELECT pg_advisory_lock(1)"), asked.ask("SELECT 1")]
        while not (asked.statements or both[0].done()):
            await asyncio.sleep(0)
        asked.pool._give_up(both[0])
        await asyncio.sleep(0)  # what is begun by that begins now
        connection.execute("SELECT pg_advisory_unlock(1)")
        return await outcomes(*both)

    assert asyncio.run(run()) == [Retry, 1]
    assert not cancelled and len(asked.statements) == 1
    asked.pool.close()


def test_a_connection_that_was_cut(asked: Asked, connection: Connection) -> None:
    """A question is put again, on a new connection, when the old one turns out to be cut."""

    async def run() -> object:
        await asked.ask("SELECT 1")
        connection.execute("SELECT pg_terminate_backend(%s)", [asked.opened[0]])
        return await asked.ask("SELECT 2")

    assert asyncio.run(run()) == 2
    assert len(asked.opened) == 2


def test_all_connections_were_cut(settings: Settings, connection: Connection) -> None:
    """When the server was started anew, all that was asked together has its answers, however long connecting takes."""

    async def slowly(_: AsyncConnection) -> None:
        await asyncio.sleep(0.05)

    asked = Asked(settings, slowly, connections=2, together=2, limit_s=60)

    async def run() -> list[object]:
        await asyncio.gather(asked.pool.ask("SELECT 1", alone=True), asked.pool.ask("SELECT 2", alone=True))
        for backend in asked.opened:
            connection.execute("SELECT pg_terminate_backend(%s)", [backend])
        return await outcomes(asked.ask("SELECT 3"), asked.ask("SELECT 4"))

    assert asyncio.run(run()) == [3, 4]
    assert len(asked.opened) == 3
    asked.pool.close()


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """While there is anything in it, what tells the server that nobody waits is lost, and takes one out."""
    monkeypatch.setattr(module, "CANCEL_S", 0.02)
    cancel, lost = psycopg.AsyncConnection.cancel_safe, list[int]()

    async def sometimes(self: AsyncConnection, *, timeout: float) -> None:
        if lost:
            lost.pop()
            raise psycopg.OperationalError("lost on the way")
        await cancel(self, timeout=timeout + 30)

    monkeypatch.setattr(psycopg.AsyncConnection, "cancel_safe", sometimes)
    return lost


def test_too_many(asked: Asked, lost: list[int]) -> None:
    """One more than may wait is refused at once; those who were given up do not count."""

    async def run() -> None:
        lost.extend(range(1_000))  # the only connection is taken for as long as this lasts
        waiting = [asked.ask("SELECT pg_sleep(60)")]
        while not asked.opened:
            await asyncio.sleep(0)
        waiting += [asked.ask("SELECT 1") for _ in range(5)]
        with pytest.raises(Retry, match="too many"):
            asked.ask("SELECT 1")
        for wait in waiting:
            with pytest.raises(Retry, match="does not answer"):
                await wait
        with pytest.raises(Retry, match="does not answer"):
            await asked.ask("SELECT 1")
        lost.clear()

    asyncio.run(run())


def test_a_cancel_that_is_lost(asked: Asked, connection: Connection, lost: list[int]) -> None:
    """The server is told again that nobody waits, until it has heard it; then the connection's place is free."""

    async def run() -> object:
        lost.extend(range(3))
        with pytest.raises(Retry, match="does not answer"):
            await asked.ask("SELECT pg_sleep(60)")
        while True:
            try:
                return await asked.ask("SELECT 1")
            except Retry:
                continue

    assert asyncio.run(run()) == 1
    assert not lost
    wait_until(lambda: backends(connection) == 0, "nothing is asked any more")


def test_what_is_prepared(settings: Settings) -> None:
    """Each connection is prepared once, before it is asked; if that fails, so does the question, and the next one has a
    new connection.
    """
    prepared: list[int] = []

    async def prepare(connection: AsyncConnection) -> None:
        prepared.append(connection.info.backend_pid)
        if len(prepared) == 1:
            raise Retry("not yet")

    asked = Asked(settings, prepare)

    async def run() -> list[object]:
        with pytest.raises(Retry, match="not yet"):
            await asked.ask("SELECT 1")
        return [await asked.ask("SELECT 2"), await asked.ask("SELECT 3")]

    assert asyncio.run(run()) == [2, 3]
    assert prepared == asked.opened and len(prepared) == 2
    asked.pool.close()
