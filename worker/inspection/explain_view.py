"""`python -m worker explain` and `trace`: what `worker.inspection.explain` found, as tables or as JSON."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from worker.console import make_console
from worker.continuity import EntryId
from worker.daily.visitors import Visitors
from worker.days import date_of
from worker.inspection.explain import Explanation, Hour, Sighting, Trace, explain, trace
from worker.operations.run_intake import OF_A_FILE
from worker.printable import printable
from worker.settings import Settings
from worker.store import connect_postgres
from worker.stream import connect_redis
from worker.units import utc

NUMBERS = {
    "profile_views": "profile views",
    "contact_views": "contact views",
    "catalog": "catalog",
    "search": "search",
    "direct": "direct",
    "other": "other",
}
RATES = {
    "profile_to_contact": "profile to contact %",
    "contact_to_request": "contact to request %",
    "request_to_order": "request to order %",
}
OUTCOMES = {"consultation_requests": "requests", "orders": "orders", "reviews": "reviews"}


def run_explain(settings: Settings, specialist: str, day: str, *, as_json: bool) -> int:
    """Print where a daily row's numbers come from.

    Returns:
        The exit code: 1 when the row is not what the formula says.

    Raises:
        Stop: there is no such date or specialist.
        Retry: the server is away.
    """
    of_date = date_of(day, "DATE")
    with (
        connect_postgres(settings, "explain") as connection,
        connect_redis(settings) as client,
        _progress("entries in Redis") as progress,
    ):
        found = explain(settings, connection, client, specialist, of_date, progress=progress)
    if as_json:
        print(json.dumps(_explained_document(found), default=str, indent=2))
    else:
        _print(_verdict(found), "", _parts(found), "", _outcomes(found), "", _facts(_circumstances(found)))
    return 0 if found.right and found.outcomes_right else 1


def run_trace(settings: Settings, event_id: str, *, as_json: bool) -> int:
    """Print where an event is.

    Returns:
        The exit code: 1 when it was found nowhere.

    Raises:
        Stop: it is no UUID.
        Retry: a server is away.
    """
    with (
        connect_postgres(settings, "trace") as connection,
        connect_redis(settings) as client,
        _progress("entries in Redis") as progress,
    ):
        found = trace(settings, connection, client, event_id, progress)
    if as_json:
        print(json.dumps(_traced_document(found), default=str, indent=2))
    else:
        _print(_facts(_places(found, settings.time_zone)))
    return 0 if found.seen else 1


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a person, told how much is done and how much there is."""
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _verdict(found: Explanation) -> str:
    what = f"{found.specialist}, {found.day} ({found.time_zone})"
    if found.right and found.outcomes_right:
        return f"{what}: " + ("right, the row is what the formula says" if found.row else "right, no row and no views")
    if found.gone:
        days = ", ".join(map(str, found.gone))
        return f"{what}: the row has more than the formula, which misses the events of {days} (UTC): they are gone"
    to_do = f"python -m worker recompute --from {found.day} --to {found.day} --specialist {found.specialist}"
    if found.right:
        to_do = f"python -m worker backfill outcomes --from {found.day} --to {found.day}"
    return f"{what}: wrong, {'; '.join(_differences(found))}\nto put it right: {to_do}"


def _differences(found: Explanation) -> Iterator[str]:
    if found.row is None:
        yield "there is no row and there should be one"
        return
    for name, called in (NUMBERS | RATES).items():
        has, should = getattr(found.row, name), getattr(found.formula, name)
        if has != should:
            yield f"{called}: {has:,}, should be {should:,}"
    for name, called in OUTCOMES.items():
        has, should = getattr(found.row, name), getattr(found.outcomes or found.row, name)
        if has != should:
            yield f"{called}: {has:,}, should be {should:,}"


def _parts(found: Explanation) -> Table:
    table = Table("", box=None, header_style="dim", pad_edge=False)
    for called in NUMBERS.values():
        table.add_column(called, justify="right")
    for part in found.baseline:
        _add(table, f"baseline, {part.origin}", part)
    for hour in _counted(found):
        _add(table, _called(hour, found), hour)
    table.add_section()
    _add(table, "sum: the formula", found.formula, style="bold")
    if found.row:
        _add(table, "the row", found.row, style="" if found.right else "bold red")
    return table


def _add(table: Table, what: str, part: Any, style: str = "") -> None:
    table.add_row(what, *(f"{getattr(part, name):,}" for name in NUMBERS), style=style)


def _counted(found: Explanation) -> list[Hour]:
    return [hour for hour in found.hours if hour.excluded is None]


