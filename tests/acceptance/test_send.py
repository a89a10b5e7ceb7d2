"""`python -m worker send`: a file becomes entries of the stream."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import redis

from tests.support import TOP, environment, run_worker, settings_with
from worker.producer import shard_of
from worker.settings import Settings

REAL = TOP.parent / "shared/data/access_log_events.ndjson"
EVENTS = [
    {"type": "profile_view", "specialistId": "c1", "eventId": "a", "occurredAt": 1431857114000},
    {"type": "no such type", "unknown": {"a": [1]}},
    {"specialistId": "c2"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return path


def raw_entries(client: redis.Redis, key: str = "analytics:events") -> list[tuple[bytes, dict[bytes, bytes]]]:
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(key))


def entries(client: redis.Redis, key: str = "analytics:events") -> list[dict[str, str]]:
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in raw_entries(client, key)]


def test_a_file(settings: Settings, client: redis.Redis, file: Path) -> None:
    """Every line is an entry in its order, good or bad, with an id where it had none; the last line says how many."""
    assert run_worker(settings, "send", str(file)) == (0, "sent 3 events to analytics:events\n", "")
    first, second, third = entries(client)
    assert first == {"type": "profile_view", "specialistId": "c1", "eventId": "a", "occurredAt": "1431857114000"}
    assert len(second.pop("eventId")) == len(third.pop("eventId")) == 36
    assert (second, third) == ({"type": "no such type", "unknown": '{"a":[1]}'}, {"specialistId": "c2"})


def test_standard_input(settings: Settings, client: redis.Redis, file: Path) -> None:
    """`-` reads standard input, also when all of it must be known first."""
    for options in ((), ("--shift-to-today",)):
        done = subprocess.run(
            [sys.executable, "-m", "worker", "send", *options, "-"],
            cwd=TOP,
            env=os.environ | environment(settings),
            input=file.read_bytes(),
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"sent 3 events to analytics:events\n")
    assert [entry.get("specialistId") for entry in entries(client)] == ["c1", None, "c2"] * 2


def test_a_bad_line(settings: Settings, client: redis.Redis, file: Path) -> None:
    """A line that is no event stops it with exit code 2 and one line: where it is, and how many had been sent."""
    file.write_text(file.read_text() + "\n[1]\n" + '{"type": "profile_view"}\n')
    code, output, errors = run_worker(settings, "send", str(file))
    assert (code, output) == (2, "")
    assert errors == f"error {file}, line 5: not a JSON object; 3 events had been sent\n"
    assert len(entries(client)) == 3


def test_a_missing_file(settings: Settings, client: redis.Redis, tmp_path: Path) -> None:
    """A file that is not there is one line and exit code 2."""
    code, output, errors = run_worker(settings, "send", str(tmp_path / "none"))
    assert (code, output) == (2, "")
    assert errors == f"error cannot read {tmp_path}/none: No such file or directory; 0 events had been sent\n"
    assert entries(client) == []


def test_redis_away(settings: Settings, file: Path) -> None:
    """Without Redis it is one line and exit code 2, and the password is not in it."""
    away = settings_with(settings, REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    code, output, errors = run_worker(away, "send", str(file))
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert "redis://127.0.0.1:1/0" in errors
    assert errors.endswith("at least 0 events had been sent\n")
    assert "hunter2" not in errors


def test_rate(settings: Settings, client: redis.Redis, file: Path) -> None:
    """With `--rate 10` the third event goes 0.2 s after the start, so well after the first; no rate is refused."""
    assert run_worker(settings, "send", "--rate", "10", str(file))[0] == 0
    ids = [int(entry_id.partition(b"-")[0]) for entry_id, _ in raw_entries(client)]
    assert ids[-1] - ids[0] >= 100
    code, _, errors = run_worker(settings, "send", "--rate", "0", str(file))
    assert (code, errors) == (2, "error --rate must be more than 0 events a second\n")


def test_shards(settings: Settings, client: redis.Redis, file: Path) -> None:
    """With several shards each event is in the stream of its specialist."""
    file.write_text("".join(json.dumps({"specialistId": f"c{number}"}) + "\n" for number in range(50)))
    sharded = settings_with(settings, ANALYTICS_SHARDS="3")
    code, output, _ = run_worker(sharded, "send", str(file))
    assert (code, output) == (0, "sent 50 events to analytics:events:{0} … analytics:events:{2}\n")
    for shard, key in enumerate(sharded.stream_keys):
        ids = [entry["specialistId"] for entry in entries(client, key)]
        assert ids
        assert all(shard_of(one, 3) == shard for one in ids)


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} is not there: it is no part of the repository")
def test_the_real_file_moved_to_today(settings: Settings, client: redis.Redis) -> None:
    """All 4,043 events come in, the newest day is today's, and what is later today is said to be ahead."""
    before = datetime.now(UTC)
    code, output, errors = run_worker(settings, "send", "--shift-to-today", str(REAL))
    assert (code, output) == (0, "sent 4043 events to analytics:events\n")
    times = [datetime.fromtimestamp(int(entry["occurredAt"]) / 1000, UTC) for entry in entries(client)]
    assert max(times).date() in (before.date(), datetime.now(UTC).date())
    assert (max(times).date() - min(times).date()).days == 3
    assert ("are of later today" in errors) == (max(times) > before + timedelta(minutes=5))
