"""Some months of a small marketplace: what is sent, what the site has, and a straight count of both. Pure."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

NINA, OLEG, DINA, BORIS = "nina", "oleg", "dina", "boris"
"""Of two streams the first three have one: somebody with a long history, a newcomer, and one whom nobody has looked at.
Boris has the other, which loses events."""

ZONES = ("Europe/Moscow", "Asia/Tokyo", "America/New_York")

DAYS = 30
"""So many days have events, today among them."""

LEGACY_DAYS = 170
"""So many before them have counters of the site, and nobody counted before."""

HOSTILE = ["<b>fax</b>", "\"><script>document.title='owned'</script>", "{{ 7 * 7 }}", "п" * 32]
"""Contact types that somebody else could send."""


def zone_of(now: datetime) -> str:
    """A zone in which no midnight is near, so that today is today until the tests have ended."""
    return next(name for name in ZONES if 5 <= now.astimezone(ZoneInfo(name)).hour < 21)


class Outcome(NamedTuple):
    """A row of the site: its table, whose it is, when it was made."""

    table: str
    specialist: str
    at: datetime


@dataclass
class Tally:
    """What happened to a specialist on a date."""

    profile_views: int = 0
    contact_views: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    contact_types: Counter[str | None] = field(default_factory=Counter)
    visitors: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.profile_views += other.profile_views
        self.contact_views += other.contact_views
        self.sources += other.sources
        self.contact_types += other.contact_types
        self.visitors |= other.visitors
        self.outcomes += other.outcomes
        return self


@dataclass
class Dataset:
    """What is sent and what the site has; `sum` counts it straight, one thing after the other."""

    now: datetime
    zone: ZoneInfo
    events: list[dict[str, str]] = field(default_factory=list)
    """As they go into the stream, in the order in which they happened, with repeats."""
    counters: Counter[str] = field(default_factory=Counter)
    """The site's old counters in Redis, by key."""
    outcomes: list[Outcome] = field(default_factory=list)
    tallies: dict[tuple[str, date], Tally] = field(default_factory=dict)

    @property
    def today(self) -> date:
        """The date in the zone."""
        return self.now.astimezone(self.zone).date()

    def sum(self, specialist: str, first: date, last: date) -> Tally:
        """What happened from one date to another."""
        total = Tally()
        for (whose, day), tally in self.tallies.items():
            if whose == specialist and first <= day <= last:
                total += tally
        return total

    def last_days(self, specialist: str, days: int, ago: int = 0) -> Tally:
        """What happened on so many days, the last of them today or so many days ago."""
        last = self.today - timedelta(days=ago)
        return self.sum(specialist, last - timedelta(days=days - 1), last)

    def tally(self, specialist: str, day: date) -> Tally:
        """Of one date."""
        return self.tallies.setdefault((specialist, day), Tally())


def marketplace(now: datetime, seed: int = 5) -> Dataset:
    """The same for the same moment."""
    chance = random.Random(seed)
    data = Dataset(now, ZoneInfo(zone_of(now)))
    for ago in range(DAYS + LEGACY_DAYS - 1, -1, -1):
        day = data.today - timedelta(days=ago)
        liveliness = (1.0 if day.weekday() < 5 else 0.45) * (1.6 - ago / 200)
        if ago < DAYS:
            _send(data, chance, NINA, day, views=round(chance.gauss(34, 6) * liveliness), contact_share=0.22)
            if ago < 4:
                _send(data, chance, OLEG, day, views=chance.randint(1, 6), contact_share=0.5)
            _send(data, chance, BORIS, day, views=chance.randint(2, 9), contact_share=0.2)
        else:
            _keep_counters(data, chance, NINA, day, views=round(chance.gauss(30, 5) * liveliness))
        for table, share in (("ConsultationRequest", 0.7), ("Order", 0.3), ("Review", 0.1)):
            for _ in range(sum(chance.random() < share * liveliness for _ in range(3))):
                at = _moment(data, chance, day)
                data.outcomes.append(Outcome(table, NINA, at))
                data.tally(NINA, day).outcomes[table] += 1
    return data


def _send(data: Dataset, chance: random.Random, whose: str, day: date, *, views: int, contact_share: float) -> None:
    moments = sorted(_moment(data, chance, day) for _ in range(views))
    hostile = list(HOSTILE) if (whose, day) == (NINA, data.today - timedelta(days=1)) else []
    for at in moments:
        visitor = f"visitor-{chance.randint(1, 400)}"
        source = chance.choices(["catalog", "search", None, "newsletter"], [50, 30, 15, 5])[0]
        _view(data, chance, whose, at, "profile_view", source=source, visitorId=visitor)
        if chance.random() < contact_share:
            kind = chance.choices(["phone", "email", "telegram", None], [50, 20, 25, 5])[0]
            kind = hostile.pop() if hostile else kind
            _view(data, chance, whose, at, "contact_view", contactType=kind, visitorId=visitor)
    bot = _event(chance, whose, moments[0], "profile_view", userAgent="Googlebot/2.1")
    myself = _event(chance, whose, moments[0], "profile_view", viewerId=whose)
    data.events += [bot, myself, *chance.sample(data.events[-views:], k=min(views, 2))]  # none of these counts


def _view(data: Dataset, chance: random.Random, whose: str, at: datetime, what: str, **fields: str | None) -> None:
    data.events.append(_event(chance, whose, at, what, **fields))
    tally = data.tally(whose, at.astimezone(data.zone).date())
    tally.visitors.add(str(fields["visitorId"]))
    if what == "profile_view":
        tally.profile_views += 1
        source = fields["source"] or "direct"
        tally.sources["other" if source == "newsletter" else source] += 1
    else:
        tally.contact_views += 1
        tally.contact_types[fields["contactType"]] += 1


def _event(chance: random.Random, whose: str, at: datetime, what: str, **fields: str | None) -> dict[str, str]:
    known = {name: value for name, value in fields.items() if value is not None}
    event_id = str(UUID(int=chance.getrandbits(128), version=4))
    return {
        "type": what,
        "specialistId": whose,
        "eventId": event_id,
        "occurredAt": str(int(at.timestamp() * 1000)),
        **known,
    }


def _keep_counters(data: Dataset, chance: random.Random, whose: str, day: date, views: int) -> None:
    searched = round(views * chance.uniform(0.2, 0.4))
    sources = Counter(search=searched, catalog=views - searched)
    contacts = round(views * 0.2)
    data.counters += Counter({f"profile:view:{whose}:{source}:{day}": number for source, number in sources.items()})
    data.counters[f"contact:view:{whose}:catalog:{day}"] = contacts
    tally = data.tally(whose, day)
    tally += Tally(views, contacts, sources)


def _moment(data: Dataset, chance: random.Random, day: date) -> datetime:
    """Some moment of the day that has been."""
    begins = datetime(day.year, day.month, day.day, tzinfo=data.zone).astimezone(UTC)
    ends = min(begins + timedelta(hours=22), data.now)
    return begins + (ends - begins) * chance.random()
