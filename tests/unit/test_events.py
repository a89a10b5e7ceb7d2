"""The contract: what a stream entry means."""

import re
import time
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.almost_valid import NOW_MS, almost_valid
from worker.bots import is_bot
from worker.events import (
    DAY_MS,
    ENTRY_BYTES,
    ENTRY_FIELDS,
    KEPT_BYTES,
    KEPT_FIELDS,
    LIMITS,
    VISITOR_CHARACTERS,
    Event,
    Reason,
    Rejected,
    Rules,
    parse,
)

RULES = Rules.at(NOW_MS, ledger_days=35, exclude_bots=True, secret=b"key")
KEEP_ALL = Rules.at(NOW_MS, ledger_days=0, exclude_bots=True, secret=b"")
ENTRY = b"1795300000000-7"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"


def entry(**changes: str | bytes | None) -> list[bytes]:
    """The fields of a good event, with changes; None takes a field away."""
    fields: dict[str, str | bytes | None] = {
        "type": "profile_view",
        "specialistId": "c0ffee",
        "eventId": "0b0e7f7a-6b53-4f0e-8a3c-111111111111",
        "occurredAt": str(NOW_MS - 1000),
    }
    fields |= changes
    pairs = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in fields.items()
        if value is not None
    ]
    return [part for pair in pairs for part in pair]


def accepted(rules: Rules = RULES, /, **changes: str | bytes | None) -> Event:
    verdict = parse(ENTRY, entry(**changes), rules)
    assert isinstance(verdict, Event), verdict
    return verdict


def rejected(rules: Rules = RULES, /, **changes: str | bytes | None) -> Reason:
    verdict = parse(ENTRY, entry(**changes), rules)
    assert isinstance(verdict, Rejected), verdict
    return verdict.reason


def test_good_event() -> None:
    """A complete event is taken as it is."""
    event = accepted(source="catalog", type="contact_view", contactType="phone")
    assert event == Event(
        "0b0e7f7a-6b53-4f0e-8a3c-111111111111",
        NOW_MS - 1000,
        "c0ffee",
        "contact_view",
        "catalog",
        "phone",
        None,
        None,
        ENTRY.decode(),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": None}, Reason.MISSING_TYPE),
        ({"type": ""}, Reason.MISSING_TYPE),
        ({"type": "page_view"}, Reason.UNKNOWN_TYPE),
        ({"type": "Profile_View"}, Reason.UNKNOWN_TYPE),
        ({"specialistId": None}, Reason.MISSING_SPECIALIST),
        ({"specialistId": ""}, Reason.MISSING_SPECIALIST),
        ({"specialistId": "a" * 65}, Reason.FIELD_TOO_LONG),
        ({"specialistId": "a b"}, Reason.BAD_SPECIALIST),
        ({"specialistId": "специалист"}, Reason.BAD_SPECIALIST),
        ({"specialistId": "c0ffee\n"}, Reason.BAD_SPECIALIST),
        ({"specialistId": "c0ffee\0"}, Reason.BAD_SPECIALIST),
        ({"eventId": "no-uuid"}, Reason.BAD_EVENT_ID),
        ({"eventId": "0b0e7f7a6b534f0e8a3c111111111111"}, Reason.BAD_EVENT_ID),
        ({"eventId": "0b0e7f7a-6b53-4f0e-8a3c-11111111111g"}, Reason.BAD_EVENT_ID),
        ({"occurredAt": "yesterday"}, Reason.BAD_TIME),
        ({"occurredAt": "-1"}, Reason.BAD_TIME),
        ({"occurredAt": "1e12"}, Reason.BAD_TIME),
        ({"occurredAt": "2026-11-22"}, Reason.BAD_TIME),
        ({"occurredAt": "2026-11-22T10:00:00"}, Reason.BAD_TIME),
        ({"occurredAt": "1431857114000"}, Reason.TOO_OLD),
        ({"occurredAt": "0"}, Reason.TOO_OLD),
        ({"occurredAt": str(NOW_MS + 300_001)}, Reason.IN_THE_FUTURE),
        ({"occurredAt": "9" * 60}, Reason.IN_THE_FUTURE),
        ({"v": "2"}, Reason.UNKNOWN_VERSION),
        ({"v": ""}, Reason.UNKNOWN_VERSION),
        ({"contactType": b"\xff\xfe"}, Reason.BAD_TEXT),
        ({"contactType": b"pho\0ne"}, Reason.BAD_TEXT),
        ({"userAgent": "x" * 1_000_000}, Reason.FIELD_TOO_LONG),
        ({"visitorId": "x" * 129}, Reason.FIELD_TOO_LONG),
        ({"visitorId": "я" * 129}, Reason.FIELD_TOO_LONG),
    ],
)
def test_bad_events(changes: dict[str, str | bytes | None], reason: Reason) -> None:
    """Each kind of bad event is rejected with its own reason."""
    assert rejected(**changes) is reason


