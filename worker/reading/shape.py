"""What a reading says, and its JSON: names in camelCase as the site has them, dates as YYYY-MM-DD."""

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from worker.reading.period import PeriodName, Step


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False):
    """A part of a reading. None refers back to what it is in, so Python's garbage collection need not look at them."""


class Dates(Part, frozen=True):
    """From the first to the last, both included."""

    first: date
    last: date


class Period(Dates, frozen=True):
    """The days that the numbers are of."""

    name: PeriodName | None
    """None: a range."""
    days: int
    last_is_open: bool
    """Whether the last day is today: a part of a day, which is held against a whole one."""
    before: Dates | None
    """As many days, right before, which the changes are against; None: there is nothing before `all`."""


WithoutChange = Literal["new", "not_counted", "no_period_before"]
"""Why there is no percentage: there was nothing before; nobody counted, or not all the time; nothing comes before."""


class Metric(Part, frozen=True):
    """A number of the period."""

    value: int | None
    """None: not known, or nobody counted on any of the days."""
    before: int | None
    """The same of the period before."""
    change: float | None
    """Percent with one decimal, halves rounded up."""
    without_change: WithoutChange | None = None
    """Why there is no change; None if there is one, or if the value is not known."""
    estimated: bool = False
    """Whether one of the numbers is an estimate."""
    partial: bool = False
    """Whether days are missing in the value, for nobody knows who came: only visitors can be so."""


class Metrics(Part, frozen=True):
    """The numbers of the period, each with its change."""

    profile_views: Metric
    contact_views: Metric
    requests: Metric
    orders: Metric
    reviews: Metric
    visitors: Metric


class Point(Dates, frozen=True):
    """Some days of the trend. What was not counted then is None, and never zero."""

    counted_days: int
    """On how many of its days views were counted. Fewer than it has: its numbers are less than what happened."""
    profile_views: int | None
    contact_views: int | None
    requests: int | None
    orders: int | None
    reviews: int | None
    visitors: int | None
    """Of a single day only. How many different people came in a week is no sum, and each would have to be estimated."""


class Trend(Part, frozen=True):
    """The numbers along the days of the period, all of them."""

    step: Step
    """What a point is: the first and the last week or month may be cut."""
    points: tuple[Point, ...]


class Funnel(Part, frozen=True):
    """From those who saw the profile to those who ordered. A rate is percent with one decimal, 0 of nothing; a number
    that nobody counted is None.
    """

    profile_views: int | None
    contact_views: int | None
    requests: int | None
    orders: int | None
    profile_to_contact: float
    contact_to_request: float
    request_to_order: float


SourceName = Literal["catalog", "search", "direct", "other"]


class Source(Part, frozen=True):
    """Profile views from one source."""

    source: SourceName
    views: int
    share: int
    """Percent of them all; the four add up to 100, or to 0 if there are no views."""


class ContactType(Part, frozen=True):
    """Contact views of one type."""

    type: str | None
    """As it was sent, by anybody: never to be trusted. None: not said, or one of the rarer ones."""
    views: int
    share: int
    """Percent; all types add up to 100."""


class ContactTypes(Dates, frozen=True):
    """Contact views by type, on those days of the period whose single events are still kept."""

    types: tuple[ContactType, ...]
    """The most frequent first."""


class Loss(Dates, frozen=True):
    """Events that Redis lost before they were read, somewhen in these days; perhaps of others, on the same stream."""

    entries: int | None
    """None: how many, nobody knows."""


class Freshness(Part, frozen=True):
    """How far the numbers can be relied on."""

    as_of: Annotated[datetime, Meta(tz=True)] | None
    """Whatever had reached Redis by then is counted; None: the stream was never read."""
    complete_through: date | None
    """Up to this day all is counted and was checked; None: no day is closed yet."""
    counting_since: date | None
    """The first day that anybody counted."""
    losses: tuple[Loss, ...]
    """Of the period, the newest first."""
    estimated: bool
    """Whether any number is an estimate."""


class Reading(Part, frozen=True):
    """All that there is to say about a specialist and a period; the numbers are of one moment."""

    specialist: str
    time_zone: str
    """IANA name; its midnight divides the days."""
    period: Period
    metrics: Metrics
    trend: Trend
    funnel: Funnel
    sources: tuple[Source, ...]
    contact_types: ContactTypes | None
    """None: no single event of the period is kept."""
    freshness: Freshness


_encoder = msgspec.json.Encoder()


def to_json(found: Reading) -> bytes:
    """A reading's JSON."""
    return _encoder.encode(found)
