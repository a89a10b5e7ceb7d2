"""`python -m worker dead-letters …`: the letters as tables or JSON, and what is done with them."""

import getpass
import json
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from worker.console import make_console
from worker.errors import Stop
from worker.operations.dead_letters import (
    Counted,
    Filter,
    Letter,
    Settled,
    discard,
    find_event,
    list_actions,
    list_letters,
    requeue,
)
from worker.original import readable
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis
from worker.units import utc

NOT_FOUND = 1
SHOWN_CHARACTERS = 200


def run_list(settings: Settings, wanted: Filter, *, limit: int, as_json: bool) -> int:
    """Print the newest letters that the filter matches."""
    with connect_postgres(settings, "dead letters") as connection:
        letters = list_letters(connection, wanted, limit)
    if as_json:
        print(json.dumps([_document(letter) for letter in letters], default=str, indent=2, ensure_ascii=False))
        return 0
    table = Table("id", "buried, UTC", "reason", "specialist", "type", "entry", "stream", box=None, header_style="dim")
    for letter in letters:
        fields = dict(_fields(letter))
        table.add_row(
            str(letter.id),
            utc(letter.buried_at),
            letter.reason,
            *(Text(_shortened(fields.get(name, "–"), 24)) for name in ("specialistId", "type")),
            letter.entry_id,
            Text(letter.stream),
        )
    console = make_console(highlight=True)
    console.print(table if letters else f"no dead letter is {wanted.state}")
    if letters and letters[0].left > len(letters):
        console.print(f"{letters[0].left - len(letters):,} more; --limit shows them", style="dim")
    return 0


def run_show(settings: Settings, letter_id: int, *, as_json: bool) -> int:
    """Print everything about one letter.

    Raises:
        Stop: there is none with this id.
    """
    with connect_postgres(settings, "dead letters") as connection:
        letters = list_letters(connection, Filter(ids=[letter_id]), 1)
        if not letters:
            raise Stop(f"there is no dead letter {letter_id}")
        [letter] = letters
        actions, event = list_actions(connection, letter), find_event(connection, letter)
    if as_json:
        document = _document(letter) | {"actions": [action._asdict() for action in actions], "counted": _fate(event)}
        print(json.dumps(document, default=str, indent=2, ensure_ascii=False))
        return 0
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("dead letter", f"{letter.id}, {letter.state}"),
        ("reason", letter.reason),
        ("buried, UTC", utc(letter.buried_at)),
        ("entry", f"{letter.entry_id} of {letter.stream}"),
        *([] if letter.stream == settings.requests else [("its event", _fate(event))]),
    ):
        facts.add_row(name, Text(value))
    fields = Table("field", "value", box=None, header_style="dim", pad_edge=False)
    for name, value in _fields(letter):
        fields.add_row(Text(_shortened(name)), Text(_shortened(value)))
    done = Table("when, UTC", "what", "by", "sent again as", box=None, header_style="dim", pad_edge=False)
    for action in actions:
        again = f"{action.entry_id} of {action.stream}" if action.entry_id else "–"
        done.add_row(utc(action.happened_at), action.action, action.operator, Text(again))
    make_console(highlight=True).print(facts, "", fields, "", done if actions else "nothing was done with it", sep="\n")
    return 0


def run_requeue(settings: Settings, wanted: Filter, *, dry_run: bool) -> int:
    """Send the letters again; exit code 1 if none could be."""
    with connect_postgres(settings, "dead letters") as connection, connect_redis(settings) as client:
        return _settle(
            connection, wanted, requeue(settings, connection, client, wanted, operator()), "sent again", dry_run
        )


def run_discard(settings: Settings, wanted: Filter, *, dry_run: bool) -> int:
    """Put the letters aside; exit code 1 if there is none."""
    with connect_postgres(settings, "dead letters") as connection:
        return _settle(connection, wanted, discard(connection, wanted, operator()), "discarded", dry_run)


def chosen(
    ids: list[int] | None, reason: str | None, since: datetime | None, until: datetime | None, *, everything: bool
) -> Filter:
    """The filter of a command that changes something, which must be told what it may change.

    Raises:
        Stop: nothing was said, or ids and something else.
    """
    narrowed = any((reason, since, until))
    if bool(ids) + narrowed + everything != 1:
        raise Stop("say which dead letters: their ids, or --reason, --since, --until, or --all")
    return Filter(ids=ids or (), reason=reason, since=since, until=until)


def operator() -> str:
    """Who sits here, for the record."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user often has no name
        return socket.gethostname()


def _settle(connection: Connection, wanted: Filter, pages: Iterator[Settled], done: str, dry_run: bool) -> int:
    first = list_letters(connection, wanted, 1)
    total = first[0].left if first else 0
    if not total:
        print("no dead letter matches")
        return NOT_FOUND
    if dry_run:
        print(f"{total} dead letters would be {done}")
        return 0
    console = Console(file=sys.stderr)
    settled = 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(done, total=total)
        for page in pages:
            settled += page.letters
            progress.advance(task, page.letters)
    print(f"{settled if settled == total else f'{settled} of {total}'} dead letters {done}")
    return 0 if settled else NOT_FOUND


def _fields(letter: Letter) -> list[tuple[str, str]]:
    return [(readable(name), readable(value)) for name, value in letter.fields]


def _document(letter: Letter) -> dict[str, Any]:
    return {name: value for name, value in letter._asdict().items() if name != "left"}


def _fate(event: Counted | None) -> str:
    if event is None:
        return "is not in the ledger"
    how = f"kept without being counted ({event.excluded})" if event.excluded else "counted"
    return f"{how} for {event.specialist_id}, from entry {event.entry_id}"


def _shortened(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}… ({len(text):,} characters)"
