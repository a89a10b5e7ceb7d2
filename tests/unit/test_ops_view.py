"""What the operator's page says of what was found."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import Any

import pytest
from starlette.requests import Request

from jobs.view import JobsView, QueueView, WorkerView
from worker.errors import AnalyticsError, NotMigrated, Retry, Stop
from worker.inspection.observe import Observation, Records
from worker.inspection.status import (
    Books,
    Closing,
    ContinuityEvent,
    DeadLetters,
    OpenAlert,
    Outcomes,
    ShardStatus,
)
from worker.operations.dead_letters import Glimpse
from worker.operations.request_store import RequestBooks, RequestStand
from worker.operations.runs import Run
from worker.scheduler import SCHEDULE
from worker.upkeep.scheduled import Ran
from worker.web.ops import is_from_here
from worker.web.ops_verdict import Look
from worker.web.ops_view import OpsView, run_in_words, view
from worker.web.rendering import render
from worker.web.words import Language

NOW = datetime(2026, 11, 23, 2, 45, 10, tzinfo=UTC)
STREAMS = ("analytics:events:{0}", "analytics:events:{1}")
HOSTILE = """'"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'; DROP TABLE analytics.event; --"""


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def books(stream: str = STREAMS[0], **changes: Any) -> Books:
    row = Books(stream, "e", "1795402693924-5", 10, 1_010, 1_000, 5, 3, 2, 0, None, None, 0.4)
    return row._replace(**changes)


def shard(row: Books, unread: int = 0, waits_s: float = 0.0) -> ShardStatus:
    return ShardStatus(row.stream, row.last_id, unread, waits_s, waits_s, 0.1, 0.0, row)


def run(number: int, state: str = "running", **changes: Any) -> Run:
    row = Run(
        number, "recompute", {"first": "2026-11-01"}, "anna@here", "queued", 1, ago(90), ago(80), None, 3, 7, {}, {},
        None, None, 0.5, 80.0,
    )  # fmt: skip
    return row._replace(state=state, **changes)  # type: ignore[arg-type] # a state that there is


def all_is_well(rows: Sequence[Books] = (books(), books(STREAMS[1])), **changes: Any) -> Look:
    """A look at servers and workers that do what they should."""
    ran = [Ran(line.name, NOW, ago(1), NOW, {"rows": 3}, None, ago(1), 1.0) for line in SCHEDULE]
    records = Records(
        {row.stream: row for row in rows},
        (),
        (),
        Outcomes(ago(10), 10.0, []),
        Closing(date(2026, 11, 22), None, 0, [], 0, 0, None),
        ran,
    )
    workers = tuple(WorkerView(f"{queue}-worker", queue, "busy", "job", 0.5) for queue in ("rollup", "ops"))
    look = Look(
        at=NOW,
        seen=Observation(records, [shard(row) for row in rows], {}),
        rates={STREAMS[0]: 10.0, STREAMS[1]: 20.0},
        dead_letters=[],
        latest_letters=[],
        findings=[],
        runs=[],
        requests=RequestStand("analytics:requests", 0, 0.0, RequestBooks("0-0", 0, 0, 0, None)),
        jobs=JobsView((QueueView("rollup", 0, 2, 0), QueueView("ops", 0, 0, 0)), workers),
    )
    return replace(look, **changes)


def with_records(look: Look, **changes: Any) -> Look:
    assert look.seen.records is not None
    return replace(look, seen=replace(look.seen, records=replace(look.seen.records, **changes)))


def without(**away: AnalyticsError) -> Look:
    """A look when servers are away."""
    look = all_is_well()
    if "postgresql" in away:
        look = replace(look, rates={}, dead_letters=None, runs=None, requests=None)
    if "redis" in away:
        look = replace(look, requests=None, jobs=None)
    records = None if "postgresql" in away else look.seen.records
    return replace(look, seen=Observation(records, None, away))


def seen(look: Look, time_zone: str = "UTC") -> OpsView:
    return view(look, time_zone, STREAMS)


def page(ops: OpsView, said: str | None = None) -> str:
    scope = {"type": "http", "method": "GET", "path": "/ops", "query_string": b"", "headers": [], "scheme": "http"}
    answer = render(Request(scope), "ops.html", {"ops": ops, "said": said, "query": ""}, language=Language.EN)
    return bytes(answer.body).decode()


def test_all_is_well() -> None:
    """Where nothing is wrong the page says so, and nothing that would have to be looked at."""
    ops = seen(all_is_well())
    assert (ops.verdict.level, ops.verdict.headline, ops.verdict.lines) == ("good", "All is well", ())
    assert {tile.name: tile.value for tile in ops.tiles} == {
        "Unread": "0",
        "Rate": "30",
        "Right as of": "now",
        "Books": "balance",
        "Lost, ever": "0",
        "Complete through": "2026-11-22",
        "Dead letters": "0",
        "Workers": "2",
    }


HALTED = books(halted_at=ago(840), halted_because="612 of the latest 1,000 entries are bad")


@pytest.mark.parametrize(
    ("look", "level", "headline", "says"),
    [
        (
            all_is_well((HALTED, books(STREAMS[1]))),
            "bad",
            "Counting stands still on 1 of 2 streams",
            "612 of the latest",
        ),
        (
            replace(
                all_is_well(), seen=replace(all_is_well().seen, shards=[shard(books(committed_s_ago=300), 7, 299.0)])
            ),
            "bad",
            "Counting stands still",
            "7 entries are unread, the oldest waits for 5 min",
        ),
        (all_is_well((books(counted=999),)), "bad", "The books do not balance", "`analytics:events:{0}`"),
        (all_is_well(jobs=JobsView((), ())), "bad", "Nobody counts", "`python -m worker run`"),
        (
            all_is_well(jobs=JobsView((), (WorkerView("w", "ops", "busy", None, 0.5),))),
            "bad",
            "Nobody counts",
            "`python -m worker work rollup`",
        ),
        (
            all_is_well(jobs=JobsView((), (WorkerView("w", "rollup", "busy", None, 0.5),))),
            "warn",
            "Counting goes on",
            "`python -m worker work ops`",
        ),
        (
            with_records(all_is_well(), alerts=[OpenAlert("silence", ago(60), "the last event came 12 min ago")]),
            "warn",
            "Counting goes on",
            "the last event came 12 min ago",
        ),
        (
            with_records(all_is_well(), scheduled=[Ran("trim", NOW, NOW, NOW, None, "it broke", ago(1), 1.0)]),
            "warn",
            "Counting goes on",
            "`trim` failed: it broke",
        ),
        (with_records(all_is_well(), scheduled=[]), "warn", "Counting goes on", "`close` of "),
        (without(redis=Retry("gone")), "bad", "Redis is away: nothing new is counted until that is mended", "gone"),
        (
            without(postgresql=NotMigrated("run `migrate`")),
            "bad",
            "PostgreSQL is not migrated: nothing can be counted",
            "run `migrate`",
        ),
        (
            without(postgresql=Stop("the password is wrong")),
            "bad",
            "PostgreSQL refuses us: nothing new is counted until that is mended",
            "the password is wrong",
        ),
        (
            without(postgresql=Retry("one"), redis=Retry("two")),
            "bad",
            "Nothing can be known: both servers are away",
            "two",
        ),
    ],
)
def test_verdict(look: Look, level: str, headline: str, says: str) -> None:
    """The verdict names the worst that is wrong, and every line says what it is or what to do."""
    verdict = seen(look).verdict
    assert (verdict.level, verdict.headline) == (level, headline)
    assert any(says in f"{line.text} {line.advice}" for line in verdict.lines), verdict.lines
    assert [line.level for line in verdict.lines] == sorted((line.level for line in verdict.lines), key="bad warn".find)


def test_a_stream_that_nobody_is_to_read_is_no_fault() -> None:
    """A stream of an earlier number of shards is shown as such, however old what lies in it is."""
    old = books("analytics:events:{2}", committed_s_ago=9_000)
    look = all_is_well()
    ops = seen(replace(look, seen=replace(look.seen, shards=[*(look.seen.shards or ()), shard(old, 4, 8_000)])))
    assert ops.verdict.level == "good"
    assert [row.state for row in ops.streams or ()] == ["is read", "is read", "nobody reads it"]


def test_what_is_not_known() -> None:
    """With a server away the page has what the other one says, and says of the rest that it is not known."""
    ops = seen(without(postgresql=Retry("gone")))
    assert (ops.streams, ops.dead_letters, ops.runs, ops.scheduled) == (None,) * 4
    assert ops.workers and not ops.knows_nothing
    text = page(ops)
    assert text.count("Not known while PostgreSQL is away") == 2 and "Not known: PostgreSQL is away" in text
    ops = seen(without(redis=Retry("gone")))
    assert (ops.workers, ops.streams) == (None, None) and ops.runs == [] and ops.scheduled
    assert "Not known while Redis is away" in page(ops)
    assert seen(without(postgresql=Retry("gone"), redis=Retry("gone"))).knows_nothing


def test_what_others_wrote_is_shown_as_text() -> None:
    """HTML, templates and SQL in anything that others can write come out as the text that they are."""
    hostile_books = books(HOSTILE, halted_at=NOW, halted_because=HOSTILE)
    look = all_is_well((hostile_books,))
    letter = Glimpse(7, NOW, HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, HOSTILE, len(HOSTILE))], 3)
    look = replace(
        with_records(
            look,
            alerts=[OpenAlert(HOSTILE, NOW, HOSTILE)],
            scheduled=[
                Ran("close", NOW, NOW, NOW, None, HOSTILE, NOW, 1.0),
                Ran("trim", NOW, NOW, NOW, {HOSTILE: HOSTILE}, None, NOW, 1.0),
            ],
            outcomes=Outcomes(NOW, 1.0, [HOSTILE]),
            closing=Closing(None, HOSTILE, 0, [], 0, 0, None),
        ),
        dead_letters=[DeadLetters(HOSTILE, 1, NOW)],
        latest_letters=[letter],
        findings=[ContinuityEvent(NOW, HOSTILE, HOSTILE, HOSTILE, None)],
        runs=[
            run(1, operator=HOSTILE, kind=HOSTILE, arguments={HOSTILE: HOSTILE}, result={HOSTILE: HOSTILE}),
            run(2, "failed", error=HOSTILE, stopped_by=HOSTILE),
        ],
        requests=RequestStand(HOSTILE, 1, 0.0, RequestBooks("0-0", 0, 0, 0, None)),
        jobs=JobsView((QueueView(HOSTILE, 0, 0, 0),), (WorkerView(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 0.1),)),
    )
    text = page(seen(look), run_in_words(run(3, "failed", error=HOSTILE)))
    for what in ("<script>", "<img", "7 * 7 }}'; DROP TABLE analytics.event; --\"", "onerror=alert(2)>"):
        assert what not in text
    assert text.count(escape("<script>alert(1)</script>")) > 20
    assert "{{ 7 * 7 }}" in text


def test_a_long_value_is_cut() -> None:
    """Of a letter's value the beginning is shown, with its length; of many fields the first."""
    letter = Glimpse(7, NOW, "s", "1-1", "bad_time", [("type", "x" * 200, 1_048_576), ("v", "1", 1)], 900)
    ops = seen(all_is_well(dead_letters=[DeadLetters("bad_time", 1, NOW)], latest_letters=[letter]))
    [reason] = ops.dead_letters or ()
    [shown] = reason.examples
    assert shown.fields == [("type", "x" * 200 + "… (1,048,576 characters)"), ("v", "1")]
    assert "898 more" in page(ops)


