"""`report` and `export`: what a person, a program and a spreadsheet get, and what they get for nonsense."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from pyarrow import parquet

from tests.counting import TODAY, TODAY_MS, add, drain, event
from tests.support import TOP, add_specialists, ended, environment, run_worker, settings_with, start_worker, wait_until
from worker.settings import Settings
from worker.store import Connection

DAYS = 40


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def fill(connection: Connection, specialists: int) -> None:
    """Daily rows of so many more specialists, a row for each of the last days."""
    add_specialists(connection, [f"s{number:06}" for number in range(specialists)])
    connection.execute(
        """INSERT INTO "SpecialistAnalyticsDaily"
               ("id", "specialistId", "date", "profileViews", "contactViews", "sources", "updatedAt")
           SELECT gen_random_uuid()::text, "id", current_date - ago, ago, 1, analytics.sources(ago, 0, 0, 0), now()
           FROM "SpecialistProfile", generate_series(0, %s) AS ago WHERE "id" LIKE 's%%'""",
        [DAYS - 1],
    )


def test_for_a_person(settings: Settings, client: redis.Redis) -> None:
    """All blocks are on the screen, with a chart, and what somebody sent as a contact type does nothing to it."""
    add(client, *(event(occurredAt=TODAY_MS - ago * 86_400_000) for ago in (0, 0, 0, 1, 8)))
    add(client, event(specialist="boris", occurredAt=TODAY_MS - 20 * 86_400_000))  # so long somebody has been counting
    add(client, event(type="contact_view", contactType="[bold]\x1b[2Jphone"))
    drain(settings)
    code, output, errors = run_worker(settings, "report", "anna", "--period", "week")
    assert (code, errors) == (0, "")
    for said in (
        f"anna: week, {TODAY - timedelta(days=6)} to {TODAY}, 7 days (UTC; the last one is not over yet)",
        "+300.0 %", "25 %", "catalog", "complete through", r"[bold]\x1b[2Jphone", "█",
    ):  # fmt: skip
        assert said in output
    assert "\x1b" not in output


def test_for_a_program(settings: Settings, client: redis.Redis) -> None:
    """The JSON and the CSV say the same numbers."""
    add(client, event(), event(source="search"), event(type="contact_view", contactType="phone"))
    drain(settings)
    code, output, _ = run_worker(settings, "report", "anna", "--json")
    document = json.loads(output)
    assert (code, document["period"]["name"], document["metrics"]["profileViews"]["value"]) == (0, "month", 2)
    assert document["freshness"]["asOf"]

    code, output, _ = run_worker(settings, "report", "anna", "--csv")
    rows = list(csv.DictReader(output.splitlines()))
    values = {(row["block"], row["name"]): row for row in rows if row["block"] != "trend"}
    for name, metric in document["metrics"].items():
        assert values["metrics", name]["value"] == ("" if metric["value"] is None else str(metric["value"]))
    for source in document["sources"]:
        assert values["sources", source["source"]]["share"] == str(source["share"])
    trend = [row for row in rows if (row["block"], row["name"]) == ("trend", "profileViews")]
    assert [row["first"] for row in trend] == [point["first"] for point in document["trend"]["points"]]
    assert values["contactTypes", "phone"]["value"] == "1"


def test_a_contact_type_is_no_formula(settings: Settings, client: redis.Redis) -> None:
    """A spreadsheet that opens the CSV calculates nothing that somebody sent, and a terminal obeys nothing."""
    add(client, *(event(type="contact_view", contactType=kind) for kind in ("=HYPERLINK(0)", "@SUM(1)", "\x1b[2J")))
    drain(settings)
    code, output, _ = run_worker(settings, "report", "anna", "--csv")
    names = {row["name"] for row in csv.DictReader(output.splitlines()) if row["block"] == "contactTypes"}
    assert (code, names) == (0, {"'=HYPERLINK(0)", "'@SUM(1)", "\\x1b[2J"})


def test_without_redis(settings: Settings, client: redis.Redis) -> None:
    """The numbers are there without Redis: they are in PostgreSQL."""
    add(client, event())
    drain(settings)
    away = settings_with(settings, REDIS_URL="redis://127.0.0.1:1/0")
    code, output, errors = run_worker(away, "report", "anna", "--json")
    assert (code, errors) == (0, "")
    assert json.loads(output)["metrics"]["profileViews"]["value"] == 1


def test_a_database_that_hangs(settings: Settings, connection: Connection) -> None:
    """A server that says nothing for long enough counts as away: nobody waits for ever."""
    impatient = "from worker import cli; from worker.reading import view; view.ANSWER_S = 0.5; cli.main()"
    command = [sys.executable, "-c", impatient, "report", "anna"]
    with connection.transaction():
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily"')
        ran = subprocess.run(
            command, cwd=TOP, env=os.environ | environment(settings), capture_output=True, check=False, timeout=30
        )
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr == b"error PostgreSQL does not answer within 0.5 s\n"


def test_ctrl_c(settings: Settings, connection: Connection) -> None:
    """Who does not want to wait for the answer is let go at once, without a word."""
    with connection.transaction():
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily"')
        process = start_worker(settings, "report", "anna")
        wait_until(lambda: waits_for_a_lock(connection), "it waits")
        process.send_signal(signal.SIGINT)
        assert ended(process, 5) == (130, "", "")


def waits_for_a_lock(connection: Connection) -> bool:
    return bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["nobody"], "there is no specialist 'nobody'"),
        (['\'; DROP TABLE "SpecialistProfile"; --'], "there is no specialist"),
        (["[bold]<script>"], "there is no specialist '[bold]<script>'"),
        (["\u0430nna"], "there is no specialist"),
        (["x" * 100_000], "xxx…' in"),
        ([""], "there is no specialist ''"),
        (["anna", "--period", "x" * 100_000], "is no period"),
        (["anna", "--from", "x" * 100_000], "is no date"),
        (["anna", "--from", "9999-12-31"], "has not come yet"),
        (["anna", "--from", "0000-00-00"], "is no date"),
        (["anna", "--period", "fortnight"], "'fortnight' is no period"),
        (["anna", "--period", "<b>"], "'<b>' is no period"),
        (["anna", "--from", "2026-11-10", "--to", "2026-11-01"], "comes before the first"),
        (["anna", "--from", "1926-01-01", "--to", "2026-01-01"], "before 1970-01-01"),
        (["anna", "--from", "1970-01-01", "--to", "2069-12-31"], "ask for at most 3660 days"),
        (["anna", "--from", "2026-02-30"], "is no date"),
        (["anna", "--to", "2026-02-20"], "needs its first day"),
        (["anna", "--period", "week", "--from", "2026-02-20"], "exclude each other"),
        (["anna", "--json", "--csv"], "--json and --csv"),
    ],
)
def test_nonsense(settings: Settings, arguments: Sequence[str], why: str) -> None:
    """Whatever cannot be answered is one line on standard error and exit code 2."""
    code, output, errors = run_worker(settings, "report", *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1), errors
    assert why in errors


def exported(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    dates = ["--from", str(TODAY - timedelta(days=DAYS)), "--to", str(TODAY)]
    return run_worker(settings, "export", *dates, *arguments)


def test_both_formats_are_the_table(settings: Settings, connection: Connection, tmp_path: Path) -> None:
    """A file has every row of the dates and every column, in order, and both formats have the same."""
    fill(connection, 30)
    connection.execute("""UPDATE "SpecialistAnalyticsDaily" SET "sources" = NULL WHERE "specialistId" = 's000003'""")
    names = {"csv": tmp_path / "daily.csv", "parquet": tmp_path / "daily.parquet"}
    for file_format, file in names.items():
        assert exported(settings, "--format", file_format, "--output", str(file))[0] == 0
    lines = list(csv.DictReader(names["csv"].read_text().splitlines()))
    table = parquet.read_table(names["parquet"])
    assert len(lines) == table.num_rows == 30 * DAYS
    assert list(lines[0]) == table.column_names
    assert [(line["date"], line["specialistId"]) for line in lines] == sorted(
        (line["date"], line["specialistId"]) for line in lines
    )
    for line, row in zip(lines, table.to_pylist(), strict=True):
        assert line == {name: str(value) for name, value in row.items()}
    assert sum(int(line["profileViews"]) for line in lines) == 30 * sum(range(DAYS))
    assert sorted(tmp_path.iterdir()) == sorted(names.values())


def test_nothing_to_export(settings: Settings, tmp_path: Path) -> None:
    """Dates without a row are a file with the columns' names, and one that Parquet can read."""
    code, output, _ = exported(settings)
    assert (code, output.splitlines()[0][:21], len(output.splitlines())) == (0, "id,specialistId,date,", 1)
    file = tmp_path / "empty"
    assert exported(settings, "--format", "parquet", "--output", str(file))[0] == 0
    assert parquet.read_table(file).num_rows == 0


