"""`python -m worker erase`: ask, erase, and say what is left to be done elsewhere."""

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import typer

from worker.errors import Stop
from worker.events import VISITOR_CHARACTERS
from worker.operations.erase import (
    ERASE_SPECIALIST,
    ERASE_VISITOR,
    SPECIALIST_CHARACTERS,
    EraseSpecialist,
    EraseVisitor,
    count_specialist,
    count_visitor,
    refuse_while_there,
    refuse_without_rights,
    refuse_without_secret,
)
from worker.operations.run_view import run_operation
from worker.settings import Settings
from worker.store import Connection, connect_postgres

KEPT = 1
NOT_WANTED = 2

PLAIN = re.compile(r"[\w-]+", re.ASCII).fullmatch

CALLED = {
    "event": "events in the ledger",
    "SpecialistAnalyticsDaily": "daily rows",
    "dead_letter": "dead letters",
    "dead_letter.viewerId": "dead letters with the specialist as viewer",
}


def run_erase(
    settings: Settings,
    visitor: str | None,
    specialist: str | None,
    *,
    force: bool,
    yes: bool,
    dry_run: bool,
    now: bool,
    wait: bool | None,
) -> int:
    """Erase a visitor or a specialist, once a person has said yes; with `dry_run` only say what there is.

    Args:
        settings: where the servers are, and the secret.
        visitor: the id that the web tier sends as `visitorId`.
        specialist: the other one that can be erased.
        force: also a specialist that the site still has.
        yes: nobody needs to be asked.
        dry_run: change nothing.
        now: here and not in a job.
        wait: follow the job; None where there is a terminal.

    Returns:
        The exit code: of a dry run 1 if something is kept.

    Raises:
        Stop: it is not clear whom to erase, nobody can be asked, or see the operations.
        Retry: the server is away.
    """
    asked = _asked(settings, visitor, specialist, force=force)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise Stop("what is erased cannot be brought back, and there is no terminal to ask on: say --yes")
    with connect_postgres(settings, "erase") as connection:
        if not dry_run:
            _refuse(settings, connection, asked)
        if dry_run or not yes:
            kept = _count(settings, connection, asked)
            print(_in_words(kept))
        if dry_run:
            return KEPT if kept else 0
    if not yes and not typer.confirm("Erase it? It cannot be brought back."):
        return NOT_WANTED
    operation = ERASE_VISITOR if isinstance(asked, EraseVisitor) else ERASE_SPECIALIST
    code = run_operation(settings, operation, asked, now=now, wait=wait)
    for line in _left(settings, asked):
        print(line, file=sys.stderr)
    return code


def _asked(
    settings: Settings, visitor: str | None, specialist: str | None, *, force: bool
) -> EraseVisitor | EraseSpecialist:
    if (visitor is None) == (specialist is None):
        raise Stop("say whom to erase: either --visitor or --specialist")
    if visitor is not None:
        if force:
            raise Stop("--force is for a specialist that the site still has")
        if not 0 < len(visitor) <= VISITOR_CHARACTERS:
            raise Stop(f"--visitor is no id that was ever stored: those have 1 to {VISITOR_CHARACTERS} characters")
        return EraseVisitor.of(settings, visitor)
    assert specialist is not None  # one of the two is
    if not 0 < len(specialist) <= SPECIALIST_CHARACTERS or not specialist.isprintable():
        raise Stop("--specialist is no id: it is empty, endless, or has characters that cannot be shown")
    return EraseSpecialist(specialist=specialist, force=force)


def _refuse(settings: Settings, connection: Connection, asked: EraseVisitor | EraseSpecialist) -> None:
    """What the run would refuse too, before anybody is asked."""
    refuse_without_rights(connection)
    if isinstance(asked, EraseVisitor):
        refuse_without_secret(settings, connection)
    elif not asked.force:
        refuse_while_there(connection, asked.specialist)


def _count(settings: Settings, connection: Connection, asked: EraseVisitor | EraseSpecialist) -> dict[str, int]:
    if isinstance(asked, EraseVisitor):
        return count_visitor(settings, connection, asked)
    return count_specialist(settings, connection, asked.specialist)


def _in_words(kept: Mapping[str, int]) -> str:
    if not kept:
        return "nothing is kept"
    return ", ".join(f"{rows:,} {CALLED.get(what, f'rows of {what}')}" for what, rows in kept.items())


def _left(settings: Settings, asked: EraseVisitor | EraseSpecialist) -> Iterator[str]:
    """What no database can forget."""
    until = datetime.now(UTC) + timedelta(milliseconds=settings.stream_retention_ms)
    yield (
        f"Redis holds what was sent before now until {until:%Y-%m-%d %H:%M} UTC; what of it is unread will be kept"
        " when it is read: then erase once more (--dry-run tells)"
    )
    if isinstance(asked, EraseSpecialist) and PLAIN(asked.specialist):  # else a pattern could take others along
        redis_cli = 'redis-cli -u "$REDIS_URL"'
        yield "the site's own counters are left to the site:"
        for name in ("profile", "contact"):
            pattern = f"'{name}:view*:{asked.specialist}:*'"
            total = f"{name}:views:{asked.specialist}"
            yield f"  {redis_cli} --scan --pattern {pattern} | xargs -r {redis_cli} DEL {total}"
        yield f"  {redis_cli} ZREM profile:views:leaderboard {asked.specialist}"
