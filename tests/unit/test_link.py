"""A link never waits longer than it may, whatever the server does."""

import threading
import time

import pytest

from worker.errors import Retry, Stop
from worker.link import Link


class Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


class Server:
    """Makes connections, and can be away."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.away = False

    def connect(self) -> Connection:
        if self.away:
            raise Retry("away")
        self.made.append(Connection())
        return self.made[-1]

    def answer(self, connection: Connection) -> Connection:
        if connection.closed or connection is not self.made[-1]:
            raise Retry("the connection is broken")
        return connection


def test_a_connection_is_kept() -> None:
    """Questions go over one connection."""
    server = Server()
    link = Link("x", server.connect, 5.0)
    assert link.ask(server.answer) is link.ask(server.answer)
    assert len(server.made) == 1


def test_a_broken_connection_is_replaced() -> None:
    """A server that was started anew is not taken for one that is away."""
    server = Server()
    link = Link("x", server.connect, 5.0)
    first = link.ask(server.answer)
    server.made.append(Connection())  # the old one is worth nothing any more
    assert link.ask(server.answer) is not first
    assert first.closed


def test_an_absent_server_is_told_and_found_again() -> None:
    """While the server is away the caller hears so; later it is asked again."""
    server = Server()
    link = Link("x", server.connect, 5.0)
    server.away = True
    with pytest.raises(Retry, match="away"):
        link.ask(server.answer)
    server.away = False
    assert link.ask(server.answer) is server.made[0]


def test_a_refusal_closes_the_connection() -> None:
    """After any error the connection is not trusted any more."""
    server = Server()
    link = Link("x", server.connect, 5.0)

    def refuse(connection: Connection) -> None:
        raise Stop("no")

    with pytest.raises(Stop):
        link.ask(refuse)
    assert server.made[0].closed


def test_a_hanging_server_holds_nobody() -> None:
    """Nobody waits longer than the limit, one thread at most is left hanging, and afterwards all is as before."""
    server, thawed = Server(), threading.Event()
    link = Link("hanging", server.connect, 0.05)
    began = time.monotonic()
    try:
        for _ in range(5):
            with pytest.raises(Retry, match="does not answer"):
                link.ask(lambda _: thawed.wait(30))
        assert time.monotonic() - began < 10  # and not 150
        assert sum(thread.name == "hanging" for thread in threading.enumerate()) == 1
    finally:
        thawed.set()
    deadline = time.monotonic() + 10
    while any(thread.name == "hanging" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert link.ask(server.answer) is server.made[0]


def test_a_timeout_in_the_question_is_its_own() -> None:
    """An error of the question reaches who asked, also when it is called as our own limit is."""

    def fail(_: Connection) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        Link("x", Server().connect, 5.0).ask(fail)
