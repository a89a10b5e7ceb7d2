"""What an import of the legacy counters would bring, without bringing it."""

from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from itertools import chain

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.operation import Problem
from worker.operations.legacy import LegacyArguments, State, add_up, fold_day, noted_dates, problems_of, read_counters
from worker.operations.legacy_keys import Counter
from worker.printable import printable
from worker.queries import query
from worker.settings import Settings
from worker.store import connect_postgres, known_specialists, postgres_errors
from worker.stream import connect_redis


def run_dry_import(settings: Settings, arguments: LegacyArguments) -> int:
    """Say what an import would bring, and change nothing; the counters' numbers are held in memory meanwhile.

    Returns:
        The exit code: 1 if daily rows would be otherwise.

    Raises:
        Stop: a server refuses us, or a migration is missing.
        Retry: a server is away.
    """
    state = State()
    problems: list[Problem] = []
    counters: dict[date, dict[Counter, int]] = {}
    with ExitStack() as resources:
        client = resources.enter_context(connect_redis(settings))
        connection = resources.enter_context(connect_postgres(settings, "backfill"))
        for found in read_counters(settings, client, arguments, state):
            for counter, views in found.counters.items():
                counters.setdefault(counter.date, {})[counter] = views
            problems += state.step(0, 0, found.problems).problems
        noted = noted_dates(connection, arguments)
        for day in sorted(counters.keys() | noted.keys()):
            with postgres_errors(), connection.transaction():
                connection.execute(query("prepare_recompute"))
                folded = fold_day(connection, day, settings.time_zone, counters.get(day, {}), save=False)
            add_up(state.result, len(counters.get(day, {})), folded)
            problems += state.step(0, 0, problems_of(day, folded)).problems
        views_of = Tally[str]()
        for counter, views in chain.from_iterable(each.items() for each in counters.values()):
            views_of[counter.specialist_id] += views
        known = known_specialists(connection, views_of)
    unknown = [
        Problem("unknown_specialist", f"{printable(specialist)}: {views} views")
        for specialist, views in views_of.most_common()
        if specialist not in known
    ]
    problems += state.step(0, 0, unknown).problems
    state.result["specialists"] = len(known)
    _show(state, problems)
    return 1 if state.result.get("rows") else 0


def _show(state: State, problems: Sequence[Problem]) -> None:
    console = Console(highlight=False)
    if problems:
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("problem", no_wrap=True)
        table.add_column("of", overflow="fold")
        for problem in problems:
            table.add_row(problem.reason, Text(problem.subject))
        console.print(table)
    totals = Table(box=None, show_header=False, pad_edge=False)
    totals.add_column()
    totals.add_column(justify="right")
    for name, number in (state.result | state.problems).items():
        totals.add_row(name.replace("_", " "), f"{number:,}")
    console.print(totals)
