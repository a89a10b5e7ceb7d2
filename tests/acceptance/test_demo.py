"""`python -m worker demo`: what a stranger runs first. Its own check decides its exit code, so that is checked too."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import psutil
import pytest
import redis

from tests.serving import BROWSER
from tests.support import TOP, environment, wait_until
from worker.producer import track
from worker.settings import Settings
from worker.store import Connection

REAL = TOP.parent / "shared/data/access_log_events.ndjson"


class Demo:
    """A running demo, and every process that it has started so far."""

    def __init__(self, folder: Path, *arguments: str, events: int = 0, **variables: str) -> None:
        command = ["-m", "worker", "demo", *arguments, *(["--events", str(events)] if events else [])]
        self.lines: list[str] = []
        self.family: dict[int, psutil.Process] = {}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=TOP,
            env=os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def read_until(self, holds: Callable[[str], bool]) -> str:
        """Read on until a line of which it holds."""
        for line in self._read():
            if holds(line):
                return line
        raise AssertionError("\n".join(self.lines))

    def end(self) -> tuple[int, str]:
        """Exit code and all that was printed, once it has ended by itself."""
        list(self._read())
        return self.process.wait(60), "\n".join(self.lines)

    def _read(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self.process.poll() is None:
                self.family |= {child.pid: child for child in psutil.Process(self.process.pid).children(recursive=True)}
            yield self.lines[-1]

    def left(self) -> list[str]:
        """What is left of it: processes and files."""
        living = []
        for process in self.family.values():
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                living.append(" ".join(process.cmdline()))
        return living + [str(file) for file in self.folder.iterdir()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that also the user may enter whom PostgreSQL runs as when root starts it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start(*arguments: str, events: int = 0, **variables: str) -> Demo:
        demos.append(Demo(folder, *arguments, events=events, **variables))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.process.communicate()
        for process in demo.family.values():
            if process.is_running():
                process.kill()


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} is not there: it is no part of the repository")
def test_the_real_file(start: Callable[..., Demo]) -> None:
    """All 4,043 real events are read; crawlers are kept and not counted; everything holds, and nothing is left."""
    demo = start(str(REAL))
    code, output = demo.end()
    assert code == 0, output
    assert " 4,043 read = " in output
    assert "0 duplicates" in output
    assert "✓ 4,043 entries were sent, 4,043 were read" in output
    assert "✓ the books balance" in output
    assert "✗" not in output
    assert len(demo.family) >= 8  # servers and guards, supervisor, two workers, scheduler
    assert demo.left() == []


def test_a_synthetic_day(start: Callable[..., Demo]) -> None:
    """A synthetic day over several shards and in another zone comes out as counted, with every kind of dead letter."""
    demo = start(events=2_000, ANALYTICS_SHARDS="3", ANALYTICS_TIME_ZONE="Asia/Kathmandu")
    code, output = demo.end()
    assert code == 0, output
    assert "✓ 2,000 entries were sent, 2,000 were read" in output
    assert "unknown_specialist" in output
    assert "unknown_version" in output
    assert demo.left() == []


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (" ✓ PostgreSQL", signal.SIGINT),
        (" ✓ schema", signal.SIGTERM),
        (" ✓ worker", signal.SIGHUP),
        (" of 20,000 sent", signal.SIGINT),
    ],
)
def test_an_early_end(start: Callable[..., Demo], line: str, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end it at any time, and leave no process and no folder."""
    demo = start(events=20_000)
    demo.read_until(lambda text: line in text)
    for _ in range(3):  # somebody is impatient
        demo.process.send_signal(number)
    code, output = demo.end()
    assert code == 130, output
    assert "Stopped before the end" in output
    assert demo.left() == []


def test_a_killed_demo_leaves_no_process(start: Callable[..., Demo]) -> None:
    """Also when the demo itself is killed, everything that it has started ends."""
    demo = start(events=20_000)
    demo.read_until(lambda text: " of 20,000 sent" in text)
    demo.process.kill()
    gone, alive = psutil.wait_procs(demo.family.values(), timeout=30)
    assert len(gone) >= 8
    assert alive == []


def test_a_worker_that_ends_ends_the_demo(start: Callable[..., Demo]) -> None:
    """If the worker goes away the demo says so in one line and exit code 2, and nothing of it stays."""
    demo = start()
    ready = demo.read_until(lambda text: " ✓ worker" in text)
    demo.read_until(lambda text: " of 50,000 sent" in text)
    os.kill(int(ready.partition("process ")[2].split()[0]), signal.SIGKILL)
    code, output = demo.end()
    assert code == 2, output
    assert output.splitlines()[-1].startswith("error the worker ended with exit code -9")
    assert psutil.wait_procs(demo.family.values(), timeout=30)[1] == []


