"""Redis: read a stream after a position, together with the facts about it; trim what is committed and old."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as RedisRetry

from worker.continuity import BEGINNING, EntryId, Position, StreamFacts
from worker.errors import Retry, Stop
from worker.settings import MOST_SHARDS, UNREADABLE, Settings, without_credentials

Entry = tuple[bytes, Sequence[bytes]]

FIRST_PAGE_ENTRIES, PAGE_ENTRIES, PAGE_BYTES = 10, 5_000, 4_000_000
"""One read brings at most so many entries, and about so many bytes if they are like those before: raw entries are the
largest thing in memory, and Redis answers nobody else meanwhile. The first read is small, the next ones grow."""

SHORT_OF_MEMORY = 0.9
"""Share of `maxmemory` from which on room for new events goes before keeping old ones."""

SOCKET_TIMEOUT_S = 5.0
"""A blocking read must stay well below it, or the client gives up before the server answers."""


def connect_redis(settings: Settings) -> redis.Redis:
    """A client that does not retry by itself: a caller decides what an unknown outcome means.

    Raises:
        Stop: the URL cannot be read.
    """
    url = settings.redis_url.get_secret_value()
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_keepalive=True,
            retry=RedisRetry(NoBackoff(), 0),
        )
    except ValueError:  # its words could hold a part of the password
        raise Stop(f"REDIS_URL {UNREADABLE}") from None
    parameters = client.connection_pool.connection_kwargs
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
        if (path := parameters.get(name)) and not Path(path).exists():
            raise Stop(f"REDIS_URL names a file that is not there: {name}={path}")
    try:
        client.connection_pool.connection_class(**parameters)  # does not connect yet
    except (TypeError, redis.RedisError):
        raise Stop(
            "REDIS_URL has a parameter that is not known, or has no such value (ssl_… needs rediss://)"
        ) from None
    return client


@contextmanager
def redis_errors(settings: Settings) -> Iterator[None]:
    """Name redis-py's errors by what to do; the line shows the URL without its credentials."""
    where = without_credentials(settings.redis_url.get_secret_value())
    try:
        yield
    except redis.AuthenticationError as error:
        raise Stop(f"Redis at {where} refuses the user or password of REDIS_URL: {error}") from None
    except redis.exceptions.NoPermissionError as error:
        raise Stop(f"Redis at {where} does not allow what the worker needs: {error}") from None
    except redis.ConnectionError as error:
        if "AUTH" in str(error) or "invalid username-password" in str(error):
            raise Stop(f"Redis at {where} refuses the user or password of REDIS_URL") from None
        if _is_a_matter_of_certificates(error.__context__):
            raise Stop(f"Redis at {where} has no TLS that REDIS_URL and its certificates fit to: {error}") from None
        raise Retry(f"Redis at {where} does not answer: {error}") from None
    except redis.RedisError as error:
        raise Retry(f"Redis at {where}: {error}") from None


def _is_a_matter_of_certificates(cause: BaseException | None) -> bool:
    """Whether a connection failed for what will be no better the next time: a certificate, or a port without TLS."""
    cut_off = ssl.SSLEOFError, ssl.SSLZeroReturnError
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, cut_off)


@dataclass(frozen=True, slots=True)
class Page:
    """What one read brought: entries after a position, and the stream's facts in the same instant."""

    entries: Sequence[Entry]
    facts: StreamFacts
    reached_end: bool


def next_page_entries(entries: int, page: Sequence[Entry]) -> int:
    """Entries that make about `PAGE_BYTES` if they are as large as these; growing by steps."""
    size = sum(sum(map(len, fields)) for _, fields in page)
    fitting = PAGE_BYTES * len(page) // max(size, 1)
    return max(1, min(fitting, 8 * entries, PAGE_ENTRIES))


