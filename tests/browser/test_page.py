"""The specialist's page as people meet it: its numbers, its switches, its chart, on any screen and without a script."""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from math import floor
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.dataset import BORIS, DAYS, DINA, HOSTILE, LEGACY_DAYS, NINA, OLEG, Tally
from tests.browser.stage import LOST, Stage
from tests.browser.visit import PAGE, SCREENSHOTS, Size, Visit, keep, log_in, token, visiting
from tests.support import run_worker, wait_until
from worker.token import Audience

PERIODS = {"Day": 1, "Week": 7, "Month": 30, "Quarter": 90}

FIRST_LOAD_BYTES = 100_000

FOCUSED = """() => {
    const element = document.activeElement
    if (element === document.body) return null
    const box = element.getBoundingClientRect(), style = getComputedStyle(element)
    return {
        what: element.outerHTML.slice(0, 200),
        visible: box.width > 1 && box.height > 1 && box.right > 0 && box.bottom > 0,
        outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 1,
    }
}"""
FOCUSABLE = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
    .filter(element => element.checkVisibility()).map(element => element.outerHTML.slice(0, 200))"""


@pytest.fixture
def visit(browser: Browser, stage: Stage) -> Iterator[Visit]:
    """Somebody who reads English and is Nina."""
    with visiting(browser, stage, language="en-GB") as visit:
        log_in(visit, NINA)
        yield visit


def digits(text: str) -> int:
    """The number in a text, whatever stands between its digits."""
    return int(re.sub(r"\D", "", text))


def cards(page: Page) -> dict[str, int]:
    """The key figures, by name."""
    return {
        str(card.get_attribute("data-metric")): digits(card.locator(".value").inner_text())
        for card in page.locator("[data-metric]").all()
        if re.search(r"\d", card.locator(".value").inner_text())
    }


def table(page: Page) -> dict[date, dict[str, int | None]]:
    """The rows of the trend in English, by their first date: numbers by the label of their column."""
    rows: list[dict[str, Any]] = page.evaluate(
        """() => {
            const table = document.getElementById("trend-table")
            const labels = [...table.tHead.rows[0].cells].slice(1).map(cell => cell.textContent.trim())
            const names = labels.map(label => label.toLowerCase().replaceAll(" ", "_"))
            return [...table.tBodies[0].rows].map(row => ({
                first: row.querySelector("time").dateTime,
                numbers: Object.fromEntries(names.map((name, index) => {
                    const found = row.cells[index + 1].querySelector("data")
                    return [name, found && Number(found.textContent.replace(/\\D/g, ""))]
                })),
            }))
        }"""
    )
    return {date.fromisoformat(row["first"]): row["numbers"] for row in rows}


def counted(tally: Tally) -> dict[str, int]:
    """A straight count, in the page's words."""
    return {
        "profile_views": tally.profile_views,
        "contact_views": tally.contact_views,
        "requests": tally.outcomes["ConsultationRequest"],
        "orders": tally.outcomes["Order"],
        "reviews": tally.outcomes["Review"],
        "visitors": len(tally.visitors),
    }


def test_a_link_lets_in_once(browser: Browser, stage: Stage) -> None:
    """Whoever opens the link that the command line made is in, with no token left in the address; nobody else is."""
    code, output, errors = run_worker(stage.settings, "token", NINA, "--link")
    assert code == 0, errors
    link = output.split()[-1].rpartition("token=")[2]
    with visiting(browser, stage) as visit:
        assert visit.go(f"{PAGE}?token={link}&period=week") == 200
        assert visit.page.url == f"{stage.address}{PAGE}?period=week"
        assert cards(visit.page)["profile_views"] == stage.data.last_days(NINA, 7).profile_views
        assert visit.page.evaluate("document.cookie") == ""  # no script can read it
        assert [(cookie["name"], cookie["httpOnly"], cookie["sameSite"]) for cookie in visit.context.cookies()] == [
            ("analytics_token", True, "Lax")
        ]
    with visiting(browser, stage, expected=("401",)) as another:
        assert another.go(f"{PAGE}?token={link}") == 401
        expect(another.page.get_by_role("heading", level=1)).to_have_text("Войдите через сайт")
        another.picture("error-401-phone-ru")


