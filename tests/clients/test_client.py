"""The client for Node, `worker/clients/analytics.ts`, with the ioredis of today and of yesterday and a real Redis."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from redis import Redis

from tests.clients.web_tier import HERE, LIBRARIES, WebTier, compiled, web_tier
from tests.faults.proxy import Proxy
from tests.support import wait_until
from worker.embedded import EmbeddedRedis, free_port
from worker.producer import shard_of, track

STREAM = "analytics:events"
XADD = re.compile(rb"xadd", re.IGNORECASE)
VECTORS: dict[str, int] = json.loads((HERE / "crc32.json").read_text())
OTHERS = {
    "commandTimeout": 1_000,
    "enableAutoPipelining": True,
    "enableOfflineQueue": False,
    "lazyConnect": True,
    "maxRetriesPerRequest": 1,
}
"""Settings that the rest of a site may want."""

VIEW = {"type": "profile_view", "specialistId": "c0ffee"}

Entry = dict[bytes, bytes]


def entries(client: Redis, stream: str = STREAM) -> list[Entry]:
    return [fields for _, fields in cast(list[tuple[bytes, Entry]], client.xrange(stream))]


def ids(client: Redis) -> list[bytes]:
    return [fields[b"eventId"] for fields in entries(client)]


@pytest.fixture(params=LIBRARIES)
def tier(request: pytest.FixtureRequest, redis_url: str) -> Iterator[WebTier]:
    with web_tier(redis_url, request.param) as running:
        yield running


@pytest.fixture
def server(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedRedis]:
    """A Redis that keeps what it has acknowledged, and is not yet there."""
    server = EmbeddedRedis(tmp_path, conf={"appendfsync": "always"} | getattr(request, "param", {}))
    yield server
    server.stop()


def test_it_is_strictly_typed() -> None:
    """The compiler takes it at its strictest, with both versions of ioredis, and nothing that it offers is `any`."""
    declared = (compiled() / "analytics.d.ts").read_text()
    assert "export declare function track(" in declared
    assert not re.search(r"\bany\b", re.sub(r"/\*.*?\*/", "", declared, flags=re.DOTALL))


def test_shard_vectors(tier: WebTier) -> None:
    """CRC-32 is the same number as in Python."""
    for text, crc in VECTORS.items():
        assert tier.ask("crc32", text) == crc == shard_of(text, 1 << 32)


@pytest.mark.parametrize("shards", [1, 4])
def test_it_sends_what_python_sends(tier: WebTier, server: Redis, shards: int) -> None:
    """The same view is the same entry in the same stream, whoever sends it; what is null or unknown is left out."""
    streams = [STREAM] if shards == 1 else [f"{STREAM}:{{{shard}}}" for shard in range(shards)]
    event = {
        "type": "contact_view",
        "specialistId": "clh2x9k3v0000qz8r5g7d1n4m",
        "source": "search",
        "contactType": "phone",
        "visitorId": "Ünï",
        "viewerId": "c1",
        "userAgent": "Mozilla/5.0",
        "occurredAt": 1_767_323_045_678,
        "eventId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }
    tier.ask("configure", {"shards": shards})
    assert tier.ask("track", event | {"password": "secret"}) is True
    track(
        server,
        streams,
        type="contact_view",
        specialist_id="clh2x9k3v0000qz8r5g7d1n4m",
        source="search",
        contact_type="phone",
        visitor_id="Ünï",
        viewer_id="c1",
        user_agent="Mozilla/5.0",
        occurred_at=1_767_323_045_678,
        event_id="0f8fad5b-d9cb-469f-a165-70867728950e",
    )
    ((stream, (ours, pythons)),) = ((each, found) for each in streams if (found := entries(server, each)))
    assert ours == pythons
    assert stream == streams[shard_of("clh2x9k3v0000qz8r5g7d1n4m", shards)]

    server.delete(*streams)
    before = int(server.time()[0]) * 1000
    assert tier.ask("track", VIEW | {"source": None, "occurredAt": None, "eventId": None}) is True
    (entry,) = (fields for each in streams for fields in entries(server, each))
    assert entry.keys() == {b"type", b"specialistId", b"eventId", b"occurredAt"}
    assert UUID(entry[b"eventId"].decode()).version == 4
    assert before <= int(entry[b"occurredAt"]) <= before + 60_000


def test_variables_say_where_to(redis_url: str, server: Redis) -> None:
    """Streams and shards are those of the worker's variables; a number of shards that is none drops, and says so."""
    names = {"ANALYTICS_STREAM": "e", "ANALYTICS_SHARDS": "4", "ANALYTICS_REQUESTS": "r"}
    with web_tier(redis_url, environment=names) as tier:
        assert tier.ask("track", VIEW) is True
        assert tier.ask("requestRefresh", {"specialistId": "c0ffee", "from": "2026-11-16"}) is True
    assert server.xlen("e:{1}") == 1
    assert entries(server, "r") == [{b"kind": b"refresh", b"specialistId": b"c0ffee", b"from": b"2026-11-16"}]
    with web_tier(redis_url, environment={"ANALYTICS_SHARDS": "four"}) as tier:
        assert tier.ask("track", VIEW) is False
        assert tier.ask("drops") == {"not_sendable": 1}


def test_a_prefix_is_refused(redis_url: str, server: Redis) -> None:
    """A client that puts a prefix before every key would write where nobody reads."""
    with web_tier(redis_url, keyPrefix="site:") as tier:
        assert tier.ask("track", VIEW) is False
        assert tier.ask("drops") == {"not_sendable": 1}
    assert server.dbsize() == 0


