"""A TCP proxy before a server: what a network can do to a connection, at a moment that a test chooses."""

import re
import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from worker.embedded import free_port

CHUNK = 1 << 16
OVERLAP = 1 << 10  # what is looked for is shorter, and may lie across two chunks

SMALL_COMMIT = re.compile(rb"B....\0_pg3_", re.DOTALL)
"""A small batch on its way to PostgreSQL: Bind of the statement that it has prepared. (Nothing else is prepared.)"""

LARGE_COMMIT = re.compile(rb"P....\0[^\0]*position_held", re.DOTALL)
"""A large one: Parse without a name."""

COMMIT = re.compile(rb"|".join(each.pattern for each in (SMALL_COMMIT, LARGE_COMMIT)), re.DOTALL)
TRIM = re.compile(rb"XTRIM")
KEEPER_LOOKS = re.compile(rb"WATCH\r\n\$\d+\r\nrq:queue:rollup\r\n")


class Held:
    """A message that a proxy is to hold; then one that is held. As a block: it has come, and is cut afterwards."""

    def __init__(self, pattern: re.Pattern[bytes], *, answered: bool) -> None:
        self.pattern = pattern
        self.answered = answered
        self._came = threading.Event()
        self._may_go = threading.Event()
        self._connection: _Connection | None = None

    def wait(self, seconds: float = 30.0) -> None:
        """Until it is there. It is an error if it does not come."""
        assert self._came.wait(seconds), f"not within {seconds} s: {self.pattern.pattern!r}"

    def release(self) -> None:
        """Let it go its way; if it has not come yet, it will pass."""
        self._may_go.set()

    def cut(self) -> None:
        """Let it go nowhere: its connection is cut."""
        if self._connection:
            self._connection.close()
        self.release()

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def stop(self, connection: "_Connection") -> None:
        """The message is here."""
        self._connection = connection
        self._came.set()
        self._may_go.wait()


class _Connection:
    """Both ends of one connection, and a thread for each direction."""

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._ends = (client, server)
        self._to_answer: Held | None = None
        self._sending = threading.Lock()

    def start(self) -> None:
        """Let it work, now that the proxy knows it."""
        for pump in (self._requests, self._answers):
            threading.Thread(target=pump, name=f"proxy {pump.__name__}", daemon=True).start()

    def _requests(self) -> None:
        client, server = self._ends
        seen = b""
        while chunk := self._received(client):
            seen = seen[-OVERLAP:] + chunk
            if held := self._proxy.watched_for(seen):
                seen = b""
                if not held.answered:
                    held.stop(self)
            with self._sending:  # what is answered is answered after it was sent
                self._send(server, chunk)
                self._to_answer = held if held and held.answered else self._to_answer
        self.close()

    def _answers(self) -> None:
        client, server = self._ends
        while chunk := self._received(server):
            with self._sending:
                held, self._to_answer = self._to_answer, None
            if held:
                held.stop(self)
            self._send(client, chunk)
        self.close()

    def _received(self, end: socket.socket) -> bytes:
        try:
            chunk = end.recv(CHUNK)
        except OSError:
            return b""
        self._proxy.flows.wait()
        return chunk

    def _send(self, end: socket.socket, chunk: bytes) -> None:
        with suppress(OSError):  # the other thread has noticed too
            end.sendall(chunk)

    def close(self) -> None:
        """End both ends; the other thread wakes up by it."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy.forget(self)


class Proxy:
    """Listens on 127.0.0.1, and is a way to one server."""

    def __init__(self, server_url: str) -> None:
        """`server_url` is where the server is; `url` is the same by way of the proxy."""
        parts = urlsplit(server_url)
        self._server = _address(server_url)
        self.port = free_port()
        self._listener = self._listening(self.port)
        userinfo = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{self.port}"))
        self.flows = threading.Event()
        self.flows.set()
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._held: list[Held] = []
        self._watches: list[Held] = []

    # ---- what a test does ------------------------------------------------------------------------------------------

    def hold(self, pattern: re.Pattern[bytes], *, answered: bool = False) -> Held:
        """Stop the next client message that matches: before it reaches the server, or once the server has `answered`.

        Cut while it is held, the first is a message that never arrived and the second an answer that got lost.
        """
        held = Held(pattern, answered=answered)
        with self._lock:
            self._held.append(held)
            self._watches.append(held)
        return held

    def cut(self) -> int:
        """Cut every connection; how many there were."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()
        return len(connections)

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        self._listener = self._listening(self.port)

    def lead_to(self, server_url: str) -> None:
        """Be a way to another server, for new connections."""
        self._server = _address(server_url)

    def stall(self) -> None:
        """Swallow everything, as a network that has lost its way: connections stay, and nothing goes through."""
        self.flows.clear()

    def flow(self) -> None:
        """Let everything through again, also what was swallowed."""
        self.flows.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flow()
        for held in self._held:
            held.release()
        self.refuse()

    # ---- what its connections ask ----------------------------------------------------------------------------------

    def watched_for(self, seen: bytes) -> Held | None:
        """Who waits for such a message; only once."""
        with self._lock:
            for held in self._watches:
                if held.pattern.search(seen):
                    self._watches.remove(held)
                    return held
        return None

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        with self._lock:
            self._connections.discard(connection)

    def _listening(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._take, args=(listener,), name="proxy", daemon=True).start()
        return listener

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client, server)
            with self._lock:
                self._connections.add(connection)
            connection.start()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 0