@pytest.mark.parametrize("period", PERIODS)
def test_numbers_are_a_straight_count(visit: Visit, period: str) -> None:
    """Chosen by its switch, each period shows what was sent and what the site has: in the figures, in each row of the
    table, in the funnel, by source and by type of contact.
    """
    data, days = visit.stage.data, PERIODS[period]
    visit.go(PAGE)
    visit.page.get_by_role("navigation", name="Period").get_by_role("link", name=period).click()
    expect(visit.page.get_by_role("link", name=period)).to_have_attribute("aria-current", "page")
    truth, earlier = data.last_days(NINA, days), data.last_days(NINA, days, ago=days)
    assert cards(visit.page) == counted(truth)
    for name in ("profile_views", "contact_views", "requests", "orders", "reviews"):
        now, then = counted(truth)[name], counted(earlier)[name]
        tenths = floor(1000 * (now - then) / then + 0.5) if then else 0  # halves go up, where `round` makes them even
        change = "new" if now and not then else f"{abs(tenths) / 10:g}%"
        badge = visit.page.locator(f"[data-metric={name}] .badge")
        if now or then:
            expect(badge).to_have_text(re.compile(rf"^\W?{change}$"))
        else:
            expect(badge).to_have_count(0)
    for day, numbers in table(visit.page).items():
        expected = counted(data.sum(NINA, day, day))
        visitors, before = numbers.pop("visitors"), numbers.pop("profile_views_before")
        assert numbers == {name: expected[name] for name in numbers}, day
        assert visit.stage.row(NINA, day) == tuple(numbers.values())
        if days <= DAYS:  # the old counters know of no visitors
            assert visitors == expected["visitors"]
            assert before == data.sum(NINA, day - timedelta(days=days), day - timedelta(days=days)).profile_views
    stages = {
        str(stage.get_attribute("data-stage")): digits(stage.locator(".stage strong").inner_text())
        for stage in visit.page.locator("[data-stage]").all()
    }
    assert stages == {name: counted(truth)[name] for name in ("profile_views", "contact_views", "requests", "orders")}
    sources = [(row.get_attribute("data-source"), row) for row in visit.page.locator("[data-source]").all()]
    assert {name: digits(row.locator("td").first.inner_text()) for name, row in sources} == {
        name: truth.sources[name] for name in ("catalog", "search", "direct", "other")
    }
    assert sum(digits(row.locator("td").last.inner_text()) for _, row in sources) == 100


def test_the_chart_says_what_the_table_says(visit: Visit) -> None:
    """Under the mouse and by the arrow keys each point of the chart has the numbers of its row, and these alone."""
    visit.go(f"{PAGE}?period=month")
    page, rows = visit.page, sorted(table(visit.page).items())
    chart, tip, spoken = page.locator("#chart"), page.locator("#chart .tip"), page.locator("#chart [role=status]")
    chart.focus()
    page.keyboard.press("Home")
    for index, (_, numbers) in enumerate(rows):
        shown = [numbers["profile_views"], numbers["profile_views_before"], numbers["contact_views"]]
        assert [digits(text) for text in tip.locator("b").all_inner_texts()] == shown, index
        assert all(str(number) in spoken.inner_text() for number in shown)
        page.keyboard.press("ArrowRight")
    area = page.locator("#chart .u-over").bounding_box()
    assert area
    for index in (0, 7, len(rows) - 1):
        page.mouse.move(area["x"] + area["width"] * (index + 0.5) / len(rows), area["y"] + 40)
        assert digits(tip.locator("b").first.inner_text()) == rows[index][1]["profile_views"]
    page.get_by_role("button", name="Requests").click()
    chart.focus()
    page.keyboard.press("End")
    assert digits(tip.locator("b").last.inner_text()) == rows[-1][1]["requests"]
    visit.picture("month-chart-laptop-light-en")


