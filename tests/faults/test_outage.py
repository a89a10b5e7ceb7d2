"""A server goes away in the middle of batches and comes back: the counting waits, and no number changes."""

import pytest

from tests.faults.stage import Stage
from tests.faults.truth import until


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_server_goes_away(running: Stage, server: str, how: str) -> None:
    """Stopped or killed, and started again: the same processes go on, and every event counts once."""
    away = getattr(running.servers, server)
    # Not the worker of ops: a minute's job that ends while Redis is away takes RQ's worker along, to be started again.
    parts = [*running.program.parts("work", "rollup"), *running.program.parts("schedule")]
    assert parts
    said_before = len(running.program.said())
    running.send(3_000)
    getattr(away, how)()
    if server == "postgres":
        running.send(500)  # a rollup with nothing to do would not notice
    until(lambda: "waiting for a server" in running.program.said()[said_before:], "the rollup waits")
    away.start()
    running.send(500)
    running.check()
    assert all(one.is_running() for one in parts)
