"""Asking PostgreSQL from the event loop: some connections, each of which is asked one question at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import psycopg

from worker.errors import Retry
from worker.store import AsyncConnection

T = TypeVar("T")
Connect = Callable[[], Awaitable[AsyncConnection]]
Prepare = Callable[[AsyncConnection], Awaitable[None]]

CANCEL_S = 1.0
"""Seconds that the server has to take note that nobody waits for an answer any more, until it is told again."""


class _Question(NamedTuple):
    ask: Callable[[AsyncConnection], Awaitable[Any]]
    answer: "asyncio.Future[Any]"


class _Slot:
    """A connection, opened when it is needed and thrown away after an error."""

    def __init__(self, connect: Connect, prepare: Prepare) -> None:
        self._connect = connect
        self._prepare = prepare
        self._is_new = True
        self.connection: AsyncConnection | None = None
        self.answer: asyncio.Future[Any] | None = None

    async def put(self, question: _Question) -> Any:
        """The answer. It is asked for once more, on a new connection, when the old one turns out to be broken."""
        if self.connection is not None:
            try:
                return await self._put_on(self.connection, question)
            except Retry:  # perhaps the server was started anew since the last question
                if question.answer.done():
                    raise
        self.connection, self._is_new = await self._connect(), True
        return await self._put_on(self.connection, question)

    async def _put_on(self, connection: AsyncConnection, question: _Question) -> Any:
        if question.answer.done():
            raise Retry("nobody waits for the answer any more")
        self.answer = question.answer
        try:
            if self._is_new:
                await self._prepare(connection)
                self._is_new = False
            return await question.ask(connection)
        except Exception:
            self.close()
            raise
        finally:
            self.answer = None

    async def cancel(self, answer: "asyncio.Future[Any]") -> None:
        """Tell the server that nobody waits for an answer, until it has heard it."""
        while self.answer is answer and self.connection is not None:
            with suppress(psycopg.Error):
                await self.connection.cancel_safe(timeout=CANCEL_S)
            await asyncio.sleep(CANCEL_S)

    def close(self) -> None:
        """End the connection; libpq does not wait for that."""
        if self.connection is not None:
            self.connection.pgconn.finish()
            self.connection = None


class Pool:
    """Some connections to PostgreSQL. However many ask, no more are there.

    A server that hangs (libpq knows no limit for that) keeps its connections until it goes on; meanwhile everybody
    hears in time that there is no answer.
    """

    def __init__(self, connect: Connect, prepare: Prepare, connections: int, limit_s: float, most_waiting: int) -> None:
        """Nothing is opened yet.

        Args:
            connect: opens a connection; raises what it has to.
            prepare: what is done on a new one before it is asked anything.
            connections: how many questions are asked at the same time.
            limit_s: seconds that an answer may take, with waiting and connecting.
            most_waiting: questions that wait for a free connection; one more is refused at once.
        """
        self._limit_s = limit_s
        self._most_waiting = most_waiting
        self._waiting: deque[_Question] = deque()
        self._slots = [_Slot(connect, prepare) for _ in range(connections)]
        self._free = list(self._slots)
        self._working: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End the connections, before the event loop ends: or psycopg waits for a server that hangs to hear of it."""
        for slot in self._slots:
            slot.close()

    def ask(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> "asyncio.Future[T]":
        """The answer to a question.

        Returns:
            What can be awaited. It raises Retry if the server is away or there is no answer in time, and Stop if it
            refuses us.

        Raises:
            Retry: too many others wait.
        """
        if len(self._waiting) >= self._most_waiting:
            self._waiting = deque(each for each in self._waiting if not each.answer.done())
        if len(self._waiting) >= self._most_waiting:
            raise Retry("too many wait for PostgreSQL")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        limit = loop.call_later(self._limit_s, self._give_up, answer)

        def ended(_: object) -> None:
            limit.cancel()
            if not answer.cancelled():
                answer.exception()  # is known now, also if nobody waits any more

        answer.add_done_callback(ended)
        self._waiting.append(_Question(question, answer))
        if self._free:
            self._begin(self._work(self._free.pop()))
        return answer

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _give_up(self, answer: "asyncio.Future[Any]") -> None:
        if answer.done():
            return
        answer.set_exception(Retry(f"PostgreSQL does not answer within {self._limit_s:g} s"))
        for slot in self._slots:
            if slot.answer is answer:
                self._begin(slot.cancel(answer))

    async def _work(self, slot: _Slot) -> None:
        """Ask what waits, until nothing does."""
        while self._waiting:
            question = self._waiting.popleft()
            if question.answer.done():
                continue  # nobody waits any more
            try:
                outcome = await slot.put(question)
            except Exception as error:  # raised again where the answer is awaited
                if not question.answer.done():
                    question.answer.set_exception(error)
            else:
                if not question.answer.done():
                    question.answer.set_result(outcome)
        self._free.append(slot)
