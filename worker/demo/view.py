"""What a person sees of the demo: tables and bars on a terminal, a plain line a second elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.console import can_draw_over
from worker.demo.count import Count
from worker.inspection.status import Status
from worker.settings import Settings, without_credentials

BUSIEST = 8
PLAIN_EVERY_S = 1.0
WIDE = 100


@dataclass(frozen=True)
class Moment:
    """How far everything is."""

    sent: int
    total: int
    """How many are to be sent; 0 when it is others who send."""
    seconds: float
    read: int
    counted: int
    duplicates: int
    excluded: int
    dead: int
    behind: int | None
    """Entries not read yet, if that is known."""
    behind_s: float

    @classmethod
    def of(cls, status: Status, *, sent: int = 0, total: int = 0, seconds: float = 0.0) -> "Moment":
        """Summed over all shards."""
        books = [shard.books for shard in status.shards if shard.books]
        behind = [shard.lag_entries for shard in status.shards]
        return cls(
            sent,
            total,
            seconds,
            read=sum(book.entries_read for book in books),
            counted=sum(book.counted for book in books),
            duplicates=sum(book.duplicates for book in books),
            excluded=sum(book.excluded for book in books),
            dead=sum(book.dead_lettered for book in books),
            behind=None if None in behind else sum(entries or 0 for entries in behind),
            behind_s=max((max(shard.lag_s, 0.0) for shard in status.shards), default=0.0),
        )

    @property
    def books(self) -> str:
        """The sum that must come out."""
        parts = f"{self.duplicates:,} duplicates + {self.excluded:,} excluded + {self.dead:,} dead"
        return f"{self.read:,} read = {self.counted:,} counted + {parts}"

    @property
    def lag(self) -> str:
        """How far behind the worker is."""
        return "not known yet" if self.behind is None else f"{self.behind:,} entries, {self.behind_s:.2f} s"


@dataclass(frozen=True)
class Check:
    """Something that must hold."""

    holds: bool
    text: str


class Doors(NamedTuple):
    """Where to look in."""

    folder: Path
    settings: Settings
    specialist: str
    page: str
    operators_page: str


class View:
    """Writes to standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, emoji=False)
        self._live: Live | None = None
        self._plain_at = 0.0
        self._plain = ""
        self._step_at = time.monotonic()

    def _say(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)

    def title(self, what: str) -> None:
        """What is going to happen."""
        self._say("The specialist analytics worker, all of it on this machine.", "bold")
        self._say(f"From Redis stream to daily rows in PostgreSQL: {what}.\n")

    def step(self, what: str) -> None:
        """Something is done."""
        seconds, self._step_at = time.monotonic() - self._step_at, time.monotonic()
        self._console.print(Text.assemble((" ✓ ", "green"), what, (f"  {seconds:.1f} s", "dim")), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """While it lasts, `show` draws over what it drew before."""
        self._say()
        if not can_draw_over(self._console):
            yield
            return
        try:
            with Live(console=self._console, auto_refresh=False) as self._live:
                yield
        finally:
            self._live = None

    def show(self, moment: Moment) -> None:
        """How far everything is."""
        if self._live:
            self._live.update(_bars(moment) if moment.total else Text(f" {moment.books}", "dim"), refresh=True)
            return
        sent = f"{moment.sent:,} of {moment.total:,} sent, " if moment.total else ""
        line = f" {sent}{moment.books}; behind: {moment.lag}"
        finished = moment.total and moment.sent == moment.total and moment.behind == 0
        if line != self._plain and (finished or time.monotonic() >= self._plain_at + PLAIN_EVERY_S):
            self._say(line)
            self._plain, self._plain_at = line, time.monotonic()

    def report(self, found: Count, checks: Sequence[Check], most_behind_s: float) -> None:
        """What came of it."""
        books, (profile, contact) = found.books, found.views
        self._heading(f'The busiest of {len(found.rows):,} rows in "SpecialistAnalyticsDaily"')
        self._console.print(Padding(_busiest(found, wide=self._console.width >= WIDE), (0, 0, 0, 1)))
        self._heading("The books")
        parts = f"{books.duplicates:,} duplicates + {books.excluded:,} excluded + {sum(books.dead.values()):,} dead"
        self._say(f" {books.read:,} read = {books.counted:,} counted + {parts}")
        self._say(f" counted: {profile:,} profile views, {contact:,} contact views", "dim")
        self._say(" excluded: bots, and specialists who look at themselves", "dim")
        if books.dead:
            self._heading("Dead letters: what could not be counted, kept with its reason")
            self._console.print(Padding(_reasons(books.dead, self._console.width), (0, 0, 0, 1)))
        self._heading("Does it hold?")
        for check in checks:
            mark = Text(" ✓ ", "green") if check.holds else Text(" ✗ ", "bold red")
            self._console.print(mark + Text(check.text), soft_wrap=True)
        self._say(f"   while they came in, the worker was never more than {most_behind_s:.2f} s behind", "dim")

    def failure(self, wrong: Sequence[str], log: Sequence[str]) -> None:
        """What does not hold, and what the worker said."""
        for line in wrong:
            self._say(f"   {line}", "red")
        self._heading("The end of the worker's log")
        for line in log:
            self._say(f" {line}")

    def doors(self, doors: Doors) -> None:
        """Where everything is, and how to send an event. Passwords go into a file and not on the screen."""
        settings = doors.settings
        urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
        environment = doors.folder / "environment"
        environment.touch(mode=0o600)
        environment.write_text(
            "".join(
                f"export {name}={quote(value.get_secret_value())}\n"
                for name, value in {**urls, "ANALYTICS_SECRET": settings.secret}.items()
                if value
            )
        )
        key, python = settings.stream_keys[0], _python()
        self._heading("The pages, while events come in; all of it stays up until Ctrl-C")
        self._say(f" {doors.page}", "cyan")
        self._say(f" {doors.operators_page}", "cyan")
        self._say(" a link opens once, and then a cookie does for twelve hours; `token` makes more", "dim")
        self._heading("In another terminal, after the first line, which brings URLs with their passwords")
        for command in (
            f". {environment}",
            f"{python} -m worker token {doors.specialist} --link",
            f"{python} -m worker token --ops --link",
            f"{python} -m worker report {doors.specialist} --period year",
            f"{python} -m worker status --watch",
            f"redis-cli -u $REDIS_URL XADD '{key}' '*' type profile_view specialistId {doors.specialist} source search",
            'psql $DATABASE_URL -c \'SELECT * FROM "SpecialistAnalyticsDaily" ORDER BY "updatedAt" DESC LIMIT 5\'',
        ):
            self._say(f" {command}", "cyan")
        self._heading("From a web tier, with ioredis")
        event = f"'type', 'profile_view', 'specialistId', '{doors.specialist}', 'source', 'search'"
        once = "'eventId', crypto.randomUUID(), 'occurredAt', Date.now()"
        self._say(f" await redis.xadd('{key}', '*', {event}, {once})", "cyan")
        self._heading("Where it is")
        for url in urls.values():
            self._say(f" {without_credentials(url.get_secret_value())}")
        self._say(f" {doors.folder}: the data, and what worker and web have logged")

    def ending(self, *, borrowed: bool) -> None:
        """The report is read, and everything is about to be stopped."""
        what = (
            "the worker; your servers keep what was written, nothing is dropped" if borrowed else "worker and servers"
        )
        self._say(f"\nStopping {what} …", "dim")

    def farewell(self, seconds: float, *, kept: bool) -> None:
        """It is over."""
        self._say(f"Done in {seconds:.1f} s. No process and no file is left behind.", "bold")
        if not kept:
            self._say(f"To look around, and to send events yourself: {_python()} -m worker demo --keep")

    def stopped(self) -> None:
        """Ctrl-C, before the end."""
        self._say("\nStopped before the end. No process and no file is left behind.")

    def _heading(self, text: str) -> None:
        self._say(f"\n{text}", "bold")


def _python() -> str:
    """How to start the same Python from here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _bars(moment: Moment) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for name, done in (("sent", moment.sent), ("read", moment.read)):
        bar = ProgressBar(total=moment.total, completed=min(done, moment.total), width=32)
        table.add_row(f" {name}", bar, f"{done:>9,}", Text(f"{done / (moment.seconds or 1):>9,.0f}/s", "dim"))
    return Group(table, Text(f" {moment.books}"), Text(f" behind {moment.lag}", "dim"))


def _busiest(found: Count, *, wide: bool) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2 if wide else 1, 0, 0))
    table.add_column("specialist", no_wrap=True)
    table.add_column("date", no_wrap=True)
    for heading in ("profile", "contact", "%", "catalog", "search", "direct", "other"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key, row in sorted(found.rows.items(), key=lambda item: (-item[1].profile_views, item[0]))[:BUSIEST]:
        name = key.specialist if wide or len(key.specialist) <= 10 else f"{key.specialist[:9]}…"
        sources = dict(row.sources)
        numbers = (row.profile_views, row.contact_views)
        by_source = (sources[source] for source in ("catalog", "search", "direct", "other"))
        table.add_row(
            name, str(key.date), *(f"{n:,}" for n in numbers), f"{row.rate:.1f}", *(f"{n:,}" for n in by_source)
        )
    return table


def _reasons(dead: Mapping[str, int], width: int) -> Table:
    """Reasons and numbers, in as many columns as fit."""
    columns = max(1, (width - 1) // 26)
    table = Table.grid(padding=(0, 3, 0, 0))
    cells = [
        f"{reason:<18} {count:>4,}" for reason, count in sorted(dead.items(), key=lambda item: (-item[1], item[0]))
    ]
    for start in range(0, len(cells), columns):
        table.add_row(*cells[start : start + columns])
    return table
