"""Asking PostgreSQL from the event loop: some connections, each of which is asked once at a time. What comes while all
are busy is gathered, and asked together: the more there is to do, the less of it is done anew for each.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import psycopg

from worker.errors import Retry
from worker.store import AsyncConnection

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Connect = Callable[[], Awaitable[AsyncConnection]]
Prepare = Callable[[AsyncConnection], Awaitable[None]]
Ask = Callable[[AsyncConnection, Sequence[Question]], Awaitable[Sequence[Answer]]]

CANCEL_S = 1.0
"""Seconds that the server has to take note that nobody waits for an answer any more, until it is told again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked(Generic[Question, Answer]):
    question: Question
    answer: "asyncio.Future[Answer]"
    alone: bool = False
    """Not together with others."""


class _Slot(Generic[Question, Answer]):
    """A connection, opened when it is needed and thrown away after an error."""

    def __init__(self, connect: Connect, prepare: Prepare, ask: Ask[Question, Answer]) -> None:
        self._connect = connect
        self._prepare = prepare
        self._ask = ask
        self._is_new = True
        self.connection: AsyncConnection | None = None
        self.asked: Sequence[_Asked[Question, Answer]] = ()

    async def put(self, asked: Sequence[_Asked[Question, Answer]]) -> Sequence[Answer]:
        """The answers. They are asked for once more, on a new connection, when the old one turns out to be broken."""
        if self.connection is not None:
            try:
                return await self._put_on(self.connection, asked)
            except Retry:  # perhaps the server was started anew since the last question
                if _given_up(asked):
                    raise
        self.connection, self._is_new = await self._connect(), True
        return await self._put_on(self.connection, asked)

    async def _put_on(self, connection: AsyncConnection, asked: Sequence[_Asked[Question, Answer]]) -> Sequence[Answer]:
        if _given_up(asked):
            raise Retry("nobody waits for the answer any more")
        self.asked = asked
        try:
            if self._is_new:
                await self._prepare(connection)
                self._is_new = False
            return await self._ask(connection, [each.question for each in asked])
        except Exception:
            self.close()
            raise
        finally:
            self.asked = ()

    async def cancel(self) -> None:
        """Tell the server that nobody waits for the answers any more, until it has heard it."""
        asked = self.asked
        while self.asked is asked and self.connection is not None:
            with suppress(psycopg.Error):
                await self.connection.cancel_safe(timeout=CANCEL_S)
            await asyncio.sleep(CANCEL_S)

    def close(self) -> None:
        """End the connection; libpq does not wait for that."""
        if self.connection is not None:
            self.connection.pgconn.finish()
            self.connection = None


class Pool(Generic[Question, Answer]):
    """Some connections to PostgreSQL. However many ask, no more are there.

    A server that hangs (libpq knows no limit for that) keeps its connections until it goes on; meanwhile everybody
    hears in time that there is no answer.
    """

    def __init__(
        self,
        connect: Connect,
        prepare: Prepare,
        ask: Ask[Question, Answer],
        *,
        connections: int,
        together: int,
        limit_s: float,
        most_waiting: int,
    ) -> None:
        """Nothing is opened yet.

        Args:
            connect: opens a connection; raises what it has to.
            prepare: what is done on a new one before it is asked anything.
            ask: asks some questions; as many answers, in the same order.
            connections: how many are asked at the same time.
            together: how many questions at most one is asked at once.
            limit_s: seconds that an answer may take, with waiting and connecting.
            most_waiting: questions that wait for a free connection; one more is refused at once.
        """
        self._together = together
        self._limit_s = limit_s
        self._most_waiting = most_waiting
        self._waiting: deque[_Asked[Question, Answer]] = deque()
        self._slots = [_Slot(connect, prepare, ask) for _ in range(connections)]
        self._free = list(self._slots)
        self._working: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End the connections, before the event loop ends: or psycopg waits for a server that hangs to hear of it."""
        for slot in self._slots:
            slot.close()

    def ask(self, question: Question) -> "asyncio.Future[Answer]":
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
        answer: asyncio.Future[Answer] = loop.create_future()
        limit = loop.call_later(self._limit_s, self._give_up, answer)

        def ended(_: object) -> None:
            limit.cancel()
            if not answer.cancelled():
                answer.exception()  # is known now, also if nobody waits any more

        answer.add_done_callback(ended)
        self._waiting.append(_Asked(question, answer))
        if self._free:
            self._begin(self._work(self._free.pop()))
        return answer

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _give_up(self, answer: "asyncio.Future[Answer]") -> None:
        if answer.done():
            return
        answer.set_exception(Retry(f"PostgreSQL does not answer within {self._limit_s:g} s"))
        for slot in self._slots:
            if any(each.answer is answer for each in slot.asked) and _given_up(slot.asked):
                self._begin(slot.cancel())

    async def _work(self, slot: _Slot[Question, Answer]) -> None:
        """Ask what waits, until nothing does."""
        while asked := self._next():
            try:
                answers = await slot.put(asked)
            except Exception as error:  # raised again where the answer is awaited
                if len(asked) > 1 and not isinstance(error, Retry):  # what is wrong with one is not the others' fault
                    self._waiting.extendleft(replace(each, alone=True) for each in reversed(asked))
                    continue
                for each in asked:
                    if not each.answer.done():
                        each.answer.set_exception(error)
            else:
                for each, answer in zip(asked, answers, strict=True):
                    if not each.answer.done():
                        each.answer.set_result(answer)
        self._free.append(slot)

    def _next(self) -> list[_Asked[Question, Answer]]:
        """What has waited longest, as much as may be asked together. What nobody waits for any more is left out."""
        asked: list[_Asked[Question, Answer]] = []
        while self._waiting and len(asked) < self._together:
            if self._waiting[0].answer.done():
                self._waiting.popleft()
            elif self._waiting[0].alone:
                return asked or [self._waiting.popleft()]
            else:
                asked.append(self._waiting.popleft())
        return asked


def _given_up(asked: Sequence[_Asked[Any, Any]]) -> bool:
    """Whether nobody waits for any of the answers any more."""
    return all(each.answer.done() for each in asked)
