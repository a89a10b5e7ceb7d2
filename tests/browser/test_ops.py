"""The operator's page in a browser, beside workers that really work."""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, TimeoutError, expect

from tests.browser.dataset import DAYS, NINA
from tests.browser.stage import Stage
from tests.browser.visit import OPS, Size, keep, log_in, token, visiting
from tests.support import add_specialists, run_worker, running, wait_until
from worker.token import Audience

VERA = "vera"
HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def working(stage: Stage) -> Iterator[Stage]:
    """The stage, with workers and a scheduler."""
    with running(stage.settings, "run"):
        yield stage


def test_requeue_a_dead_letter(browser: Browser, working: Stage) -> None:
    """A view of somebody whom the site did not know yet: once it does, an operator who comes by a link has it counted
    by a press of a button, and sees that without loading the page again.
    """
    event = {"type": "profile_view", "specialistId": VERA, "eventId": "1ba3c0de-0000-4000-8000-000000000001"}
    working.send(event, {"type": HOSTILE, "specialistId": HOSTILE})
    with working.connect() as connection:
        wait_until(lambda: buried(connection, VERA) and buried(connection, HOSTILE), "the dead letters lie there")
        add_specialists(connection, [VERA])
    with visiting(browser, working, language="en-GB") as visit:
        visit.go(f"{OPS}?token={token(working, 'operator', Audience.OPERATOR, link=True)}")
        page = visit.page
        assert page.url == working.address + OPS
        letters = page.locator("#reason-unknown_specialist")
        letters.locator("summary").click()
        letters.get_by_role("button", name="Requeue dead letter").click()
        expect(page.locator("#said")).to_contain_text("requeue")
        page.evaluate("window.notReloaded = true")
        expect(letters).to_have_count(0, timeout=20_000)
        assert page.evaluate("window.notReloaded")
        wait_until(lambda: working.row(VERA, working.data.today)[0] == 1, "it is counted")
        page.locator("#dead-letters summary").click()
        expect(page.locator("#dead-letters").get_by_text(HOSTILE).first).to_be_visible()
        assert "owned" not in page.title()
        visit.picture("ops-laptop-light")


def buried(connection: "psycopg.Connection[tuple[object, ...]]", specialist: str) -> bool:
    """Whether there is a dead letter of this specialist."""
    found = connection.execute("SELECT FROM analytics.dead_letter WHERE fields::text LIKE %s", [f"%{specialist}%"])
    return found.fetchone() is not None


def test_a_run_is_seen_while_it_goes(browser: Browser, working: Stage) -> None:
    """The page shows how far a run is, and its end, without being loaded again."""
    data = working.data
    days = sorted(day for specialist, day in data.tallies if specialist == NINA)[-DAYS:]
    with visiting(browser, working, language="en-GB") as visit, working.connect() as connection:
        log_in(visit, "operator", Audience.OPERATOR)
        visit.go(OPS)
        visit.page.evaluate("window.notReloaded = true")
        wrong = 'UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = "profileViews" + 1000 WHERE "date" = %s'
        connection.execute(wrong, [days[9]])
        with connection.transaction():
            connection.execute('SELECT FROM "SpecialistAnalyticsDaily" WHERE "date" = %s FOR UPDATE', [days[9]])
            code, output, errors = run_worker(
                working.settings, "recompute", "--from", str(days[0]), "--to", str(days[-1]), "--no-wait"
            )
            assert code == 0, errors
            run = visit.page.locator(f"#run-{output.split()[-1]}")
            expect(run).to_contain_text("9 of 30 days", timeout=20_000)
            expect(run.get_by_role("progressbar")).to_be_visible()
            visit.picture("ops-run-laptop-light")
        expect(run).to_contain_text("done", timeout=20_000)
        expect(run).to_contain_text("30 of 30 days")
        assert visit.page.evaluate("window.notReloaded")
    assert working.row(NINA, days[9])[0] == data.sum(NINA, days[9], days[9]).profile_views


