"""Asking PostgreSQL from the event loop, which must never wait."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, Self, TypeVar

import psycopg

from worker.errors import Retry
from worker.link import Held
from worker.store import Connection

T = TypeVar("T")

CANCEL_S = 1.0
"""Seconds that the server has to take note that nobody waits for an answer any more."""


class _Question(NamedTuple):
    ask: Callable[[Connection], Any]
    answer: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Pool:
    """Some threads, each with a connection of its own, opened when it is needed and thrown away after an error.

    However many ask, no more threads and connections are there. A server that hangs (libpq knows no limit for that)
    keeps its threads until it goes on; meanwhile everybody hears in time that there is no answer. Nobody waits for the
    threads at the end of the process.
    """

    def __init__(self, connect: Callable[[], Connection], threads: int, limit_s: float, most_waiting: int) -> None:
        """Nothing is opened yet.

        Args:
            connect: opens a connection; raises what it has to.
            threads: how many questions are asked at the same time.
            limit_s: seconds that an answer may take, with waiting and connecting.
            most_waiting: questions that wait for a free thread; one more is refused at once.
        """
        self._limit_s = limit_s
        self._most_waiting = most_waiting
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(connect,), name=f"PostgreSQL {number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._questions.put(None)

    def ask(self, question: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """The answer to a question, which is put in a thread.

        Returns:
            What can be awaited. It raises Retry if the server is away or there is no answer in time, and Stop if it
            refuses us.

        Raises:
            Retry: too many others wait.
        """
        if self._questions.qsize() >= self._most_waiting:
            raise Retry("too many wait for PostgreSQL")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        running: list[Connection] = []

        def ask(connection: Connection) -> T:
            running[:] = [connection]
            if answer.done():
                raise Retry("nobody waits for the answer any more")
            return question(connection)

        limit = loop.call_later(self._limit_s, self._give_up, answer, running)

        def ended(_: object) -> None:
            limit.cancel()
            if not answer.cancelled():
                answer.exception()  # is known now, also if nobody waits any more

        answer.add_done_callback(ended)
        self._questions.put(_Question(ask, answer, loop))
        return answer

    def _give_up(self, answer: "asyncio.Future[Any]", running: list[Connection]) -> None:
        if answer.done():
            return
        answer.set_exception(Retry(f"PostgreSQL does not answer within {self._limit_s:g} s"))
        for connection in running:  # a slow server shall not go on for nobody; a hanging one does not hear it
            threading.Thread(target=_cancel, args=(connection,), daemon=True).start()

    def _work(self, connect: Callable[[], Connection]) -> None:
        held = Held(connect)
        while (question := self._questions.get()) is not None:
            if question.answer.done():
                continue  # nobody waits any more
            try:
                outcome, error = held.put(question.ask), None
            except Exception as raised:  # raised again where the answer is awaited
                outcome, error = None, raised
            question.loop.call_soon_threadsafe(_settle, question.answer, outcome, error)
        held.close()


def _cancel(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=CANCEL_S)


def _settle(answer: "asyncio.Future[Any]", outcome: object, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(outcome)
    else:
        answer.set_exception(error)
