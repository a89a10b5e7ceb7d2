"""`python -m worker status`: the facts of `worker.inspection.status` and of RQ, as tables or as JSON."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import redis
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.view import JobsView, jobs_and_workers
from worker.console import can_draw_over, has_reader, make_console
from worker.inspection.status import Books, Closing, ContinuityEvent, Outcomes, ShardStatus, Status, read_status
from worker.operations.request_store import RequestStand
from worker.operations.run_view import document, progress, took
from worker.settings import Settings, without_credentials
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis, redis_errors
from worker.units import utc

HOW_A_HALT_ENDS = "It goes on when its events are good, or by `python -m worker resume`."
NO_WORKER = "no worker runs: start one with `python -m worker run`"


def run_status(settings: Settings, *, as_json: bool, watch: bool) -> int:
    """Print the status once, or anew every second until Ctrl-C.

    Raises:
        Stop: a URL is wrong, or the database is not migrated.
        Retry: a server is away.
    """
    console = make_console(highlight=True)
    # Only closed: after Ctrl-C amid an answer psycopg's own end of the block, a COMMIT, would be refused.
    with closing(connect_postgres(settings, "status")) as connection, connect_redis(settings) as client:
        if as_json:
            print(json.dumps(_document(*_read(settings, connection, client)), default=str, indent=2))
        elif watch:
            _watch(console, lambda: _tables(settings, *_read(settings, connection, client)))
        else:
            console.print(_tables(settings, *_read(settings, connection, client)))
    return 0


def _watch(console: Console, tables: Callable[[], RenderableType]) -> None:
    """Until Ctrl-C; where nothing can be drawn over, one after the other until nobody reads on."""
    try:
        if can_draw_over(console):
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(tables(), refresh=True)
        else:
            while has_reader():
                console.print(tables())
    except KeyboardInterrupt:
        return


def _read(settings: Settings, connection: Connection, client: redis.Redis) -> tuple[Status, JobsView]:
    status = read_status(settings, connection, client)
    with redis_errors(settings):
        return status, jobs_and_workers(client)


def _document(status: Status, jobs: JobsView) -> dict[str, Any]:
    return {
        "shards": [
            {
                **asdict(shard),
                "books": shard.books._asdict() if shard.books else None,
                "books_balance": shard.balances,
            }
            for shard in status.shards
        ],
        "dead_letters": {dead.reason: dead.letters for dead in status.dead_letters},
        "continuity": [event._asdict() for event in status.continuity],
        "alerts": [alert._asdict() for alert in status.alerts],
        "outcomes": status.outcomes._asdict(),
        "completeThrough": status.closing.complete_through,
        "closing": status.closing._asdict(),
        "failed_jobs": {line.name: line.failure for line in status.scheduled if line.failure},
        "requests": status.requests._asdict() | {"books": status.requests.books._asdict()},
        "runs": [document(run) for run in status.runs],
        "jobs": asdict(jobs),
    }


def _tables(settings: Settings, status: Status, jobs: JobsView) -> RenderableType:
    postgres = without_credentials(settings.database_url.get_secret_value())
    parts: list[RenderableType] = [
        Text(f"{postgres}  ·  {without_credentials(settings.redis_url.get_secret_value())}", style="dim"),
        _shards_table(status),
        *_alerts(status),
        *_halts(status),
        _books_table(status),
    ]
    if status.dead_letters:
        parts.append(_dead_letters_table(status))
    if status.continuity:
        parts.append(_continuity_table(status))
    parts.append(Text(outcomes_in_words(status.outcomes)))
    parts.append(Text(closing_in_words(status.closing)))
    parts.extend(
        Text(f"scheduled job failed: {line.name}: {line.failure}", style="bold red")
        for line in status.scheduled
        if line.failure
    )
    parts.append(Text(requests_in_words(status.requests)))
    if status.runs:
        parts.append(_runs_table(status))
    parts.append(_queues_table(jobs))
    if jobs.workers:
        parts.append(_workers_table(jobs))
    else:
        parts.append(Text(NO_WORKER, style="bold red"))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _halts(status: Status) -> Iterator[Text]:
    for books in (shard.books for shard in status.shards):
        if books and books.halted_at:
            what = f"halted since {utc(books.halted_at)} UTC: {books.halted_because}."
            yield Text(f"{what} {HOW_A_HALT_ENDS}", style="bold red")


def _alerts(status: Status) -> Iterator[Text]:
    for alert in status.alerts:
        yield Text(f"alert {alert.name} since {utc(alert.started_at)} UTC, at worst: {alert.text}", style="bold red")


def _dead_letters_table(status: Status) -> Table:
    rows = [(dead.reason, f"{dead.letters:,}", utc(dead.latest)) for dead in status.dead_letters]
    return _table("Dead letters", ("reason", "count", "latest, UTC"), rows)


def _continuity_table(status: Status) -> Table:
    rows = [(utc(event.happened_at), *event[1:-1], lost_in_words(event)) for event in status.continuity]
    return _table("Found wrong with the streams", ("when, UTC", "stream", "finding", "action", "lost"), rows)


def lost_in_words(event: ContinuityEvent) -> str:
    """How many entries a finding has cost. A halt costs none: they wait."""
    if event.lost is not None:
        return f"{event.lost:,}"
    return "–" if event.action in ("halted", "resumed") else "not known"


def outcomes_in_words(outcomes: Outcomes) -> str:
    """How old the outcomes are, and what the site does not have."""
    counted = f"requests, orders and reviews were last counted {outcomes.refreshed_s_ago:,.0f} s ago"
    missing = f"; the site has no {', '.join(outcomes.missing_tables)}: 0" if outcomes.missing_tables else ""
    return counted + missing


def closing_in_words(closing: Closing) -> str:
    """How far days are closed, and what the next one waits for."""
    through = closing.complete_through
    return "; ".join(
        filter(None, (f"complete through {through}" if through else "no day is closed yet", closing.waits_for))
    )


def requests_in_words(requests: RequestStand) -> str:
    """What the web tier has asked for, and what of it is not taken on."""
    books = requests.books
    if books.taken_s_ago is None and not requests.unread:
        return f"{requests.stream}: the web tier has never asked for anything"
    taken = f"the last one {books.taken_s_ago:,.0f} s ago" if books.taken_s_ago is not None else "none was ever read"
    unread = f"; {requests.unread:,} unread, the oldest since {requests.oldest_s:.1f} s" if requests.unread else ""
    return (
        f"{requests.stream}: {books.requests:,} requests read, {taken}; "
        f"{books.runs:,} became runs, {books.dead_lettered:,} dead letters{unread}"
    )


def _runs_table(status: Status) -> Table:
    rows = [(run.id, run.kind, run.state, progress(run), took(run), run.operator) for run in status.runs]
    return _table("Runs", ("run", "kind", "state", "done", "since", "asked for by"), rows)


def _queues_table(jobs: JobsView) -> Table:
    rows = [(queue.name, queue.queued, queue.started, queue.failed) for queue in jobs.queues]
    return _table("Queues", ("queue", "waiting", "running", "failed"), rows)


def _workers_table(jobs: JobsView) -> Table:
    rows = [
        (worker.name[:8], worker.queue, worker.state, worker.job, f"{worker.heartbeat_age:.1f}")
        for worker in jobs.workers
    ]
    return _table("Workers", ("worker", "queue", "state", "job", "heartbeat s ago"), rows)


def _shards_table(status: Status) -> Table:
    rows = [
        (
            shard.stream,
            shard.position or "never read",
            "not known yet" if shard.lag_entries is None else f"{shard.lag_entries:,}",
            f"{shard.lag_s:.1f}",
            freshness(shard),
            f"{shard.entries_per_s:,.0f}",
        )
        for shard in status.shards
    ]
    headings = ("stream", "position", "lag", "lag s", "right as of", "entries/s")
    return _table("Shards", headings, rows)


def freshness(shard: ShardStatus) -> str:
    """How old the numbers are."""
    if shard.fresh_s is None:
        return "–"
    return "now" if shard.fresh_s == 0 else f"{shard.fresh_s:.1f} s ago"


def _books_table(status: Status) -> Table:
    headings = ("stream", "read", "= counted", "+ repeats", "+ excluded", "+ dead", "lost", "")
    return _table("Books", headings, [_books_row(shard, shard.books) for shard in status.shards if shard.books])


def _books_row(shard: ShardStatus, books: Books) -> tuple[Any, ...]:
    sums = (books.counted, books.duplicates, books.excluded, books.dead_lettered, books.lost)
    verdict = Text("balance", style="green") if shard.balances else Text("DO NOT BALANCE", style="bold red")
    return (books.stream, f"{books.entries_read:,}", *(f"{number:,}" for number in sums), verdict)


def _table(title: str, headings: tuple[str, ...], rows: Any) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*("–" if value is None else value if isinstance(value, Text) else str(value) for value in row))
    return table
