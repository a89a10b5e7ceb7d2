"""Import the counters that the site kept in Redis before there were events: into the baseline, and from there by the
formula into the daily rows.

    SCAN → analytics.legacy_counter, of each counter the greatest number ever seen
         → analytics.baseline and the daily rows, date by date, assigned
         → comparison with the totals of all days

All of it is assigned, so whatever is done twice comes to the same.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, cast

import redis
from psycopg.rows import class_row, dict_row
from pydantic import BaseModel

from worker.daily.recompute import assign_views, lock_views
from worker.days import days_between
from worker.operation import Arguments, JsonObject, Operation, Problem, Step
from worker.operations.legacy_keys import (
    LEGACY_KEYS,
    Counter,
    Total,
    parse_key,
    parse_value,
    shown,
    source_of,
)
from worker.printable import printable
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors
from worker.stream import connect_redis, redis_errors

PAGE_KEYS = 1_000
"""How many keys one SCAN looks at: it and the MGET after it hold Redis for less than a millisecond each."""

STEP_PAGES = 20

MOST_PROBLEMS = 1_000
"""So many are listed of a run; the others are counted."""

MOST_DIFFERENCES = 100


class LegacyArguments(Arguments):
    """Which counters to import; without dates all, and then the totals are compared as well."""

    first: date | None = None
    last: date | None = None

    @property
    def is_all(self) -> bool:
        """Whether no counter is left out."""
        return self.first is None and self.last is None

    def has(self, day: date) -> bool:
        """Whether a counter of this date is meant."""
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


def checked_arguments(first: date | None, last: date | None) -> LegacyArguments:
    """What a person asks for.

    Raises:
        Stop: the days are the wrong way round, or too far apart.
    """
    if first and last:
        days_between(first, last)
    return LegacyArguments(first=first, last=last)


@dataclass
class Found:
    """What some keys said. A dict, because SCAN may name a key twice."""

    counters: dict[Counter, int] = field(default_factory=dict)
    totals: dict[Total, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Page(NamedTuple):
    """What one SCAN brought."""

    server: str
    """Which run of which server answered: to another one the cursor means nothing."""
    cursor: int
    """For the next SCAN; 0 means that this was the last."""
    values: Sequence[tuple[bytes, bytes | None]]
    """Keys, and what they hold; None: nothing any more, or nothing that has a value."""


def read_page(client: redis.Redis, cursor: int) -> Page:
    """The next legacy keys, with their values."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.info("server")
        pipeline.scan(cursor, LEGACY_KEYS, PAGE_KEYS)
        about, (following, keys) = pipeline.execute()
    values = cast("list[bytes | None]", client.mget(keys)) if keys else []
    return Page(about["run_id"], int(following), list(zip(keys, values, strict=True)))


