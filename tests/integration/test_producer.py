"""The producer behind a network that loses answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.producer import Pusher, track
from worker.settings import Settings


@contextmanager
def losing_answers(redis_url: str, count: int) -> Iterator[str]:
    """URL of a proxy that passes commands on to Redis, and cuts the connection instead of the first answers to XADD."""
    target = redis.Redis.from_url(redis_url).connection_pool.connection_kwargs
    left = [count]

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((target["host"], target["port"])) as server, suppress(OSError):
            while command := client.recv(1 << 20):
                server.sendall(command)
                answer = server.recv(1 << 20)
                if b"XADD" in command and left[0] > 0:
                    left[0] -= 1
                    return
                client.sendall(answer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield redis_url.replace(f":{target['port']}", f":{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def unlucky(settings: Settings, count: int) -> Iterator[redis.Redis]:
    """A client that loses so many answers to XADD, and retries by itself."""
    retry = Retry(NoBackoff(), 5)
    with (
        losing_answers(settings.redis_url.get_secret_value(), count) as url,
        redis.Redis.from_url(url, retry=retry) as client,
    ):
        yield client


def event_ids(client: redis.Redis, settings: Settings) -> list[bytes]:
    (entries,) = [client.xrange(key) for key in settings.stream_keys]
    assert entries is not None
    return [cast("dict[bytes, bytes]", fields)[b"eventId"] for _, fields in entries]


def test_a_retry_of_the_client_carries_the_same_id(settings: Settings, client: redis.Redis) -> None:
    """An XADD whose answer is lost three times becomes four entries with one event id and one time."""
    with unlucky(settings, 3) as redis_client:
        event_id = track(redis_client, settings.stream_keys, type="profile_view", specialist_id="c1")
    assert event_ids(client, settings) == [event_id.encode()] * 4
    assert len({tuple(fields.items()) for _, fields in client.xrange("analytics:events") or () if fields}) == 1


def test_a_retried_pipeline_repeats_its_ids(settings: Settings, client: redis.Redis) -> None:
    """Many events whose answer is lost come again with the same ids, however many of them had come through."""
    events = [{"type": "profile_view", "eventId": str(number)} for number in range(100)]
    with unlucky(settings, 1) as redis_client:
        assert [len(ids) for ids in Pusher(redis_client, settings.stream_keys).push(events)] == [100]
    sent = [b"%d" % number for number in range(100)]
    found = event_ids(client, settings)
    assert found[-100:] == sent
    assert found[:-100] == sent[: len(found) - 100] != []
