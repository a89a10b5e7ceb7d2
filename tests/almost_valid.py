"""Stream entries that are events, or nearly: what a parser meets that only meets noise would never get far into."""

from collections.abc import Callable

from hypothesis import strategies as st

from worker.events import ENTRY_FIELDS, LIMITS

NOW_MS = 1_795_300_000_000
"""The clock of whoever parses them."""

_agents = [b"Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0", b"Googlebot/2.1", b"curl/8", b"(" * 40]
_texts = [b"phone", b"", b"NULL", b'"', b"\\", b"{a,b}", b"'", b"%s", b"\n", "\u202e\U0001f600".encode()]
_good: dict[bytes, st.SearchStrategy[bytes]] = {
    b"v": st.just(b"1"),
    b"type": st.sampled_from([b"profile_view", b"contact_view"]),
    b"specialistId": st.sampled_from([b"anna", b"null", b"-", b"_" * 64]),
    b"eventId": st.one_of(
        st.sampled_from([b"", b"7"]), st.integers(0, 3).map(b"0B0e7f7a-6b53-4f0e-8a3c-%012d".__mod__)
    ),
    b"occurredAt": st.one_of(
        st.integers(-36 * 86_400_000, 400_000).map(lambda offset: b"%d" % (NOW_MS + offset)),
        st.datetimes().map(lambda moment: moment.isoformat().encode() + b"Z"),
        st.sampled_from([b"", b"2026-11-20T12:00:00+02:00", b"20261120T12Z", b"2026-W47-5T12:00:00.5-0330", b"0" * 64]),
    ),
    b"source": st.sampled_from([b"catalog", b"search", b"direct", b"", b"other", b"mail"]),
    b"contactType": st.one_of(st.sampled_from(_texts), st.text(max_size=20).map(str.encode)),
    b"viewerId": st.sampled_from([b"anna", b"boris", b""]),
    b"visitorId": st.one_of(st.binary(max_size=8), st.sampled_from([b"x" * 128, "я".encode() * 128])),
    b"userAgent": st.one_of(st.sampled_from(_agents), st.binary(max_size=40)),
}

pairs = st.fixed_dictionaries(
    {name: _good[name] for name in (b"type", b"specialistId", b"occurredAt")},
    optional={name: value for name, value in _good.items() if name not in (b"type", b"specialistId", b"occurredAt")},
).map(lambda fields: list(fields.items()))

Pairs = list[tuple[bytes, bytes]]


def _changed(change: Callable[[bytes, int, bytes], bytes]) -> st.SearchStrategy[Callable[[Pairs], Pairs]]:
    """One value (or name) with a change at one place."""

    def apply(number: int, place: int, what: bytes, of_name: bool) -> Callable[[Pairs], Pairs]:
        def mutate(pairs: Pairs) -> Pairs:
            if not pairs:
                return pairs
            at = number % len(pairs)
            name, value = pairs[at]
            if of_name:
                name = change(name, place % (len(name) + 1), what)
            else:
                value = change(value, place % (len(value) + 1), what)
            return [*pairs[:at], (name, value), *pairs[at + 1 :]]

        return mutate

    some = st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"\0", b"\xff", b"\n", b" ", b"-", b"9" * 70]))
    return st.builds(apply, st.integers(0, 9), st.integers(0, 70), some, st.sampled_from([False, False, False, True]))


mutations = st.one_of(
    _changed(lambda text, place, what: text[:place] + what + text[place:]),
    _changed(lambda text, place, what: text[:place] + what + text[place + len(what) :]),
    _changed(lambda text, place, what: text[:place] + text[place + len(what) :]),
    _changed(lambda text, place, what: what * (max(LIMITS.values()) // len(what) + 1)),
    st.just(lambda pairs: pairs[1:]),
    st.just(lambda pairs: pairs[::-1]),
    st.just(lambda pairs: pairs + pairs[:2]),
    st.just(lambda pairs: pairs + [(b"%d" % number, b"") for number in range(ENTRY_FIELDS)]),
    pairs.map(lambda others: lambda pairs: pairs + others[-2:]),
)


def _mutated(pairs: Pairs, mutations: list[Callable[[Pairs], Pairs]]) -> list[bytes]:
    for mutate in mutations:
        pairs = mutate(pairs)
    return [part for pair in pairs for part in pair]


almost_valid = st.builds(_mutated, pairs, st.lists(mutations, max_size=3))
"""Names and values in turn, as Redis gives them."""