def take(page: Page, client: redis.Redis, arguments: LegacyArguments, found: Found) -> None:
    """Put what a page says into what was found."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)  # somebody's clock may be ahead
    without_value = []
    for key, value in page.values:
        what = parse_key(key, tomorrow)
        if isinstance(what, Problem):
            found.problems.append(what)
        elif what is None or (isinstance(what, Counter) and not arguments.has(what.date)):
            continue
        elif value is None:
            without_value.append(key)
        elif isinstance(views := parse_value(key, value, what), Problem):
            found.problems.append(views)
        elif isinstance(what, Counter):
            found.counters[what] = views
        else:
            found.totals[what] = views
    found.problems += _of_another_type(client, without_value)


def _of_another_type(client: redis.Redis, keys: Sequence[bytes]) -> list[Problem]:
    """Those of the keys that are there, and hold something else than a number."""
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.type(key)
        types = pipeline.execute()
    return [Problem("not_a_counter", shown(key)) for key, type in zip(keys, types, strict=True) if type != b"none"]


class State(BaseModel):
    """How far an import has come; the cursor of its steps."""

    phase: str = "scan"
    """`scan`, `fold`, `check`, `over`."""
    server: str | None = None
    """The one that the SCAN cursor is of."""
    scan: int = 0
    keys: int = 0
    """About how many of its keys Redis has looked at."""
    all_keys: int = 0
    folded: date | None = None
    """The last date whose baseline and rows are assigned."""
    listed: int = 0
    problems: dict[str, int] = {}
    """How many there were of each kind, listed or not."""
    result: dict[str, Any] = {}

    def begin_scan(self, server: str, all_keys: int) -> None:
        """Look at the first key next: this is another server, or the same without its memory of cursors."""
        self.server, self.scan, self.keys, self.all_keys = server, 0, 0, all_keys
        self.listed, self.problems = 0, {}

    def step(self, done: int, total: int, problems: Iterable[Problem] = ()) -> Step:
        """What is committed by now. Lists of the problems what there is room for."""
        problems = list(problems)
        self.problems = dict(Tally(self.problems) + Tally(problem.reason for problem in problems))
        listed = problems[: MOST_PROBLEMS - self.listed]
        self.listed += len(listed)
        result = self.result | ({"problems": self.problems} if self.problems else {})
        return Step(done=done, total=total, cursor=self.model_dump(mode="json"), result=result, problems=listed)


def legacy_steps(settings: Settings, _run: int, arguments: LegacyArguments, cursor: JsonObject) -> Iterator[Step]:
    """Read all counters, some pages a step; then assign baseline and rows, a date a step; then compare the totals.

    Raises:
        Stop: a server refuses us, or a migration is missing.
        Conflict: a specialist was deleted in this very moment.
        Retry: a server is away.
    """
    state = State.model_validate(cursor)
    with ExitStack() as resources:
        connection = resources.enter_context(connect_postgres(settings, "backfill"))
        if state.phase == "scan":
            client = resources.enter_context(connect_redis(settings))
            yield from _scan(settings, client, connection, arguments, state)
        if state.phase == "fold":
            yield from _fold(settings, connection, arguments, state)
        if state.phase == "check":
            problems = _sum_up(connection, arguments, state)
            state.phase = "over"
            yield state.step(state.all_keys, state.all_keys, problems)


LEGACY_COUNTERS = Operation("backfill legacy-counters", "keys", LegacyArguments, legacy_steps)


def _scan(
    settings: Settings, client: redis.Redis, connection: Connection, arguments: LegacyArguments, state: State
) -> Iterator[Step]:
    """Note what every counter says. While PostgreSQL writes what was found, the next keys are read."""
    in_flight: tuple[Future[None], Step] | None = None
    with ThreadPoolExecutor(max_workers=1) as background:
        for found in read_counters(settings, client, arguments, state):
            step = state.step(state.keys, 2 * state.all_keys, found.problems)  # each is folded too
            if in_flight:
                yield _written(*in_flight)
            in_flight = background.submit(_note, connection, found), step
        if in_flight:
            yield _written(*in_flight)


def _written(writing: Future[None], step: Step) -> Step:
    writing.result()
    return step


def read_counters(settings: Settings, client: redis.Redis, arguments: LegacyArguments, state: State) -> Iterator[Found]:
    """What the keys say from the state's cursor on, some pages at once."""
    while state.phase == "scan":
        found = Found()
        with redis_errors(settings):
            for _ in range(STEP_PAGES):
                page = read_page(client, state.scan)
                if page.server != state.server:
                    is_another = state.server is not None
                    state.begin_scan(page.server, client.dbsize())
                    if is_another:
                        found = Found()
                        continue
                take(page, client, arguments, found)
                state.scan = page.cursor
                state.keys = min(state.keys + PAGE_KEYS, state.all_keys)
                if page.cursor == 0:
                    state.phase, state.keys = "fold", state.all_keys
                    break
        yield found


def _note(connection: Connection, found: Found) -> None:
    with postgres_errors(), connection.transaction():
        connection.execute(query("upsert_legacy_counters"), _counter_arrays(found.counters))
        connection.execute(query("upsert_legacy_totals"), _arrays(found.totals, Total._fields))


def _counter_arrays(counters: Mapping[Counter, int]) -> dict[str, str]:
    return _arrays(counters, Counter._fields) | {"source": _array(source_of(counter.spelling) for counter in counters)}


def _arrays(views: Mapping[Any, int], names: Sequence[str]) -> dict[str, str]:
    """What was found as array parameters, one a column."""
    columns = zip(*views, strict=True) if views else [()] * len(names)
    return {name: _array(column) for name, column in zip(names, columns, strict=True)} | {
        "value": _array(views.values())
    }


