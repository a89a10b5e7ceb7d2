"""What commands print on."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.errors import Stop

WIDE = 140
"""Columns where nobody reads along: a file or a pipe should not be cut to the 80 of a terminal."""


def make_console(*, highlight: bool = False, markup: bool = True, wide: int = WIDE) -> Console:
    """Standard output: as wide as the terminal, or `wide` columns where it is none."""
    console = Console(highlight=highlight, markup=markup)
    if not console.is_terminal:
        console.width = wide
    return console


def can_draw_over(console: Console) -> bool:
    """Whether what is printed there can be replaced: elsewhere Rich's `Live` shows nothing before its end."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def standard_output() -> Iterator[None]:
    """In this block the reader of standard output may go, as `head` does: what he does not read is written nowhere, and
    the command ends with its own exit code; who prints without end asks `has_reader`. All is written at the end of the
    block, so nothing is left to fail later.

    Raises:
        Stop: it cannot be written, because a disk is full, say.
    """
    before = sys.stdout
    # It is None where whoever started us has closed it.
    if not isinstance(before, io.TextIOWrapper) or (descriptor := _descriptor(before)) is None:
        yield
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "wb", closefd=False)),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering or before.write_through,
    )
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


def has_reader() -> bool:
    """Whether the reader of standard output was still there when last something was written."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return not (isinstance(output, _Output) and output.reader_went)


def _descriptor(stream: io.TextIOWrapper) -> int | None:
    """Of the file behind it; None: there is no file."""
    try:
        return stream.fileno()
    except OSError:
        return None


class _Output(io.FileIO):
    """Libraries make what they like of a broken pipe (Rich and Click exit with 1), so none of them gets to see it."""

    reader_went = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):
                self.reader_went = True
                return memoryview(data).nbytes
            raise Stop(f"cannot write standard output: {error.strerror}") from None