def test_rejected_keeps_the_original() -> None:
    """A rejected entry carries its id and its fields as they were."""
    fields = entry(type="nonsense", extra=b"\x00\xff")
    assert parse(ENTRY, fields, RULES) == Rejected(ENTRY.decode(), Reason.UNKNOWN_TYPE, fields)


def test_entry_without_fields() -> None:
    """An entry without any field is a missing type."""
    verdict = parse(ENTRY, [], RULES)
    assert isinstance(verdict, Rejected)
    assert verdict.reason is Reason.MISSING_TYPE


@pytest.mark.parametrize(
    ("source", "counted_under"),
    [
        ("catalog", "catalog"),
        ("search", "search"),
        ("direct", "direct"),
        (None, "direct"),
        ("", "direct"),
        ("referral", "other"),
        ("r" * 1_000, "other"),
        ("CATALOG", "other"),
    ],
)
def test_sources(source: str | None, counted_under: str) -> None:
    """A missing source is direct, one that nobody knows is other."""
    assert accepted(source=source).source == counted_under


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T12:00:00Z",
        "2026-11-20T13:00:00+01:00",
        "2026-11-20T12:00:00.000Z",
        "2026-11-20T07:00:00-05:00",
        "1795176000000",
    ],
)
def test_times(text: str) -> None:
    """Epoch milliseconds and ISO 8601 with an offset say the same moment."""
    assert accepted(occurredAt=text).occurred_ms == 1_795_176_000_000


def test_the_last_moment_of_a_day() -> None:
    """A fraction of a millisecond before midnight is still the old day."""
    assert accepted(occurredAt="2026-11-20T23:59:59.9996Z").occurred_ms == 1_795_219_199_999


