"""What the web tier sends: the newest entries held against the contract, and what was buried lately."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.doctor.check import Check, error, ok, warning
from worker.events import Event, Reason, Rules, parse
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, known_specialists, postgres_errors
from worker.stream import Entry, StreamReader, connect_redis

SAMPLE_ENTRIES = 1_000
SOME, MANY = 0.01, 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """What was found in the newest entries."""

    entries: int
    rejected: Counter[Reason] = field(default_factory=Counter)
    without_event_id: int = 0
    without_occurred_at: int = 0


def contract(sample: Sample) -> Check:
    """Whether the newest entries can be counted."""
    if not sample.entries:
        return ok("newest events", "no entry in the stream")
    bad = sample.rejected.total()
    found = f"{bad:,} of {sample.entries:,} would be dead letters"
    if not bad:
        return ok("newest events", f"{sample.entries:,}, all as the contract says")
    [(reason, _)] = sample.rejected.most_common(1)
    found = f"{found}, most often {reason.value}"
    advice = f"look at what the web tier sends: {_MEANING[reason]}"
    if bad > MANY * sample.entries:
        return error("newest events", found, advice)
    return warning("newest events", found, advice) if bad > SOME * sample.entries else ok("newest events", found)


_MEANING = {
    Reason.ENTRY_TOO_LARGE: "an entry has more than 1,000 fields or 1 MiB",
    Reason.FIELD_TOO_LONG: "a field is longer than the README allows",
    Reason.UNKNOWN_VERSION: "`v` must be 1 or missing",
    Reason.MISSING_TYPE: "`type` is missing",
    Reason.UNKNOWN_TYPE: "`type` must be profile_view or contact_view",
    Reason.MISSING_SPECIALIST: "`specialistId` is missing",
    Reason.BAD_SPECIALIST: "`specialistId` has characters beside A–Z a–z 0–9 _ -, or more than 64",
    Reason.BAD_EVENT_ID: "`eventId` must be a UUID",
    Reason.BAD_TIME: "`occurredAt` must be epoch milliseconds or ISO 8601 with its offset",
    Reason.TOO_OLD: "older than ANALYTICS_LEDGER_DAYS, or of a day that is sealed",
    Reason.IN_THE_FUTURE: "`occurredAt`, or the entry's id, is more than 5 minutes ahead: see the clocks",
    Reason.BAD_TEXT: "`contactType` is no text in UTF-8",
    Reason.UNKNOWN_SPECIALIST: '`specialistId` is no row of "SpecialistProfile": is this the right database?',
}


def identified(sample: Sample) -> Check:
    """Whether a repeat of the newest entries would be recognised."""
    missing = {"eventId": sample.without_event_id, "occurredAt": sample.without_occurred_at}
    found = ", ".join(f"{count / sample.entries:.0%} without {name}" for name, count in missing.items() if count)
    if sample.without_event_id:
        return warning(
            "repeats", f"{found}: a retry counts twice", "make eventId once, before the first attempt to send"
        )
    if sample.without_occurred_at:
        return warning(
            "repeats", f"{found}: a retry after midnight counts twice", "send occurredAt, the moment of the view"
        )
    return ok("repeats", "all have eventId and occurredAt" if sample.entries else "no entry in the stream")


def dead_letters(recent: Sequence[tuple[str, int]]) -> Check:
    """Whether something was buried in the last 24 hours: reasons and numbers, the most frequent first."""
    if recent:
        found = ", ".join(f"{letters:,} {reason}" for reason, letters in recent[:3])
        return warning(
            "dead letters", f"in 24 h: {found}", "`python -m worker dead-letters list`, and look at what is sent"
        )
    return ok("dead letters", "none in 24 h")


def visitors(settings: Settings) -> Check:
    """Whether visitors can be told apart."""
    if settings.secret is None:
        return warning("visitors", "not stored without ANALYTICS_SECRET", "set it to a long random text, once for ever")
    return ok("visitors", "stored as a keyed hash")


def judge_entries(entries: Sequence[Entry], rules: Rules, unknown: set[str] | frozenset[str] = frozenset()) -> Sample:
    """Parse entries as a rollup would.

    Args:
        entries: id and fields, names and values in turn.
        rules: as they hold now.
        unknown: ids that are no specialist's.
    """
    rejected: Counter[Reason] = Counter()
    for entry_id, fields in entries:
        verdict = parse(entry_id, fields, rules)
        if not isinstance(verdict, Event):
            rejected[verdict.reason] += 1
        elif verdict.specialist_id in unknown:
            rejected[Reason.UNKNOWN_SPECIALIST] += 1
    without = {name: sum(name not in fields[::2] for _, fields in entries) for name in (b"eventId", b"occurredAt")}
    return Sample(len(entries), rejected, without[b"eventId"], without[b"occurredAt"])


def read_sample(settings: Settings, connection: Connection | None) -> Sample:
    """The newest entries of all streams together; without a database every specialist is taken for known."""
    count = max(1, SAMPLE_ENTRIES // settings.shards)
    with connect_redis(settings) as client:
        newest = [StreamReader(client, settings, key).newest(count) for key in settings.stream_keys]
    entries = [entry for of_stream in newest for entry in of_stream]
    rules = Rules.at(
        time.time_ns() // 1_000_000, ledger_days=settings.ledger_days, exclude_bots=settings.exclude_bots, secret=b""
    )
    if connection is None:
        return judge_entries(entries, rules)
    parsed = (parse(entry_id, fields, rules) for entry_id, fields in entries)
    ids = {event.specialist_id for event in parsed if isinstance(event, Event)}
    return judge_entries(entries, rules, ids - known_specialists(connection, ids))


def read_dead_letters(connection: Connection) -> list[tuple[str, int]]:
    """Reasons and numbers of the last 24 hours."""
    with postgres_errors():
        return [(reason, letters) for reason, letters in connection.execute(query("count_recent_dead_letters"))]
