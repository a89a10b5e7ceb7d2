"""Requests at a steady rate over HTTP, as people send them: when one is due it is sent, whatever became of the others.

Each is timed from the moment at which it was due, so what waits behind a slow one counts as slow (no "coordinated
omission"). A process of its own: `python -m tests.bench.load`, told what to do in a line of JSON, says `ready`, waits
for the word, and answers with a line of JSON.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import cast

import uvloop

from worker.token import sign

PERIODS = {"month": 45, "week": 35, "year": 10, "quarter": 5, "day": 5}
"""What people look at, in percent: the page opens with the month."""

AGAIN, AGAIN_WITHIN_S = 0.10, 20.0
"""Share of requests that look anew at what somebody had seconds ago, and then with its ETag."""

LAST_ANSWER_S = 15.0
FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent."""

    port: int
    secret: str
    specialists: list[str]
    rate: int
    warm_up_s: float
    """Connections are made and plans are cached meanwhile; what is sent then is not reported."""
    seconds: float
    """At most: SIGTERM ends it."""


@dataclass(slots=True)
class Told:
    """What came of it."""

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    """By period, in order."""
    late_ms: list[float] = field(default_factory=list)
    """How long after it was due each was really sent, in order: waiting for our own processor or a free connection."""
    statuses: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    asked_again_at_once: int = 0
    """Within a second of the same question, for which the server reads once."""
    sent_again: int = 0
    """The server closed a connection that had been idle, while the request was on its way, as HTTP allows."""
    connections: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class _Request:
    due: float
    specialist: str
    period: str
    etag: str = ""
    sent: float = 0.0
    counts: bool = True


class _Connection(asyncio.Protocol):
    """One request at a time, and kept for the next."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = bytearray()
        self.asked: _Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def ask(self, request: _Request, encoded: bytes) -> None:
        request.sent = time.monotonic()
        self.asked = request
        self._transport.write(encoded)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(_header(head, b"content-length") or 0)
        if len(self._buffer) < end + 4 + length:
            return
        answered, self.asked = self.asked, None
        assert answered is not None
        status, size = int(head[9:12]), len(self._buffer)
        self._buffer.clear()
        self._load.answered(self, answered, status, _header(head, b"etag").decode(), size)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self)


def _header(head: bytes | bytearray, name: bytes) -> bytes:
    found = head.find(b"\r\n" + name + b": ")
    return b"" if found < 0 else bytes(head[found + len(name) + 4 :].partition(b"\r\n")[0])


class Load:
    """Sends what is planned."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(plan.rate)
        lifetime = timedelta(hours=1)
        self._tokens = {each: sign(plan.secret, each, lifetime=lifetime) for each in plan.specialists}
        self._free: list[_Connection] = []
        self._waiting: deque[_Request] = deque()
        self._seen: deque[tuple[float, str, str, str]] = deque()
        self._last_asked: dict[tuple[str, str], float] = {}
        self._stopped = asyncio.Event()
        self._opening = set[asyncio.Task[None]]()
        self._over = False
        self._open = 0
        self._statuses: Counter[str] = Counter()
        self._told = Told()

    async def run(self) -> Told:
        """Send it all, and wait for the last answers."""
        plan = self._plan
        began = time.monotonic() + 0.1
        used, sent = 0.0, 0
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        for number in range(round((plan.warm_up_s + plan.seconds) * plan.rate)):
            due = began + number / plan.rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._stopped.is_set():
                break
            if counts := due >= began + plan.warm_up_s:
                used = used or time.process_time()
                sent += 1
            self._waiting.append(self._next(due, counts=counts))
            if self._free:
                self._ask(self._free.pop())
            else:
                self._open_another()
        self._told.cpu_seconds = time.process_time() - used
        self._told.seconds = sent / plan.rate
        deadline = time.monotonic() + LAST_ANSWER_S
        while (self._waiting or self._open > len(self._free)) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._over = True
        self._told.statuses = dict(self._statuses)
        self._told.unanswered = sent - len(self._told.late_ms)
        for taken in (*self._told.took_ms.values(), self._told.late_ms):
            taken.sort()
        return self._told

    def _next(self, due: float, *, counts: bool) -> _Request:
        chance = self._random
        while self._seen and self._seen[0][0] < due - AGAIN_WITHIN_S:
            self._seen.popleft()
        if self._seen and chance.random() < AGAIN:
            _, specialist, period, etag = chance.choice(self._seen)
            request = _Request(due, specialist, period, etag, counts=counts)
        else:
            [period] = chance.choices(list(PERIODS), list(PERIODS.values()))
            request = _Request(due, chance.choice(self._plan.specialists), period, counts=counts)
        key = (request.specialist, request.period)
        self._told.asked_again_at_once += counts and due - self._last_asked.get(key, 0.0) < FRESH_S
        self._last_asked[key] = due
        return request

    def _open_another(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        self._open += 1
        self._told.connections += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), "127.0.0.1", self._plan.port
            )
        except OSError:
            self._open -= 1
        else:
            self._ask(connection)

    def _ask(self, connection: _Connection) -> None:
        """Send what has waited longest."""
        if not self._waiting:
            self._free.append(connection)
            return
        request = self._waiting.popleft()
        condition = f"If-None-Match: {request.etag}\r\n" if request.etag else ""
        connection.ask(
            request,
            (
                f"GET /api/specialists/{request.specialist}/analytics?period={request.period} HTTP/1.1\r\n"
                f"Host: 127.0.0.1:{self._plan.port}\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
                f"Authorization: Bearer {self._tokens[request.specialist]}\r\n{condition}\r\n"
            ).encode(),
        )

    def answered(self, connection: _Connection, request: _Request, status: int, etag: str, size: int) -> None:
        """A connection has an answer, and is free."""
        now = time.monotonic()
        if request.counts and not self._over:
            self._told.took_ms.setdefault(request.period, []).append((now - request.due) * 1000)
            self._told.late_ms.append((request.sent - request.due) * 1000)
            self._told.megabytes += size / 1e6
            self._statuses[str(status)] += 1
        if etag:
            self._seen.append((now, request.specialist, request.period, etag))
        self._ask(connection)

    def lost(self, connection: _Connection) -> None:
        """The server has closed a connection."""
        self._open -= 1
        if connection in self._free:
            self._free.remove(connection)
        if connection.asked:
            self._told.sent_again += 1
            self._waiting.appendleft(connection.asked)
            self._open_another()


def main() -> None:
    """Wait for the word, send, and tell."""
    load = Load(Plan(**json.loads(sys.stdin.readline())))
    print("ready", flush=True)
    if sys.stdin.readline() == "go\n":
        told = json.dumps(asdict(uvloop.run(load.run())))
        with open(
            sys.stdout.fileno(), "w", encoding="utf-8", closefd=False
        ) as output:  # print() loses what is more than
            output.write(told)  # a pipe holds if PYTHONUNBUFFERED is set: nobody writes the rest


if __name__ == "__main__":
    main()