def test_days_without_counting_are_gaps(visit: Visit) -> None:
    """Where nobody counted there is no zero: not in the table, not in the chart, and the page says since when."""
    visit.go(f"{PAGE}?period=year")
    since = visit.stage.data.today - timedelta(days=DAYS + LEGACY_DAYS - 1)
    points = table(visit.page)
    assert {
        numbers["profile_views"] is None for day, numbers in points.items() if day < since - timedelta(days=31)
    } == {True}
    assert all(numbers["profile_views"] for day, numbers in points.items() if day >= since)
    notice = visit.page.locator(".notice")
    expect(notice).to_contain_text("Counting since")
    expect(notice).to_contain_text(str(since.year))
    visit.page.locator("#trend-table").evaluate("table => table.closest('details').open = true")
    assert visit.barriers() == []
    visit.picture("year-laptop-light-en")


def test_what_others_send_is_text(visit: Visit) -> None:
    """HTML, templates and whatever else comes as a contact type is shown as it was sent, and does nothing."""
    visit.go(f"{PAGE}?period=week")
    for hostile in HOSTILE:
        expect(visit.page.get_by_text(hostile[:30])).to_be_visible()
    assert "owned" not in visit.page.title()


def test_language_and_theme(browser: Browser, stage: Stage) -> None:
    """The browser's language and theme are the page's until one is chosen; what was chosen stays, here and later."""
    with visiting(browser, stage, language="ru-RU", dark=True) as visit:
        log_in(visit, NINA)
        visit.go(PAGE)
        page = visit.page
        expect(page.get_by_role("heading", level=1)).to_have_text("Последние 30 дней")
        assert is_dark(page)
        page.get_by_role("link", name="English").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The last 30 days")
        page.get_by_role("link", name="Light", exact=True).click()
        assert not is_dark(page)
        page.get_by_role("link", name="Week").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        assert not is_dark(page)
        assert page.url == f"{stage.address}{PAGE}?period=week"
    with visiting(browser, stage, language="de-DE") as visit:
        log_in(visit, NINA)
        visit.go(PAGE)
        expect(visit.page.locator("html")).to_have_attribute("lang", "en")


def is_dark(page: Page) -> bool:
    """Whether the background is darker than the text."""
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    ground, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    return bool(ground < text)


@pytest.mark.parametrize("size", ["small phone", "phone", "tablet", "laptop", "wide"])
def test_every_size(browser: Browser, stage: Stage, size: Size) -> None:
    """On no screen does the page scroll sideways, however long it is."""
    with visiting(browser, stage, size=size) as visit:
        log_in(visit, NINA)
        for period in ("day", "month", "year", "all"):
            visit.go(f"{PAGE}?period={period}")
            visit.page.locator("details").first.evaluate("details => details.open = true")
            assert visit.scrolls_sideways() == []
        visit.go(f"{PAGE}?period=month")
        visit.picture(f"month-{size}-light-ru".replace(" ", "-"))


def test_without_javascript(browser: Browser, stage: Stage) -> None:
    """Without a script the tables hold everything, and all switches work."""
    with visiting(browser, stage, javascript=False, language="en-GB") as visit:
        log_in(visit, NINA)
        visit.go(PAGE)
        page = visit.page
        expect(page.locator("#chart")).to_be_hidden()
        expect(page.locator("#trend-table")).to_be_visible()
        page.get_by_role("link", name="Week").click()
        numbers = page.locator("#trend-table tbody tr").first.locator("data").first
        expect(numbers).to_have_text(str(stage.data.last_days(NINA, 1).profile_views))
        page.get_by_role("link", name="Русский").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Последние 7 дней")
        page.get_by_role("link", name="Тёмное").click()
        yesterday = stage.data.today - timedelta(days=1)
        page.locator("input[name=from]").fill(str(yesterday))
        page.locator("input[name=to]").fill(str(yesterday))
        page.get_by_role("button", name="Показать").click()
        assert digits(page.locator("[data-metric=profile_views] .value").inner_text()) == stage.row(NINA, yesterday)[0]
        visit.picture("no-javascript-laptop-dark-ru")


