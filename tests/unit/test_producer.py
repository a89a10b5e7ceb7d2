"""What a web tier hands over, as it goes into the stream."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
import redis

from tests.support import TOP
from worker.errors import Stop
from worker.producer import Fields, Pace, Pusher, shard_of, track

VECTORS: dict[str, int] = json.loads((TOP / "tests/clients/crc32.json").read_text("utf-8"))
"""For producers in every language."""


class FakeRedis:
    """Remembers what was added, as bytes, and to which stream."""

    def __init__(self) -> None:
        self.added: list[tuple[str, dict[bytes, bytes]]] = []
        self.pipelines = 0

    def xadd(self, key: str, fields: Mapping[bytes, bytes]) -> bytes:
        self.added.append((key, dict(fields)))
        return b"%d-0" % len(self.added)

    def pipeline(self, transaction: bool) -> "FakePipeline":
        assert not transaction
        self.pipelines += 1
        return FakePipeline(self)

    @property
    def client(self) -> redis.Redis:
        return cast("redis.Redis", self)

    @property
    def fields(self) -> dict[str, str]:
        """Those of the one event that was added."""
        ((_, fields),) = self.added
        return {name.decode(): value.decode() for name, value in fields.items()}


class FakePipeline:
    def __init__(self, server: FakeRedis) -> None:
        self.server = server
        self.queued: list[tuple[Any, ...]] = []

    def xadd(self, *arguments: Any) -> None:
        self.queued.append(arguments)

    def execute(self) -> list[bytes]:
        return [self.server.xadd(*arguments) for arguments in self.queued]


@pytest.fixture
def server() -> FakeRedis:
    return FakeRedis()


@pytest.mark.parametrize(("specialist_id", "crc"), VECTORS.items())
def test_shard_vectors(specialist_id: str, crc: int) -> None:
    """The shard is CRC-32 (IEEE) of the UTF-8 id modulo the number of shards."""
    assert shard_of(specialist_id, 1 << 32) == crc
    assert shard_of(specialist_id.encode(), 7) == crc % 7
    assert shard_of(specialist_id, 1) == 0


def test_one_line_is_enough(server: FakeRedis) -> None:
    """Type and specialist are enough: the id is a new UUID, the time is now, and nothing else is sent."""
    before = time.time_ns() // 1_000_000
    event_id = track(server.client, type="profile_view", specialist_id="c0ffee")
    assert server.added[0][0] == "analytics:events"
    assert server.fields.keys() == {"type", "specialistId", "eventId", "occurredAt"}
    assert server.fields["eventId"] == event_id == str(UUID(event_id))
    assert UUID(event_id).version == 4
    assert before <= int(server.fields["occurredAt"]) <= time.time_ns() // 1_000_000


def test_everything_has_its_name_in_the_contract(server: FakeRedis) -> None:
    """Each argument goes into the field of that meaning, as plain text."""
    event_id = track(
        server.client,
        "somewhere",
        type="contact_view",
        specialist_id="c0ffee",
        source="search",
        contact_type="phone",
        visitor_id="v1",
        viewer_id="c1",
        user_agent="Mozilla/5.0",
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        event_id="0f8fad5b-d9cb-469f-a165-70867728950e",
    )
    assert event_id == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert server.added[0][0] == "somewhere"
    assert server.fields == {
        "type": "contact_view",
        "specialistId": "c0ffee",
        "eventId": event_id,
        "occurredAt": "1767323045678",
        "source": "search",
        "contactType": "phone",
        "visitorId": "v1",
        "viewerId": "c1",
        "userAgent": "Mozilla/5.0",
    }


def test_shards(server: FakeRedis) -> None:
    """With the keys of several shards, an event goes to the one of its specialist."""
    keys = tuple(f"analytics:events:{{{shard}}}" for shard in range(4))
    track(server.client, keys, type="profile_view", specialist_id="c0ffee")
    assert server.added[0][0] == "analytics:events:{1}"


def test_a_time_without_a_zone_is_refused(server: FakeRedis) -> None:
    """A datetime without a zone would be a guess, so nothing is sent."""
    with pytest.raises(ValueError, match="zone"):
        track(server.client, type="profile_view", specialist_id="c0ffee", occurred_at=datetime(2026, 1, 2))
    assert server.added == []


def test_text_that_is_none_is_sent_all_the_same(server: FakeRedis) -> None:
    """Half a surrogate pair, which UTF-8 does not have, neither raises nor is dropped: the worker will bury it."""
    track(server.client, type="contact_view", specialist_id="c0ffee", contact_type="\ud800")
    assert server.added[0][1][b"contactType"] == b"\xed\xa0\x80"


def test_push_is_pipelined(server: FakeRedis) -> None:
    """Many events go in order, some hundreds in one round trip, and each slice's entry ids come back."""
    pusher = Pusher(server.client, ["s"])
    slices = list(pusher.push({"type": str(number)} for number in range(1_001)))
    assert [len(ids) for ids in slices] == [500, 500, 1]
    assert pusher.sent == 1_001
    assert [fields[b"type"] for _, fields in server.added] == [b"%d" % number for number in range(1_001)]


def test_push_sends_what_stands_before_an_error(server: FakeRedis) -> None:
    """Where the events end in an error, what was read before it has been sent, and is counted."""

    def events() -> Iterator[Fields]:
        yield {"type": "1"}
        yield {"type": "2"}
        raise Stop("line 3")

    pusher = Pusher(server.client, ["s"])
    with pytest.raises(Stop, match="line 3"):
        list(pusher.push(events()))
    assert pusher.sent == len(server.added) == 2


@pytest.mark.parametrize("rate", [0.5, 3.0, 700.0, 12_345.0])
def test_the_pace_does_not_drift(rate: float) -> None:
    """After any time so many events have gone as the rate says, although every slice comes a little late."""
    pace, now, sent = Pace(rate, began=100.0), 100.0, 0
    assert pace.due(now, 0) == 1
    while now < 160.0:
        while (due := pace.due(now, sent)) < 1:
            now += pace.wait(now, sent) * 1.1
        sent += due
    assert sent == int((now - 100.0) * rate) + 1
