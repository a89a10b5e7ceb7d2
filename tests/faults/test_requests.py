"""The web tier's requests with real processes: done soon, and done all the same when whoever does them is killed."""

from collections.abc import Collection, Iterator
from datetime import timedelta

import pytest
import redis

from tests.counting import TODAY
from tests.faults.stage import SPECIALISTS, Stage, killed, stage
from tests.faults.truth import until


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    with stage() as ready:
        ready.start("run")
        yield ready


@pytest.fixture
def running(module_stage: Stage) -> Stage:
    """Both servers and `python -m worker run`, which has counted something and served a request."""
    module_stage.send(200)
    module_stage.check()
    spoil(module_stage)
    ask(module_stage, SPECIALISTS[:1])
    until(lambda: right(module_stage, SPECIALISTS[:1]), "a request is done", 60)
    return module_stage


def ask(running: Stage, specialists: Collection[str]) -> None:
    with redis.Redis.from_url(running.servers.redis_url) as client:
        for specialist in specialists:
            client.xadd(
                "analytics:requests",
                {
                    "kind": "refresh",
                    "specialistId": specialist,
                    "from": str(TODAY - timedelta(days=20)),
                    "to": str(TODAY),
                },
            )


def spoil(running: Stage) -> None:
    """Let every specialist have a row that only a refresh makes right."""
    running.ask(
        """INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, orders, "updatedAt")
           SELECT gen_random_uuid()::text, id, %s, 99, now() FROM "SpecialistProfile"
           ON CONFLICT ("specialistId", date) DO UPDATE SET orders = 99""",
        TODAY - timedelta(days=20),  # the nightly refresh does not come so far
    )


def right(running: Stage, specialists: Collection[str]) -> bool:
    wrong = running.ask(
        """SELECT count(*) FROM "SpecialistAnalyticsDaily" WHERE orders = 99 AND "specialistId" = ANY (%s)""",
        list(specialists),
    )
    return wrong == [(0,)]


def nothing_is_open(running: Stage) -> bool:
    return running.ask("SELECT count(*) FROM analytics.run WHERE state IN ('queued', 'running')") == [(0,)]


def check(running: Stage, specialists: Collection[str], seconds: float = 60.0) -> None:
    until(lambda: right(running, specialists), "all requests are done", seconds)
    until(lambda: nothing_is_open(running), "no run is left over", seconds)


def test_a_request_is_done(running: Stage) -> None:
    """One line in the stream, and the rows are right; nobody else's are touched."""
    spoil(running)
    ask(running, ["c0007"])
    check(running, ["c0007"])
    assert not any(right(running, [specialist]) for specialist in SPECIALISTS if specialist != "c0007")


def test_the_scheduler_is_killed(running: Stage) -> None:
    """kill -9 of the scheduler again and again, wherever it is between the stream and the job: each request is done."""
    spoil(running)
    for number in range(0, 100, 20):
        asked = SPECIALISTS[number : number + 20]
        ask(running, asked)
        until(lambda: bool(running.program.parts("schedule")), "a scheduler runs")
        assert killed(running.program.parts("schedule"))
    check(running, SPECIALISTS[:100])


def test_the_worker_is_killed(running: Stage) -> None:
    """kill -9 of the ops worker with its horse, in the middle of refreshes: each request is done."""
    spoil(running)
    ask(running, SPECIALISTS)
    until(
        lambda: not running.ask("SELECT 1 WHERE NOT EXISTS (SELECT FROM analytics.run WHERE state = 'running')"), "busy"
    )
    family = [one for part in running.program.parts("work", "ops") for one in (*part.children(recursive=True), part)]
    assert killed(family)
    check(running, SPECIALISTS)


def test_redis_is_restarted(running: Stage) -> None:
    """Redis is killed and started again with its append-only file: each request that it had taken is done."""
    spoil(running)
    ask(running, SPECIALISTS[:50])
    running.servers.redis.kill()
    running.servers.redis.start()
    check(running, SPECIALISTS[:50])


def test_redis_is_emptied(running: Stage) -> None:
    """After FLUSHALL requests are served as before, and runs that were begun go on."""
    spoil(running)
    ask(running, SPECIALISTS[:50])
    until(lambda: not nothing_is_open(running), "runs are begun")
    with redis.Redis.from_url(running.servers.redis_url) as client:
        client.flushall()
    ask(running, SPECIALISTS[:60])
    check(running, SPECIALISTS[:60])


def test_postgres_is_away(running: Stage) -> None:
    """Requests wait in the stream while PostgreSQL is away."""
    spoil(running)
    running.servers.postgres.kill()
    ask(running, SPECIALISTS[:20])
    running.servers.postgres.start()
    check(running, SPECIALISTS[:20])
