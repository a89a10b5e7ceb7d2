"""Redis loses what it held, or lies, or is away: the numbers stay right, and what Redis lost is told.

Every test ends with the same sentence: the daily table equals a straight count of the events that reached Redis and
were there when their shard was read, the books balance, and the findings say what happened to the stream.
"""

import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis

from tests.faults.stage import SPECIALISTS, Stage, stage
from tests.faults.truth import KIND, until
from tests.support import run_worker
from worker.embedded import EmbeddedRedis
from worker.producer import Fields

STREAM = "analytics:events"
XADD = re.compile(rb"\r\nXADD\r\n")
EVENTS = 300


@pytest.fixture
def running() -> Iterator[Stage]:
    """The whole worker, with a first few hundred events counted."""
    with stage() as ready:
        begin(ready)
        yield ready


def begin(on: Stage) -> None:
    on.start("run")
    count_more(on, seed=1)


def count_more(on: Stage, seed: int, events: int = EVENTS) -> float:
    """Send events, wait until they are read, and take them into the straight count; how many seconds that took."""
    began = time.monotonic()
    on.sender(seed).send(events)
    until(on.caught_up, "everything is read")
    with client_of(on) as client:
        on.truth.look(client)
    return time.monotonic() - began


def client_of(on: Stage) -> redis.Redis:
    return redis.Redis.from_url(on.servers.redis_url)


def event() -> Fields:
    return {"type": "profile_view", "specialistId": SPECIALISTS[0], "eventId": str(uuid4()), KIND: "counted"} | {
        "occurredAt": str(time.time_ns() // 1_000_000),
        "source": "direct",
    }


def findings(on: Stage) -> list[tuple[str, str, int | None]]:
    """What was written down about the stream, and what was done."""
    return on.ask("SELECT verdict, action, lost FROM analytics.continuity_event ORDER BY id")


def told(what: str, seconds: float) -> None:
    print(f"counting goes on {seconds:.1f} s after {what}")


def test_restarted_with_its_data(running: Stage) -> None:
    """Redis is killed and comes back with everything: all that it had taken in counts."""
    running.redis.refuse()
    running.sender(seed=2).send(50)
    running.servers.redis.kill()
    running.servers.redis.start()
    running.redis.accept()
    told("a restart", count_more(running, seed=3))
    running.check()
    assert findings(running) == [("restarted", "rewound", None)]


def test_restarted_empty(running: Stage) -> None:
    """Redis comes back without any data: what was counted stays, the jobs are there again, and new events count."""
    running.redis.refuse()
    running.servers.redis.kill()
    shutil.rmtree(running.servers.folder / "valkey")
    running.servers.redis.start()
    running.redis.accept()
    told("an empty restart", count_more(running, seed=2))
    running.check()
    assert [finding[1:] for finding in findings(running)] == [("rewound", None)]


def test_restarted_from_an_old_snapshot() -> None:
    """Redis comes back as it was a while ago: what had been read stays counted, what follows counts too."""
    with stage(redis_conf={"appendonly": "no"}) as running:
        begin(running)
        with client_of(running) as client:
            client.save()
        count_more(running, seed=2)
        running.redis.refuse()
        running.sender(seed=3).send(50)
        running.servers.redis.kill()
        running.servers.redis.start()
        running.redis.accept()
        told("a restart from an old snapshot", count_more(running, seed=4, events=10))
        running.check()
        assert findings(running) == [("went_back", "rewound", None)]


def test_a_replica_is_promoted() -> None:
    """A replica without the newest entries takes over, and its clock is behind: what it is given below counts too."""
    with stage() as running, replica_of(running) as replica:
        begin(running)
        with redis.Redis.from_url(replica.url) as promoted:
            until(lambda: promoted.xlen(STREAM) == EVENTS, "the replica has everything")
            promoted.replicaof("127.0.0.1", 1)
            count_more(running, seed=2)
            running.redis.refuse()
            running.sender(seed=3).send(50)
            running.servers.redis.kill()
            promoted.replicaof("NO", "ONE")
            newest = promoted.xinfo_stream(STREAM)["last-generated-id"].decode().partition("-")[0]
            for _ in range(40):
                promoted.xadd(STREAM, event(), id=f"{newest}-*")
        assert running.positions()[STREAM] > f"{newest}-40", "they are below the position"
        running.servers = replace(running.servers, redis_url=replica.url, redis=replica)
        running.redis.lead_to(replica.url)
        running.redis.accept()
        told("a fail-over", count_more(running, seed=4))
        running.check()
        assert findings(running) == [("went_back", "rewound", None)]
        assert running.ask("SELECT count(*) FROM analytics.event WHERE entry_id LIKE %s", f"{newest}-%")[0][0] >= 40


def replica_of(on: Stage) -> EmbeddedRedis:
    """A replica with the same password."""
    folder = on.folder / "replica"
    folder.mkdir()
    shutil.copy(on.servers.folder / "password", folder)
    return EmbeddedRedis(
        folder,
        conf={
            "appendfsync": "always",
            "replicaof": f"127.0.0.1 {on.servers.redis.port}",
            "masterauth": (folder / "password").read_text(),
        },
    )


def test_flushall(running: Stage) -> None:
    """FLUSHALL, with RQ's own keys: a rollup is there again, and every event after it counts."""
    [program] = running.programs
    before = program.horses()
    with client_of(running) as client:
        client.flushall()
    told("FLUSHALL", count_more(running, seed=2, events=2 * EVENTS))
    told("FLUSHALL with a job that RQ knows", until(lambda: program.horses() not in ([], before), "there is another"))
    count_more(running, seed=3)
    running.check()
    assert [finding[1:] for finding in findings(running)] == [("rewound", None)]


def test_the_stream_is_deleted(running: Stage) -> None:
    """DEL of the stream, and a new one with more entries than the old: all of the new one counts."""
    running.redis.refuse()
    with client_of(running) as client:
        client.delete(STREAM)
    running.sender(seed=2).send(2 * EVENTS)
    running.redis.accept()
    told("DEL", count_more(running, seed=3, events=1))
    running.check()
    assert findings(running) == [("went_back", "rewound", None)]


def test_trimmed_past_the_position(running: Stage) -> None:
    """Somebody trims entries that were not read: the books say how many, exactly, and the others count."""
    running.redis.refuse()
    running.sender(seed=2).send(100)
    with client_of(running) as client:
        client.xtrim(STREAM, maxlen=30, approximate=False)
    running.redis.accept()
    told("a trim", count_more(running, seed=3, events=1))
    verdict = running.verdict()
    assert verdict.wrong == [f"{STREAM}: 70 entries reported as lost"]
    assert findings(running) == [("trimmed_unread", "went_on", 70)]
    [(stored, seen)] = running.ask("SELECT stored, seen FROM analytics.continuity_event")
    assert seen["entries_added"] - seen["length"] - stored["ordinal"] == 70
    code, output, errors = run_worker(running.direct, "status")
    assert code == 0, errors
    assert re.search(r"trimmed_unread +went_on +70\b", output), output


@pytest.fixture
def full() -> Iterator[Stage]:
    """A Redis with room for 20,000 events, and nobody who counts them. It is not killed, so it need not sync each."""
    with stage(redis_conf={"appendfsync": "everysec"}) as ready:
        with client_of(ready) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 3_000_000)
        yield ready


