"""The command line.

Exit codes: 0 all is well, 1 something that was asked about does not hold, 2 a person must act first.
"""

import resource
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from worker.console import standard_output
from worker.days import date_of, moment_of
from worker.errors import AnalyticsError, Stop
from worker.events import Reason
from worker.log import configure_logging
from worker.operations.requests import RequestReason
from worker.settings import Settings, load_settings

MUST_ACT = 2

app = typer.Typer(
    help="The analytics worker: from events in Redis to one PostgreSQL row a specialist and day.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class RunsGroup(TyperGroup):
    """`runs` lists them, and `runs 7` shows one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command that was left out."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        elif args[0].isdecimal():
            args = ["show", *args]
        return super().parse_args(ctx, args)


letters = typer.Typer(help="Look at what could not be counted, send it again, or put it aside.", no_args_is_help=True)
app.add_typer(letters, name="dead-letters")
backfill = typer.Typer(help="Bring in what was not counted as it came, as runs.", no_args_is_help=True)
app.add_typer(backfill, name="backfill")
runs = typer.Typer(help="What was done on demand, and what is being done: list, show, stop.", cls=RunsGroup)
app.add_typer(runs, name="runs")


class QueueName(StrEnum):
    """The queues that a worker process can work on."""

    ROLLUP = "rollup"
    OPS = "ops"


class LetterState(StrEnum):
    """What became of a dead letter."""

    BURIED = "buried"
    REQUEUED = "requeued"
    DISCARDED = "discarded"


def _reason(text: str) -> str:
    known = dict.fromkeys(reason.value for reason in (*Reason, *RequestReason))
    if text not in known:
        raise Stop(f"--reason {text!r} is none of {', '.join(known)}")
    return text


def _moment(text: str | None, option: str) -> datetime | None:
    return None if text is None else moment_of(text, option)


class Format(StrEnum):
    """What the daily table can be written as."""

    CSV = "csv"
    PARQUET = "parquet"


Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
LetterIds = Annotated[list[int] | None, typer.Argument(help="Ids of dead letters.", show_default=False)]
OfReason = Annotated[str | None, typer.Option(parser=_reason, metavar="REASON", help="Only those of this reason.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only those buried at this time (UTC, or with offset) or later.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those buried before this time.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are buried.")]
FirstDate = Annotated[str, typer.Option("--from", metavar="DATE", help="First date, in ANALYTICS_TIME_ZONE.")]
LastDate = Annotated[str, typer.Option("--to", metavar="DATE", help="Last date.")]
Now = Annotated[bool, typer.Option("--now", help="Do it in this process: no worker and no queue is needed.")]
Wait = Annotated[
    bool | None, typer.Option("--wait/--no-wait", help="Follow it to its end; else its number is printed at once.")
]
RunNumber = Annotated[int, typer.Argument(metavar="N", min=1, max=2**63 - 1, help="Its number.")]
DryRun = Annotated[bool, typer.Option(help="Only say how many it would be.")]
Lifeline = Annotated[int | None, typer.Option(hidden=True, help="Descriptor whose end means: no supervisor any more.")]


def main() -> None:
    """Run the command line; an error on purpose is one line, never a traceback."""
    try:
        with standard_output():
            app()
    except AnalyticsError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error[/] {escape(str(error))}")
        sys.exit(MUST_ACT)


@app.command()
def run(web: Annotated[bool, typer.Option("--web", help="Start the web process too.")] = False) -> None:
    """Run everything on this machine: the workers of both queues and the scheduler, restarted when they die."""
    from worker.supervisor import run_supervisor

    raise typer.Exit(run_supervisor(_ready_settings(), web=web))


@app.command()
def work(queue: QueueName, lifeline: Lifeline = None) -> None:
    """Run one worker process for one queue."""
    from jobs.work import run_worker
    from worker.supervisor import watch_lifeline

    settings = _ready_settings(lifeline)
    if lifeline is not None:
        watch_lifeline(lifeline)
    raise typer.Exit(run_worker(settings, queue.value))


@app.command()
def schedule(
    only_list: Annotated[
        bool, typer.Option("--list", help="Show each line, how it ran last, and its next run.")
    ] = False,
    json: Json = False,
    lifeline: Lifeline = None,
) -> None:
    """Run the scheduler alone: it keeps the rollup jobs alive and starts what is due. With --list only show that."""
    from worker.scheduler import run_scheduler
    from worker.supervisor import watch_lifeline
    from worker.upkeep.schedule_view import run_schedule_list

    if only_list or json:
        raise typer.Exit(run_schedule_list(_settings(), as_json=json))

    settings = _ready_settings(lifeline)
    if lifeline is not None:
        watch_lifeline(lifeline)
    raise typer.Exit(run_scheduler(settings))


@app.command()
def web(
    host: Annotated[str, typer.Option(help="Address to listen on; :: is every one of IPv6 and IPv4.")] = "::",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="Port to listen on.")] = 8000,
    lifeline: Lifeline = None,
) -> None:
    """Answer over HTTP: the API, the pages of specialists and of the operator, /metrics and /healthz."""
    from worker.supervisor import watch_lifeline
    from worker.web.server import run_web

    settings = _settings()
    if lifeline is not None:
        watch_lifeline(lifeline)
    raise typer.Exit(run_web(settings, host, port))


@app.command()
def migrate() -> None:
    """Bring the database to the schema that this version needs; nothing happens if it is there already."""
    from worker.migrations import migrate as apply_migrations
    from worker.migrations import migrations
    from worker.store import connect_postgres

    with connect_postgres(_settings(), "migrate") as connection:
        applied = apply_migrations(connection, migrations())
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo(
            "all migrations were applied before; the view of outcomes and the rights of the worker were looked over"
        )


@app.command()
def verify() -> None:
    """Check that the daily table is what the worker and the site expect; exit code 1 if something does not hold."""
    from worker.verify import run_verify

    raise typer.Exit(run_verify(_settings()))


@app.command()
def send(
    file: Annotated[Path, typer.Argument(help="NDJSON, one event a line; - reads standard input.")],
    rate: Annotated[float | None, typer.Option(help="Events a second; without it as fast as Redis takes them.")] = None,
    shift_to_today: Annotated[bool, typer.Option(help="Move all times by whole days: the last day is today.")] = False,
) -> None:
    """Push events from a file into the stream, as the web tier would."""
    from worker.send import send_file

    raise typer.Exit(send_file(_settings(), file, rate=rate, shift_to_today=shift_to_today))


@app.command()
def status(
    json: Json = False,
    watch: Annotated[bool, typer.Option(help="Draw it anew every second until Ctrl-C.")] = False,
) -> None:
    """Show position, lag, freshness, rate and books of each shard, dead letters, jobs and workers."""
    from worker.inspection.status_view import run_status

    if json and watch:
        raise Stop("--json and --watch exclude each other")
    raise typer.Exit(run_status(_settings(), as_json=json, watch=watch))


@app.command()
def doctor(
    json: Json = False,
    disk_gb: Annotated[
        float | None,
        typer.Option(min=0, max=1e9, help="Size of PostgreSQL's disk, which SQL cannot tell.", show_default=False),
    ] = None,
) -> None:
    """Check everything that the worker relies on, and say what to do; exit code 1 if there is an error."""
    from worker.inspection.doctor_view import run_doctor

    raise typer.Exit(run_doctor(_settings(), as_json=json, disk_gb=disk_gb))


@app.command()
def resume(
    shard: Annotated[int | None, typer.Argument(help="Only this one, from 0.", show_default=False)] = None,
) -> None:
    """Let a shard go on that has halted because most of its events are bad: what is there by now passes."""
    from worker.operations.resume import run_resume

    raise typer.Exit(run_resume(_settings(), shard))


@letters.command("list")
def list_letters(
    *,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[LetterState, typer.Option(help="What became of them.")] = LetterState.BURIED,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    from worker.operations.dead_letters import Filter
    from worker.operations.dead_letters_view import run_list

    wanted = Filter(reason=reason, since=_moment(since, "--since"), until=_moment(until, "--until"), state=state.value)
    raise typer.Exit(run_list(_settings(), wanted, limit=limit, as_json=json))


@letters.command()
def show(letter: Annotated[int, typer.Argument(help="Its id.")], json: Json = False) -> None:
    """Show one dead letter: its fields, what was done with it, and whether its event counts by now."""
    from worker.operations.dead_letters_view import run_show

    raise typer.Exit(run_show(_settings(), letter, as_json=json))


@letters.command()
def requeue(
    ids: LetterIds = None,
    *,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    dry_run: DryRun = False,
) -> None:
    """Send dead letters into the stream again; an event counts once, however often that is done."""
    from worker.operations.dead_letters_view import chosen, run_requeue

    wanted = chosen(ids, reason, _moment(since, "--since"), _moment(until, "--until"), everything=everything)
    raise typer.Exit(run_requeue(_settings(), wanted, dry_run=dry_run))


@letters.command("discard")
def discard_letters(
    ids: LetterIds = None,
    *,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    dry_run: DryRun = False,
) -> None:
    """Put dead letters aside: they are kept, and no longer shown."""
    from worker.operations.dead_letters_view import chosen, run_discard

    wanted = chosen(ids, reason, _moment(since, "--since"), _moment(until, "--until"), everything=everything)
    raise typer.Exit(run_discard(_settings(), wanted, dry_run=dry_run))


@app.command()
def recompute(
    first: FirstDate,
    last: LastDate,
    *,
    specialist: Annotated[str | None, typer.Option(help="Only the rows of this one.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Change nothing, show each row; exit code 1 if there are any.")] = False,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Assign the views of whole days anew: what was there before the ledger, and what the ledger counts."""
    from worker.daily.recompute import RECOMPUTE, checked_arguments, run_dry_recompute
    from worker.operations.run_view import run_operation

    settings = _settings()
    arguments = checked_arguments(settings, date_of(first, "--from"), date_of(last, "--to"), specialist)
    if dry_run:
        raise typer.Exit(run_dry_recompute(settings, arguments))
    raise typer.Exit(run_operation(settings, RECOMPUTE, arguments, now=now, wait=wait))


@backfill.command("legacy-counters")
def backfill_legacy_counters(
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First date.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last date.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option(help="Change nothing, say what it would; exit code 1 if it is any.")] = False,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Import the counters that the site kept in Redis, each once, however often this is done."""
    from worker.operations.legacy import LEGACY_COUNTERS, checked_arguments
    from worker.operations.legacy_view import run_dry_import
    from worker.operations.run_view import run_operation

    settings = _settings()
    arguments = checked_arguments(
        None if first is None else date_of(first, "--from"), None if last is None else date_of(last, "--to")
    )
    if dry_run:
        raise typer.Exit(run_dry_import(settings, arguments))
    raise typer.Exit(run_operation(settings, LEGACY_COUNTERS, arguments, now=now, wait=wait))


@runs.command("list")
def list_runs(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, the newest.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="The refreshes that pages ask for, too.")] = False,
    json: Json = False,
) -> None:
    """List the last runs, the newest first."""
    from worker.operations.run_view import run_list

    raise typer.Exit(run_list(_settings(), limit=limit, everything=everything, as_json=json))


@runs.command("show")
def show_run(number: RunNumber, json: Json = False) -> None:
    """Show one run: what was asked for by whom, how far it is, what came of it, and what it could not use."""
    from worker.operations.run_view import run_show

    raise typer.Exit(run_show(_settings(), number, as_json=json))


@runs.command("stop")
def stop_run(number: RunNumber) -> None:
    """Stop one run between two of its steps."""
    from worker.operations.run_view import run_stop

    raise typer.Exit(run_stop(_settings(), number))


@backfill.command("events")
def backfill_events(
    file: Annotated[Path, typer.Argument(help="NDJSON, one event a line, each with its occurredAt.")],
    *,
    force: Annotated[bool, typer.Option(help="Read it also if its beginning is mostly bad.")] = False,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Count the past events of a file; what was counted before is a repeat."""
    from worker.event_file import STANDARD_INPUT
    from worker.operations.backfill_events import BACKFILL_EVENTS, BackfillEventsArguments, check_file
    from worker.operations.run_view import run_operation

    path = file if file == STANDARD_INPUT else file.absolute()
    arguments = BackfillEventsArguments(file=str(path), force=force)
    if now:  # else a worker reads it, perhaps on another machine
        check_file(path)
    raise typer.Exit(run_operation(_settings(), BACKFILL_EVENTS, arguments, now=now, wait=wait))


@backfill.command("outcomes")
def backfill_outcomes(
    first: FirstDate,
    last: LastDate,
    *,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Count the requests, orders and reviews of whole days anew from the site's tables."""
    from worker.daily.outcomes import BACKFILL_OUTCOMES, OutcomesArguments
    from worker.operations.run_view import run_operation

    arguments = OutcomesArguments(first=date_of(first, "--from"), last=date_of(last, "--to"))
    raise typer.Exit(run_operation(_settings(), BACKFILL_OUTCOMES, arguments, now=now, wait=wait))


@app.command()
def replay(
    first: Annotated[str | None, typer.Option("--from", help="A time (UTC, or with offset) or an entry id.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The same; its entries are read too.")] = None,
    *,
    shard: Annotated[int | None, typer.Option(help="Only this one, from 0.")] = None,
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="Dead letters instead of a range.")] = False,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, typer.Option(help="Change nothing, say what would be counted.")] = False,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Read again what the streams still hold, or send dead letters again: what is missing counts, and nothing else."""
    from worker.operations.replay import ReplayArguments, RequeueArguments
    from worker.operations.replay_view import chosen, run_replay, run_replay_letters

    letters = RequeueArguments(reason=reason, since=_moment(since, "--since"), until=_moment(until, "--until"))
    wanted = chosen(first, last, shard, letters, dead_letters=dead_letters)
    if isinstance(wanted, ReplayArguments):
        raise typer.Exit(run_replay(_settings(), wanted, dry_run=dry_run, now=now, wait=wait))
    raise typer.Exit(run_replay_letters(_settings(), wanted, dry_run=dry_run, now=now, wait=wait))


@app.command()
def explain(
    specialist: Annotated[str, typer.Argument(help="Id of a specialist.")],
    date: Annotated[str, typer.Argument(help="YYYY-MM-DD, in ANALYTICS_TIME_ZONE.")],
    json: Json = False,
) -> None:
    """Take a daily row apart: its parts, and whether it is their sum; exit code 1 if not."""
    from worker.inspection.explain_view import run_explain

    raise typer.Exit(run_explain(_settings(), specialist, date, as_json=json))


@app.command()
def trace(
    event_id: Annotated[str, typer.Argument(help="The eventId that was sent: a UUID.")],
    json: Json = False,
) -> None:
    """Find an event in the streams, in the ledger and among the dead letters; exit code 1 if it is nowhere."""
    from worker.inspection.explain_view import run_trace

    raise typer.Exit(run_trace(_settings(), event_id, as_json=json))


@app.command()
def erase(
    *,
    visitor: Annotated[str | None, typer.Option(help="Forget this visitorId, and keep the numbers.")] = None,
    specialist: Annotated[str | None, typer.Option(help="Remove all that is kept about this one.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also a specialist that the site still has.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what is kept; exit code 1 if there is anything.")] = False,
    now: Now = False,
    wait: Wait = None,
) -> None:
    """Forget a visitor, or remove a specialist: it cannot be brought back. Needs the owner's DATABASE_URL."""
    from worker.operations.erase_view import run_erase

    raise typer.Exit(
        run_erase(_settings(), visitor, specialist, force=force, yes=yes, dry_run=dry_run, now=now, wait=wait)
    )


