"""The demo's straight count, which the worker's own numbers are held against."""

from datetime import date
from zoneinfo import ZoneInfo

from worker.demo.count import Books, Count, Key, Row, differences, straight_count
from worker.events import Rules
from worker.producer import Fields

NOW_MS = 1_795_370_400_000  # 2026-11-22 18:00 UTC
RULES = Rules.at(NOW_MS, ledger_days=0, exclude_bots=True, secret=b"")
ONE = "00000000-0000-4000-8000-00000000000a"


def view(**fields: str) -> Fields:
    return {"type": "profile_view", "specialistId": "c1", "occurredAt": "2026-11-22T17:00:00Z", **fields}


def counted(*events: Fields, zone: str = "UTC") -> Count:
    sent = [(b"%d-%d" % (NOW_MS, number), event) for number, event in enumerate(events)]
    return straight_count(sent, {"c1", "c2"}, RULES, ZoneInfo(zone))


def test_views_and_contacts() -> None:
    """Profile views are told apart by source; contact views only in their number and in the rate."""
    count = counted(view(source="search"), view(source="blog"), view(), view(type="contact_view", source="search"))
    sources = (("catalog", 0), ("direct", 1), ("other", 1), ("search", 1))
    assert count.rows == {Key("c1", date(2026, 11, 22)): Row(3, 1, sources, 33.3)}
    assert count.views == (3, 1)


def test_every_entry_is_in_the_books() -> None:
    """Repeats, exclusions and dead letters are counted as what they are, and the sum is what was sent."""
    count = counted(
        view(eventId=ONE),
        view(eventId=ONE.upper()),
        view(viewerId="c1"),
        view(specialistId="nobody"),
        view(v="2"),
    )
    assert count.books == Books(1, 1, 1, {"unknown_specialist": 1, "unknown_version": 1})
    assert count.books.read == 5


def test_the_zone_decides_the_day() -> None:
    """An event late in the evening in UTC is tomorrow's in Tokyo."""
    assert counted(view(), zone="Asia/Tokyo").rows.keys() == {Key("c1", date(2026, 11, 23))}


def test_equal_counts_have_no_difference() -> None:
    """A count equals itself."""
    assert list(differences(counted(view(), view(v="2")), counted(view(), view(v="2")))) == []


def test_differences_are_named() -> None:
    """Each number that is not the same is named, with both values; of many rows only the first."""
    expected = counted(view(), view(type="contact_view"), view(v="2"))
    found = Count({Key("c2", date(2026, 11, 22)): Row(1, 0, (), 0.0)}, Books(1, 2, 0, {"bad_time": 1}))
    assert list(differences(expected, found)) == [
        "counted: 1 in the books, 2 by the straight count",
        "duplicates: 2 in the books, 0 by the straight count",
        "dead letters, bad_time: 1 in the table, 0 by the straight count",
        "dead letters, unknown_version: 0 in the table, 1 by the straight count",
        "c1 2026-11-22: no row; by the straight count"
        " 1 profile views (catalog 0 direct 1 other 0 search 0), 1 contact views, rate 100.0",
        "c2 2026-11-22: 1 profile views (), 0 contact views, rate 0.0; by the straight count no row",
    ]
    many = Count({Key(f"c{number}", date(2026, 1, 1)): Row(1, 0, (), 0.0) for number in range(100)}, expected.books)
    assert len(list(differences(expected, many))) == 11
