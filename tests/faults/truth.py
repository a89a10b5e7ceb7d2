"""Events that know what must become of them, and a straight count of those that reached Redis, held against the tables.

The count reads the streams themselves, so it knows what a sender cannot: whether a push without an answer arrived.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, cast
from uuid import UUID

import redis

from worker.demo.synthetic import CRAWLERS, SOURCES
from worker.events import DAY_MS, Reason
from worker.producer import Fields, Pusher
from worker.settings import Settings
from worker.store import Connection

KIND = "kind"
"""A field that the contract does not know: what must become of the event. `counted`, `excluded`, or why it is bad."""

REMEMBERED = 20_000
AWAY_SECONDS = 60.0
PUSHED_AT_ONCE = 200

View = tuple[str, str, str]
"""Specialist, date, and the source of a profile view; all contact views of a day are `contact`."""


class Sender:
    """Sends events as a web tier does: some twice, and what was not answered again."""

    def __init__(
        self, redis_url: str, streams: Sequence[str], specialists: Sequence[str], *, seed: int, repeats: float = 0.05
    ) -> None:
        """`repeats` is the share of events that were sent before."""
        self._redis_url = redis_url
        self._streams = streams
        self._specialists = specialists
        self._random = Random(seed)
        self._repeats = repeats
        self._before: list[Fields] = []
        self.sent = 0
        """How many were sent and answered."""
        self.unanswered = 0
        """How many were in pushes without an answer; nobody knows whether they arrived, and they were sent again."""

    def send(self, count: int) -> None:
        """Send so many, through an outage of Redis."""
        for first in range(0, count, PUSHED_AT_ONCE):
            self._push([self._event() for _ in range(min(PUSHED_AT_ONCE, count - first))])

    def _push(self, events: Sequence[Fields]) -> None:
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                with redis.Redis.from_url(self._redis_url, socket_timeout=5.0, retry=None) as client:
                    for _ in Pusher(client, self._streams).push(events):
                        pass
            except redis.RedisError:
                self.unanswered += len(events)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                self.sent += len(events)
                return

    def _event(self) -> Fields:
        chance = self._random
        if self._before and chance.random() < self._repeats:
            return chance.choice(self._before)
        event = self._new()
        if len(self._before) < REMEMBERED:
            self._before.append(event)
        else:
            self._before[chance.randrange(REMEMBERED)] = event
        return event

    def _new(self) -> Fields:
        chance = self._random
        event = {
            "type": chance.choice(("profile_view", "profile_view", "contact_view")),
            "specialistId": chance.choice(self._specialists),
            "eventId": str(UUID(int=chance.getrandbits(128), version=4)),
            "occurredAt": str(time.time_ns() // 1_000_000 - chance.randrange(3 * DAY_MS)),
            "source": chance.choice(tuple(SOURCES)),
            KIND: "counted",
        }
        match chance.randrange(60):
            case 0:
                event |= {"userAgent": chance.choice(tuple(CRAWLERS)), KIND: "excluded"}
            case 1:
                event |= {"viewerId": event["specialistId"], KIND: "excluded"}
            case 2:
                event |= chance.choice(BAD)
        return event


BAD: Sequence[dict[str, str]] = (
    {"type": "page_view", KIND: Reason.UNKNOWN_TYPE},
    {"specialistId": "nobody", KIND: Reason.UNKNOWN_SPECIALIST},
    {"eventId": "7", KIND: Reason.BAD_EVENT_ID},
    {"occurredAt": "yesterday", KIND: Reason.BAD_TIME},
    {"v": "2", KIND: Reason.UNKNOWN_VERSION},
)


@dataclass
class Tally:
    """What became of events: by the straight count, or by the tables."""

    views: Counter[View] = field(default_factory=Counter)
    books: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Entries by stream and by what became of them: `read`, `counted`, `excluded`, `dead_lettered`."""
    dead: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""


