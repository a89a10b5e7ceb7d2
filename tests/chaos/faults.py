"""What can be done to a worker and its servers: each fault strikes once, and says whether it hit anybody."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random

import psutil
import redis

from tests.faults.proxy import COMMIT, TRIM
from tests.faults.stage import Program, Stage, killed
from worker.embedded import EmbeddedServer

MOMENT_SECONDS = 3.0  # for a commit or a trimming to come along
LONG_CUT_SECONDS = 30.0  # several times what anybody waits for an answer


class Group(StrEnum):
    """What is hit."""

    PROCESS = "processes killed"
    FREEZE = "processes frozen"
    CONNECTION = "connections cut"
    SERVER = "servers restarted"


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    kind: str
    group: Group
    strike: Callable[[Stage, Random], int]
    """Does it, and says how many were hit. When it returns, what was taken away is back."""
    share: int
    """How often it comes, among the others."""
    within_s: float
    """Seconds in which the counting should go on."""


def _some_program(stage: Stage, chance: Random) -> Program:
    return chance.choice([program for program in stage.programs if program.process.poll() is None])


def _one(chance: Random, processes: Sequence[psutil.Process]) -> Sequence[psutil.Process]:
    return [chance.choice(processes)] if processes else []


def _horse(stage: Stage, chance: Random) -> int:
    return killed(_one(chance, _some_program(stage, chance).horses()))


def _horse_before_trim(stage: Stage, chance: Random) -> int:
    held = stage.redis.hold(TRIM)
    with suppress(AssertionError):
        held.wait(MOMENT_SECONDS)
    hit = _horse(stage, chance)
    held.cut()
    return hit


def _worker(stage: Stage, chance: Random) -> int:
    return killed(_one(chance, _some_program(stage, chance).parts("work", "rollup")))


def _worker_and_horse(stage: Stage, chance: Random) -> int:
    workers = _one(chance, _some_program(stage, chance).parts("work", "rollup"))
    with suppress(psutil.NoSuchProcess):
        workers = [*workers, *(horse for worker in workers for horse in worker.children())]
    return killed(workers)


def _scheduler(stage: Stage, chance: Random) -> int:
    return killed(_some_program(stage, chance).parts("schedule"))


def _supervisor(stage: Stage, chance: Random) -> int:
    stage.kill(_some_program(stage, chance))
    stage.start("run")
    return 1


def _freeze(stage: Stage, chance: Random) -> int:
    horses = _one(chance, _some_program(stage, chance).horses())
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for horse in horses:
            with suppress(psutil.NoSuchProcess):
                horse.send_signal(number)
        if number == signal.SIGSTOP:
            time.sleep(chance.uniform(0.2, 2.0))
    return len(horses)


def _commit(stage: Stage, *, answered: bool) -> int:
    held = stage.postgres.hold(COMMIT, answered=answered)
    try:
        held.wait(MOMENT_SECONDS)
    except AssertionError:
        return 0
    finally:
        held.cut()
    return 1


def _terminate(stage: Stage, chance: Random) -> int:
    hit = 0
    for pid in chance.sample(backends := stage.backends(), min(2, len(backends))):
        hit += stage.ask("SELECT pg_terminate_backend(%s)", pid) == [(True,)]
    return hit


def _client_kill(stage: Stage, chance: Random) -> int:
    hit = 0
    with redis.Redis.from_url(stage.servers.redis_url) as client:
        clients = [each["id"] for each in client.client_list() if int(each["id"]) != client.client_id()]
        for number in chance.sample(clients, min(3, len(clients))):
            hit += int(client.client_kill_filter(_id=number))
    return hit


def _refused(stage: Stage, chance: Random) -> int:
    stage.postgres.refuse()
    time.sleep(chance.uniform(0.1, 2.0))
    stage.postgres.accept()
    return 1


def _redis_stalled(stage: Stage, _: Random) -> int:
    stage.redis.stall()
    time.sleep(LONG_CUT_SECONDS)
    stage.redis.flow()
    return 1


def _restarted(server: EmbeddedServer, chance: Random, *, kill: bool) -> int:
    (server.kill if kill else server.stop)()
    time.sleep(chance.uniform(0.0, 2.0))
    server.start()
    return 1


FAULTS = (
    Fault("work horse killed", Group.PROCESS, _horse, 8, 5.0),
    Fault("work horse killed before trimming", Group.PROCESS, _horse_before_trim, 2, 5.0),
    Fault("worker killed, its horse not", Group.PROCESS, _worker, 4, 5.0),
    Fault("worker and horse killed", Group.PROCESS, _worker_and_horse, 4, 5.0),
    Fault("scheduler killed", Group.PROCESS, _scheduler, 3, 5.0),
    Fault("supervisor killed", Group.PROCESS, _supervisor, 3, 5.0),
    Fault("work horse stopped and continued", Group.FREEZE, _freeze, 2, 2.0),
    Fault("connections to PostgreSQL cut", Group.CONNECTION, lambda stage, _: stage.postgres.cut(), 2, 2.0),
    Fault("connections to Redis cut", Group.CONNECTION, lambda stage, _: stage.redis.cut(), 2, 2.0),
    Fault("commit lost on its way", Group.CONNECTION, lambda stage, _: _commit(stage, answered=False), 2, 2.0),
    Fault("answer of a commit lost", Group.CONNECTION, lambda stage, _: _commit(stage, answered=True), 3, 2.0),
    Fault("pg_terminate_backend", Group.CONNECTION, _terminate, 3, 2.0),
    Fault("CLIENT KILL", Group.CONNECTION, _client_kill, 2, 2.0),
    Fault("PostgreSQL out of reach", Group.SERVER, _refused, 1, 2.0),
    Fault("PostgreSQL stopped", Group.SERVER, lambda at, how: _restarted(at.servers.postgres, how, kill=False), 1, 2.0),
    Fault("PostgreSQL killed", Group.SERVER, lambda at, how: _restarted(at.servers.postgres, how, kill=True), 1, 2.0),
    Fault("Redis stopped", Group.SERVER, lambda at, how: _restarted(at.servers.redis, how, kill=False), 1, 2.0),
    Fault("Redis killed", Group.SERVER, lambda at, how: _restarted(at.servers.redis, how, kill=True), 1, 2.0),
)

LONG_CUT = Fault("Redis cut off for 30 s", Group.CONNECTION, _redis_stalled, 1, 2.0)
"""Once in a run, and not in a short one."""


def deck(chance: Random) -> list[Fault]:
    """Every fault as often as its share says, shuffled."""
    return chance.sample(cards := [fault for fault in FAULTS for _ in range(fault.share)], len(cards))
