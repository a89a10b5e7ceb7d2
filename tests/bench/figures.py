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


@dataclass(slots=True)
class Sheet:
    """A table of measurements, for whoever wants to know more than a figure says."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def drawn(self) -> Table:
        """For people; numbers stand to the right."""
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True, slots=True)
class Results:
    """What a scenario brings."""

    figures: Sequence[Figure]
    sheets: Sequence[Sheet] = ()


def drawn(figures: Sequence[Figure]) -> Table:
    """One line for each target."""
    table = Table("figure", title="Targets", title_justify="left", title_style="bold")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    table.add_column("beside, in the same run")
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


def number(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