def _array(values: Iterable[object]) -> str:
    """An array's text: a list would cost psycopg more time than all else that is done with a key."""
    items = [*map(str, values)]
    quoted = "\0".join(items).replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')  # no item has a NUL
    return f'{{"{quoted}"}}' if items else "{}"


class Folded(NamedTuple):
    """What the counters of a date come to."""

    rows: int
    """Daily rows that are otherwise from then on."""
    catalog: int
    search: int
    direct: int
    other: int
    contact_views: int
    problems: list[tuple[str, str, int, int]]
    """Reason, specialist, profile views and contact views."""


def _fold(settings: Settings, connection: Connection, arguments: LegacyArguments, state: State) -> Iterator[Step]:
    """Assign the baseline and the daily rows, date by date; each is held up for its own date at most."""
    dates = noted_dates(connection, arguments)
    done, total = state.all_keys, state.all_keys + sum(dates.values())
    for day, counters in dates.items():
        done += counters
        if state.folded is not None and day <= state.folded:
            continue
        with postgres_errors(), connection.transaction():
            lock_views(connection)
            folded = fold_day(connection, day, settings.time_zone, {}, save=True)
            if folded.rows:
                assign_views(connection, {"date": day, "time_zone": settings.time_zone, "specialist": None})
        state.folded = day
        add_up(state.result, counters, folded)
        yield state.step(done, total, problems_of(day, folded))
    state.phase = "check"


def noted_dates(connection: Connection, arguments: LegacyArguments) -> dict[date, int]:
    """How many counters are noted of each date, the oldest first."""
    with postgres_errors():
        return dict(connection.execute(query("list_legacy_dates"), arguments.model_dump()).fetchall())


def fold_day(
    connection: Connection, day: date, time_zone: str, unsaved: Mapping[Counter, int], *, save: bool
) -> Folded:
    """Assign the legacy baseline of a date from its counters, in a transaction that has locked the views; or without
    `save` only say what would come of them.

    Args:
        connection: to the database.
        day: a date; the counters' are days of UTC, and are taken as they are.
        time_zone: IANA name; its midnight divides the days of the events.
        unsaved: counters of the date that are not noted in the database.
        save: write it.
    """
    parameters = _counter_arrays(unsaved) | {"date": day, "time_zone": time_zone, "save": save}
    with connection.cursor(row_factory=class_row(Folded)) as cursor:
        folded = cursor.execute(query("fold_legacy_day"), parameters).fetchone()
    assert folded is not None  # a sum is always one row
    return folded


def add_up(result: dict[str, Any], counters: int, folded: Folded) -> None:
    """Add up what the dates come to."""
    numbers = Tally({"dates": 1, "counters": counters} | dict(zip(Folded._fields, folded[:-1], strict=False)))
    for reason, _, profile_views, contact_views in folded.problems:
        numbers[f"{reason}_views"] += profile_views + contact_views
    for name, number in numbers.items():
        result[name] = result.get(name, 0) + number


def problems_of(day: date, folded: Folded) -> list[Problem]:
    """Those of one date, for people."""
    return [
        Problem(reason, f"{printable(specialist)} {day}: {profile_views} profile views, {contact_views} contact views")
        for reason, specialist, profile_views, contact_views in folded.problems
    ]


def _sum_up(connection: Connection, arguments: LegacyArguments, state: State) -> list[Problem]:
    """Say whose counters were kept out, and whether the totals are the sum of their parts."""
    most = {"most": MOST_PROBLEMS}
    with postgres_errors():
        unknown = connection.execute(query("list_unknown_legacy_specialists"), arguments.model_dump() | most).fetchall()
        problems = [
            Problem("unknown_specialist", f"{printable(specialist)}: {views} views") for specialist, views, _ in unknown
        ]
        state.result["unknown_specialists"] = unknown[0][2] if unknown else 0
        if not arguments.is_all:
            state.result["totals"] = "not compared: --from or --to leaves counters out"
            return problems
        with connection.cursor(row_factory=dict_row) as cursor:
            totals = cursor.execute(query("compare_legacy_totals")).fetchall()
        state.result["totals"] = {total.pop("name"): total for total in totals}
        differences = connection.execute(query("list_legacy_differences"), {"most": MOST_DIFFERENCES}).fetchall()
    return problems + [
        Problem("total_differs", f"{name} of {printable(specialist)}: {total} in all, {parts} by their parts")
        for name, specialist, parts, total in differences
    ]
