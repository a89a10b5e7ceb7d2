"""The synthetic day is one that could have been."""

from collections import Counter
from itertools import pairwise

import pytest

from worker.demo.synthetic import DAY_MS, Day, synthetic_day
from worker.events import Event, Reason, Rules, parse
from worker.producer import encoded

NOW_MS = 1_795_370_400_000  # 2026-11-22 18:00 UTC
RULES = Rules.at(NOW_MS, ledger_days=35, exclude_bots=True, secret=b"key")


@pytest.fixture(scope="module")
def day() -> Day:
    return synthetic_day(NOW_MS, events=20_000)


@pytest.fixture(scope="module")
def accepted(day: Day) -> list[Event]:
    return [event for event in map(verdict, day.events) if isinstance(event, Event)]


def verdict(fields: object) -> Event | Reason:
    flat = [part for pair in encoded(fields).items() for part in pair]  # type: ignore[arg-type]
    parsed = parse(b"%d-0" % NOW_MS, flat, RULES)
    return parsed if isinstance(parsed, Event) else parsed.reason


def test_the_seed_decides() -> None:
    """The same seed and hour give the same day, another seed another one."""
    assert synthetic_day(NOW_MS, events=500) == synthetic_day(NOW_MS, events=500)
    assert synthetic_day(NOW_MS, events=500) != synthetic_day(NOW_MS, events=500, seed=2)


@pytest.mark.parametrize("events", [1, 7, 100, 3_000])
def test_the_size(events: int) -> None:
    """There are exactly so many events and specialists as asked for."""
    day = synthetic_day(NOW_MS, events=events, specialists=50)
    assert len(day.events) == events
    assert len(set(day.specialists)) == 50


def test_every_reason_is_there(day: Day) -> None:
    """A day has a bad event for every reason why one can be rejected, but few in all."""
    verdicts = [verdict(fields) for fields in day.events]
    reasons = Counter(reason for reason in verdicts if isinstance(reason, Reason))
    known = set(day.specialists)
    reasons[Reason.UNKNOWN_SPECIALIST] = sum(isinstance(v, Event) and v.specialist_id not in known for v in verdicts)
    assert set(reasons) == set(Reason)
    assert 0 < reasons.total() < len(day.events) / 100


def test_times(day: Day, accepted: list[Event]) -> None:
    """Everything happened within the last 24 hours, more in the evening than at night, and not quite in order."""
    times = [event.occurred_ms for event in accepted]
    assert NOW_MS - DAY_MS <= min(times) <= max(times) <= NOW_MS
    hours = Counter(time // 3_600_000 % 24 for time in times)
    assert hours[19] > 5 * hours[3]
    assert 0 < sum(before > after for before, after in pairwise(times)) < len(times) / 3


def test_the_latest_minutes_are_not_empty(accepted: list[Event]) -> None:
    """The day reaches up to now: its last hour is as full as the hour before."""
    hours = Counter((NOW_MS - event.occurred_ms) // 3_600_000 for event in accepted)
    assert hours[0] > hours[1] / 2


def test_who_and_what(day: Day, accepted: list[Event]) -> None:
    """A few specialists have most views; there are all sources, contacts, bots, looks at oneself, and repeats."""
    views = Counter(event.specialist_id for event in accepted)
    share = sum(count for _, count in views.most_common(len(day.specialists) // 10)) / views.total()
    assert 0.5 < share < 0.9
    types, sources = Counter(event.type for event in accepted), Counter(event.source for event in accepted)
    assert 0.05 < types["contact_view"] / types["profile_view"] < 0.2
    assert sources.keys() == {"catalog", "search", "direct", "other"}
    assert sources["other"] == min(sources.values())
    assert {event.contact_type for event in accepted} >= {"phone", "telegram", "email", "whatsapp"}
    excluded = Counter(event.excluded for event in accepted)
    assert excluded["bot"] > excluded["self_view"] > 0
    repeats = len(accepted) - len({event.event_id for event in accepted})
    assert repeats == pytest.approx(len(day.events) * 0.015, rel=0.2)