class Truth:
    """The straight count of everything that has ever reached Redis."""

    def __init__(self, settings: Settings) -> None:
        self._streams = settings.stream_keys
        self._entries: set[tuple[str, bytes, bytes]] = set()
        self._events: set[tuple[bytes, str]] = set()
        self.tally = Tally()

    @property
    def entries(self) -> int:
        """How many entries have reached Redis."""
        return len(self._entries)

    def look(self, client: redis.Redis) -> None:
        """Take in what is in the streams; also before something is done by which Redis loses entries that were read."""
        for stream in self._streams:
            for entry_id, fields in _entries_of(client, stream):
                self._take(stream, entry_id, fields)

    def _take(self, stream: str, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        entry = (stream, entry_id, fields[b"eventId"])
        if entry in self._entries:
            return
        self._entries.add(entry)
        self.tally.books[stream, "read"] += 1
        kind = fields[KIND.encode()].decode()
        if kind not in ("counted", "excluded"):
            self.tally.books[stream, "dead_lettered"] += 1
            self.tally.dead[kind] += 1
            return
        view = _view(fields)
        if (event := (fields[b"eventId"], view[1])) not in self._events:  # an id counts once a day
            self._events.add(event)
            self.tally.books[stream, kind] += 1
            self.tally.views[view] += kind == "counted"


def _entries_of(client: redis.Redis, stream: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    after = "-"
    while page := cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrange(stream, min=after, count=10_000)):
        yield from page
        after = f"({page[-1][0].decode()}"


def _view(fields: dict[bytes, bytes]) -> View:
    date = datetime.fromtimestamp(int(fields[b"occurredAt"]) / 1000, UTC).date().isoformat()
    source = (fields[b"source"] or b"direct").decode()
    known = source if source in ("catalog", "search", "direct") else "other"
    return fields[b"specialistId"].decode(), date, known if fields[b"type"] == b"profile_view" else "contact"


DAILY = """
SELECT "specialistId", date::text, key, value::integer
FROM "SpecialistAnalyticsDaily", jsonb_each_text(sources || jsonb_build_object('contact', "contactViews"))
WHERE value::integer <> 0
"""
LEDGER = """
SELECT specialist_id, day::text, CASE type WHEN 'profile_view' THEN source::text ELSE 'contact' END, count(*)
FROM analytics.event WHERE excluded IS NULL GROUP BY 1, 2, 3
"""
ODD_ROWS = """
SELECT count(*) FROM "SpecialistAnalyticsDaily" AS daily
WHERE "profileViews" <> (SELECT sum(value::integer) FROM jsonb_each_text(sources))
   OR "conversionRateProfileToContact" <> analytics.conversion_rate("contactViews", "profileViews")
"""
BOOKS = "SELECT stream, entries_read, counted, excluded, dead_lettered, duplicates, lost FROM analytics.stream_position"
REWOUND = "SELECT DISTINCT stream FROM analytics.continuity_event WHERE action = 'rewound'"


@dataclass(frozen=True)
class Verdict:
    """The straight count beside the tables."""

    lost: int
    """Views that reached Redis and are not in the daily table."""
    doubled: int
    """Views that the daily table has too many."""
    reported_lost: int
    """Entries that the books give as lost."""
    wrong: Sequence[str]
    """What does not hold, a line each; what was lost and reported as lost is wrong too."""


def judge(truth: Tally, connection: Connection) -> Verdict:
    """Hold the daily table, the ledger, the dead letters and the books against the straight count."""
    daily = _views(connection, DAILY)
    books, dead = Counter[tuple[str, str]](), Counter[str]()
    wrong: list[str] = []
    reported_lost = 0
    rewound = {stream for (stream,) in connection.execute(REWOUND)}
    for stream, read, counted, excluded, dead_lettered, duplicates, lost in connection.execute(BOOKS):
        books[stream, "counted"], books[stream, "excluded"] = counted, excluded
        books[stream, "dead_lettered"] = dead_lettered
        # What is read again after a rewind is in the books again, as duplicates.
        again = read - truth.books[stream, "read"] if stream in rewound else 0
        books[stream, "read"] = read - max(again, 0)
        reported_lost += lost
        if read != counted + duplicates + excluded + dead_lettered:
            wrong.append(f"the books of {stream} do not balance")
        if lost:
            wrong.append(f"{stream}: {lost} entries reported as lost")
    for reason, letters in connection.execute("SELECT reason, count(*) FROM analytics.dead_letter GROUP BY 1"):
        dead[reason] = letters
    wrong += _differences("daily table", truth.views, daily)
    wrong += _differences("ledger", truth.views, _views(connection, LEDGER))
    wrong += _differences("books", truth.books, books)
    wrong += _differences("dead letters", truth.dead, dead)
    odd = connection.execute(ODD_ROWS).fetchone()
    if odd != (0,):
        wrong.append(f"rows whose sources or rate do not fit their views: {odd}")
    return Verdict((truth.views - daily).total(), (daily - truth.views).total(), reported_lost, wrong)


def _views(connection: Connection, statement: str) -> Counter[View]:
    rows = connection.execute(statement.encode())
    return Counter({(specialist, date, source): views for specialist, date, source, views in rows})


def _differences(what: str, truth: Counter[Any], found: Counter[Any]) -> list[str]:
    keys = sorted(key for key in truth.keys() | found.keys() if truth[key] != found[key])
    lines = [f"{what}: {key} is {found[key]} and not {truth[key]}" for key in keys[:5]]
    return lines + ([f"{what}: … and {len(keys) - 5} more"] if len(keys) > 5 else [])


def until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> float:
    """Look again and again until it holds; how many seconds that took. It is an error if it never does."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)  # most looks are a new connection: more often they would take the time of whom they wait for
    return time.monotonic() - began