def test_a_long_visitor() -> None:
    """The limit of a visitor's id is in characters, not in bytes."""
    assert accepted(visitorId="я" * 128).visitor is not None


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_each_field_has_its_limit(name: bytes) -> None:
    """A value of a field's largest length is looked at for what it says; with one byte more it is too long."""
    letter = "𝄞" if name == b"visitorId" else "x"
    most = letter * (LIMITS[name] // len(letter.encode()))
    verdict = parse(ENTRY, entry(**{name.decode(): most}), RULES)
    assert isinstance(verdict, Event) or verdict.reason is not Reason.FIELD_TOO_LONG
    assert rejected(**{name.decode(): most + letter}) is Reason.FIELD_TOO_LONG
    assert rejected(**{name.decode(): most + "x"}) is Reason.FIELD_TOO_LONG


def test_every_field_of_an_event_has_a_limit() -> None:
    """Whatever of an entry gets into an event has a limit: a long value is refused, or a word of ours stands for it."""
    for name in (*LIMITS, b"source", b"unknown"):
        verdict = parse(ENTRY, entry(**{name.decode(): "x" * 10_000}), RULES)
        texts = [value for value in verdict if isinstance(value, str)] if isinstance(verdict, Event) else []
        assert all(len(text) <= max(64, VISITOR_CHARACTERS) for text in texts), name


@pytest.mark.parametrize(
    ("largest", "more"),
    [
        (entry() + [b"n", b"v"] * (ENTRY_FIELDS - 4), [b"n", b"v"]),
        ([*entry(), b"n", b"v" * (ENTRY_BYTES - sum(map(len, entry())) - 1)], [b"", b"v"]),
        ([*entry(), b"n" * (ENTRY_BYTES - sum(map(len, entry()))), b""], [b"n", b""]),
        (entry() + [b"n", b""] * (ENTRY_FIELDS - 4), [b"n", b""]),
    ],
    ids=["fields", "a value", "a name", "empty fields"],
)
def test_an_entry_has_its_limit(largest: list[bytes], more: list[bytes]) -> None:
    """Unknown fields are ignored up to the limit of an entry; beyond it nothing of the entry is looked at."""
    assert isinstance(parse(ENTRY, largest, RULES), Event)
    verdict = parse(ENTRY, largest + more, RULES)
    assert isinstance(verdict, Rejected)
    assert verdict.reason is Reason.ENTRY_TOO_LARGE


def test_of_an_absurd_entry_the_beginning_is_kept() -> None:
    """A dead letter of an entry of a hundred thousand fields of any length is small, and says how large it was."""
    verdict = parse(ENTRY, entry() + [b"\xff" * 500, b"v" * 2_000] * 100_000, RULES)
    assert isinstance(verdict, Rejected)
    assert verdict.fields[:8] == entry()
    assert verdict.fields[-2:] == [
        b"analytics:cut",
        b"100004 fields, %d bytes" % (sum(map(len, entry())) + 250_000_000),
    ]
    assert len(verdict.fields) == 2 * KEPT_FIELDS + 2
    assert max(map(len, verdict.fields)) == KEPT_BYTES


def test_a_user_agent_cannot_stop_the_worker() -> None:
    """The longest agent that is accepted, made to be hard on patterns, is looked at in no time."""
    began = time.perf_counter()
    for letter in "abcdefghij":
        is_bot(letter * LIMITS[b"userAgent"])
    assert time.perf_counter() - began < 1, "quadratic patterns need more than ten seconds"


def test_time_of_the_entry() -> None:
    """Without occurredAt an event happened when its entry was added."""
    assert accepted(occurredAt=None).occurred_ms == NOW_MS


def test_oldest_event_accepted() -> None:
    """The first moment of the first day that the ledger keeps is accepted, the millisecond before is not."""
    first = (NOW_MS // DAY_MS - 34) * DAY_MS
    assert accepted(occurredAt=str(first)).occurred_ms == first
    assert rejected(occurredAt=str(first - 1)) is Reason.TOO_OLD


def test_keep_all_accepts_any_age() -> None:
    """With a ledger that keeps all, an event of 2015 is accepted."""
    assert accepted(KEEP_ALL, occurredAt="1431857114000").occurred_ms == 1_431_857_114_000


def test_event_id_is_derived() -> None:
    """Without an event id the same entry always gives the same UUID; other content or another entry another one."""
    fields = entry(eventId=None)
    first, again = parse(ENTRY, fields, RULES), parse(ENTRY, list(fields), RULES)
    elsewhere, other = (
        parse(b"1795300000000-8", fields, RULES),
        parse(ENTRY, entry(eventId=None, source="search"), RULES),
    )
    assert isinstance(first, Event) and isinstance(elsewhere, Event) and isinstance(other, Event)
    assert first == again
    assert len({first.event_id, elsewhere.event_id, other.event_id}) == 3
    assert str(UUID(first.event_id)) == first.event_id


def test_bots_and_self_views_are_kept_but_not_counted() -> None:
    """A bot's view and a look at one's own profile carry the reason why they do not count."""
    assert accepted(userAgent=GOOGLEBOT).excluded == "bot"
    assert accepted(userAgent=FIREFOX).excluded is None
    assert accepted(viewerId="c0ffee").excluded == "self_view"
    assert accepted(viewerId="c0ffee", userAgent=GOOGLEBOT).excluded == "self_view"
    assert accepted(viewerId="somebody").excluded is None
    assert accepted(userAgent=b"\xff\xfe broken").excluded is None


def test_bot_filter_can_be_off() -> None:
    """With ANALYTICS_EXCLUDE_BOTS=0 a bot's view counts."""
    count_bots = Rules.at(NOW_MS, ledger_days=35, exclude_bots=False, secret=b"")
    assert accepted(count_bots, userAgent=GOOGLEBOT).excluded is None


def test_visitor_is_stored_as_a_keyed_hash() -> None:
    """The visitor's id itself is never kept; its hash depends on the key, and without a key there is none."""
    visitor = accepted(visitorId="v-1").visitor
    assert visitor is not None and len(visitor) == 32
    assert accepted(visitorId="v-1").visitor == visitor
    assert accepted(visitorId="v-2").visitor != visitor
    assert accepted(KEEP_ALL, visitorId="v-1").visitor is None


@given(
    st.binary(max_size=40), st.lists(st.one_of(st.sampled_from(sorted(LIMITS)), st.binary(max_size=80)), max_size=24)
)
def test_any_bytes_are_an_event_or_a_reason(entry_id: bytes, fields: list[bytes]) -> None:
    """Whatever bytes come, the answer is an event or a reason, never an exception."""
    assert isinstance(parse(entry_id, fields, RULES), (Event, Rejected))


@given(almost_valid, st.booleans())
def test_almost_valid_entries_are_an_event_or_a_reason(fields: list[bytes], odd: bool) -> None:
    """An event with anything done to its fields is an event within the contract, or a reason with the original."""
    fields = fields[:-1] if odd else fields
    verdict = parse(ENTRY, fields, RULES)
    if isinstance(verdict, Rejected):
        assert verdict.entry_id == ENTRY.decode()
        assert verdict.fields == fields or verdict.reason is Reason.ENTRY_TOO_LARGE
        return
    assert UUID(verdict.event_id).hex == verdict.event_id.replace("-", "").lower()
    assert RULES.oldest_ms <= verdict.occurred_ms <= RULES.newest_ms
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", verdict.specialist_id)
    assert verdict.type in ("profile_view", "contact_view")
    assert verdict.source in ("catalog", "search", "direct", "other")
    assert verdict.contact_type is None or "\0" not in verdict.contact_type
    assert verdict.visitor is None or re.fullmatch(r"[0-9a-f]{32}", verdict.visitor)
    assert verdict.excluded in (None, "bot", "self_view")
    assert parse(ENTRY, list(fields), RULES) == verdict


def test_the_fuzz_goes_everywhere() -> None:
    """Among the entries that are nearly events is every reason that the parser has, and events of every kind."""
    met: set[object] = set()

    @given(almost_valid)
    @settings(max_examples=2000)
    def meet(fields: list[bytes]) -> None:
        verdict = parse(ENTRY, fields, RULES)
        met.add(verdict.reason if isinstance(verdict, Rejected) else verdict.excluded)

    meet()
    assert met == {*Reason, None, "bot", "self_view"} - {Reason.UNKNOWN_SPECIALIST}


@pytest.mark.parametrize(
    ("ledger_days", "sealed_before", "oldest"), [(35, 0, -34), (35, -40, -34), (35, -3, -3), (0, -3, -3)]
)
def test_sealed_days_are_too_old(ledger_days: int, sealed_before: int, oldest: int) -> None:
    """Events are accepted from the first day that is kept and not sealed, whatever the retention says."""
    today = NOW_MS // DAY_MS
    first_open_day = today + sealed_before if sealed_before else 0
    rules = Rules.at(NOW_MS, ledger_days=ledger_days, exclude_bots=True, secret=b"", first_open_day=first_open_day)
    assert rules.oldest_ms == (today + oldest) * DAY_MS