@pytest.mark.parametrize(
    ("verdict", "action", "lost", "says"),
    [
        ("trimmed_unread", "went_on", 1_800, "1,800"),
        ("emptied", "rewound", None, "not known"),
        ("mostly_bad", "halted", None, "–"),
        ("waived", "resumed", None, "–"),
    ],
)
def test_what_a_finding_has_cost(verdict: str, action: str, lost: int | None, says: str) -> None:
    """A halt does not look as if it had lost something."""
    ops = seen(replace(all_is_well(), findings=[ContinuityEvent(NOW, "s", verdict, action, lost)]))
    assert [finding.lost for finding in ops.findings] == [says]


def test_what_cannot_be_seen_is_shown() -> None:
    """A value that turns the direction of writing round does not look like another one."""
    letter = Glimpse(7, NOW, "s", "1-1", "bad_specialist", [("\u202eepyt", "\u202elive\u200b", 6)], 1)
    ops = seen(all_is_well(dead_letters=[DeadLetters("bad_specialist", 1, NOW)], latest_letters=[letter]))
    [reason] = ops.dead_letters or ()
    assert reason.examples[0].fields == [(r"\u202eepyt", r"\u202elive\u200b")]


def test_what_cannot_be_sent_again_has_no_button() -> None:
    """Letters of which only the beginning was kept are not offered to be requeued."""
    letter = Glimpse(7, NOW, "s", "1-1", "entry_too_large", [], 0)
    ops = seen(all_is_well(dead_letters=[DeadLetters("entry_too_large", 1, NOW)], latest_letters=[letter]))
    assert "/requeue" not in page(ops)


