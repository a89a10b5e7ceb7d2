"""The API under load beside the live path: how long it takes, and what it takes from the counting.

One process `python -m worker web` is asked by one other process, at a steady rate, for another specialist each time;
`python -m worker run` counts events that come at a steady rate too, and does all else that it does each minute. Then a
backlog is drained with and without such requests, in turn.
"""

import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from threading import Thread

import psycopg
import redis

from tests.bench.drain import check_drained
from tests.bench.figures import Figure, Results, Say, Sheet, number
from tests.bench.freshness import percentile
from tests.bench.ground import Ground, Processors, family_seconds, stolen_seconds
from tests.bench.load import Plan, Told
from tests.bench.process import measured
from tests.bench.reading import fill
from tests.bench.traffic import Traffic, silent
from tests.support import TOP, ended, settings_for, start_worker, wait_until
from worker.embedded import free_port
from worker.scheduler import SCHEDULE
from worker.settings import Settings

REQUESTS, EVENTS = 500, 5_000
"""A second."""

SPECIALISTS, QUICK_SPECIALISTS = 5_000, 500
VISITORS = 100_000
DAYS = 730
"""A year, and the one before, which the changes are against."""

LINGER_MS = "20"
"""As the README tells whoever counts thousands of events a second."""

P99_MS = 50.0
LOSS_PERCENT = 5.0
WARM_UP_S = 3.0
WHILE_S = 60.0
"""Seconds: so that what is done each minute is done meanwhile, wherever a minute begins."""
STREAM = "analytics:events"
SENT_TOGETHER = 10
"""Events, two milliseconds apart at the rate above: so that sending costs less than what is measured."""

UNTIL_STOPPED_S = 600.0

CLOSED = """
    INSERT INTO analytics.closed_day (date, closed_at, rows, differences, not_compared)
    SELECT current_date - ago, now() - interval '30 days', 0, 0, 'made up' FROM generate_series(1, %s) AS ago
"""
"""Or the worker would put right what no event stands behind, which is no part of what it always does."""

FIRST_RUNS = "SELECT count(*) FROM analytics.scheduled WHERE ended_at >= begun_at"

WRITTEN = """
    SELECT event_id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float FROM analytics.event
    WHERE stream = 0 AND entry_id <> '0-0'
"""


@dataclass(frozen=True, slots=True)
class Served:
    """What happened in a while in which events came, and perhaps requests."""

    sent: int
    counted: int
    """Events that were counted before the while was over."""
    fresh_ms: Sequence[float]
    """From XADD to PostgreSQL's commit timestamp, in order."""
    cores: dict[str, float]
    """Processor time of each a second."""
    stolen: float
    """Processor time a second that the machine's host kept from them all."""
    told: Told | None