def test_keep(start: Callable[..., Demo], folder: Path) -> None:
    """With --keep everything stays up until Ctrl-C: the link opens the page of a specialist with a past, and an event
    that is sent by the URL it names is in the numbers.
    """
    demo = start("--keep", events=500)
    page = demo.read_until(lambda text: "/profile/analytics?token=" in text).strip()
    operators_page = demo.read_until(lambda text: "/ops?token=" in text).strip()
    demo.read_until(lambda text: text.startswith(" psql"))
    (file,) = folder.glob("*/environment")
    variables = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
    specialist = next(line for line in demo.lines if "worker report" in line).split()[-3]

    browser = build_opener(HTTPCookieProcessor())
    browser.addheaders = [("User-Agent", BROWSER)]
    for link in (page, operators_page):
        with browser.open(link) as shown:
            assert (shown.status, shown.url) == (200, link.partition("?")[0])
        with pytest.raises(HTTPError, match="401"):
            build_opener().open(Request(link, headers={"User-Agent": BROWSER}))

    def numbers(period: str) -> Any:
        with browser.open(f"{urljoin(page, '/api/specialists')}/{specialist}/analytics?period={period}") as answer:
            return json.load(answer)

    year = numbers("year")
    assert all(metric["value"] > 0 for metric in year["metrics"].values())
    assert all(point["profileViews"] for point in year["trend"]["points"])
    with redis.Redis.from_url(variables["REDIS_URL"]) as client:
        track(client, type="contact_view", specialist_id=specialist, contact_type="pigeon")
    wait_until(
        lambda: any(kind["type"] == "pigeon" for kind in numbers("day")["contactTypes"]["types"]),
        "the event is counted",
    )

    demo.process.send_signal(signal.SIGINT)
    code, output = demo.end()
    assert code == 0, output
    for secret in (variables["ANALYTICS_SECRET"], urlsplit(variables["REDIS_URL"]).password):
        assert secret and secret not in output
    assert demo.left() == []


def test_borrowed_servers(
    start: Callable[..., Demo], settings: Settings, database: str, connection: Connection, client: redis.Redis
) -> None:
    """Servers that the environment names are used if they are empty, and else refused; nothing in them is dropped."""
    borrowed = environment(settings) | {"DATABASE_URL": database}
    code, output = start(events=500, **borrowed).end()
    assert code == 0, output
    before = connection.execute('SELECT count(*) FROM "SpecialistAnalyticsDaily"').fetchone()
    assert client.xlen("analytics:events") == 500
    for empty in ((), (client,)):
        for emptied in empty:
            emptied.flushdb()
        code, output = start(**borrowed).end()
        assert (code, output.count("\n")) == (2, 3)
        assert "error DATABASE_URL and REDIS_URL name servers of your own" in output
    assert connection.execute('SELECT count(*) FROM "SpecialistAnalyticsDaily"').fetchone() == before


def test_a_wrong_number_is_found(
    start: Callable[..., Demo], settings: Settings, database: str, connection: Connection
) -> None:
    """If one number in the daily table is wrong, it is named and the exit code is 1."""
    connection.execute(
        """
        CREATE FUNCTION one_too_many() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW."contactViews" := NEW."contactViews" + 1; RETURN NEW; END $$
        """
    )
    connection.execute(
        """
        CREATE TRIGGER one_too_many BEFORE INSERT ON "SpecialistAnalyticsDaily"
            FOR EACH ROW WHEN (NEW."sources" ->> 'other' = '1') EXECUTE FUNCTION one_too_many()
        """
    )
    code, output = start(events=500, **environment(settings) | {"DATABASE_URL": database}).end()
    assert code == 1, output
    assert "✗ " in output
    assert "by the straight count" in output


def test_a_bad_file(start: Callable[..., Demo], tmp_path: Path) -> None:
    """A file that cannot be used is one line and exit code 2, before anything is started."""
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps({"type": "profile_view"}) + "\nnot JSON\n")
    empty = tmp_path / "empty.ndjson"
    empty.touch()
    began = time.monotonic()
    assert start(str(file)).end() == (2, f"error {file}, line 2: not a JSON object")
    assert start(str(empty)).end() == (2, f"error {empty} has no events")
    assert time.monotonic() - began < 20
