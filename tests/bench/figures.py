"""What was measured, beside what it should be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.table import Table

Say = Callable[[str], None]
"""Told of each measurement as it is made."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    what: str
    measured: float
    unit: str
    target: float
    at_least: bool = False
    """Whether more is better."""
    beside: str = ""
    """What it is to be compared with, measured in the same run."""

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return self.measured >= self.target if self.at_least else self.measured <= self.target


@dataclass(frozen=True, slots=True)
class Results:
    """What a scenario brings: figures with a target, and tables for whoever wants to know more."""

    figures: Sequence[Figure]
    tables: Sequence[Table] = field(default_factory=list)


def figures_table(figures: Sequence[Figure]) -> Table:
    """One line for each target."""
    table = new_table("Targets", "figure", "measured", "target", "", "beside, in the same run")
    for figure in figures:
        limit = "≥" if figure.at_least else "≤"
        table.add_row(
            figure.what,
            f"{number(figure.measured)} {figure.unit}",
            f"{limit} {number(figure.target)}",
            "[green]ok[/]" if figure.is_met else "[red]not[/]",
            figure.beside,
        )
    return table


def new_table(title: str, *columns: str) -> Table:
    """A table whose numbers stand to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column.startswith("beside") else "right")
    return table


def number(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