class Scene:
    """A worker, a web process, and a database of some years."""

    def __init__(self, ground: Ground, traffic: Traffic, settings: Settings, port: int, pids: dict[str, int]) -> None:
        self._ground = ground
        self._traffic = traffic
        self._settings = settings
        self._port = port
        self._pids = pids

    @contextmanager
    def load(self, seconds: float) -> Iterator["subprocess.Popen[str]"]:
        """Requests, from the beginning of the block on."""
        secret = self._settings.secret
        assert secret is not None
        plan = Plan(
            self._port,
            secret.get_secret_value(),
            [specialist.decode() for specialist in self._traffic.specialists],
            REQUESTS,
            WARM_UP_S,
            seconds,
        )
        with subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"],
            cwd=TOP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ) as process:
            try:
                print(json.dumps(asdict(plan)), file=process.stdin, flush=True)
                if process.stdout is None or process.stdout.readline() != "ready\n":
                    raise RuntimeError("the load did not start")
                print("go", file=process.stdin, flush=True)
                time.sleep(WARM_UP_S)
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def serve(self, seconds: float, *, requests: bool) -> Served:
        """Let events come for so long, and requests too."""
        ids = self._traffic.event_ids(round(EVENTS * seconds))  # before the requests: it takes a processor for a second
        commands = self._traffic.commands(STREAM, [time.time_ns() // 1_000_000] * len(ids), ids)
        if not requests:
            return self._count(ids, commands, None)
        with self.load(seconds) as process:
            return self._count(ids, commands, process)

    def _count(self, ids: list[bytes], commands: list[bytes], load: "subprocess.Popen[str] | None") -> Served:
        before, stolen_before, began = self._used(), stolen_seconds(), time.monotonic()
        sent: dict[str, float] = {}
        sending = Thread(target=self._send, args=(ids, commands, sent))
        sending.start()
        sending.join()
        elapsed, ended = time.monotonic() - began, time.time()
        used = {name: (after - before[name]) / elapsed for name, after in self._used().items()}
        stolen = (stolen_seconds() - stolen_before) / elapsed
        told = _told(load) if load else None
        if told:
            used["load"] = told.cpu_seconds / told.seconds
        wait_until(self._caught_up, "everything is counted", 120)
        with psycopg.connect(self._settings.database_url.get_secret_value()) as connection:
            written = {str(event): float(at) for event, at in connection.execute(WRITTEN) if event in sent}
        if written.keys() != sent.keys():
            raise RuntimeError(f"{len(written)} of {len(sent)} events were counted")
        fresh_ms = sorted((written[event] - moment) * 1000 for event, moment in sent.items())
        return Served(len(sent), sum(at <= ended for at in written.values()), fresh_ms, used, stolen, told)

    def _send(self, ids: list[bytes], commands: list[bytes], sent: dict[str, float]) -> None:
        """Send events at a steady rate; when each was sent."""
        began = time.time()
        with silent(self._ground.servers.redis_url) as connection:
            for first in range(0, len(ids), SENT_TOGETHER):
                time.sleep(max(0.0, began + first / EVENTS - time.time()))
                now = time.time()
                sent.update((event.decode(), now) for event in ids[first : first + SENT_TOGETHER])
                connection.send_packed_command([b"".join(commands[first : first + SENT_TOGETHER])])

    def _used(self) -> dict[str, float]:
        servers = Processors.of(self._ground.servers)
        ours = {name: family_seconds(pid) for name, pid in self._pids.items()}
        return {**ours, "PostgreSQL": servers.postgres, "Redis": servers.redis}

    def is_settled(self) -> bool:
        """Whether the worker does from now on what it always does: it begins with every line of its schedule."""
        with psycopg.connect(self._settings.database_url.get_secret_value()) as connection:
            done = connection.execute(FIRST_RUNS).fetchone()
        return done == (len(SCHEDULE),) and self._caught_up()

    def _caught_up(self) -> bool:
        with (
            redis.Redis.from_url(self._ground.servers.redis_url) as client,
            psycopg.connect(self._settings.database_url.get_secret_value()) as connection,
        ):
            row = connection.execute("SELECT last_id FROM analytics.stream_position").fetchone()
            return row is not None and row[0] == client.xinfo_stream(STREAM)["last-generated-id"].decode()


def api(ground: Ground, say: Say) -> Results:
    """Requests and events at the rates that must hold; then a backlog, with requests and without."""
    seconds = 5.0 if ground.quick else WHILE_S
    traffic = Traffic(QUICK_SPECIALISTS if ground.quick else SPECIALISTS, VISITORS)
    with ground.database(traffic) as url:
        fill(url, DAYS)
        with psycopg.connect(url) as connection:
            connection.execute(CLOSED, [DAYS])
        say(f"{DAYS * len(traffic.specialists):,} daily rows")
        settings = settings_for(
            url,
            ground.servers.redis_url,
            ANALYTICS_LINGER_MS=LINGER_MS,
            ANALYTICS_LOG_LEVEL="WARNING",
            ANALYTICS_SECRET=secrets.token_hex(32),
        )
        port = free_port()
        with _started(settings, "web", "--host", "127.0.0.1", "--port", str(port)) as web:
            wait_until(lambda: _answers(port), "the web process answers")
            with ground.backlog(traffic, events=1), _started(settings, "run") as worker:
                scene = Scene(ground, traffic, settings, port, {"web": web.pid, "worker": worker.pid})
                wait_until(scene.is_settled, "the worker has counted, and run its schedule once", 120)
                scene.serve(2.0, requests=False)  # connections, partitions and caches are made
                alone = scene.serve(seconds / 4, requests=False)
                say(f"{EVENTS:,} events/s alone: p99 {number(percentile(alone.fresh_ms, 99))} ms")
                both = scene.serve(seconds, requests=True)
            scene = Scene(ground, traffic, settings, port, {"web": web.pid})
            rates = _drain(ground, scene, traffic, say)
    assert both.told is not None
    sheets = [_periods(both.told), _shares(alone, both), _drained(rates)]
    return Results([*_figures(alone, both, both.told)], sheets)


@contextmanager
def _started(settings: Settings, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process as it is in production: `tests.support.running` has the libraries of all commands in its memory."""
    process = start_worker(settings, *arguments)
    try:
        yield process
    finally:
        process.terminate()
        code, _, errors = ended(process)
        if code != 0 or errors:
            print(*errors.splitlines()[-5:], f"{arguments[0]}: exit code {code}", sep="\n", file=sys.stderr)


def _drain(ground: Ground, scene: Scene, traffic: Traffic, say: Say) -> dict[bool, list[float]]:
    """Events a second of a backlog, without requests and with them, in turn: a slow minute of the machine is both's."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    with ground.backlog(traffic, ground.backlog_events):
        for _ in range(ground.repeats):
            for requests, done in rates.items():
                with ground.database(traffic) as url, measured(ground, "rollup", url, ground.backlog_events) as process:
                    if requests:
                        with scene.load(UNTIL_STOPPED_S):
                            process.go()
                            run = process.result()
                    else:
                        process.go()
                        run = process.result()
                    check_drained(run, "rollup", url, ground.backlog_events)
                done.append(run.rate)
                say(f"backlog {'beside requests' if requests else 'alone'}: {run.rate:,.0f}/s")
    return rates


def _told(load: "subprocess.Popen[str]") -> Told:
    """What the load tells at its end."""
    output = load.stdout.read() if load.stdout else ""
    if load.wait() != 0:
        raise RuntimeError(f"the load ended with {load.returncode}")
    return Told(**json.loads(output))


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()


def _figures(alone: Served, both: Served, told: Told) -> Iterator[Figure]:
    taken = sorted(each for those in told.took_ms.values() for each in those)
    half, most = percentile(taken, 50), taken[-1]
    answers = ", ".join(f"{status}: {many:,}" for status, many in sorted(told.statuses.items()))
    yield Figure(
        f"API, {REQUESTS}/s beside {EVENTS:,} events/s, p99",
        percentile(taken, 99),
        "ms",
        P99_MS,
        beside=f"p50 {number(half)} ms, most {number(most)} ms; {answers}",
    )
    good = sum(told.statuses.get(status, 0) for status in ("200", "304"))
    yield Figure(
        "API, requests without a good answer",
        len(taken) + told.unanswered - good,
        "",
        0,
        beside=f"{told.unanswered} without any; {told.asked_again_at_once} the same within a second",
    )
    yield Figure(
        f"live path beside {REQUESTS}/s, loss of {EVENTS:,} events/s",
        (1 - both.counted / both.sent) * 100,
        "%",
        LOSS_PERCENT,
        beside=f"p99 {number(percentile(both.fresh_ms, 99))} ms, alone {number(percentile(alone.fresh_ms, 99))} ms",
    )


def _drained(rates: dict[bool, list[float]]) -> Sheet:
    """A backlog takes the whole machine, and so do requests what they need: there is no rate that it should keep."""
    sheet = Sheet("Backlog", ("what", "events/s"))
    for requests, done in rates.items():
        sheet.rows.append((f"beside {REQUESTS} requests/s" if requests else "alone", number(statistics.median(done))))
    return sheet


def _periods(told: Told) -> Sheet:
    sheet = Sheet("API", ("period", "requests", "p50 ms", "p90 ms", "p99 ms", "most ms"))
    for what, taken in (*told.took_ms.items(), ("sent after it was due", told.late_ms)):
        cells = [percentile(taken, share) for share in (50, 90, 99, 100)]
        sheet.rows.append((what, f"{len(taken):,}", *map(number, cells)))
    return sheet


def _shares(alone: Served, both: Served) -> Sheet:
    names = list(both.cores)
    sheet = Sheet("Cores", ("what", *names, "all", "stolen", "p50 ms to the row", "p99 ms"))
    for what, served in (("events", alone), ("events and requests", both)):
        cores = [f"{served.cores[name]:.2f}" if name in served.cores else "" for name in names]
        fresh = [number(percentile(served.fresh_ms, share)) for share in (50, 99)]
        sums = f"{sum(served.cores.values()):.2f}", f"{served.stolen:.2f}"
        sheet.rows.append((what, *cores, *sums, *fresh))
    return sheet
