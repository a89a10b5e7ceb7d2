"""The README's way from an empty project to counted events: its commands are taken out of it, and run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import psycopg
import pytest

from tests.serving import BROWSER
from tests.support import (
    TOP,
    WORKER_ROLE,
    add_specialists,
    environment,
    run_worker,
    running,
    settings_for,
    url_of,
    wait_until,
)
from worker.embedded import free_port
from worker.settings import Settings
from worker.store import Connection

SECTION = (TOP / "README.md").read_text("utf-8").split("\n## Railway\n", 1)[1].split("\n## ", 1)[0]
SECRET = "s" * 64


def block(language: str) -> str:
    """The one block of this language that the section has."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def site(site_database: str) -> Iterator[Connection]:
    with psycopg.connect(site_database, autocommit=True) as connection:
        add_specialists(connection, ["anna"])
        yield connection


@pytest.fixture
def owner(site_database: str, redis_url: str) -> Settings:
    return settings_for(site_database, redis_url, ANALYTICS_SECRET=SECRET)


@pytest.fixture
def worker(site_database: str, worker_password: str, redis_url: str) -> Settings:
    role = url_of(site_database, WORKER_ROLE, worker_password)
    return settings_for(role, redis_url, ANALYTICS_SECRET=SECRET)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `python` is ours."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_from_nothing_to_counted_events_and_back(
    site: Connection, owner: Settings, worker: Settings, path: str
) -> None:
    """Migrated by the owner and run by a role of its own, every command of the section does what it says; and when our
    schema is dropped, the site has its table as before.
    """
    assert run_worker(worker, "run")[0] == 2  # it says what is missing
    assert run_worker(owner, "migrate")[0] == 0
    script = block("sh").replace("ID=…", "ID=anna", 1)
    with running(worker, "run"):
        wait_until(lambda: run_worker(worker, "doctor")[0] == 0, "the worker is ready")
        ran = subprocess.run(
            ["sh", "-e", "-c", script], cwd=TOP, env=os.environ | environment(worker) | {"PATH": path},
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert "checks hold" in ran.stdout
    assert "excluded (self_view)" in ran.stdout
    link = ran.stdout.splitlines()[-1]
    assert link.startswith("/profile/analytics?token=")
    opened(worker, link)

    site.execute("""INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", "date", "profileViews", "updatedAt")
                    VALUES ('one', 'anna', '2026-11-01', 7, now())""")
    site.execute(block("sql").encode())
    rows = site.execute("""INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", "date", "updatedAt")
                           VALUES ('two', 'anna', '2026-11-01', now())
                           ON CONFLICT ("specialistId", "date") DO UPDATE SET "updatedAt" = excluded."updatedAt"
                           RETURNING "profileViews" """)
    assert rows.fetchall() == [(7,)]


def opened(settings: Settings, link: str) -> None:
    """The start command of `web` listens on the port of its environment, also on IPv6; the link opens the page."""
    port = free_port()
    web = subprocess.Popen(
        [sys.executable, "-m", "worker", "web"], cwd=TOP, env=os.environ | environment(settings) | {"PORT": str(port)}
    )
    browser = build_opener(HTTPCookieProcessor())
    browser.addheaders = [("User-Agent", BROWSER)]

    def answers() -> bool:
        try:
            return bool(browser.open(f"http://[::1]:{port}/healthz").status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, "the web process answers")
        with browser.open(f"http://[::1]:{port}{link}") as page:
            assert (page.status, page.url) == (200, f"http://[::1]:{port}/profile/analytics")
    finally:
        web.terminate()
        web.wait(20)


def test_what_the_section_names() -> None:
    """The start commands and variables of the section are those that there are."""
    commands = set(re.findall(r"`python -m worker (\w+)", SECTION))
    assert commands == {"migrate", "run", "web", "doctor"}
    assert (TOP / "Procfile").read_text() == "worker: python -m worker run\n"
    variables = set(environment(settings_for("postgresql://x", "redis://x", ANALYTICS_SECRET=SECRET)))
    named = set(re.findall(r"^([A-Z_]+)=.*\$\{\{", SECTION, flags=re.MULTILINE))
    assert named == {"DATABASE_URL", "REDIS_URL", "ANALYTICS_SECRET"} <= variables