def _called(hour: Hour, found: Explanation) -> str:
    """The hour's name, with the offset from UTC on a date that has two of them."""
    twice = len({hour.utc_offset for hour in found.hours}) > 1
    return f"{hour.hour:02}:00{_offset(hour.utc_offset) if twice else ''}"


def _offset(offset: timedelta) -> str:
    minutes = round(abs(offset).total_seconds() / 60)
    return f" {'-' if offset < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _outcomes(found: Explanation) -> Table | str:
    if found.row is None and found.outcomes_right:
        return "no row, so no outcomes and no rates"
    table = Table("", box=None, header_style="dim", pad_edge=False)
    for called in (OUTCOMES | RATES).values():
        table.add_column(called, justify="right")
    if found.outcomes:
        table.add_row("the site's tables", *(f"{getattr(found.outcomes, name):,}" for name in OUTCOMES))
    else:
        table.add_row("the site's tables", *("not known" for _ in OUTCOMES))
    if found.row:
        rates = [f"{getattr(found.formula, name):g}" for name in RATES]
        if any(getattr(found.row, name) != getattr(found.formula, name) for name in RATES):
            table.add_row("should be", *("" for _ in OUTCOMES), *rates, style="bold")
        outcomes = [f"{getattr(found.row, name):,}" for name in OUTCOMES]
        style = "" if found.outcomes_right else "bold red"
        table.add_row("the row", *outcomes, *(f"{getattr(found.row, name):g}" for name in RATES), style=style)
    return table


def _circumstances(found: Explanation) -> Iterator[tuple[str, str]]:
    excluded = _excluded(found)
    sealed = any(part.origin == "sealed" for part in found.baseline)
    kept = ", ".join(f"{events:,} {reason}" for reason, events in excluded.items())
    yield "excluded", (f"{kept or 'nothing'}, and not known of what is sealed" if sealed else kept or "none")
    yield "repeats", _repeats(found)
    yield "visitors", _different(found.visitors)
    dead = ", ".join(
        f"{letters:,} {reason} ({state})" for (reason, state), letters in sorted(found.dead_letters.items())
    )
    left = f", and {found.letters_left:,} older ones of the specialist were not looked at" if found.letters_left else ""
    yield "dead letters", (dead or "none") + left
    if found.row:
        yield "row made", f"{utc(found.row.created_at)} UTC"
        yield "last written", f"{utc(found.row.updated_at)} UTC, {_writer(found)}"
    if found.newest:
        newest = found.newest
        yield "newest event", f"{newest.event_id}, from {_entry(newest.entry_id, newest.shard)}"
    position = found.position
    yield "read up to", f"{position.last_id} of {position.stream}" if position else "its stream was never read"


def _repeats(found: Explanation) -> str:
    """They are kept in the books of a stream only, so they are counted in what it still holds."""
    repeats = found.repeats
    if isinstance(repeats, str):
        return f"not known: {repeats}"
    if repeats.oldest is None:
        return "not known: the stream holds nothing of that time any more"
    since = utc(datetime.fromtimestamp(repeats.oldest.ms / 1000, UTC))
    more = "" if repeats.is_all else ", and there are more that were not looked at"
    return f"{repeats.found:,} among the {repeats.looked_at:,} entries that the stream holds since {since} UTC{more}"


def _writer(found: Explanation) -> str:
    """What is known of who wrote the row last: the row itself has no place for it."""
    writer = found.writer
    assert writer is not None  # there is a row
    runs = f"during {' and '.join(writer.runs)}" if writer.runs else ""
    if writer.events:
        where = f", of {writer.stream}" if writer.stream else ""
        return ", ".join(filter(None, [f"by counting {writer.events:,} of its events{where}", runs]))
    if writer.put_right:
        return f"by a recompute that found it wrong, {runs or 'when its day was closed'}"
    if runs:
        return f"{runs}, and not by counting"
    return "not by counting and during no run: by a refresh of outcomes, or by somebody else"


def _different(visitors: Visitors) -> str:
    if visitors.number is None:
        return "not known: no event that counts names one"
    where = "counted in the ledger" if visitors.source == "ledger" else "counted before the events were sealed"
    return f"{visitors.number:,} different ones, {where}"


def _excluded(found: Explanation) -> Counter[str]:
    excluded: Counter[str] = Counter()
    for hour in found.hours:
        if hour.excluded:
            excluded[hour.excluded] += hour.profile_views + hour.contact_views
    return excluded