@app.command()
def report(
    specialist: Annotated[str, typer.Argument(help="Id of a specialist.")],
    period: Annotated[
        str | None, typer.Option(help="day, week, month (the default), quarter, year or all.", show_default=False)
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First date of a range.", show_default=False)] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last date of it; without it today.", show_default=False)
    ] = None,
    *,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Every number on a line of its own.")] = False,
) -> None:
    """Show a specialist's numbers for a period: the same as the page."""
    from worker.reading.view import run_report

    if json and csv:
        raise Stop("--json and --csv exclude each other")
    raise typer.Exit(run_report(_settings(), specialist, period, first, last, as_json=json, as_csv=csv))


@app.command()
def export(
    first: FirstDate,
    last: LastDate,
    file_format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.CSV,
    output: Annotated[Path, typer.Option(help="A file, there as a whole or not at all; - is standard output.")] = Path(
        "-"
    ),
) -> None:
    """Write the daily table of some dates into a file, however large it is."""
    from worker.reading.export import run_export

    raise typer.Exit(run_export(_settings(), date_of(first, "--from"), date_of(last, "--to"), file_format, output))


@app.command()
def token(
    subject: Annotated[
        str | None, typer.Argument(metavar="SPECIALIST", help="Id of a specialist.", show_default=False)
    ] = None,
    *,
    ops: Annotated[bool, typer.Option("--ops", help="For the operator's page; who it is for may be named.")] = False,
    hours: Annotated[
        float | None,
        typer.Option(min=0.01, max=100_000, help="Good for so long; else 12, or a quarter with --link."),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="The path of a page that it opens, once.")] = False,
) -> None:
    """Print a token that shows a specialist's numbers, or the operator's page, to whoever has it."""
    from worker.token import DEFAULT_HOURS, DEFAULT_LINK_HOURS, PAGES, Audience, sign, signing_key

    if not (subject or ops):
        raise Stop("a token is for a SPECIALIST, or with --ops for the operator")
    key = signing_key(_settings().secret)
    audience = Audience.OPERATOR if ops else Audience.SPECIALIST
    lifetime = timedelta(hours=hours or (DEFAULT_LINK_HOURS if link else DEFAULT_HOURS))
    made = sign(key, subject or "operator", audience=audience, lifetime=lifetime, link=link)
    typer.echo(f"{PAGES[audience]}?token={made}" if link else made)


@app.command()
def demo(
    file: Annotated[Path | None, typer.Argument(help="NDJSON events; without it a synthetic day.")] = None,
    events: Annotated[int, typer.Option(min=1, help="How many events the synthetic day has.")] = 50_000,
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Stay up with the pages until Ctrl-C; without either, on a terminal."),
    ] = None,
) -> None:
    """Show the whole thing with its own PostgreSQL and Redis: send a day of events, count it, check the books."""
    from worker.demo.play import run_demo

    raise typer.Exit(run_demo(file, keep=keep, events=events))


def _settings() -> Settings:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the passwords
    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def _ready_settings(lifeline: int | None = None) -> Settings:
    """Settings of a process that stays: both servers answer and the schema is there, or it does not start at all.

    For the parts of a supervisor that was done when it started; restarted in an outage, they wait for the server.
    """
    from worker.ready import check_ready

    settings = _settings()
    if lifeline is None:
        check_ready(settings)
    return settings
