"""`backfill events`: past events out of a file into the ledger, through the parser and the commit of the live path."""

import os
import socket
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import field_validator

from worker.continuity import EntryId
from worker.daily.visitors import refresh_visitors_by_date
from worker.errors import Stop
from worker.event_file import STANDARD_INPUT, field_text, json_object
from worker.events import ENTRY_BYTES, Reason
from worker.intake import Intake
from worker.operation import Arguments, JsonObject, Operation, Problem, Step
from worker.operations.run_intake import OF_A_FILE, PORTION_BYTES, PORTION_ENTRIES, Portion, RunIntake, position_name
from worker.settings import Settings
from worker.stream import Entry

LINE_BYTES = 8 * ENTRY_BYTES
"""A longer line is not even looked at. JSON can make six bytes of one, so it must be larger than any good entry."""

PROBLEMS_KEPT = 1_000


class BackfillEventsArguments(Arguments):
    """Which file, as the machine knows it that reads it."""

    file: str
    force: bool = False
    """Whether a file may be read whose beginning is mostly bad."""

    @field_validator("file")
    @classmethod
    def _can_be_read_on(cls, file: str) -> str:
        if file == str(STANDARD_INPUT):
            raise Stop("standard input cannot be read on from where a run was stopped: write it to a file first")
        if not file.isprintable():
            raise Stop(f"{file!r} is no name that can be written down: rename the file")
        if not Path(file).is_absolute():
            raise Stop(f"{file} is no absolute path, which would be another file elsewhere")
        return file


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two lines."""

    line: int = 0
    """How many lines are before it."""
    offset: int = 0
    """How many bytes."""


@dataclass(frozen=True, slots=True)
class Lines(Portion):
    """Some lines of a file: those that are entries, and those that are none."""

    end: Place
    problems: list[Problem] = field(default_factory=list)


def backfill_events_steps(
    settings: Settings, run: int, arguments: BackfillEventsArguments, cursor: JsonObject
) -> Iterator[Step]:
    """Count the events of a file, some thousand lines a step, and then the visitors of the dates that they are of.

    The position says which line is counted, the cursor where to read on. It can be behind, as it is stored later: the
    lines between are read again for what is wrong with them, and not counted.

    Raises:
        Stop: the file cannot be read, is another one than when the run began, or its beginning is mostly bad.
        Conflict, Retry: see `RunIntake.count`.
    """
    path, place, problems = Path(arguments.file), Place(**cursor.get("place", {})), cursor.get("problems", 0)
    with ExitStack() as resources:
        lines = resources.enter_context(_opened(path))
        version = cursor.get("file") or _version(lines)
        intake = RunIntake(settings, run, resources)
        name = position_name(run)
        position = intake.position(name, EntryId(0, 0))

        def step(listed: list[Problem]) -> Step:
            return Step(
                done=place.line,
                total=_lines_in(version["size"], place),
                cursor={"file": version, "place": {"line": place.line, "offset": place.offset}, "problems": problems},
                result={**intake.books(name)._asdict(), "problems": problems},
                problems=listed,
            )

        _refuse_another(lines, path, version)
        if not cursor:
            if not arguments.force:
                _refuse_mostly_bad(settings, intake.intake, path, lines)
            yield step([])  # from now on it is known which file it was
        portions = read_lines(lines, place, PORTION_ENTRIES, cut_at=position.last_id.ms)
        for portion in intake.count(position, f"file:{path.name}", OF_A_FILE, portions):
            _refuse_another(lines, path, version)
            listed = portion.problems[: max(0, PROBLEMS_KEPT - problems)]
            place, problems = portion.end, problems + len(portion.problems)
            yield step(listed)
        for written in refresh_visitors_by_date(settings):  # else those of older days come in the next night
            if written:
                yield step([])


BACKFILL_EVENTS = Operation("backfill-events", "lines", BackfillEventsArguments, backfill_events_steps)


def read_lines(lines: BinaryIO, place: Place, most: int, cut_at: int = 0) -> Iterator[Lines]:
    """The lines behind a place, in portions.

    Args:
        lines: the file.
        place: where to begin.
        most: how many lines a portion has.
        cut_at: number of a line with which a portion is to end, whatever its size.
    """
    lines.seek(place.offset)
    number, offset = place.line, place.offset
    entries: list[Entry] = []
    problems: list[Problem] = []

    def portion() -> Lines:
        return Lines(entries, EntryId(number, 0), Place(number, offset), problems)

    begun = place
    while line := lines.readline(LINE_BYTES):
        number, offset = number + 1, offset + len(line)
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            offset += _skip_line(lines)
            problems.append(Problem(f"longer than {LINE_BYTES:,} bytes", f"line {number}"))
        elif not line.isspace():
            entry = _entry(number, line)
            if isinstance(entry, Problem):
                problems.append(entry)
            else:
                entries.append(entry)
        if number - begun.line >= most or offset - begun.offset >= PORTION_BYTES or number == cut_at:
            yield portion()
            entries, problems, begun = [], [], Place(number, offset)
    if number > begun.line:
        yield portion()


def _entry(number: int, line: bytes) -> Entry | Problem:
    """A line as an entry whose id is its number, or why it is none.

    Without a time it would be an event of the moment that its id says, which is none: nor could it ever be sent again.
    """
    event = json_object(line)
    if event is None:
        return Problem("not a JSON object", f"line {number}")
    if event.get("occurredAt") in (None, ""):
        return Problem("no occurredAt", f"line {number}")
    fields = []
    for name, value in event.items():
        if value is not None:
            fields.append(name.encode("utf-8", "surrogatepass"))
            fields.append(field_text(value).encode("utf-8", "surrogatepass"))
    return b"%d-0" % number, fields


def _skip_line(lines: BinaryIO) -> int:
    """Go to the end of a line, and say how far that was."""
    skipped = 0
    while part := lines.readline(LINE_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def check_file(path: Path) -> None:
    """Look whether a file can be read here, before there is a run.

    Raises:
        Stop: it cannot.
    """
    with _opened(path) as lines:
        lines.peek(1)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    where = f"{path} on {socket.gethostname()}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a pipe would wait for a writer
            raise Stop(f"cannot read {where}: it is no regular file, in which one could read on after a stop")
        with path.open("rb") as lines:
            yield lines
    except OSError as error:
        raise Stop(
            f"cannot read {where}: {error.strerror}; a run reads it on the worker's machine, and with --now where the"
            " command is given"
        ) from None


def _version(lines: BinaryIO) -> dict[str, Any]:
    """What changes whenever somebody writes to the file."""
    about = os.fstat(lines.fileno())
    return {"size": about.st_size, "changed_ns": about.st_mtime_ns}


def _refuse_another(lines: BinaryIO, path: Path, version: dict[str, Any]) -> None:
    if _version(lines) != version:
        raise Stop(
            f"{path} is not the file any more with which the run began: what is counted stays so; begin a new run, for"
            " which that is repeats"
        )


def _refuse_mostly_bad(settings: Settings, intake: Intake, path: Path, lines: BinaryIO) -> None:
    """A wrong file, or a right one with wrong settings, is not to become a million dead letters."""
    beginning = next(read_lines(lines, Place(), settings.breaker_entries), None)
    if beginning is None:
        return
    _, rejected = intake.parse(beginning.entries)
    seen = len(beginning.entries) + len(beginning.problems)
    bad = Counter([each.reason.value for each in rejected] + [each.reason for each in beginning.problems])
    if bad.total() <= settings.breaker_share * seen:
        return
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in bad.most_common(3))
    sealed = intake.newest_sealed
    why = f"ANALYTICS_LEDGER_DAYS is {settings.ledger_days}" + (f", days up to {sealed} are sealed" if sealed else "")
    too_old = f" ({why})" if bad[Reason.TOO_OLD.value] else ""
    raise Stop(
        f"{bad.total():,} of the first {seen:,} lines of {path} cannot be counted: {reasons}{too_old}; nothing was"
        " counted, and --force goes on all the same"
    )


def _lines_in(size: int, place: Place) -> int | None:
    """How many lines a file has if all are as long as those before a place; exact at its end."""
    return size * place.line // place.offset if place.offset else None