def test_lost_events_are_told(browser: Browser, stage: Stage) -> None:
    """Where events were lost the page says so with their number; where none were it does not."""
    with visiting(browser, stage, language="en-GB", size="phone") as visit:
        log_in(visit, BORIS)
        visit.go(f"{PAGE}?period=week")
        expect(visit.page.locator(".notice.warn")).to_contain_text(f"{LOST} events were lost")
        visit.picture("lost-phone-light-en")
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period=week")
        expect(visit.page.locator(".notice")).to_have_count(0)


def test_nobody_came(browser: Browser, stage: Stage) -> None:
    """Whoever was never looked at gets no chart and no zeros without a word, but is told what is missing."""
    with visiting(browser, stage, dark=True) as visit:
        log_in(visit, DINA)
        visit.go(f"{PAGE}?period=month")
        expect(visit.page.locator(".notice")).to_contain_text("никто не заходил")
        expect(visit.page.locator("#chart")).to_have_count(0)
        visit.picture("empty-laptop-dark-ru")


def test_a_newcomer(browser: Browser, stage: Stage) -> None:
    """Against a period of nothing a number is new, and no percentage."""
    with visiting(browser, stage, language="en-GB") as visit:
        log_in(visit, OLEG)
        visit.go(f"{PAGE}?period=week")
        expect(visit.page.locator("[data-metric=profile_views] .badge")).to_have_text("new")
        visit.picture("newcomer-laptop-light-en")


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda stage: "", id="none"),
        pytest.param(lambda stage: token(stage, NINA, hours=-0.1), id="expired"),
        pytest.param(lambda stage: token(stage, NINA)[:-8] + "AAAAAAAA", id="forged"),
        pytest.param(lambda stage: token(stage, NINA, Audience.OPERATOR), id="of an operator"),
    ],
)
def test_who_is_not_let_in(browser: Browser, stage: Stage, bad: Callable[[Stage], str]) -> None:
    """Without a good token there is a page that says what to do, and nothing of anybody's numbers."""
    with visiting(browser, stage, expected=("401",), language="en-GB", size="phone") as visit:
        keep(visit, bad(stage))
        assert visit.go(f"{PAGE}?period=week") == 401
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Please come in through the site")
        assert NINA not in visit.page.content()
        visit.picture("error-401-phone-light-en")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("period=fortnight", "period: 'fortnight' is no period"),
        ("from=2026-11-20&to=2026-11-01", "from, to: the last day, 2026-11-01, comes before the first"),
        ("from=1000-01-01", "from: 1000-01-01 is before 1970-01-01"),
        ("to=<b>", "from: a range needs its first day"),
        ("from=2026-11-01&to=<b>", "to: '<b>' is no date"),
    ],
)
def test_no_period(browser: Browser, stage: Stage, query: str, why: str) -> None:
    """What is no period gets a page that says what is wrong with it and which ones there are, with their switch."""
    with visiting(browser, stage, expected=("400",), language="en-GB") as visit:
        log_in(visit, NINA)
        assert visit.go(f"{PAGE}?{query}") == 400
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("There is no such period")
        expect(visit.page.locator(".problem")).to_contain_text(why)
        assert visit.barriers() == []
        visit.page.get_by_role("link", name="Week").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("The last 7 days")


