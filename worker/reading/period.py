"""Which days a period has, and which ones come before it. Pure.

A period ends today, and today counts as far as it has come: an event is in the numbers within milliseconds, and whoever
was just looked at wants to see it. Its length is fixed (a month is 30 days), so that it and the one before are alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Literal, NamedTuple

from worker.days import MOST_DAYS
from worker.errors import Stop

EPOCH = date(1970, 1, 1)
"""No event can be older: its time is told in milliseconds since."""

DAY = timedelta(days=1)

_iso_date = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch


class Why(StrEnum):
    """Why something is no period, as a sentence; what stands in braces is put in.

    `worker.web.texts` has the same in the other language.
    """

    NAME = "{given} is no period: one of {names}, or a range of dates"
    DATE = "{given} is no date: write it as 2026-11-10"
    BOTH = "a period and a range exclude each other: leave one out"
    NO_FIRST = "a range needs its first day"
    BEFORE_EPOCH = "{first} is before {epoch}, the first day there is"
    NOT_COME = "{first} has not come yet: today is {today}"
    REVERSED = "the last day, {last}, comes before the first, {first}: turn them round"
    TOO_LONG = "from {first} to {last} is too long: ask for at most {most} days"


class NoPeriod(Stop):
    """What was asked for is no period. Its text begins with the parameters that are wrong."""

    def __init__(self, why: Why, *parameters: str, **values: object) -> None:
        """`values` are what the sentence puts in."""
        super().__init__(f"{', '.join(parameters)}: {why.format_map(values)}")
        self.why, self.parameters, self.values = why, parameters, values


class PeriodName(StrEnum):
    """The periods that have a name."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    ALL = "all"


LENGTHS = {
    PeriodName.DAY: 1,
    PeriodName.WEEK: 7,
    PeriodName.MONTH: 30,
    PeriodName.QUARTER: 90,
    PeriodName.YEAR: 365,
}
"""In days. `all` begins with the first day that a specialist has."""


class Span(NamedTuple):
    """Dates in the configured zone, from the first to the last, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> "Span":
        """As many days, right before."""
        return Span(self.first - timedelta(days=self.days), self.first - DAY)

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Asked:
    """A period that was asked for."""

    name: PeriodName | None
    """None: a range."""
    first: date | None
    """None: the first day that the specialist has."""
    last: date
    today: date

    def span(self, first_day: date | None) -> Span:
        """Its dates, for a specialist whose first day is known."""
        return Span(self.first or min(first_day or self.last, self.last), self.last)


def parse_period(name: str | None, first: str | None, last: str | None, today: date) -> Asked:
    """Read what somebody asked for: the name of a period, or a range.

    Args:
        name: of a period; without a range, none is a month.
        first: YYYY-MM-DD, where a range is asked for.
        last: the same; none is today, and so is what lies ahead of it.
        today: in the configured zone.

    Raises:
        NoPeriod: it is none, or has no end.
    """
    if first is None and last is None:
        known = _name(name or PeriodName.MONTH)
        length = LENGTHS.get(known)
        return Asked(known, today - timedelta(days=length - 1) if length else None, today, today)
    if name is not None:
        ends_of_range = [end for end, given in (("from", first), ("to", last)) if given is not None]
        raise NoPeriod(Why.BOTH, "period", *ends_of_range)
    if first is None:
        raise NoPeriod(Why.NO_FIRST, "from")
    begins, ends = _date("from", first), _date("to", last) if last is not None else today
    if begins < EPOCH:
        raise NoPeriod(Why.BEFORE_EPOCH, "from", first=begins, epoch=EPOCH)
    if begins > today:
        raise NoPeriod(Why.NOT_COME, "from", first=begins, today=today)
    if ends < begins:
        raise NoPeriod(Why.REVERSED, "from", "to", first=begins, last=ends)
    if Span(begins, ends).days > MOST_DAYS:
        raise NoPeriod(Why.TOO_LONG, "from", "to", first=begins, last=ends, most=MOST_DAYS)
    return Asked(None, begins, min(ends, today), today)


def _name(text: str) -> PeriodName:
    try:
        return PeriodName(text)
    except ValueError:
        raise NoPeriod(Why.NAME, "period", given=_shown(text), names=", ".join(PeriodName)) from None


def _date(parameter: str, text: str) -> date:
    try:
        if _iso_date(text):  # the library also reads 20261110 and 2026-W46-2
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise NoPeriod(Why.DATE, parameter, given=_shown(text))


def _shown(text: str) -> str:
    """What somebody typed, harmless and short."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


Step = Literal["day", "week", "month"]


def step_of(span: Span) -> Step:
    """How long a point of the trend is: so that there are at most about a hundred points in two years, and in ten."""
    if span.days <= 93:
        return "day"
    return "week" if span.days <= 731 else "month"


@lru_cache(maxsize=256)
def steps(span: Span, step: Step) -> Sequence[Span]:
    """The span in pieces: days, calendar weeks (from Monday), calendar months. The first and the last may be cut.

    They are the same for all who look at the same days.
    """
    first, pieces = span.first, []
    while first <= span.last:
        last = min(_end_of(first, step), span.last)
        pieces.append(Span(first, last))
        first = last + DAY
    return tuple(pieces)


def _end_of(day: date, step: Step) -> date:
    if step == "day":
        return day
    if step == "week":
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - DAY
