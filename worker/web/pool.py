"""Asking PostgreSQL from the event loop: some connections, each with one statement at a time. While many ask, questions
gather for some milliseconds and are asked together: the more there is to do, the less of it is done anew for each.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
    alone: bool
    """Not together with others."""


class _Slot(Generic[Question, Answer]):
    """A connection, opened when it is needed and thrown away after an error."""

    def __init__(self, connect: Connect, prepare: Prepare, ask: Ask[Question, Answer]) -> None:
        self._connect = connect
        self._prepare = prepare
        self._ask = ask
        self.connection: AsyncConnection | None = None
        self.asked: Sequence[_Asked[Question, Answer]] = ()

    async def open(self) -> AsyncConnection:
        """The connection."""
        if self.connection is None:
            self.connection = await self._connect()
            with self._thrown_away_after_an_error():
                await self._prepare(self.connection)
        return self.connection

    async def put(
        self, connection: AsyncConnection, asked: Sequence[_Asked[Question, Answer]]
    ) -> list[tuple[_Asked[Question, Answer], Answer]]:
        """What was asked, each with its answer."""
        self.asked = asked
        try:
            with self._thrown_away_after_an_error():
                answers = await self._ask(connection, [each.question for each in asked])
                return [*zip(asked, answers, strict=True)]
        finally:
            self.asked = ()

    async def cancel(self, asked: Sequence[_Asked[Question, Answer]]) -> None:
        """Tell the server that nobody waits for these answers any more, until it has heard it."""
        while self.asked is asked and self.connection is not None:
            with suppress(psycopg.Error):
                await self.connection.cancel_safe(timeout=CANCEL_S)
            await asyncio.sleep(CANCEL_S)

    @contextmanager
    def _thrown_away_after_an_error(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.close()
            raise

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
        apart_s: float,
        limit_s: float,
        most_waiting: int,
    ) -> None:
        """Nothing is opened yet.

        Args:
            connect: opens a connection; raises what it has to.
            prepare: what is done on a new one before it is asked anything.
            ask: asks some questions; as many answers, in the same order.
            connections: how many are asked at the same time.
            together: how many questions at most are asked at once by each of them.
            apart_s: seconds from one statement to the next, in which questions gather; who comes later than that after
                the last one does not wait.
            limit_s: seconds that an answer may take, with waiting and connecting.
            most_waiting: questions that wait for a free connection; one more is refused at once.
        """
        self._together = together
        self._apart_s = apart_s
        self._limit_s = limit_s
        self._most_waiting = most_waiting
        self._waiting: deque[_Asked[Question, Answer]] = deque()
        self._slots = [_Slot(connect, prepare, ask) for _ in range(connections)]
        self._free = list(self._slots)
        self._working: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._next: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End the connections, before the event loop ends: or psycopg waits for a server that hangs to hear of it."""
        if self._next:
            self._next.cancel()
        for slot in self._slots:
            slot.close()

    def ask(self, question: Question, *, alone: bool = False) -> "asyncio.Future[Answer]":
        """The answer to a question.

        Args:
            question: what is asked.
            alone: it is not asked together with others, which would have to wait for it.

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
        self._waiting.append(_Asked(question, answer, alone))
        self._go_on()
        return answer

    def _go_on(self) -> None:
        """Let a free connection ask what waits, as soon as it is time. With what is asked alone nothing gathers."""
        while self._waiting and self._free:
            if self._waiting[0].answer.done():
                self._waiting.popleft()
            elif self._waiting[0].alone:
                self._begin(self._work(self._free.pop(), [self._waiting.popleft()]))
            else:
                if self._next is None:
                    self._next = asyncio.get_running_loop().call_at(self._not_before, self._ask_next)
                return

    def _ask_next(self) -> None:
        self._next = None
        if self._free and (asked := self._gathered()):
            self._not_before = asyncio.get_running_loop().time() + self._apart_s
            self._begin(self._work(self._free.pop(), asked))
        self._go_on()

    def _gathered(self) -> list[_Asked[Question, Answer]]:
        """What has waited longest, as much as may be asked together. What nobody waits for any more is left out."""
        asked: list[_Asked[Question, Answer]] = []
        while self._waiting and len(asked) < self._together:
            if self._waiting[0].answer.done():
                self._waiting.popleft()
            elif self._waiting[0].alone:
                break
            else:
                asked.append(self._waiting.popleft())
        return asked

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _give_up(self, answer: "asyncio.Future[Answer]") -> None:
        if answer.done():
            return
        answer.set_exception(Retry(f"PostgreSQL does not answer within {self._limit_s:g} s"))
        for slot in self._slots:
            answers = [each.answer for each in slot.asked]
            if answer in answers and all(each.done() for each in answers):
                self._begin(slot.cancel(slot.asked))

    async def _work(self, slot: _Slot[Question, Answer], asked: Sequence[_Asked[Question, Answer]]) -> None:
        """Ask it.

        What fails is asked once more, each by itself: the server may have been started anew since the last question,
        and what is wrong with one is not to be the others'. It is asked by the same slot, whose connection is new then;
        those of others may be cut too. Where no connection is to be had, it is everybody's.
        """
        try:
            await self._answer(slot, asked)
        except Exception:
            for each in asked:
                try:
                    await self._answer(slot, [each])
                except Exception as error:  # raised again where the answer is awaited
                    _fail([each], error)
        self._free.append(slot)
        self._go_on()

    async def _answer(self, slot: _Slot[Question, Answer], asked: Sequence[_Asked[Question, Answer]]) -> None:
        if all(each.answer.done() for each in asked):
            return  # nobody waits: no connection is opened for that
        try:
            connection = await slot.open()
        except Exception as error:
            _fail(asked, error)
            return
        if all(each.answer.done() for each in asked):
            return  # it took too long
        for each, answer in await slot.put(connection, asked):
            if not each.answer.done():
                each.answer.set_result(answer)


def _fail(asked: Sequence[_Asked[Any, Any]], error: Exception) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)