def _explained_document(found: Explanation) -> dict[str, Any]:
    return {
        "specialist": found.specialist,
        "date": found.day,
        "time_zone": found.time_zone,
        "right": found.right,
        "row": found.row._asdict() if found.row else None,
        "formula": found.formula._asdict(),
        "outcomes": found.outcomes._asdict() if found.outcomes else None,
        "outcomes_right": found.outcomes_right,
        "gone": found.gone,
        "baseline": [part._asdict() for part in found.baseline],
        "hours": [
            {name: value for name, value in hour._asdict().items() if name != "excluded"}
            | {"utc_offset": _offset(hour.utc_offset).strip()}
            for hour in _counted(found)
        ],
        "excluded": _excluded(found),
        "repeats": found.repeats if isinstance(found.repeats, str) else found.repeats._asdict(),
        "written_by": asdict(found.writer) if found.writer else None,
        "visitors": {"number": found.visitors.number, "source": found.visitors.source},
        "dead_letters": [
            {"reason": reason, "state": state, "letters": letters}
            for (reason, state), letters in sorted(found.dead_letters.items())
        ],
        "dead_letters_not_looked_at": found.letters_left,
        "newest_event": found.newest._asdict() if found.newest else None,
        "read_up_to": str(found.position.last_id) if found.position else None,
    }


def _entry(entry_id: str, shard: int) -> str:
    return f"line {EntryId.of(entry_id).ms} of a file" if shard == OF_A_FILE else f"entry {entry_id} of shard {shard}"


def _places(found: Trace, time_zone: str) -> Iterator[tuple[str, str]]:
    for event in found.ledger:
        where = f"{event.specialist_id}, {event.date} ({time_zone})"
        how = f"excluded ({event.excluded}), kept without being counted" if event.excluded else "counted"
        contact = f", {printable(event.contact_type)}" if event.contact_type else ""
        yield "ledger", f"{how}: {where}, from {_entry(event.entry_id, event.shard)}"
        yield "", f"{event.type}{contact}, {event.source}, occurred {utc(event.occurred_at)} UTC"
    for letter, actions in found.letters:
        yield "dead letter", f"{letter.id}, {letter.state}: {letter.reason}, entry {letter.entry_id} of {letter.stream}"
        for action in actions:
            again = f", as entry {action.entry_id} of {action.stream}" if action.entry_id else ""
            yield "", f"{action.action} {utc(action.happened_at)} UTC by {action.operator}{again}"
    if found.letters and (left := found.letters[0][0].left - len(found.letters)):
        yield "", f"and {left:,} older dead letters of this event"
    for entry in found.entries:
        yield "stream", f"entry {entry.entry_id} of {entry.stream}: {_state(entry)}"
    if found.sealed_until and not found.ledger:
        yield "sealed", f"of events up to {found.sealed_until} (UTC) nobody can know any more: only their sums are kept"
    if not found.seen:
        yield "not seen", "in no stream, not in the ledger, not among the dead letters"
    elif not found.entries:
        yield "stream", "no entry with it is there any more"


def _state(entry: Sighting) -> str:
    if entry.state == "repeat":
        return f"a repeat of {_first(entry)}"
    if entry.state == "unread":
        nobody = "; it is of another number of shards, and nobody reads it" if entry.nobody_reads else ""
        return f"unread{f', and will be a repeat of {_first(entry)}' if entry.repeat_of else ''}{nobody}"
    if entry.state == "unknown":
        return "read, but what became of it the ledger does not know any more"
    return {"counted": "counted", "excluded": "excluded", "dead": "became the dead letter"}[entry.state]


def _first(entry: Sighting) -> str:
    return f"entry {entry.repeat_of}"


def _traced_document(found: Trace) -> dict[str, Any]:
    return {
        "event_id": found.event_id,
        "seen": found.seen,
        "ledger": [event._asdict() for event in found.ledger],
        "dead_letters": [
            {name: value for name, value in letter._asdict().items() if name != "left"}
            | {"actions": [action._asdict() for action in actions]}
            for letter, actions in found.letters
        ],
        "entries": [
            {
                "stream": entry.stream,
                "entry_id": entry.entry_id,
                "state": entry.state,
                "repeat_of": entry.repeat_of,
                "nobody_reads": entry.nobody_reads,
            }
            for entry in found.entries
        ],
        "sealed_until": found.sealed_until,
    }


def _facts(facts: Iterator[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    for name, value in facts:
        table.add_row(name, value)
    return table


def _print(*parts: Table | str) -> None:
    console = make_console(markup=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))  # a command to copy stays one line