def test_nothing_throws(tier: WebTier, server: Redis) -> None:
    """Whatever it is given, there is an answer and no exception; what can be sent at all is left to the worker."""
    answers = tier.ask("misuse")
    sent = {name for name, answer in answers.items() if answer}
    assert answers.keys() - sent == {
        *("nothing", "null", "throwing", "bare", "deep", "request", "shards", "onDrop"),
        *(name for name in answers if name.startswith("client ")),
    }
    assert server.xlen(STREAM) == len(sent)
    assert max(len(value) for fields in entries(server) for value in fields.values()) == 1_024
    assert tier.ask("stats")["pending"] == 0


def test_a_client_that_has_ended(tier: WebTier) -> None:
    """What is given to a client that was closed is dropped at once, and holds nobody up."""
    assert tier.ask("ended") == {"before": False, "pending": 0, "drops": {"client_ended": 1}}


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_redis_no_harm(library: str) -> None:
    """Without Redis a caller who waits is let go, memory has a bound, and what is over it is dropped and counted."""
    with web_tier(f"redis://127.0.0.1:{free_port()}", library) as tier:
        assert tier.ask("track", VIEW) is False
        assert tier.ask("longHeaders", 1_000) < 50  # MB, of 100 that were heard
        assert tier.ask("burst", 2_000, ["c0ffee"])["pending"] == 3_001
        assert tier.ask("handedOver") <= 1_000  # where it has no bound
        tier.ask("configure", {"capacity": 3_100})
        stats = tier.ask("burst", 1_000, ["c0ffee"])
        assert stats == {"sent": 0, "dropped": 901, "pending": 3_100} == tier.ask("flush", 50)
        assert tier.ask("drops") == {"buffer_full": 901}


@pytest.mark.parametrize(
    "own_server", [{"cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1"}], ids=["cluster"], indirect=True
)
def test_a_cluster(own_server: EmbeddedRedis) -> None:
    """The streams of a Redis Cluster are reached through its own client, each where its hash tag belongs."""
    own_server.start()
    with Redis.from_url(own_server.url) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "the cluster is up")
        for library in LIBRARIES:
            with web_tier(own_server.url, library, environment={"ANALYTICS_SHARDS": "4"}, cluster=True) as tier:
                assert all(tier.ask("track", VIEW | {"specialistId": f"c{n}"}) for n in range(8))
        assert sum(client.xlen(f"{STREAM}:{{{shard}}}") for shard in range(4)) == 16


def test_an_answer_that_never_comes(own_server: EmbeddedRedis) -> None:
    """Where ioredis is told not to send again what was under way, it may never say so (redis/ioredis#2193): the event
    is sent again all the same.
    """
    own_server.start()
    with Proxy(own_server.url) as proxy, Redis.from_url(own_server.url) as client, ExitStack() as stack:
        tiers = [
            stack.enter_context(web_tier(proxy.url, each, autoResendUnfulfilledCommands=False)) for each in LIBRARIES
        ]
        lost = [proxy.hold(XADD, answered=True) for _ in tiers]
        for tier in tiers:
            tier.tell("track", VIEW)
        for each in lost:
            with each:
                pass
        assert [tier.answer() for tier in tiers] == [False, False]
        for tier in tiers:
            assert tier.ask("flush", 20_000) == {"sent": 1, "dropped": 0, "pending": 0}
        assert (len(ids(client)), len(set(ids(client)))) == (4, 2)


@pytest.mark.parametrize("options", [{}, OTHERS])
def test_misfortune(own_server: EmbeddedRedis, options: dict[str, Any]) -> None:
    """Redis away from the beginning, out of memory, a replica, frozen, killed, restarted, its answers lost: nobody
    waits for ever, and in the end every event is there.
    """
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(own_server.url))
        tiers = [stack.enter_context(web_tier(proxy.url, library, **options)) for library in LIBRARIES]
        tracked = 0

        def visit(times: int = 1) -> set[bool]:
            nonlocal tracked
            for _ in range(times):
                for tier in tiers:
                    tier.tell("track", VIEW)
            tracked += times * len(tiers)
            return {tier.answer() for _ in range(times) for tier in tiers}

        def well() -> None:
            wait_until(lambda: visit() == {True}, "events are taken again")

        for tier in tiers:
            tier.ask("configure", {"waitMs": 50})
        assert visit(5) == {False}  # nobody is there
        own_server.start()
        proxy.lead_to(own_server.url)
        well()
        with Redis.from_url(own_server.url) as client:
            for worse, better in (
                (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
                (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            ):
                client.execute_command(*worse)
                assert visit(5) == {False}
                client.execute_command(*better)
                well()
            proxy.stall()  # frozen
            assert visit(5) == {False}
            proxy.flow()
            well()
            losses = [proxy.hold(XADD, answered=True) for _ in range(4)]
            visit()
            for loss in losses:
                with loss:
                    repeats = len(ids(client)) - len(set(ids(client)))
            assert repeats > 0
            well()
            before = len(ids(client))
            own_server.kill()
            visit(5)
            own_server.start()
            well()
            own_server.restart()
            well()
        with Redis.from_url(own_server.url) as client:
            for tier in tiers:
                stats = tier.ask("flush", 20_000)
                assert (stats["dropped"], stats["pending"]) == (0, 0)
            assert len(set(ids(client))) == tracked
            assert len(ids(client)) > before
