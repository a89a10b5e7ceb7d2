"""Alerts as people get them: from real schedulers, by a real webhook."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from tests.counting import drain
from tests.receiver import Receiver, receiving
from tests.rq_fixtures import wait_for
from tests.support import TOP, ended, environment, settings_with
from worker.settings import Settings
from worker.store import Connection

HASTY = """
from worker.alerting import watch
watch.LOOK_S, watch.PENDING_S, watch.CLEAR_S = 0.1, 0.0, 1.0
from worker.__main__ import main
main()
"""
"""`python -m worker …`, but minutes are seconds."""


def start_scheduler(settings: Settings) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HASTY, "schedule"],
        cwd=TOP,
        env=os.environ | environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def test_two_schedulers_tell_once(
    settings: Settings, receiver: Receiver, client: redis.Redis, connection: Connection
) -> None:
    """Two schedulers, of which one is killed in between, tell of an alert once when it begins and once when it ends."""

    def count(condition: str) -> int:
        row = connection.execute(f"SELECT count(*) FROM analytics.alert WHERE {condition}".encode()).fetchone()
        return row[0] if row else 0

    watched = settings_with(settings, ANALYTICS_ALERT_WEBHOOK=receiver.url)
    schedulers = [start_scheduler(watched) for _ in range(2)]
    try:
        client.xadd("analytics:events", {"type": "profile_view"}, id="1-1")
        wait_for(lambda: count("start_sent_at IS NOT NULL") == 1)
        seen_by_both = "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'analytics watch'"
        wait_for(lambda: connection.execute(seen_by_both).fetchone() == (True,))
        schedulers[0].kill()
        drain(watched)
        wait_for(lambda: count("end_sent_at IS NOT NULL") == 1)
        schedulers[1].terminate()
    finally:
        logs = [ended(process, seconds=15)[2] for process in schedulers]
    assert receiver.said("lag") == ["start", "end"]
    assert len(receiver.tried) == 2
    for log in logs:
        assert "geheim-token" not in log
    assert "".join(logs).count('"event": "alert"') == 1
    assert logs[1].count('"event": "alert is over"') == 1
