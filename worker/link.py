"""A connection that is asked now and then, by somebody who must not wait for a server that hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from worker.errors import Retry


class Closing(Protocol):
    """What a link keeps open."""

    def close(self) -> None:
        """End the connection."""


C = TypeVar("C", bound=Closing)
T = TypeVar("T")


class Held(Generic[C]):
    """One connection of one thread, opened when it is needed, thrown away after an error."""

    def __init__(self, connect: Callable[[], C]) -> None:
        """Nothing is opened yet; `connect` raises what it has to."""
        self._connect = connect
        self.connection: C | None = None

    def put(self, question: Callable[[C], T]) -> T:
        """The answer to a question. It is put again, on a new connection, when the old one turns out to be broken."""
        if self.connection is not None:
            try:
                return self._put_on(self.connection, question)
            except Retry:
                pass  # perhaps the server was started anew since the last question
        self.connection = self._connect()
        return self._put_on(self.connection, question)

    def _put_on(self, connection: C, question: Callable[[C], T]) -> T:
        try:
            return question(connection)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """End the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Link(Generic[C]):
    """One connection to one server, that any thread may ask for a limited time.

    Neither libpq nor a resolver of names knows a limit for all that can take long (a server that was frozen still
    acknowledges packets), so a question is asked in a thread that is left behind if there is no answer. Such a thread
    holds the link: never more than one is left, and until it ends all who ask hear at once that the server is away.
    """

    def __init__(self, name: str, connect: Callable[[], C], limit_s: float) -> None:
        """Nothing is opened yet.

        Args:
            name: of the server, for people.
            connect: opens a connection; raises what it has to.
            limit_s: seconds that an answer may take, with connecting.
        """
        self.name = name
        self._limit_s = limit_s
        self._free = threading.Semaphore()
        self._held = Held(connect)

    def ask(self, question: Callable[[C], T]) -> T:
        """The server's answer; one question at a time.

        Args:
            question: is put again, on a new connection, when the old one turns out to be broken.

        Raises:
            Retry: the server is away, or there was no answer in time.
            Stop: it refuses us.
        """
        end = time.monotonic() + self._limit_s
        if self._free.acquire(timeout=self._limit_s):
            answer: Future[T] = Future()
            threading.Thread(target=self._answer, args=(question, answer), name=self.name, daemon=True).start()
            try:
                return answer.result(max(0.0, end - time.monotonic()))
            except TimeoutError:
                if answer.done():
                    raise
        raise Retry(f"{self.name} does not answer within {self._limit_s:g} s")

    def close(self) -> None:
        """End the connection, unless a question is still being asked; then it ends with the process."""
        if self._free.acquire(blocking=False):
            self._held.close()
            self._free.release()

    def _answer(self, question: Callable[[C], T], answer: Future[T]) -> None:
        try:
            answer.set_result(self._held.put(question))
        except BaseException as error:  # raised again where the answer is awaited
            answer.set_exception(error)
        finally:
            self._free.release()
