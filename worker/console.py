"""What commands print on."""

from rich.console import Console

WIDE = 140
"""Columns where nobody reads along: a file or a pipe should not be cut to the 80 of a terminal."""


def make_console(*, highlight: bool = False, markup: bool = True, wide: int = WIDE) -> Console:
    """Standard output: as wide as the terminal, or `wide` columns where it is none."""
    console = Console(highlight=highlight, markup=markup)
    if not console.is_terminal:
        console.width = wide
    return console
