"""`python -m worker export`: the daily table as a file, streamed: a million rows need no more memory than a few."""

import csv
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any

from psycopg import Column
from rich.console import Console

from worker.days import days_between
from worker.errors import Stop
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

STANDARD_OUTPUT = Path("-")

PAGE = 20_000
"""Rows in memory at once; in Parquet they are a row group."""

Write = Callable[[Sequence[tuple[Any, ...]]], object]
"""Writes some more rows."""


def run_export(settings: Settings, first: date, last: date, file_format: str, output: Path) -> int:
    """Write the daily rows of the dates, in the order of date and specialist.

    A file is there as a whole or not at all: it is written under another name beside it, and renamed at the end.

    Returns:
        The exit code, 0; also where the reader of a pipe has gone.

    Raises:
        Stop: the dates are no range, the file cannot be written, or what Parquet needs is not installed.
        Retry: the server is away.
    """
    days_between(first, last)
    written_by = WRITERS[file_format]()
    if output == STANDARD_OUTPUT and file_format == "parquet" and sys.stdout and sys.stdout.isatty():
        raise Stop("Parquet is nothing for a terminal: name a file with --output, or send it into a pipe")
    with connect_postgres(settings, "export") as connection:
        try:
            with _opened(output) as file:
                rows = _export(connection, first, last, file, written_by)
        except BrokenPipeError:  # whoever reads has enough
            return 0
        except OSError as error:
            where = "standard output" if output == STANDARD_OUTPUT else output
            raise Stop(f"cannot write {where}: {error.strerror or error}") from None
    Console(stderr=True, highlight=False).print(f"{rows:,} rows from {first} to {last}", soft_wrap=True)
    return 0


WrittenBy = Callable[[IO[bytes], Sequence[Column]], AbstractContextManager[Write]]
"""How a file of some columns is written; it is complete when the block is over without an error."""


def _export(connection: Connection, first: date, last: date, file: IO[bytes], written_by: WrittenBy) -> int:
    rows = 0
    with postgres_errors(), connection.transaction(), connection.cursor("export", binary=True) as cursor:
        cursor.execute(query("export_daily_rows"), {"first": first, "last": last})
        assert cursor.description is not None  # it is a SELECT
        with written_by(file, cursor.description) as write:
            while page := cursor.fetchmany(PAGE):
                write(page)
                rows += len(page)
    return rows


def _csv() -> WrittenBy:
    @contextmanager
    def written(file: IO[bytes], columns: Sequence[Column]) -> Iterator[Write]:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        try:
            lines = csv.writer(text, lineterminator="\n")
            lines.writerow(column.name for column in columns)
            yield lines.writerows
        finally:
            text.detach()

    return written


def _parquet() -> WrittenBy:
    try:
        import pyarrow as pa  # noqa: PLC0415 - it is large, and not everybody's
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise Stop("--format parquet needs the package pyarrow: pip install '.[parquet]'") from None
    types = {
        "text": pa.string(),
        "date": pa.date32(),
        "int4": pa.int32(),
        "float8": pa.float64(),
        "timestamp": pa.timestamp("ms"),
    }

    @contextmanager
    def written(file: IO[bytes], columns: Sequence[Column]) -> Iterator[Write]:
        schema = pa.schema([(column.name, types[column.type_display.partition("(")[0]]) for column in columns])
        writer = parquet.ParquetWriter(file, schema, compression="zstd")

        def write(rows: Sequence[tuple[Any, ...]]) -> None:
            values = (
                pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            )
            writer.write_batch(pa.record_batch(list(values), schema=schema))

        yield write
        writer.close()  # writes what makes it a Parquet file, so not after an error

    return written


WRITERS: dict[str, Callable[[], WrittenBy]] = {"csv": _csv, "parquet": _parquet}


@contextmanager
def _opened(output: Path) -> Iterator[IO[bytes]]:
    """The file to write. One that is no file (a pipe, a device) is written as it is."""
    if output == STANDARD_OUTPUT:
        if sys.stdout is None:  # closed by whoever started us; its number may be another file's by now
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as pipe:  # Python would flush its own once more at its end
            yield pipe
    elif output.exists() and not output.is_file():
        with output.open("wb") as device:
            yield device
    else:
        output = output.resolve()  # a link stays one
        part = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with _ended_by_sigterm(), part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """In this block SIGTERM ends the command as Ctrl-C does: after it has put away what it has begun."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