def test_a_token_that_ends_while_one_looks(browser: Browser, stage: Stage) -> None:
    """Who is signed out is told so, and that all is well is no longer what page and tab say; nothing is asked any more
    before somebody looks again, and with a good token it goes on.
    """
    with visiting(browser, stage, expected=("401",)) as visit:
        log_in(visit, "operator", Audience.OPERATOR)
        visit.go(OPS)
        keep(visit, token(stage, "operator", Audience.OPERATOR, hours=-0.1), Audience.OPERATOR)
        page = visit.page
        expect(page.locator("#live-state")).to_contain_text("signed out")
        expect(page).to_have_title("You are signed out: open a new link – analytics worker")
        expect(page.locator("#live.stale")).to_have_count(1)
        assert visit.barriers() == []
        with pytest.raises(TimeoutError), page.expect_request("**/ops/live", timeout=3_000):
            pass
        log_in(visit, "operator", Audience.OPERATOR)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#live-state")).to_have_text("Live")
        expect(page.locator("#live.stale")).to_have_count(0)
        assert "signed out" not in page.title()


def test_without_javascript(browser: Browser, working: Stage) -> None:
    """Without a script the page is the same, and a press of a button does the same."""
    working.send({"type": "profile_view", "specialistId": "nobody", "eventId": "1ba3c0de-0000-4000-8000-000000000002"})
    with working.connect() as connection:
        wait_until(lambda: buried(connection, "nobody"), "the dead letter lies there")
    with visiting(browser, working, language="en-GB", javascript=False) as visit:
        log_in(visit, "operator", Audience.OPERATOR)
        letters = visit.page.locator("#reason-unknown_specialist")
        wait_until(lambda: visit.go(OPS) == 200 and letters.count() == 1, "the page shows it")
        letters.get_by_role("button", name="Requeue all").click()
        expect(visit.page.locator("#said")).to_contain_text("requeue")


@pytest.mark.parametrize("audience", list(Audience))
def test_who_is_not_let_in(browser: Browser, stage: Stage, audience: Audience) -> None:
    """No specialist is an operator, and no token is for ever."""
    hours = 1.0 if audience is Audience.SPECIALIST else -0.1
    with visiting(browser, stage, expected=("401",), size="phone") as visit:
        keep(visit, token(stage, "operator", audience, hours), Audience.OPERATOR)
        assert visit.go(OPS) == 401
        expect(visit.page.locator("#live")).to_have_count(0)
        assert visit.barriers() == []
        visit.picture("ops-error-401-phone-light")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", ["small phone", "tablet", "laptop"])
def test_every_size_and_theme(browser: Browser, working: Stage, size: Size, dark: bool) -> None:
    """On no screen does it scroll sideways, and nothing on it is in the way of people with a disability."""
    with visiting(browser, working, size=size, dark=dark) as visit:
        log_in(visit, "operator", Audience.OPERATOR)
        visit.go(OPS)
        for details in visit.page.locator("details").all():
            details.evaluate("details => details.open = true")
        visit.picture(f"ops-{size}-{'dark' if dark else 'light'}".replace(" ", "-"))
        assert visit.scrolls_sideways() == []
        assert visit.barriers() == []


def test_postgresql_is_away(browser: Browser, stage: Stage) -> None:
    """An open page says that it gets no numbers, and goes on by itself as soon as there are some."""
    with visiting(browser, stage, expected=("503",)) as visit:
        log_in(visit, "operator", Audience.OPERATOR)
        visit.go(OPS)
        stage.servers.postgres.kill()
        try:
            expect(visit.page.locator("#verdict")).to_contain_text("PostgreSQL", timeout=20_000)
            visit.picture("ops-postgresql-away-laptop-light")
        finally:
            stage.servers.postgres.start()
        expect(visit.page.locator("#books")).to_contain_text("balance", timeout=20_000)
