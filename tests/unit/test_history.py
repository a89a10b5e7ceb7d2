"""The past of the demo's specialist is one that could have been, and each part of it is brought in one way."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from worker.demo.history import DAYS, EVENT_DAYS, History, synthetic_history
from worker.demo.synthetic import DAY_MS
from worker.events import Event, Rules, parse
from worker.operations.legacy_keys import Counter as LegacyCounter
from worker.operations.legacy_keys import Total, parse_key
from worker.producer import encoded

NOW_MS = 1_795_370_400_000  # 2026-11-22 18:00 UTC
TODAY = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()
RULES = Rules.at(NOW_MS, ledger_days=35, exclude_bots=True, secret=b"key")


def history(seed: int = 1) -> History:
    return synthetic_history("anna", NOW_MS, 40, seed)


def test_the_seed_decides() -> None:
    """The same seed and moment give the same history, another seed another one."""
    assert history() == history()
    assert history() != history(2)


def test_events() -> None:
    """Events are good ones of the last weeks, up to the day that is sent live, with visitors who come again."""
    events = [
        parse(b"%d-0" % NOW_MS, [part for pair in encoded(e).items() for part in pair], RULES) for e in history().events
    ]
    good = [event for event in events if isinstance(event, Event) and not event.excluded]
    assert len(good) == len(events) > 500
    times = [event.occurred_ms for event in good]
    assert NOW_MS - EVENT_DAYS * DAY_MS < min(times) < max(times) < NOW_MS - DAY_MS
    assert len({event.event_id for event in good}) == len(good)
    visits = Counter(event.visitor for event in good if event.type == "profile_view")
    assert 1 < max(visits.values()) < sum(visits.values()) / 5


def test_counters() -> None:
    """Counters are those that the site had, of the days before the events; the totals are the sums of their days."""
    days: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for name, views in history().counters.items():
        key = parse_key(name.encode(), TODAY)
        if isinstance(key, LegacyCounter):
            assert TODAY - timedelta(days=DAYS) <= key.date <= TODAY - timedelta(days=EVENT_DAYS)
            days[key.type] += views
        else:
            assert isinstance(key, Total)
            if not key.spelling:
                totals[key.type] += views
    assert days == totals
    assert min(days.values()) > 500


def test_outcomes() -> None:
    """There are fewer orders than requests and fewer reviews than orders, and none of them lies ahead."""
    outcomes = history().outcomes
    kinds = Counter(outcome.kind for outcome in outcomes)
    assert kinds["consultation_request"] > kinds["order"] > kinds["review"] > 0
    assert max(outcome.at_ms for outcome in outcomes) < NOW_MS
