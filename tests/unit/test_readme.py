"""The README says what the code does."""

import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices
from typer.main import get_command

from jobs.receiver import MOST_OPEN
from worker.alerting.alerts import ALERTS
from worker.cli import app
from worker.events import LIMITS, Reason
from worker.operations.requests import REFRESH_DAYS, RequestReason
from worker.scheduler import SCHEDULE
from worker.settings import Settings
from worker.web.metrics import METRICS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def section(title: str) -> str:
    return README.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of a section's table, without its two heading lines."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_settings() -> None:
    """The table of settings has every setting, with its default and its meaning, and nothing else."""
    documented = {row[0].strip("`"): (row[1], row[2]) for row in rows(section("Settings"))}
    expected = {}
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        name = str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias)
        default = field.default
        if field.is_required() or default is None:
            shown = "–"
        elif isinstance(default, (bool, float)):
            shown = f"`{default:g}`"
        else:
            shown = f"`{default}`"
        expected[name] = (shown, field.description)
    assert documented == expected


def commands() -> dict[str, Any]:
    """Every command by its words: `send`, `dead-letters list`."""
    found = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for below, its in getattr(command, "commands", {"": command}).items():
            found[f"{name} {below}".strip()] = its
    return found


def documented_commands() -> dict[str, str]:
    """What the table of commands says about each command."""
    names = commands()
    documented = {}
    for row in rows(section("Commands")):
        for words in re.findall(r"`([\w -]+?)(?= [A-Z\[]|`)", row[0]):
            documented[words if words in names else words.split()[0]] = row[1]
    return documented


def test_commands() -> None:
    """The table of commands has every command, and nothing else."""
    assert documented_commands().keys() == commands().keys()


def test_options() -> None:
    """Every visible option of a command is in its row."""
    documented = documented_commands()
    for name, command in commands().items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden and parameter.name != "help":
                assert max(parameter.opts, key=len) in documented[name], name


def tables(text: str) -> list[str]:
    """The tables of a section, each as its text."""
    return re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)


def test_schedule() -> None:
    """The table of the schedule has every line, when it runs, and what it is for."""
    documented = [
        tuple(cell.strip("`") for cell in row) for row in rows(section("The schedule, and the close of a day"))
    ]
    assert documented == [(line.name, line.cron, line.purpose) for line in SCHEDULE]


def test_alerts() -> None:
    """The table of alerts has every alert, and says when it holds."""
    documented = {name.strip("`"): holds for name, holds in rows(tables(section("Watching it"))[0])}
    assert documented == dict(ALERTS)


def test_metrics() -> None:
    """The table of metrics has every metric, its labels, and its help text."""
    documented = {
        name.strip("`"): (tuple(re.findall(r"`(\w+)`", labels)), meaning)
        for name, labels, meaning in rows(tables(section("Watching it"))[1])
    }
    assert documented == {name: tuple(definition) for name, definition in METRICS.items()}


def test_contract() -> None:
    """The table of fields has every field of the contract, and the text every reason of a dead letter."""
    text = section("Sending events")
    assert {row[0].strip("`") for row in rows(text)} == {name.decode() for name in LIMITS} | {"source"}
    for reason in Reason:
        assert f"`{reason.value}`" in text


def test_requests() -> None:
    """The table of a request's fields has those that are read, and the text every reason of a dead letter."""
    text = section("Asking for a refresh")
    assert {row[0].strip("`") for row in rows(text)} == {"kind", "specialistId", "from", "to"}
    for reason in RequestReason:
        assert f"`{reason.value}`" in text
    assert f"At most {REFRESH_DAYS} dates" in text
    assert f"At most {MOST_OPEN} refreshes" in text


@pytest.mark.parametrize("shards", [4])
def test_shard_example(shards: int) -> None:
    """The example of a shard is right."""
    checksum = zlib.crc32(b"c0ffee")
    assert f'CRC-32("c0ffee") = {checksum}' in README
    assert f"analytics:events:{{{checksum % shards}}}" in README


def test_links() -> None:
    """Every link to a section of the README leads to one."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert len(linked) > 20
    assert linked <= anchors