def test_into_a_pipe_whose_reader_goes(settings: Settings, connection: Connection) -> None:
    """A reader that wants only the beginning gets it, and nobody complains."""
    fill(connection, 1_000)
    for wants_a_line in (True, False):
        process = start_worker(settings, "export", "--from", str(TODAY - timedelta(days=DAYS)), "--to", str(TODAY))
        assert process.stdout is not None and process.stderr is not None
        if wants_a_line:
            assert process.stdout.readline().startswith("id,")
        process.stdout.close()
        with process.stderr:
            assert (process.wait(60), process.stderr.read()) == (0, "")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_aborted(
    settings: Settings, connection: Connection, tmp_path: Path, by: signal.Signals, file_format: str
) -> None:
    """However an export ends half-way, the file of before is as it was, and no half one has its name."""
    fill(connection, 2_000)
    file = tmp_path / "daily"
    file.write_text("of yesterday")
    with connection.transaction():
        # Whoever wants the rows waits, so the export is at it when it ends.
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily"')
        process = start_worker(
            settings, "export", "--from", str(TODAY), "--to", str(TODAY), "--format", file_format, "--output", str(file)
        )
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "it has begun to write")
        process.send_signal(by)
        assert ended(process)[0] != 0
    assert file.read_text() == "of yesterday"
    assert by is signal.SIGKILL or list(tmp_path.iterdir()) == [file]


