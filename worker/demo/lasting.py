"""The demo that stays up: the pages of a specialist who has a past, and of the operator, while events come in."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from uuid import uuid4

from worker.daily.outcomes import BACKFILL_OUTCOMES, OutcomesArguments
from worker.demo.history import History, synthetic_history
from worker.demo.stage import LOOK_SECONDS, Stage, process, wait_until
from worker.demo.synthetic import Day
from worker.demo.view import Doors, Moment, View
from worker.embedded import free_port
from worker.errors import Stop
from worker.operation import Arguments, Operation
from worker.operations.backfill_events import BACKFILL_EVENTS, BackfillEventsArguments
from worker.operations.execute import execute
from worker.operations.legacy import LEGACY_COUNTERS, LegacyArguments
from worker.operations.runs import claim_run, open_run
from worker.producer import Fields, Pusher
from worker.queries import query
from worker.store import postgres_errors
from worker.stream import redis_errors
from worker.token import PAGES, Audience, sign, signing_key

HOST = "127.0.0.1"
SHOWN_VIEWS = 150
"""Profile views a day of whoever is shown, if anybody has so many: a busy specialist, and not the busiest of all."""

EVENT_EVERY_S = 0.5
LINK_LIFETIME = timedelta(hours=12)


def stay(ready: Stage, day: Day, view: View, *, with_history: bool) -> None:
    """Stay up until Ctrl-C, and show what comes in meanwhile.

    Args:
        ready: everything that runs.
        day: what was sent.
        view: says where the pages are.
        with_history: give the specialist who is shown a past: where the day was a synthetic one.

    Raises:
        Stop: something does not start.
        Retry: a server is away.
    """
    specialist, views = _shown(day)
    with suppress(KeyboardInterrupt):
        if with_history:
            history = synthetic_history(specialist, time.time_ns() // 1_000_000, max(views, 20))
            _bring(ready, specialist, history, view)
        with _web(ready) as address:
            view.step(f"web started: python -m worker web, at {address}")
            page = address + _link(ready, specialist, Audience.SPECIALIST)
            if not with_history:  # the days of a file may lie years back
                page += "&period=all"
            operators_page = address + _link(ready, "operator", Audience.OPERATOR)
            view.doors(Doors(ready.folder, ready.settings, specialist, page, operators_page))
            with view.live(), redis_errors(ready.settings):
                _send_and_show(ready, day, specialist, view)


def _shown(day: Day) -> tuple[str, int]:
    """Who is shown, and how many profile views of theirs were sent."""
    views = Counter(str(event.get("specialistId")) for event in day.events if event.get("type") == "profile_view")
    found = ((one, views[one]) for one in day.specialists)
    return min(found, key=lambda each: (abs(each[1] - SHOWN_VIEWS), each), default=("nobody", 0))


def _bring(ready: Stage, specialist: str, history: History, view: View) -> None:
    """Bring the past in as an operator would: counters and a file are imported, outcomes counted, each as a run."""
    with redis_errors(ready.settings):
        ready.client.mset(dict(history.counters))
    _run(ready, LEGACY_COUNTERS, LegacyArguments())
    view.step(f"the past of {specialist}: {len(history.counters):,} old counters imported, from {history.first} on")

    file = ready.folder / "history.ndjson"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in history.events))
    _run(ready, BACKFILL_EVENTS, BackfillEventsArguments(file=str(file)))
    view.step(f"{len(history.events):,} events of the last weeks counted from a file")

    kinds, times = zip(*history.outcomes, strict=True)
    with postgres_errors():
        which = {"specialist": specialist, "kinds": list(kinds), "at_ms": list(times)}
        ready.connection.execute(query("insert_outcomes", "demo"), which)
    _run(ready, BACKFILL_OUTCOMES, OutcomesArguments(first=history.first, last=datetime.now(UTC).date()))
    view.step(f"{len(history.outcomes):,} requests, orders and reviews counted from the site's tables")


def _run(ready: Stage, operation: Operation, arguments: Arguments) -> None:
    run, _ = open_run(ready.connection, operation, arguments, "demo")
    attempt = claim_run(ready.connection, run.id, run.attempt)
    ending = execute(ready.settings, run.id, attempt, lambda: False) if attempt is not None else None
    if ending is None or ending.state != "done":
        raise Stop(f"run {run.id}, {operation.kind}, did not end well: {ending and ending.error}")


@contextmanager
def _web(ready: Stage) -> Iterator[str]:
    """The web process on this machine alone, and its address."""
    port, log = free_port(), ready.folder / "web.log"
    with process(log, "web", "--host", HOST, "--port", str(port)) as web:

        def listens() -> bool:
            if (code := web.poll()) is not None:
                raise Stop(f"the web process ended with exit code {code}: {log.read_text(errors='replace')[-500:]}")
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return True
            return False

        wait_until(listens, lambda: f"the web process does not listen: {log.read_text(errors='replace')[-500:]}")
        yield f"http://{HOST}:{port}"


def _link(ready: Stage, subject: str, audience: Audience) -> str:
    key = signing_key(ready.settings.secret)
    return f"{PAGES[audience]}?token={sign(key, subject, audience=audience, lifetime=LINK_LIFETIME, link=True)}"


def _send_and_show(ready: Stage, day: Day, specialist: str, view: View) -> None:
    pusher = Pusher(ready.client, ready.settings.stream_keys)
    events = _going_on(day, specialist)
    due = time.monotonic()
    while True:
        if time.monotonic() >= due:
            list(pusher.push(islice(events, 1)))
            due += EVENT_EVERY_S
        view.show(Moment.of(ready.look()))
        time.sleep(LOOK_SECONDS)


def _going_on(day: Day, specialist: str) -> Iterator[Fields]:
    """Events of the day again, as new ones of this moment, every other one of the specialist who is shown."""
    random, known = Random(), set(day.specialists)
    good = [event for event in day.events if event.get("specialistId") in known]
    while good:
        for whose in (specialist, None):
            fields = {name: value for name, value in random.choice(good).items() if name != "occurredAt"}
            yield fields | {"eventId": str(uuid4())} | ({"specialistId": whose} if whose else {})
