"""The producer: a view becomes one XADD of plain field/value pairs. In a Python web tier it is one line:

track(redis, type="profile_view", specialist_id=profile.id, source="search")
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal
from uuid import uuid4
from zlib import crc32

import redis

STREAM = "analytics:events"
PIPELINE_EVENTS = 500
SLICE_S = 0.05

Fields = Mapping[str, str | bytes]
"""One event as it goes into the stream: names and values. Bytes are for values that are no text."""

EventType = Literal["profile_view", "contact_view"]


def track(
    client: redis.Redis,
    stream: str | Sequence[str] = STREAM,
    *,
    type: EventType,
    specialist_id: str,
    source: str | None = None,
    contact_type: str | None = None,
    visitor_id: str | None = None,
    viewer_id: str | None = None,
    user_agent: str | None = None,
    occurred_at: int | datetime | None = None,
    event_id: str | None = None,
) -> str:
    """Push one view. Retries of the client or of the caller are harmless: they carry the same id, which counts once.

    Args:
        client: of redis-py; a pipeline will do as well.
        stream: its key; of more than one shard the keys of all, such as `settings.stream_keys`.
        type: what was seen.
        specialist_id: whose it is.
        source: `catalog`, `search` or `direct`; None is `direct`.
        contact_type: `phone`, `email`, `telegram` …
        visitor_id: opaque; the worker stores a keyed hash of it.
        viewer_id: specialist id of the signed-in viewer, so that a look at oneself does not count.
        user_agent: for the bot filter; not stored.
        occurred_at: epoch milliseconds, or a datetime with its zone; None is now.
        event_id: a UUID made earlier for the same view, to send it again; None makes one.

    Returns:
        The event id: hand it in again when this call fails and the view is to be sent once more.

    Raises:
        redis.RedisError: perhaps it was pushed, perhaps not. A page should not fail for it.
        ValueError: `occurred_at` has no zone.
    """
    event_id = event_id or str(uuid4())
    optional = {
        "source": source,
        "contactType": contact_type,
        "visitorId": visitor_id,
        "viewerId": viewer_id,
        "userAgent": user_agent,
    }
    fields = {
        "type": type,
        "specialistId": specialist_id,
        "eventId": event_id,
        "occurredAt": str(_epoch_ms(occurred_at)),
        **{name: value for name, value in optional.items() if value is not None},
    }
    keys = (stream,) if isinstance(stream, str) else stream
    _add(client, keys, fields)
    return event_id


def shard_of(specialist_id: str | bytes, shards: int) -> int:
    """The shard of a specialist: CRC-32 of the id modulo the number of shards, the same in every language."""
    raw = specialist_id.encode("utf-8", "surrogatepass") if isinstance(specialist_id, str) else specialist_id
    return crc32(raw) % shards


def stream_of(fields: Mapping[bytes, bytes], streams: Sequence[str]) -> str:
    """The stream that an event belongs to. Without a specialist it is some stream: it will be a dead letter there."""
    return streams[shard_of(fields.get(b"specialistId", b""), len(streams))]


def encoded(fields: Fields) -> dict[bytes, bytes]:
    """The fields as Redis gets them. Nothing is refused here: what is no good is for the worker to bury, in sight."""
    return {_bytes(name): _bytes(value) for name, value in fields.items()}


@dataclass(frozen=True, slots=True)
class Pace:
    """So many events a second since a moment, of any clock. Late slices are made up for, so the rate does not drift."""

    rate: float
    began: float

    def due(self, now: float, sent: int) -> int:
        """How many more may go at `now`; the first goes at once."""
        return int((now - self.began) * self.rate) + 1 - sent

    def wait(self, now: float, sent: int) -> float:
        """Seconds until the next slice: until one event is due, and long enough for some to gather."""
        return max(SLICE_S, self.began + sent / self.rate - now)


@dataclass
class Pusher:
    """Pushes many events, pipelined."""

    client: redis.Redis
    streams: Sequence[str]
    sent: int = field(default=0, init=False)
    """How many Redis has taken."""

    def push(self, events: Iterable[Fields], rate: float | None = None) -> Iterator[list[bytes]]:
        """Push the events, at so many a second or as fast as Redis takes them.

        Where the events end in an error, those before it are pushed first.

        Yields:
            The entry ids of each slice.

        Raises:
            redis.RedisError: a part of the last slice may have been pushed.
        """
        rest = iter(events)
        pace = Pace(rate, time.monotonic()) if rate else None
        while True:
            due = PIPELINE_EVENTS
            while pace and (due := pace.due(now := time.monotonic(), self.sent)) < 1:
                time.sleep(pace.wait(now, self.sent))
            pipeline = self.client.pipeline(transaction=False)
            try:
                for fields in islice(rest, min(due, PIPELINE_EVENTS)):
                    _add(pipeline, self.streams, fields)
            finally:
                ids = pipeline.execute()
                self.sent += len(ids)
            if not ids:
                return
            yield ids


def _add(client: redis.Redis, keys: Sequence[str], fields: Fields) -> None:
    raw = encoded(fields)
    client.xadd(stream_of(raw, keys), raw)  # type: ignore[arg-type] # a dict of bytes is one of bytes or more


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _epoch_ms(moment: int | datetime | None) -> int:
    if moment is None:
        return time.time_ns() // 1_000_000
    if isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise ValueError("occurred_at needs a zone, such as datetime.now(UTC)")
    return round(moment.timestamp() * 1000)