class StreamReader:
    """Reads one stream, and trims it."""

    def __init__(self, client: redis.Redis, settings: Settings, key: str) -> None:
        """`client` is this reader's alone: its entries stay as they come, without a dict an entry."""
        self._client = client
        for command in ("XRANGE", "XREVRANGE"):
            self._client.response_callbacks.pop(command, None)
        self._settings = settings
        self.key = key

    def read(self, after: EntryId, count: int) -> Page:
        """At most `count` entries after the position, and the facts, in one MULTI.

        Raises:
            Retry: Redis is away or does not answer.
            Stop: Redis refuses us, or the key holds something else than a stream.
        """
        with redis_errors(self._settings):
            transaction = self._client.pipeline(transaction=True)
            transaction.info("replication")
            transaction.xinfo_stream(self.key)
            transaction.xrange(self.key, min=str(after), count=count + 1)  # what was read last is a fact as well
            info, about, entries = transaction.execute(raise_on_error=False)
            _refuse_errors(self.key, info, entries)
        facts = _facts(info, about, entries, after)
        unread = entries[1:] if facts.last_read_there else entries[:count]
        return Page(unread, facts, reached_end=len(entries) <= count)

    def between(self, after: EntryId, until: EntryId, count: int) -> Sequence[Entry]:
        """At most `count` of the entries behind `after`, up to `until`, the oldest first."""
        with redis_errors(self._settings):
            return cast(list[Entry], self._client.xrange(self.key, f"({after}", str(until), count))

    def newest(self, count: int) -> Sequence[Entry]:
        """At most `count` of the newest entries, the newest first."""
        with redis_errors(self._settings):
            return cast(list[Entry], self._client.xrevrange(self.key, count=count))

    def last_id(self) -> EntryId:
        """The id of the last entry ever added."""
        return self.read(BEGINNING, count=1).facts.last_generated

    def wait(self, after: EntryId, milliseconds: int) -> bool:
        """Sleep until there is an entry after the position, at most so long; whether there is one."""
        with redis_errors(self._settings):
            return bool(self._client.xread({self.key: str(after)}, count=1, block=milliseconds))

    def short_of_memory(self) -> bool:
        """Whether Redis will soon refuse events."""
        with redis_errors(self._settings):
            return short_of_memory(self._client)

    def trim(self, committed: EntryId, retention_ms: int) -> int:
        """Drop entries that are committed and older than the retention before that; returns how many.

        By id and never by length, so an entry that is not committed cannot go. Whole nodes only (`~`): cheap.
        """
        oldest_kept = committed if retention_ms == 0 else EntryId(max(0, committed.ms - retention_ms), 0)
        with redis_errors(self._settings):
            return self._client.xtrim(self.key, minid=str(oldest_kept), approximate=True, limit=100_000)


def short_of_memory(client: redis.Redis) -> bool:
    """Whether Redis will soon refuse to take anything, or evict it; never without a `maxmemory`.

    Raises:
        RedisError: it is away.
    """
    memory = client.info("memory")
    most = int(memory["maxmemory"])
    return most > 0 and int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"]) > SHORT_OF_MEMORY * most


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a stream is not read yet."""

    entries: int | None
    oldest_age_s: float | None
    """By the clock of Redis, which also gave the entry its id; None if there is no such entry."""
    facts: StreamFacts
    redis_s: float
    """That clock, in seconds since 1970."""

    @property
    def newest_age_s(self) -> float | None:
        """Age of the newest entry ever added, by the same clock; None if none was, or the key is gone."""
        newest = self.facts.last_generated
        return None if newest == BEGINNING else self.redis_s - newest.ms / 1000


def read_backlog(client: redis.Redis, settings: Settings, key: str, position: Position | None) -> Backlog:
    """What of a stream is not read yet; everything if there is no position."""
    after = position.last_id if position else BEGINNING
    with redis_errors(settings):
        transaction = client.pipeline(transaction=True)
        transaction.info("replication")
        transaction.xinfo_stream(key)
        transaction.xrange(key, min=str(after), count=2)
        transaction.time()
        info, about, entries, (seconds, microseconds) = transaction.execute(raise_on_error=False)
        _refuse_errors(key, info, entries)
    facts = _facts(info, about, entries, after)
    oldest = entries[1:] if facts.last_read_there else entries
    now = seconds + microseconds / 1e6
    if not oldest:
        return Backlog(0, None, facts, now)
    read = position.ordinal if position else facts.ordinal_before_first
    entries = None if read is None else max(0, facts.entries_added - read)
    return Backlog(entries, now - _id(oldest[0][0]).ms / 1000, facts, now)


def existing_streams(client: redis.Redis, settings: Settings, also: Iterable[str] = ()) -> list[str]:
    """The streams that there are, whatever the number of shards was when they were written.

    Args:
        client: of that Redis.
        settings: say the stem of their names.
        also: other names that may be streams: those that were once read.

    Raises:
        Retry: Redis is away.
    """
    # Asked by name: a SCAN would walk over all keys of the site.
    keys = dict.fromkeys((settings.stream, *settings.keys_of(MOST_SHARDS), *also))
    with redis_errors(settings), client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        return [key for key, kind in zip(keys, pipe.execute(), strict=True) if kind == b"stream"]


def _refuse_errors(key: str, *answers: object) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            if str(answer).startswith("WRONGTYPE"):
                raise Stop(f"the Redis key {key} is not a stream: see ANALYTICS_STREAM") from None
            raise answer


def _facts(
    info: dict[str, Any], about: dict[str, Any] | Exception, entries: Sequence[Entry], last_read: EntryId
) -> StreamFacts:
    """The facts; `entries` are those from the one read last on, if that is still there."""
    epoch = str(info["master_replid"])
    if isinstance(about, Exception):  # no such key: nothing was ever added, or all of it is gone
        return StreamFacts(epoch)
    first = about["first-entry"]
    return StreamFacts(
        epoch,
        about["length"],
        about["entries-added"],
        _id(about["last-generated-id"]),
        _id(first[0]) if first else None,
        _id(about["max-deleted-entry-id"]),
        last_read_there=bool(entries) and _id(entries[0][0]) == last_read,
    )


def _id(raw: bytes | str) -> EntryId:
    return EntryId.of(raw.decode() if isinstance(raw, bytes) else raw)
