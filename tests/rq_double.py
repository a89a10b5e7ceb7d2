"""The worker's processes with a pipeline that only leaves traces in Redis: `rq_double.py work rollup` and so on.

How a slice behaves is read from the key `fake:mode`: `raise` ends it with an error, `deaf` never asks whether to stop,
`quiet` writes nothing to Redis meanwhile.
`DOUBLE` in the environment names a moment at which something happens that a test could not time from outside.
"""
# ruff: noqa: PLC0415 - what imports the pipeline is imported after its replacement

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from redis import Redis

from worker import supervisor
from worker.log import configure_logging
from worker.settings import Settings, load_settings
from worker.stream import connect_redis


def trace(settings: Settings, *words: object) -> Redis:
    redis = connect_redis(settings)
    redis.rpush("fake:trace", " ".join(str(word) for word in words))
    return redis


def run_shard(
    settings: Settings, shard: int, should_stop: Callable[[], bool], must_stop: Callable[[], bool]
) -> dict[str, int]:
    with trace(settings, "begin", shard, os.getpid(), os.getppid()) as redis:
        mode = redis.get("fake:mode")
        if mode == b"raise":
            raise RuntimeError("a lasting error")
        while mode == b"deaf" or not should_stop():
            if mode != b"quiet":
                redis.incr(f"fake:turns:{shard}")
            time.sleep(0.05)
        redis.rpush("fake:trace", f"end {shard} {os.getpid()}")
    return {"counted": 0}


def keep_ledger(settings: Settings) -> dict[str, int]:
    trace(settings, "partitions", os.getpid()).close()
    return {"made": 0, "sealed": 0}


def trim_other_streams(settings: Settings) -> dict[str, int]:
    trace(settings, "trim", os.getpid()).close()
    return {"trimmed": 0}


def close_days(settings: Settings, now: datetime) -> dict[str, int]:
    trace(settings, "close", os.getpid()).close()
    return {"closed": 0}


def compare_closed_days(settings: Settings, now: datetime) -> dict[str, int]:
    trace(settings, "books", os.getpid()).close()
    return {"days": 0}


def compare_packed_months(settings: Settings) -> int:
    return 0


def pack_months(settings: Settings) -> dict[str, int]:
    trace(settings, "pack", os.getpid()).close()
    return {"months": 0}


def refresh_open_days(settings: Settings) -> dict[str, int]:
    trace(settings, "open_days", os.getpid()).close()
    return {"rows": 0}


def refresh_last_days(settings: Settings) -> dict[str, int]:
    trace(settings, "last_days", os.getpid()).close()
    return {"rows": 0}


def refresh_visitors_of_open_days(settings: Settings) -> int:
    return 0


def refresh_visitors_of_ledger(settings: Settings) -> int:
    return 0


def replace(name: str, *functions: Callable[..., Any]) -> None:
    module = importlib.import_module(name)
    for function in functions:
        setattr(module, function.__name__, function)


def swallowing_a_signal() -> None:
    with suppress(Exception):
        os.kill(os.getpid(), signal.SIGTERM)


def prepare(moment: str) -> None:
    """Let it happen: a signal exactly then."""
    from jobs.work import AnalyticsWorker

    def at(method: str, what: Callable[[], None]) -> None:
        original = getattr(AnalyticsWorker, method)

        def first(self: AnalyticsWorker, *arguments: Any) -> Any:
            what()
            return original(self, *arguments)

        setattr(AnalyticsWorker, method, first)

    match moment:
        case "SIGTERM before the fork":
            at("fork_work_horse", lambda: os.kill(os.getpid(), signal.SIGTERM))
        case "SIGTERM at the fork":
            at("main_work_horse", lambda: os.kill(os.getppid(), signal.SIGTERM))
        case "SIGUSR1 to a newborn horse":
            at("setup_work_horse_signals", lambda: os.kill(os.getpid(), signal.SIGUSR1))
        case "SIGTERM to a newborn horse":
            at("setup_work_horse_signals", lambda: os.kill(os.getpid(), signal.SIGTERM))
        case "SIGTERM where exceptions are swallowed":
            at("procline", swallowing_a_signal)
        case "short patience":
            supervisor.STOP_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    replace("worker.pipeline", run_shard)
    replace("worker.upkeep.maintenance", keep_ledger, trim_other_streams)
    replace("worker.upkeep.close", close_days, compare_closed_days)
    replace("worker.upkeep.packing", compare_packed_months, pack_months)
    replace("worker.daily.outcomes", refresh_open_days, refresh_last_days)
    replace("worker.daily.visitors", refresh_visitors_of_open_days, refresh_visitors_of_ledger)
    from jobs.work import run_worker
    from worker.scheduler import run_scheduler

    prepare(os.environ.get("DOUBLE", ""))
    settings = load_settings()
    configure_logging(settings.log_level)
    if "--lifeline" in arguments:
        at = arguments.index("--lifeline")
        supervisor.watch_lifeline(int(arguments[at + 1]))
        del arguments[at : at + 2]
    match arguments:
        case ["work", queue]:
            return run_worker(settings, queue)
        case ["schedule"]:
            return run_scheduler(settings)
        case ["run"]:
            return supervisor.run_supervisor(settings, command=[sys.executable, __file__])
        case ["run", "broken"]:
            return supervisor.run_supervisor(settings, command=[sys.executable, "-c", "raise SystemExit(3)"])
        case ["run", "missing"]:
            return supervisor.run_supervisor(settings, command=["/no/such/program"])
        case _:
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