def push(client: redis.Redis, events: list[Fields]) -> None:
    pipeline = client.pipeline(transaction=False)
    for each in events:
        pipeline.xadd(STREAM, each)  # type: ignore[arg-type]
    pipeline.execute()


def push_until_taken(client: redis.Redis, events: list[Fields], seconds: float = 30.0) -> float:
    """Push again and again until Redis has room for all of them; how many seconds that took."""

    def taken() -> bool:
        try:
            push(client, events)
        except redis.exceptions.OutOfMemoryError:
            return False
        return True

    return until(taken, "Redis takes events", seconds)


def views(on: Stage) -> int:
    return int(on.ask('SELECT coalesce(sum("profileViews"), 0) FROM "SpecialistAnalyticsDaily"')[0][0])


def test_memory_fills_up_while_counting(full: Stage) -> None:
    """More events than fit into Redis: what is committed makes room for them before its retention is over."""
    program = full.start("run")
    longest = 0.0
    with client_of(full) as client:
        push(client, [event()])
        until(lambda: views(full) == 1, "the worker counts")
        for _ in range(400):
            longest = max(longest, push_until_taken(client, [event() for _ in range(100)]))
    until(full.caught_up, "everything is read")
    assert views(full) == 40_001
    assert findings(full) == []
    assert "trimmed before the retention" in program.said()
    print(f"events were refused for {longest:.1f} s at most")


def test_memory_is_full_before_anybody_counts(full: Stage) -> None:
    """Redis is so full of unread events that RQ cannot even begin a job: they are counted, and make room."""
    with client_of(full) as client:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            for _ in range(1_000):
                push(client, [event() for _ in range(100)])
        sent = client.xlen(STREAM)
    program = full.start("run")
    until(lambda: views(full) == sent, "what Redis holds is counted")
    with client_of(full) as client:
        seconds = push_until_taken(client, [event() for _ in range(2_000)])
    until(lambda: views(full) == sent + 2_000, "what comes then is counted")
    until(lambda: program.horses() != [], "there are jobs again")
    assert findings(full) == []
    print(f"there was room {seconds:.1f} s after all was counted")


@pytest.mark.parametrize("fault", ["stall", "refuse"])
def test_cut_off(running: Stage, fault: str) -> None:
    """Redis cannot be reached for longer than anybody waits for an answer: what came meanwhile counts."""
    getattr(running.redis, fault)()
    ended = time.monotonic() + 7
    running.sender(seed=2).send(EVENTS)
    time.sleep(ended - time.monotonic())  # the fault itself: an outage of so long
    {"stall": running.redis.flow, "refuse": running.redis.accept}[fault]()
    told(f"the end of an outage ({fault})", until(running.caught_up, "everything is read"))
    running.check()
    assert findings(running) == []


def test_answers_get_lost(running: Stage) -> None:
    """A client repeats what was not answered, although it had arrived: many entries, and one event."""
    fields = event()
    way = urlsplit(running.redis.url)
    with redis.Redis("127.0.0.1", running.redis.port, password=way.password) as client:  # from_url would never repeat
        sending = threading.Thread(target=client.xadd, args=(STREAM, fields))
        lost = running.redis.hold(XADD, answered=True)
        sending.start()
        for _ in range(2):
            lost.wait()
            following = running.redis.hold(XADD, answered=True)
            lost.cut()
            lost = following
        lost.wait()
        lost.release()
        sending.join()
        same = [entry for _, entry in client.xrange(STREAM) if entry[b"eventId"].decode() == fields["eventId"]]
    assert len(same) > 1
    running.check()
