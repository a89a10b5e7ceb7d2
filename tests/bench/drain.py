"""A backlog, as after an outage: events a second, processor time, memory, and whether these depend on its size.

The clock runs from before the connections are made to the answer of the last commit; starting Python is not in it.
"""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.bench.figures import Figure, Results, Say, Sheet, number
from tests.bench.floor import Floor, Rows, load, rows_of
from tests.bench.ground import Ground
from tests.bench.process import Run, measured
from tests.bench.traffic import Traffic

RATES = {2_000: 120_000.0, 20_000: 90_000.0}
"""Events a second to be reached, by number of specialists."""

LOOP_CPU_MS = 20.0
PEAK_MB = 160.0
SPREAD = 1.25
"""How much dearer an event may be in one backlog than in another: what begins with a run, and a ledger that grows."""

CHECKS = 0.97

SIZES, QUICK_SIZES = (100_000, 1_000_000, 5_000_000), (100_000, 300_000)
COLUMNS = ("events/s", "CPU ms/1,000", "worker", "PostgreSQL", "Redis", "peak MB")


@dataclass(frozen=True, slots=True)
class Drained:
    """The same backlog, drained by the worker and by what it is compared with."""

    specialists: int
    worker: Run
    parse: Run
    loop: Run
    postgres: Floor

    def figures(self) -> Sequence[Figure]:
        """Rate and processor time."""
        ours, slower = self.worker.rate, self.parse.rate / self.worker.rate
        postgres = self.worker.entries / self.postgres.seconds / ours
        floors = self.parse.cpu_ms_per_1000 + self.postgres.cpu_seconds * 1e6 / self.worker.entries
        cpu, cpu_loop = self.worker.cpu_ms_per_1000, self.loop.cpu_ms_per_1000
        who = f"{self.specialists:,} specialists"
        return (
            Figure(
                f"drain, {who}",
                ours,
                "events/s",
                RATES[self.specialists],
                at_least=True,
                beside=f"reading {slower:.2f} ×, PostgreSQL {postgres:.2f} ×, loop {self.loop.rate / ours:.2f} ×",
            ),
            Figure(
                f"processor time, {who}",
                cpu,
                "ms/1,000",
                LOOP_CPU_MS,
                beside=f"both floors {number(floors)} ms: {cpu / floors:.2f} ×; loop {number(cpu_loop)} ms",
            ),
        )

    def rows(self) -> Iterator[Sequence[str]]:
        """The same as lines of a table."""
        for what, run in (("worker", self.worker), ("floor: read, parse", self.parse), ("loop", self.loop)):
            yield (what, number(self.specialists), *_cells(run))
        entries = self.worker.entries
        cpu = number(self.postgres.cpu_seconds * 1e6 / entries)
        rate = number(entries / self.postgres.seconds)
        yield ("floor: PostgreSQL", number(self.specialists), rate, cpu, "", cpu, "", "")


def drain(ground: Ground, say: Say) -> Results:
    """Rate and processor time with few and with many specialists, beside both floors and a loop without a guarantee."""
    drained = [_drained(ground, Traffic(specialists), say) for specialists in RATES]
    sheet = Sheet("Drain", ("what", "specialists", *COLUMNS), [row for each in drained for row in each.rows()])
    return Results([figure for each in drained for figure in each.figures()], [sheet])


def sizes(ground: Ground, say: Say) -> Results:
    """Memory and the cost of an event, for small and large backlogs."""
    traffic, runs = Traffic(2_000), []
    sheet = Sheet("Size of the backlog", ("events", *COLUMNS))
    for events in QUICK_SIZES if ground.quick else SIZES:
        with ground.backlog(traffic, events), _done(ground, traffic, "rollup", events, say) as (run, _):
            runs.append(run)
            sheet.rows.append((number(events), *_cells(run)))
    costs, peaks = [run.cpu_ms_per_1000 for run in runs], [run.peak_mb for run in runs]
    sized = " / ".join(f"{run.entries:,}" for run in runs)
    return Results(
        [
            Figure("peak memory", max(peaks), "MB", PEAK_MB, beside=f"{_listed(peaks)} with {sized} events"),
            Figure(
                "dearest ÷ cheapest event", max(costs) / min(costs), "×", SPREAD, beside=f"{_listed(costs)} ms/1,000"
            ),
        ],
        [sheet],
    )


