"""`python -m worker replay`: what the streams hold of a range, what would be counted, and the run that does it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from worker.console import make_console
from worker.continuity import EntryId
from worker.errors import Stop
from worker.events import Reason
from worker.operations.replay import (
    REPLAY,
    REQUEUE,
    Forecast,
    Held,
    ReplayArguments,
    RequeueArguments,
    count_matching,
    forecast,
    moment_or_id,
    survey,
)
from worker.operations.run_view import run_operation
from worker.settings import Settings
from worker.store import connect_postgres
from worker.stream import connect_redis
from worker.units import utc

NOTHING_FOUND = WOULD_CHANGE = 1


def chosen(
    first: str | None, last: str | None, shard: int | None, letters: RequeueArguments, *, dead_letters: bool
) -> ReplayArguments | RequeueArguments:
    """What the command line asks for.

    Args:
        first: beginning of the range, a time or an entry id.
        last: its end.
        shard: the only one.
        letters: which dead letters.
        dead_letters: whether those are meant.

    Raises:
        Stop: the options do not belong together, or are no range.
    """
    if dead_letters:
        if first or last or shard is not None:
            raise Stop("--dead-letters has no range of entries: narrow it by --reason, --since, --until")
        return letters
    if letters != RequeueArguments():
        raise Stop("--reason, --since and --until are about dead letters: say --dead-letters too")
    if not first or not last:
        raise Stop("say what to read again: --from and --to (a time or an entry id), or --dead-letters")
    begin, end = moment_or_id(first, "--from", is_end=False), moment_or_id(last, "--to", is_end=True)
    if end < begin:
        raise Stop(f"--to {last} comes before --from {first}: turn them round")
    return ReplayArguments(first=str(begin), last=str(end), shard=shard)


def run_replay(settings: Settings, wanted: ReplayArguments, *, dry_run: bool, now: bool, wait: bool | None) -> int:
    """Say what the range holds, and read it again; with `dry_run` say what that would count.

    Returns:
        The exit code: 1 if there is nothing to read again, or if a dry run found something that is missing.

    Raises:
        Stop: there is no such shard, or a server refuses us.
        Retry: a server is away.
    """
    console = make_console()
    with connect_postgres(settings, "replay") as connection, connect_redis(settings) as client:
        held = survey(settings, connection, client, wanted)
        if not sum(each.entries for each in held):
            print(_why_nothing(held, wanted))
            return NOTHING_FOUND
        console.print(_holdings(held))
        if dry_run:
            return _print_forecast(console, forecast(settings, connection, client, wanted, held))
    return run_operation(settings, REPLAY, wanted, now=now, wait=wait)


def run_replay_letters(
    settings: Settings, wanted: RequeueArguments, *, dry_run: bool, now: bool, wait: bool | None
) -> int:
    """Send dead letters again as a run; with `dry_run` say how many of each reason.

    Returns:
        The exit code: 1 if there is none.

    Raises:
        Retry: a server is away.
    """
    with connect_postgres(settings, "replay") as connection:
        matching = count_matching(connection, wanted)
    if not matching:
        print("no dead letter matches")
        return NOTHING_FOUND
    if dry_run:
        total = sum(each.letters for each in matching)
        print(f"{total:,} dead letters would be sent again: {_in_words({e.reason: e.letters for e in matching})}")
        return 0
    return run_operation(settings, REQUEUE, wanted, now=now, wait=wait)


def _why_nothing(held: Sequence[Held], wanted: ReplayArguments) -> str:
    unread = sum(each.unread for each in held)
    if unread:
        return f"nothing to read again: the range was not read yet, and is left to the live path ({unread:,} entries)"
    oldest = [each.oldest for each in held if each.oldest]
    if not oldest:
        return "nothing to read again: there is no entry in the stream any more"
    if min(oldest) > EntryId.of(wanted.last):
        return f"nothing to read again: the range is trimmed, what is still there begins at {_time(min(oldest))} UTC"
    return "nothing to read again: no entry lies in the range"


def _holdings(held: Sequence[Held]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("stream", no_wrap=True)
    table.add_column("to read again", justify="right")
    table.add_column("left to the live path", justify="right")
    table.add_column("begins, UTC")
    for each in held:
        began = _time(each.oldest) if each.oldest else "nothing is there"
        table.add_row(each.stream, f"{each.entries:,}", f"{each.unread:,}", began)
    return table


def _print_forecast(console: Console, found: Forecast) -> int:
    columns = found.counted, found.excluded, found.repeats
    days = Table(box=None, header_style="dim", pad_edge=False, show_footer=True, footer_style="bold")
    days.add_column("date", "together", no_wrap=True)
    for name, column in zip(("would be counted", "kept, not counted", "repeats"), columns, strict=True):
        days.add_column(name, f"{column.total():,}", justify="right")
    for day in sorted(set().union(*columns)):
        days.add_row(str(day), *(f"{column[day]:,}" for column in columns))
    console.print("", days, "", sep="\n")
    new, known = found.new_letters, found.known_letters
    if new:
        console.print(f"would become dead letters: {_in_words(new)}")
    if known:
        console.print(f"dead letters already: {_in_words(known)}")
    would_change = found.counted.total() + found.excluded.total() + new.total()
    if not would_change:
        console.print("nothing is missing")
    return WOULD_CHANGE if would_change else 0


def _in_words(reasons: Mapping[Reason, int] | Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1]))


def _time(entry_id: EntryId) -> str:
    return utc(datetime.fromtimestamp(entry_id.ms / 1000, UTC))
