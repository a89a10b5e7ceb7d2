"""The processes that are measured: each says `ready`, is told to go, does one thing, and says what came of it.

Started by `tests.bench.process`. The servers' addresses and the worker's settings come in the environment.
"""

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

import jobs.rollup  # noqa: F401 - RQ's process has loaded it too, and memory is measured
from tests.bench.loop import hand_written_loop
from tests.bench.tally import Tally
from worker import pipeline, store
from worker.batch import Batch
from worker.breaker import NOTHING_SEEN
from worker.continuity import EntryId, StreamFacts
from worker.events import Rules, parse
from worker.log import configure_logging
from worker.pipeline import run_shard
from worker.settings import Settings, load_settings
from worker.stop import StopSignal
from worker.stream import PAGE_ENTRIES, Entry, Page, StreamReader, connect_redis, redis_errors


def rollup(settings: Settings, tally: Tally) -> None:
    """The worker itself. Every batch goes through `store.commit_batch`, so there its answers are noted."""
    commit = store.commit_batch

    def noted(connection: store.Connection, batch: Batch, shard: int, time_zone: str) -> store.Committed:
        committed = commit(connection, batch, shard, time_zone)
        tally.answered(batch.after.last_id, batch.entries)
        return committed

    store.commit_batch = noted
    run_shard(settings, 0, tally.is_over)


def rollup_unchecked(settings: Settings, tally: Tally) -> None:
    """The worker without what guards it: no facts about the stream, no verdict on them, no circuit breaker."""
    nothing_known = StreamFacts("")

    def read(reader: StreamReader, after: EntryId, count: int) -> Page:
        with redis_errors(settings):
            entries = cast(list[Entry], reader._client.xrange(reader.key, min=f"({after}", count=count))
        return Page(entries, nothing_known, len(entries) < count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamReader, "read", read)
        patch.setattr(pipeline, "judge", lambda *_: None)
        patch.setattr(pipeline.Rollup, "_let_pass", lambda *_: NOTHING_SEEN)
        rollup(settings, tally)


def read_and_parse(settings: Settings, tally: Tally) -> None:
    """Floor: the same pages through the same parser, and nothing else."""
    gc.disable()
    after = EntryId(0, 0)
    with connect_redis(settings) as client:
        reader = StreamReader(client, settings, settings.stream)
        rules = Rules.at(time.time_ns() // 1_000_000, ledger_days=35, exclude_bots=True, secret=b"")
        while not tally.is_over():
            page = reader.read(after, PAGE_ENTRIES).entries
            verdicts = [parse(entry_id, fields, rules) for entry_id, fields in page]
            after = EntryId.of(page[-1][0].decode())
            tally.answered(after, len(verdicts))


MEASURED: dict[str, Callable[[Settings, Tally], None]] = {
    "rollup": rollup,
    "unchecked": rollup_unchecked,
    "parse": read_and_parse,
    "loop": hand_written_loop,
}


def main() -> None:
    """Wait for the word, do it, and write the result as one JSON line."""
    name, entries = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    configure_logging(settings.log_level)
    stop = StopSignal()
    stop.install()
    print("ready", flush=True)
    if os.read(sys.stdin.fileno(), 3) != b"go\n":
        return
    threading.Thread(target=_end_with_our_starter, daemon=True).start()
    before = cpu_seconds()
    tally = Tally(entries, stop)
    MEASURED[name](settings, tally)
    result = tally.result() | {"cpu_seconds": cpu_seconds() - before, "peak_mb": peak_mb()}
    print(json.dumps(result), flush=True)


def _end_with_our_starter() -> None:
    """Without it nobody would stop a worker that waits for servers which are gone."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def cpu_seconds() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """The most memory that was resident at once, shared libraries and all, in megabytes (10⁶ bytes)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