def test_the_keyboard_is_enough(visit: Visit) -> None:
    """The Tab key comes to everything that can be used, in the order in which it stands, and one sees where one is."""
    page = visit.page
    visit.go(f"{PAGE}?period=month")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    passed: list[str] = []
    while (here := page.evaluate(FOCUSED)) is not None:
        if here["what"] not in passed[-1:]:  # a date has several parts to stop at
            assert here["visible"] and here["outline"], here
            passed.append(here["what"])
        page.keyboard.press("Tab")
    assert passed == page.evaluate(FOCUSABLE)
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Day", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("The last 7 days")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("language", ["ru-RU", "en-GB"])
def test_axe_finds_nothing(browser: Browser, stage: Stage, language: str, dark: bool) -> None:
    """Nothing on the page is in the way of people with a disability, in any language, theme and size, nor where it has
    no numbers.
    """
    named = f"{'dark' if dark else 'light'}-{language[:2]}"
    for size in ("laptop", "phone"):
        with visiting(browser, stage, size=size, dark=dark, language=language, expected=("401",)) as visit:
            visit.go(PAGE)
            assert visit.barriers() == []
            visit.picture(f"error-401-{size}-{named}")
            log_in(visit, BORIS)
            visit.go(f"{PAGE}?period=year")  # with a notice of each kind
            assert visit.barriers() == []
            visit.picture(f"year-lost-{size}-{named}")
            visit.go(f"{PAGE}?period=week")
            visit.page.locator("#trend-table").evaluate("table => table.closest('details').open = true")
            assert visit.barriers() == []
            visit.picture(f"week-open-{size}-{named}")


def test_on_paper(visit: Visit) -> None:
    """Printed, the page has all its tables and no switches, in the width of a sheet."""
    visit.go(f"{PAGE}?period=month")
    visit.page.set_viewport_size({"width": 700, "height": 1000})  # A4 between margins
    visit.page.emulate_media(media="print")
    expect(visit.page.locator("#trend-table")).to_be_visible()
    expect(visit.page.locator("#trend-table tbody tr").last).to_be_visible()
    for switch in (visit.page.get_by_role("navigation"), visit.page.locator("form, button")):
        for each in switch.all():
            expect(each).to_be_hidden()
    assert visit.scrolls_sideways() == []
    visit.picture("month-print-en")
    visit.page.pdf(path=SCREENSHOTS / "month-print-en.pdf", format="A4")


def test_nothing_is_cut_off_on_paper(visit: Visit) -> None:
    """The six numbers stand on paper as a whole, with their lines, also what a card on the screen would cut off."""
    visit.go(f"{PAGE}?period=month")
    visit.page.emulate_media(media="print", color_scheme="dark")
    expect(visit.page.locator(".spark")).to_have_count(6)
    expect(visit.page.locator(".spark").last).to_be_visible()
    for card in visit.page.locator("[data-metric]").all():
        assert card.evaluate("card => getComputedStyle(card).overflow") == "visible"
    assert not is_dark(visit.page)  # ink is dark, whatever the screen is


def test_a_finger_reads_the_chart(browser: Browser, stage: Stage) -> None:
    """A tap on the chart shows the numbers of its day, and they stay when the finger is gone."""
    with visiting(browser, stage, size="phone", language="en-GB") as visit:
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period=week")
        page, rows = visit.page, sorted(table(visit.page).items())
        page.locator("#chart").scroll_into_view_if_needed()
        area = page.locator("#chart .u-over").bounding_box()
        assert area
        for index in (1, 5):
            page.touchscreen.tap(area["x"] + area["width"] * (index + 0.5) / len(rows), area["y"] + 40)
            expect(page.locator("#chart .tip b").first).to_have_text(str(rows[index][1]["profile_views"]))
            expect(page.locator("#chart .tip")).to_be_visible()


