"""Events as the site would send them: the same for the same seed, and encoded faster than Redis takes them."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import redis

SKEW = 0.9
"""Exponent of the Zipf law: how much more often the popular are looked at."""

SPREAD_MS = 60_000
CHUNK = 20_000
TYPES = {b"profile_view": 80, b"contact_view": 20}
SOURCES = {b"catalog": 45, b"search": 30, b"direct": 25}
LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyz"


class Traffic:
    """An endless row of events with five pairs each, for so many specialists; with visitors there are six."""

    def __init__(self, specialists: int, visitors: int = 0, seed: int = 20261122) -> None:
        self._random = random.Random(seed)
        self._visitors = visitors
        self.specialists = [bytes(self._random.choices(LETTERS, k=25)) for _ in range(specialists)]
        self._weights = list(accumulate(1 / rank**SKEW for rank in range(1, specialists + 1)))

    def event_ids(self, count: int) -> list[bytes]:
        """Random UUIDs of version 4."""
        digits = self._random.randbytes(16 * count).hex().encode()
        ids = (digits[start : start + 32] for start in range(0, len(digits), 32))
        return [b"%b-%b-4%b-a%b-%b" % (i[:8], i[8:12], i[13:16], i[17:20], i[20:]) for i in ids]

    def commands(self, stream: str, times_ms: Sequence[int], event_ids: Sequence[bytes]) -> list[bytes]:
        """An encoded XADD for each time and event id."""
        choose, count = self._random.choices, len(times_ms)
        types = choose(list(TYPES), list(TYPES.values()), k=count)
        specialists = choose(self.specialists, cum_weights=self._weights, k=count)
        sources = choose(list(SOURCES), list(SOURCES.values()), k=count)
        events = zip(types, specialists, event_ids, times_ms, sources, strict=True)
        commands = [xadd(stream.encode(), event) for event in events]
        if not self._visitors:
            return commands
        visitors = choose(range(self._visitors), k=count)
        return [with_visitor(command, visitor) for command, visitor in zip(commands, visitors, strict=True)]

    def fill(self, url: str, stream: str, count: int) -> None:
        """Put so many events of the last minute into the stream.

        Raises:
            RuntimeError: they are not all there.
        """
        began_ms = time.time_ns() // 1_000_000 - SPREAD_MS
        with silent(url) as connection:
            for start in range(0, count, CHUNK):
                numbers = range(start, min(start + CHUNK, count))
                times_ms = [began_ms + number * SPREAD_MS // count for number in numbers]
                commands = self.commands(stream, times_ms, self.event_ids(len(numbers)))
                connection.send_packed_command([b"".join(commands)])
        with redis.Redis.from_url(url) as client:
            if client.xlen(stream) != count:
                raise RuntimeError(f"{client.xlen(stream)} of {count} events are in the stream")


def xadd(stream: bytes, event: tuple[bytes, bytes, bytes, int, bytes]) -> bytes:
    """XADD of an event, in Redis's wire format."""
    kind, specialist, event_id, occurred_ms, source = event
    return b"*13\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n" % (len(stream), stream) + (
        b"$4\r\ntype\r\n$%d\r\n%b\r\n$12\r\nspecialistId\r\n$%d\r\n%b\r\n$7\r\neventId\r\n$36\r\n%b\r\n"
        b"$10\r\noccurredAt\r\n$13\r\n%d\r\n$6\r\nsource\r\n$%d\r\n%b\r\n"
    ) % (len(kind), kind, len(specialist), specialist, event_id, occurred_ms, len(source), source)


def with_visitor(command: bytes, visitor: int) -> bytes:
    """The same event with a visitorId of 13 characters."""
    return b"*15" + command.removeprefix(b"*13") + b"$9\r\nvisitorId\r\n$13\r\nv%012d\r\n" % visitor


@contextmanager
def silent(url: str) -> Iterator[Any]:
    """A connection on which Redis answers nothing; when the block is over, it has done all that was sent."""
    with redis.Redis.from_url(url) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("CLIENT", "REPLY", "OFF")
            yield connection
            connection.send_command("CLIENT", "REPLY", "ON")
            connection.read_response()
        finally:
            connection.disconnect()