def checks(ground: Ground, say: Say) -> Results:
    """What it costs to hold the stream's facts against the stored ones at each read, and to watch for bad entries."""
    traffic, events = Traffic(2_000), ground.backlog_events
    runs: dict[str, list[Run]] = {"rollup": [], "unchecked": []}
    with ground.backlog(traffic, events):
        for _ in range(ground.repeats + 2):  # in turn, so that a slow minute of the machine is both's
            for what, done in runs.items():
                with _done(ground, traffic, what, events, say) as (run, _):
                    done.append(run)
    rate, cpu = (
        {what: statistics.median(getattr(run, name) for run in done) for what, done in runs.items()}
        for name in ("rate", "cpu_ms_per_1000")
    )
    figure = Figure(
        "rate with the checks ÷ without",
        rate["rollup"] / rate["unchecked"],
        "×",
        CHECKS,
        at_least=True,
        beside=f"{number(rate['rollup'])} and {number(rate['unchecked'])} events/s;"
        f" {cpu['rollup']:.2f} and {cpu['unchecked']:.2f} ms/1,000",
    )
    sheet = Sheet("Checks", ("what", *COLUMNS), [(what, *_cells(run)) for what, done in runs.items() for run in done])
    return Results([figure], [sheet])


def _drained(ground: Ground, traffic: Traffic, say: Say) -> Drained:
    events, runs, rows = ground.backlog_events, list[Run](), list[Rows]()
    with ground.backlog(traffic, events):
        for _ in range(ground.repeats):
            with _done(ground, traffic, "rollup", events, say) as (run, url):
                runs.append(run)
                rows = rows or rows_of(url)
        with _done(ground, traffic, "parse", events, say) as (parse, _):
            pass
        with _done(ground, traffic, "loop", events, say) as (loop, _):
            pass
    loads = [load(ground, traffic, rows) for _ in range(ground.repeats)]
    postgres = statistics.median_low(loads)
    many = f"{events:,} events, {len(traffic.specialists):,} specialists"
    say(f"PostgreSQL alone, {many}: {events / postgres.seconds:,.0f}/s")
    middle = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    return Drained(len(traffic.specialists), middle, parse, loop, postgres)


@contextmanager
def _done(ground: Ground, traffic: Traffic, what: str, events: int, say: Say) -> Iterator[tuple[Run, str]]:
    """A process has worked through the backlog; with the URL of the database that it filled."""
    with ground.database(traffic) as url:
        with measured(ground, what, url, events) as process:
            process.go()
            run = process.result()
        check_drained(run, what, url, events)
        say(f"{what}, {events:,} events, {len(traffic.specialists):,} specialists: {run.rate:,.0f}/s")
        yield run, url


def check_drained(run: Run, what: str, database_url: str, events: int) -> None:
    """Every event is counted, and once.

    Raises:
        RuntimeError: it is not so.
    """
    with psycopg.connect(database_url) as connection:
        daily = connection.execute('SELECT sum("profileViews" + "contactViews") FROM "SpecialistAnalyticsDaily"')
        ledger = connection.execute("SELECT count(*) FROM analytics.event")
        found = {"done": run.entries, "counted": (daily.fetchone() or (0,))[0], "kept": (ledger.fetchone() or (0,))[0]}
    wanted = {"parse": {"done"}, "loop": {"done", "counted"}}.get(what, {"done", "counted", "kept"})
    if any(found[name] != events for name in wanted):
        raise RuntimeError(f"{what} of {events} events: {found}")


def _cells(run: Run) -> Sequence[str]:
    seconds = (run.cpu_seconds, run.servers.postgres, run.servers.redis)
    by_whom = (number(part * 1e6 / run.entries) for part in seconds)
    return number(run.rate), number(run.cpu_ms_per_1000), *by_whom, number(run.peak_mb)


def _listed(values: Sequence[float]) -> str:
    return " / ".join(number(value) for value in values)