def test_runs() -> None:
    """A run that goes on has a bar and a button that stops it, one that is to stop or is over has no button."""
    ops = seen(
        all_is_well(runs=[run(4), run(3, stopped_by="boris"), run(2, "failed", error="no disk"), run(1, "done")])
    )
    text = page(ops)
    assert text.count("<progress") == 2 and text.count("/stop") == 1 and 'action="/ops/runs/4/stop"' in text
    assert "3 of 7 days" in text and "no disk" in text and "stopping" in text


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (run(7, "queued"), "waits for its turn."),
        (run(7), "goes on: 3 of 7 days."),
        (run(7, stopped_by="anna"), "stops after the step that it is at."),
        (run(7, "done"), "is done: 3 of 7 days in 0:01:20."),
        (run(7, "stopped", stopped_by="anna"), "is stopped by anna: 3 of 7 days in 0:01:20."),
        (run(7, "failed", error="no disk"), "failed, 3 of 7 days: no disk"),
    ],
)
def test_what_became_of_a_run(row: Run, says: str) -> None:
    """One line says what became of a run that was asked for."""
    assert run_in_words(row) == f"Run 7 (recompute, first 2026-11-01) {says}"


def test_times_are_those_of_the_zone() -> None:
    """Times are told in the zone that divides the days, those of another of its days with the date, and as UTC too."""
    ops = seen(all_is_well(runs=[run(2, created_at=ago(3 * 3600)), run(1, created_at=ago(4 * 3600))]), "Europe/Berlin")
    assert (ops.at.text, ops.at_utc, ops.zone) == ("03:45:10", "02:45:10", "Europe/Berlin")
    assert [row.asked.text for row in ops.runs or ()] == ["00:45:10", "2026-11-22 23:45"]
    assert [row.asked.iso for row in ops.runs or ()] == ["2026-11-22T23:45:10+00:00", "2026-11-22T22:45:10+00:00"]


def test_many_streams() -> None:
    """Of very many streams those are shown that are furthest behind."""
    names = [f"analytics:events:{{{number}}}" for number in range(100)]
    shards = [shard(books(name), number, number / 10) for number, name in enumerate(names)]
    look = all_is_well()
    ops = view(replace(look, seen=replace(look.seen, shards=shards)), "UTC", names)
    assert ops.streams is not None and ops.streams[0].stream == names[-1]
    assert (len(ops.streams), ops.streams_left) == (64, 36)


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://ops.example:8000"}, True),
        ({"origin": "https://ops.example:8000"}, True),  # a proxy took the encryption off
        ({"sec-fetch-site": "cross-site", "origin": "http://ops.example:8000"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://ops.example:8000"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://ops.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[ops.example:8000"}, False),
        ({"origin": ""}, False),
        ({}, False),
    ],
)
def test_where_a_form_is_from(headers: dict[str, str], answer: bool) -> None:
    """Only a form on a page of ours does anything."""
    assert is_from_here({"host": "ops.example:8000", **headers}) is answer