def test_the_server_ends_an_export(settings: Settings, connection: Connection, tmp_path: Path) -> None:
    """When PostgreSQL ends the session, that is one line and exit code 2, and no file is left."""
    with connection.transaction():
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily"')
        process = start_worker(
            settings, "export", "--from", str(TODAY), "--to", str(TODAY), "--output", str(tmp_path / "daily.csv")
        )
        wait_until(lambda: bool(list(tmp_path.iterdir())), "it has begun to write")
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'analytics export'"
            )
        code, _, errors = ended(process)
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["--from", "2026-11-10", "--to", "2026-11-01"], "comes before the first"),
        (["--from", "1926-01-01", "--to", "2026-01-01"], "ask for at most 3,660"),
        (["--from", "2026-11-01", "--to", "2026-11-10", "--output", "/nowhere/daily.csv"], "cannot write /nowhere"),
        (["--from", "2026-11-01", "--to", "2026-11-10", "--output", "/"], "cannot write /"),
        (["--from", "2026-11-01", "--to", "2026-11-10", "--output", "/dev/full"], "No space left on device"),
    ],
)
def test_an_export_that_cannot_be(settings: Settings, arguments: Sequence[str], why: str) -> None:
    """Dates that are no range and a file that cannot be written are one line and exit code 2."""
    code, output, errors = run_worker(settings, "export", *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1), errors
    assert why in errors


def test_without_pyarrow(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package Parquet is refused in one line that says what to install, and CSV needs nothing."""
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    dates = ("--from", str(TODAY), "--to", str(TODAY))
    parquet_file = ("--format", "parquet", "--output", str(tmp_path / "daily"))
    code, _, errors = ended(start_worker(settings, "export", *dates, *parquet_file))
    assert (code, errors) == (2, "error --format parquet needs the package pyarrow: pip install '.[parquet]'\n")
    assert not (tmp_path / "daily").exists()
    assert ended(start_worker(settings, "export", *dates))[0] == 0


def peak_mb(settings: Settings, tmp_path: Path, file_format: str, days: int) -> float:
    """The most memory that an export of so many days has."""
    process = start_worker(
        settings, "export", "--from", str(TODAY - timedelta(days=days - 1)), "--to", str(TODAY),
        "--format", file_format, "--output", str(tmp_path / file_format),
    )  # fmt: skip
    with process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_memory(settings: Settings, connection: Connection, tmp_path: Path, file_format: str) -> None:
    """More pages of rows need no more memory than two: they are streamed."""
    fill(connection, 2_500)
    few, many = (peak_mb(settings, tmp_path, file_format, days) for days in (17, DAYS))
    assert many < few + 10
