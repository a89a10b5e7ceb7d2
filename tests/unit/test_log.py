"""Logs: one line an event, without credentials."""

import json
import logging

import pytest

from worker.log import configure_logging, get_logger

PASSWORD = "geheim"
URL = f"redis://user:{PASSWORD}@host:6379/0"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_one_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Our lines and a library's come out as JSON, each once, with logger, level and time."""
    configure_logging(json=True)
    get_logger("worker.x").info("rolled up", shard=0)
    logging.getLogger("rq.worker").info("Worker %s: started", "w")
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["shard"], ours["logger"], ours["level"]) == ("rolled up", 0, "worker.x", "info")
    assert (theirs["event"], theirs["logger"]) == ("Worker w: started", "rq.worker")
    assert "timestamp" in ours


def test_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    """No credential of a URL gets into a line: neither by a value, nor by a message, nor by a traceback."""
    configure_logging(json=True)
    log = get_logger("worker.x")
    log.warning("away", url=URL)
    logging.getLogger("redis").error("cannot reach %s", URL)
    try:
        raise OSError(f"no route to {URL}")
    except OSError:
        log.exception("failed")
    output = capsys.readouterr().err
    assert output.count("redis://host:6379/0") >= 3
    assert PASSWORD not in output


def test_terminal_lines_hold_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback on a terminal shows no local variables: one of them could be a password."""
    configure_logging(json=False)
    secret_value = PASSWORD
    try:
        raise ValueError(len(secret_value))
    except ValueError:
        get_logger("worker.x").exception("failed")
    output = capsys.readouterr().err
    assert "ValueError" in output
    assert PASSWORD not in output
