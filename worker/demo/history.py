"""A year and more of one specialist before the synthetic day, so that there is something to look at. Pure: a seed and
`now` decide it all.

The older part is what the site kept before there were events: counters in Redis. The last weeks are events, with
visitors and contact types. Both have requests, orders and reviews.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Literal, NamedTuple
from uuid import UUID

from worker.demo.synthetic import CONTACT_SHARE, CONTACTS, DAY_MS, RHYTHM, SOURCES
from worker.producer import Fields

DAYS = 430
"""So a year has another one before it that is not there for all of it, as with a specialist who is new."""

EVENT_DAYS = 30
"""Within the ledger, and not all of it: its first days are what the site's counters had."""

RETURNING_SHARE = 0.2
REQUEST_SHARE, ORDER_SHARE, REVIEW_SHARE = 0.2, 0.45, 0.4
"""Of the contact views, of the requests, of the orders."""

WEEK = (1.0, 1.05, 1.1, 1.05, 0.95, 0.6, 0.7)
HOLIDAY, HOLIDAY_LEVEL = range(110, 124), 0.15
CAMPAIGN, CAMPAIGN_LEVEL = range(12, 15), 1.8
"""Days ago."""


class Outcome(NamedTuple):
    """Something that came of the contacts, and when (epoch milliseconds)."""

    kind: Literal["consultation_request", "order", "review"]
    at_ms: int


@dataclass(frozen=True, slots=True)
class History:
    """What was, in the order of time."""

    first: date
    counters: Mapping[str, int]
    """Redis keys and values, as the site wrote them."""
    events: Sequence[Fields]
    outcomes: Sequence[Outcome]


def synthetic_history(specialist: str, now_ms: int, views_a_day: float, seed: int = 1) -> History:
    """The days before the 24 hours that end at `now_ms`; outcomes of these, too.

    Args:
        specialist: whose.
        now_ms: epoch milliseconds.
        views_a_day: profile views of the latest days; there were fewer in the beginning.
        seed: the same arguments give the same history.
    """
    random = Random(seed)
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    counters: Counter[str] = Counter()
    visits: list[_Visit] = []
    for ago in range(DAYS, -1, -1):
        made = list(_visits(random, today - timedelta(days=ago), views_a_day * _level(ago, today)))
        visits += made
        if ago >= EVENT_DAYS:
            for visit in made:
                counters.update(_keys(specialist, visit))
    first_event_ms = _midnight_ms(today - timedelta(days=EVENT_DAYS - 1))
    recent = [visit for visit in visits if first_event_ms <= visit.at_ms < now_ms - DAY_MS]
    return History(
        today - timedelta(days=DAYS),
        counters,
        list(_events(random, specialist, recent)),
        [outcome for outcome in _outcomes(random, visits) if outcome.at_ms < now_ms],
    )


class _Visit(NamedTuple):
    """Somebody looks at the profile, and opens a contact if a type is named."""

    at_ms: int
    source: str
    contact_type: str | None


def _visits(random: Random, day: date, expected: float) -> Iterator[_Visit]:
    views = max(0, round(random.gauss(expected, math.sqrt(expected))))
    for at_ms in sorted(_midnight_ms(day) + _moment(random) for _ in range(views)):
        contact_type = _one(random, CONTACTS) if random.random() < CONTACT_SHARE else None
        yield _Visit(at_ms, _one(random, SOURCES), contact_type)


def _level(ago: int, today: date) -> float:
    level = (1 - 0.65 * ago / DAYS) * WEEK[(today - timedelta(days=ago)).weekday()]
    return level * (HOLIDAY_LEVEL if ago in HOLIDAY else CAMPAIGN_LEVEL if ago in CAMPAIGN else 1)


def _keys(specialist: str, visit: _Visit) -> Iterator[str]:
    """What the site counted up at a view: the day's counter, and the totals."""
    day, source = datetime.fromtimestamp(visit.at_ms / 1000, UTC).date(), visit.source or "direct"
    yield f"profile:view:{specialist}:{source}:{day}"
    yield f"profile:views:{specialist}"
    if visit.contact_type:
        yield f"contact:view:{specialist}:{source}:{day}"
        yield f"contact:views:{specialist}"
        yield f"contact:views:{specialist}:{visit.contact_type}"


def _events(random: Random, specialist: str, visits: Sequence[_Visit]) -> Iterator[Fields]:
    visitors: list[str] = []
    for visit in visits:
        if not visitors or random.random() >= RETURNING_SHARE:
            visitors.append(f"{random.getrandbits(64):016x}")
            visitor = visitors[-1]
        else:
            visitor = random.choice(visitors)
        for kind in ("profile_view", *(["contact_view"] if visit.contact_type else [])):
            event = {
                "type": kind,
                "specialistId": specialist,
                "eventId": str(UUID(int=random.getrandbits(128), version=4)),
                "occurredAt": str(visit.at_ms),
                "source": visit.source,
                "visitorId": visitor,
            }
            yield event | ({"contactType": visit.contact_type} if kind == "contact_view" and visit.contact_type else {})


def _outcomes(random: Random, visits: Sequence[_Visit]) -> Iterator[Outcome]:
    for visit in visits:
        at_ms = visit.at_ms + random.randrange(60_000, 3_600_000)
        if not visit.contact_type or random.random() >= REQUEST_SHARE:
            continue
        yield Outcome("consultation_request", at_ms)
        if random.random() < ORDER_SHARE:
            yield Outcome("order", at_ms := at_ms + random.randrange(2 * DAY_MS))
            if random.random() < REVIEW_SHARE:
                yield Outcome("review", at_ms + random.randrange(DAY_MS, 5 * DAY_MS))


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _moment(random: Random) -> int:
    hour = random.choices(range(24), RHYTHM)[0]
    return (hour * 3_600 + random.randrange(3_600)) * 1000


def _one(random: Random, weights: Mapping[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]
