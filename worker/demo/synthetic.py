"""A day of a marketplace that never was, for the demo, tests and benchmarks. Pure: a seed and `now` decide it all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from random import Random
from uuid import UUID

from worker.events import ENTRY_FIELDS
from worker.producer import Fields

EVENTS = 50_000
SPECIALISTS = 2_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000

ZIPF = 0.95
"""Views of the specialist in place k are as 1 / k^0.95: the first has some hundred times those of the last."""

RHYTHM = (3, 2, 1, 1, 1, 2, 4, 7, 10, 12, 13, 12, 12, 13, 13, 12, 12, 13, 15, 17, 17, 14, 9, 5)
"""How busy each hour (UTC) is: a low at night, an evening above the working day."""

SOURCES = {"catalog": 44, "search": 33, "direct": 14, "": 5, "telegram": 2, "newsletter": 2}
"""As it is sent; an empty one is `direct`, and one that the site does not know counts under `other`."""

CONTACTS = {"phone": 40, "telegram": 30, "whatsapp": 18, "email": 12}
CONTACT_SHARE = 0.14
BOT_SHARE = 0.08
SIGNED_IN_SHARE = 0.10
SELF_VIEW_SHARE = 0.02
REPEAT_SHARE = 0.015
BAD_SHARE = 0.004

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1"
BROWSERS = {
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36": 30,
    f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/131.0.0.0 Mobile Safari/537.36": 28,
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {SAFARI} Mobile/15E148 Safari/604.1": 18,
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Safari/605.1.15": 8,
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0": 6,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0": 7,
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0": 3,
}
CRAWLERS = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": 35,
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)": 20,
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": 15,
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)": 10,
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": 8,
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": 7,
    "curl/8.9.1": 5,
}


@dataclass(frozen=True, slots=True)
class Day:
    """Everybody who has a profile, and what was sent, in the order of sending."""

    specialists: Sequence[str]
    events: Sequence[Fields]


def synthetic_day(now_ms: int, *, events: int = EVENTS, specialists: int = SPECIALISTS, seed: int = 1) -> Day:
    """The 24 hours that end at `now_ms`: browsers, bots, looks at oneself, late ones, repeats, and some bad events.

    Args:
        now_ms: epoch milliseconds.
        events: how many are sent in all, with the repeats and the bad.
        specialists: how many there are.
        seed: the same seed and `now_ms` give the same day.
    """
    bad = min(max(len(BAD), round(events * BAD_SHARE)), events // 4)
    repeats = round(events * REPEAT_SHARE)
    day = _Maker(Random(seed), now_ms, specialists)
    sent = day.views(events - bad - repeats)
    sent += day.repeats(sent, repeats)
    sent += day.bad(bad)
    sent.sort(key=lambda pair: pair[0])
    return Day(day.specialists, [fields for _, fields in sent])


@dataclass(frozen=True, slots=True)
class _Visitor:
    id: str
    agent: str
    is_bot: bool


class _Maker:
    """The dice. What it makes are pairs: when the event arrives, and its fields."""

    def __init__(self, random: Random, now_ms: int, specialists: int) -> None:
        self.random = random
        self.now_ms = now_ms
        self.specialists = [self.cuid() for _ in range(specialists)]
        self._fame = list(accumulate(1 / place**ZIPF for place in range(1, specialists + 1)))

    def views(self, count: int) -> list[tuple[int, Fields]]:
        """Visits: a profile is seen, and a person may open a contact in the minutes after it."""
        visitors = [self._visitor() for _ in range(count // 3 + 1)]
        made: list[tuple[int, Fields]] = []
        for moment in self._moments(count):
            visitor = self.random.choice(visitors)
            profile = self._view(visitor)
            made.append(self._arriving(moment, profile))
            later = moment + self.random.randint(5_000, 8 * MINUTE_MS)
            may_open = not visitor.is_bot and "viewerId" not in profile and later < self.now_ms
            if may_open and self.random.random() < CONTACT_SHARE:
                contact_type = self._one(CONTACTS)
                contact = profile | {"type": "contact_view", "eventId": self._uuid(), "contactType": contact_type}
                made.append(self._arriving(later, contact))
            if len(made) >= count:
                break
        return made[:count]

    def repeats(self, sent: list[tuple[int, Fields]], count: int) -> list[tuple[int, Fields]]:
        """Events that arrive once more, some seconds later, as after a lost answer."""
        again = [self.random.choice(sent) for _ in range(count)]
        return [(arrival + self.random.randint(200, 30_000), fields) for arrival, fields in again]

    def bad(self, count: int) -> list[tuple[int, Fields]]:
        """Events with something wrong, of every kind in turn."""
        made = []
        for number, moment in enumerate(self._moments(count)):
            _, good = self._arriving(moment, self._view(self._visitor()))
            made.append((moment, BAD[number % len(BAD)](self, dict(good))))
        return made

    def _moments(self, count: int) -> Iterator[int]:
        """Times within the last 24 hours, by the rhythm of the day; in no order, so that some of them are like all."""
        first = self.now_ms - DAY_MS
        minutes = range(DAY_MS // MINUTE_MS)
        busy = [RHYTHM[(first + minute * MINUTE_MS) // (60 * MINUTE_MS) % 24] for minute in minutes]
        chosen = self.random.choices(minutes, busy, k=count)
        return (first + minute * MINUTE_MS + self.random.randrange(MINUTE_MS) for minute in chosen)

    def _view(self, visitor: _Visitor) -> dict[str, str]:
        specialist = self.random.choices(self.specialists, cum_weights=self._fame)[0]
        fields = {
            "type": "profile_view",
            "specialistId": specialist,
            "eventId": self._uuid(),
            "source": self._one(SOURCES),
            "visitorId": visitor.id,
            "userAgent": visitor.agent,
        }
        dice = self.random.random()
        if not visitor.is_bot and dice < SELF_VIEW_SHARE:
            fields["viewerId"] = specialist
        elif not visitor.is_bot and dice < SELF_VIEW_SHARE + SIGNED_IN_SHARE:
            fields["viewerId"] = self.random.choice(self.specialists)
        return fields

    def _arriving(self, moment: int, fields: dict[str, str]) -> tuple[int, Fields]:
        """Most arrive at once; one in a hundred late, as from a phone out of reach. Some write the time as ISO 8601."""
        late, iso = self.random.random() < 0.01, self.random.random() < 0.02
        delay = self.random.randint(10 * MINUTE_MS, 240 * MINUTE_MS) if late else self.random.randint(5, 900)
        text = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds") if iso else str(moment)
        return moment + delay, {**fields, "occurredAt": text}

    def _visitor(self) -> _Visitor:
        is_bot = self.random.random() < BOT_SHARE
        return _Visitor(f"{self.random.getrandbits(64):016x}", self._one(CRAWLERS if is_bot else BROWSERS), is_bot)

    def _one(self, weights: dict[str, int]) -> str:
        return self.random.choices(list(weights), list(weights.values()))[0]

    def cuid(self) -> str:
        return "c" + "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=24))

    def _uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))


def _garbage(day: _Maker) -> bytes:
    return b"\xff\x00" + day.random.randbytes(24)


# One of every kind that a broken or hostile sender makes; `worker.events.Reason` says what the worker makes of each.
BAD: Sequence[Callable[[_Maker, dict[str, str | bytes]], Fields]] = (
    lambda day, good: {name: value for name, value in good.items() if name != "type"},
    lambda day, good: {**good, "type": "page_view"},
    lambda day, good: {name: value for name, value in good.items() if name != "specialistId"},
    lambda day, good: {**good, "specialistId": '\'; DROP TABLE "SpecialistProfile"; --'},
    lambda day, good: {**good, "specialistId": day.cuid()},
    lambda day, good: {**good, "eventId": str(day.random.randrange(10**9))},
    lambda day, good: {**good, "occurredAt": "yesterday"},
    lambda day, good: {**good, "occurredAt": str(day.now_ms - 400 * DAY_MS)},
    lambda day, good: {**good, "occurredAt": str(day.now_ms + 30 * DAY_MS)},
    lambda day, good: {**good, "type": "contact_view", "contactType": _garbage(day)},
    lambda day, good: {**good, "userAgent": "A" * 5_000},
    lambda day, good: {**good, **{f"field{number}": "" for number in range(ENTRY_FIELDS)}},
    lambda day, good: {**good, "v": "2"},
    lambda day, good: {"\x00": _garbage(day)},
)
