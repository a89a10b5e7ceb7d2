"""A server goes away in the middle of a run: the run goes on where it was, and the tables equal the straight count."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.counting import TODAY
from tests.faults.stage import Stage
from tests.faults.truth import until
from tests.support import run_worker

DAYS = 500


def restart_postgres(running: Stage) -> None:
    running.servers.postgres.restart()


def kill_postgres(running: Stage) -> None:
    running.servers.postgres.kill()
    running.servers.postgres.start()


def kill_redis(running: Stage) -> None:
    running.servers.redis.kill()
    running.servers.redis.start()


@pytest.mark.parametrize("fault", [restart_postgres, kill_postgres, kill_redis])
def test_a_server_goes_away(running: Stage, fault: Callable[[Stage], None]) -> None:
    """Damaged rows are right again, though the server was away while they were recomputed."""
    running.ask('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 7')
    days = ("--from", str(TODAY - timedelta(days=DAYS - 2)), "--to", str(TODAY + timedelta(days=1)))
    code, output, errors = run_worker(running.direct, "recompute", *days, "--no-wait")
    assert (code, errors) == (0, "")
    number = int(output.removeprefix("run "))

    def run() -> tuple[Any, ...]:
        return running.ask("SELECT state::text, done, error FROM analytics.run WHERE id = %s", number)[0]

    until(lambda: run()[1] >= 50, "the run is in its middle", 60)
    fault(running)
    assert run()[0] in ("queued", "running"), "it was over before"
    until(lambda: run()[0] not in ("queued", "running"), "the run has ended", 120)
    assert run() == ("done", DAYS, None)
    running.check()