def test_dates_are_folded_on_a_phone(browser: Browser, stage: Stage) -> None:
    """On a phone the first numbers are on the first screen, and the dates a tap away; on a laptop they stand there."""
    with visiting(browser, stage, size="phone", language="en-GB") as visit:
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period=month")
        fields = visit.page.get_by_label("From", exact=True)
        expect(fields).to_be_hidden()
        expect(visit.page.locator("[data-metric=profile_views] .value")).to_be_in_viewport()
        visit.page.get_by_text("Other dates").tap()
        fields.fill(str(stage.data.today - timedelta(days=2)))
        visit.page.get_by_role("button", name="Show", exact=True).tap()
        expect(visit.page.get_by_role("heading", level=1)).to_contain_text("–")
        expect(visit.page.get_by_label("From", exact=True)).to_be_visible()  # a range that is shown can be changed
        visit.page.set_viewport_size({"width": 1280, "height": 800})
        visit.go(f"{PAGE}?period=month")
        expect(visit.page.get_by_label("From", exact=True)).to_be_visible()
        expect(visit.page.get_by_text("Other dates")).to_be_hidden()


def test_nothing_stays_behind(browser: Browser, stage: Stage) -> None:
    """Who has left finds no numbers by going back, and whoever comes by another's link sees that one's alone."""
    with visiting(browser, stage, language="en-GB", expected=("401",)) as visit:
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period=week")
        visit.go(f"{PAGE}?token={token(stage, OLEG, link=True)}&period=month")
        expect(visit.page.locator("footer")).to_have_text(f"Profile {OLEG}")
        visit.page.go_back()
        expect(visit.page.locator("footer")).to_have_text(f"Profile {OLEG}")
        visit.go(f"{PAGE}?period=day")
        visit.context.clear_cookies()
        visit.page.go_back()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Please come in through the site")
        expect(visit.page.locator("[data-metric]")).to_have_count(0)


def test_few_colours_of_ones_own(browser: Browser, stage: Stage) -> None:
    """Where the system sets the colours, lines are still told apart, and one sees which are drawn."""
    with visiting(browser, stage, language="en-GB") as visit:
        visit.page.emulate_media(forced_colors="active")
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period=week")
        swatches = visit.page.locator(".legend .swatch:not(.in-before)")
        inks = swatches.evaluate_all("all => all.map(swatch => getComputedStyle(swatch).backgroundColor)")
        assert len(set(inks)) == len(inks)
        outlines = visit.page.locator(".legend button").evaluate_all(
            "all => all.map(button => [button.ariaPressed, getComputedStyle(button).outlineStyle])"
        )
        assert {(pressed, style) for pressed, style in outlines} == {("true", "solid"), ("false", "none")}
        visit.picture("week-forced-colours-en")


def test_the_first_load_is_small(visit: Visit) -> None:
    """Whoever was never here gets everything in 100 kB, and what does not change only once."""
    sizes: dict[str, int] = {}
    visit.context.on("requestfinished", lambda request: sizes.update({request.url: _transferred(request)}))
    visit.page.goto(visit.stage.address + PAGE, wait_until="networkidle")
    assert len(sizes) >= 3
    assert sum(sizes.values()) <= FIRST_LOAD_BYTES, sizes
    sizes.clear()
    address = f"{visit.stage.address}{PAGE}?period=week"
    visit.page.goto(address, wait_until="networkidle")
    assert [url for url, size in sizes.items() if size] == [address]


def _transferred(request: Request) -> int:
    sizes = request.sizes()
    return sizes["responseHeadersSize"] + sizes["responseBodySize"]


def test_the_database_is_away(browser: Browser, stage: Stage) -> None:
    """Without the database the page says so and when to come back; it is there again as soon as the database is."""
    with visiting(browser, stage, expected=("503",), language="en-GB") as visit:
        log_in(visit, NINA)
        stage.servers.postgres.kill()
        try:
            answer = visit.page.goto(f"{stage.address}{PAGE}?period=quarter")
            assert answer and answer.status == 503 and int(answer.headers["retry-after"]) > 0
            expect(visit.page.get_by_role("heading", level=1)).to_contain_text("cannot be read just now")
            visit.picture("error-503-laptop-light-en")
        finally:
            stage.servers.postgres.start()
        wait_until(lambda: visit.go(f"{PAGE}?period=quarter") == 200, "the page is there again")
