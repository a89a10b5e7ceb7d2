"""What stands on the page, of readings that are made up, in both languages."""

import string
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel import Locale
from msgspec.structs import replace
from starlette.requests import Request

from tests.unit.test_reading import Visited, daily_rows, daily_visitors
from worker.reading.figures import Day, Facts, Found, reading
from worker.reading.period import PeriodName, Why, parse_period
from worker.reading.shape import Loss, Metric, Metrics, Reading
from worker.web.page_view import LONGEST_TYPE, Card, PageView, harmless, page_view, spark
from worker.web.rendering import WORDS, render
from worker.web.texts import COUNTED, TEXTS
from worker.web.words import LOCALES, Language

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 11, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def made(
    period: str | None = "month",
    *,
    first: str | None = None,
    last: str | None = None,
    since: date | None = TODAY - 900 * DAY,
    views: Mapping[date, int] | None = None,
    visitors: int | None = 3,
    merged: int = 5,
    types: tuple[tuple[str | None, int], ...] = (),
    losses: tuple[Loss, ...] = (),
    as_of: datetime | None = NOW - timedelta(minutes=2),
) -> Reading:
    """A reading of somebody who was seen ten times on each day, unless told otherwise."""
    asked = parse_period(period, first, last, TODAY)
    all_days = [TODAY - number * DAY for number in range(901)]
    seen = dict.fromkeys(all_days, 10) if views is None else dict(views)
    days = {
        day: Day(number, number // 2, 2, 1, 0, catalog=number // 2, search=number // 4)
        for day, number in seen.items()
        if since and day >= since
    }
    return reading(
        asked,
        Found(
            specialist="anna",
            time_zone="Europe/Moscow",
            facts=Facts(min(seen, default=None), since, TODAY - 30 * DAY, since and TODAY - DAY),
            days=daily_rows(days),
            contact_types=types,
            losses=losses,
            visitors=daily_visitors({day: Visited(visitors, b"") for day in days} if visitors is not None else {}),
            merged=lambda _: merged,
            as_of=as_of,
        ),
    )


def plain(text: str) -> str:
    """With spaces where no line may break."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def shown(found: Reading, language: Language = Language.EN, before: Reading | None = None) -> PageView:
    return page_view(found, before.trend if before else None, WORDS[language], NOW)


def card(view: PageView, name: str = "profile_views") -> Card:
    return next(card for card in view.cards if card.name == name)


def test_no_text_is_missing() -> None:
    """Every text is there in both languages with the same values to put in, and in every form of a number."""
    for name, text in TEXTS.items():
        assert all(words.strip() for words in text), name
        assert fields(text.en) == fields(text.ru), name
    for name, counted in COUNTED.items():
        for language in Language:
            forms: Mapping[str, str] = getattr(counted, language)
            # CLDR has `other` in Russian for fractions only, and nothing here is one.
            wanted = {Locale.parse(LOCALES[language]).plural_form(number) for number in range(200)}
            assert forms.keys() == wanted, (name, language)
            assert len({frozenset(fields(form)) for form in [*counted.en.values(), *counted.ru.values()]}) == 1, name


def fields(text: str) -> set[str | None]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


def test_no_text_is_left_over() -> None:
    """Every text is used somewhere, also those whose name is put together."""
    folder = Path(__file__).resolve().parents[2] / "worker" / "web"
    used = "".join(
        path.read_text(encoding="utf-8")
        for path in [*folder.rglob("*.html"), *folder.glob("*.py")]
        if path.name != "texts.py"
    )
    put_together = {
        *(f"period_{each}" for each in PeriodName),
        *(f"heading_{each}" for each in PeriodName),
        *(f"{known}_{each}" for known in ("in", "short") for each in Language),
        *(f"theme_{each}" for each in ("auto", "light", "dark")),
        *(f"trend_{each}" for each in ("day", "week", "month")),
        *(f"rate_{each}" for each in ("contact_views", "requests", "orders")),
        *(f"meaning_{each}" for each in ("views", "visitors", "outcomes", "changes")),
        *(f"{each}_{part}" for each in PROBLEMS for part in ("title", "text")),
        *(f"why_{each.name.lower()}" for each in Why),
        *Metrics.__struct_fields__,
        *("catalog", "search", "direct", "other", "new", "not_counted"),
    }
    assert [name for name in [*TEXTS, *COUNTED] if name not in put_together and f'"{name}"' not in used] == []
    assert put_together <= TEXTS.keys()


PROBLEMS = ("period", "sign_in", "no_profile", "too_many", "away", "secret", "failed", "no_page")


@pytest.mark.parametrize(
    ("value", "before", "english", "russian"),
    [
        (10, 8, ("+25%", "good"), ("+25\u202f%", "good")),
        (8, 10, ("\u221220%", "bad"), ("\u221220\u202f%", "bad")),
        (3, 3, ("0%", ""), ("0\u202f%", "")),
        (1234, 1000, ("+23.4%", "good"), ("+23,4\u202f%", "good")),
        (3, 0, ("new", "accent"), (TEXTS["new"].ru.replace(" ", "\N{NO-BREAK SPACE}"), "accent")),
    ],
)
def test_changes(value: int, before: int, english: tuple[str, str], russian: tuple[str, str]) -> None:
    """A change is a percentage with its sign; from nothing to something is new, and no percentage."""
    found = made("day", views={TODAY: value, TODAY - DAY: before})
    assert card(shown(found)).chip == english
    assert card(shown(found, Language.RU)).chip == russian


def test_without_a_period_before() -> None:
    """What cannot be compared says why where nobody counted then, and of all time says nothing."""
    chip = card(shown(made(since=TODAY - 40 * DAY))).chip
    assert chip is not None
    assert (chip.text, card(shown(made(since=TODAY - 40 * DAY))).before) == ("not counted then", None)
    everything = shown(made("all"))
    assert {(each.chip, each.before) for each in everything.cards} == {(None, None)}
    assert everything.compared is None


def test_what_nobody_counted_is_no_zero() -> None:
    """Before the counting began there is no number: not in the figures, not in the table, not on the chart."""
    view = shown(made("week", since=TODAY - 2 * DAY))
    numbers = [row.cells[0].value for row in view.trend.rows]
    assert numbers == [10, 10, 10, None, None, None, None]  # the newest first
    assert [row.cells[0].text for row in view.trend.rows][3:] == ["not counted"] * 4
    assert plain(view.notices[0].title) == "Counting since 21 Nov 2026"
    earlier = shown(made(None, first="2026-01-01", last="2026-01-31", since=TODAY))
    assert card(earlier).value is None
    assert card(earlier).note == "was not counted in these days"
    assert not earlier.has_numbers


def test_nothing_yet_and_nobody_came() -> None:
    """A site that has just begun, and a profile that nobody has seen, say what is missing; the second has zeros."""
    new = shown(made(since=None, views={}, as_of=None), Language.RU)
    assert [plain(notice.title) for notice in new.notices] == ["Пока ничего не посчитано"]
    assert plain(new.as_of) == "Данных ещё не поступало"
    quiet = shown(made(views={}, visitors=None))
    assert (card(quiet).value, card(quiet).chip, card(quiet).before) == ("0", None, "was 0")
    assert [notice.title for notice in quiet.notices] == ["Nobody came in these days"]
    assert quiet.has_numbers
    assert not quiet.has_chart
    assert shown(made(views={TODAY: 1})).notices == []


def test_visitors() -> None:
    """Visitors nobody sent are unknown, which is said; an estimate has an ≈, and a small number never."""
    unknown = card(shown(made(visitors=None)), "visitors")
    assert (unknown.value, unknown.chip) == (None, None)
    assert unknown.note is not None
    assert "visitorId" in unknown.note
    some = Metric(value=40, before=90, change=None, without_change="not_counted", partial=True)
    less = replace(made(), metrics=replace(made().metrics, visitors=some))
    assert (card(shown(less), "visitors").value, card(shown(less), "visitors").chip) == (
        "40",
        ("of some days only", ""),
    )
    few = Metric(value=40, before=40_000, change=-99.9, estimated=True)
    fewer = replace(made(), metrics=replace(made().metrics, visitors=few))
    assert (card(shown(fewer), "visitors").value, card(shown(fewer), "visitors").before) == ("40", "was ≈ 40,000")
    many = shown(made(merged=40_000), Language.RU)
    assert card(many, "visitors").value == "≈ 40\N{NO-BREAK SPACE}000"
    assert many.estimated


def test_losses_are_told_with_their_number() -> None:
    """Each loss has its days and its number, in the form that the number asks for, or says that nobody knows it."""
    losses = (
        Loss(first=TODAY - 3 * DAY, last=TODAY - 2 * DAY, entries=1_234),
        Loss(first=TODAY - 9 * DAY, last=TODAY - 9 * DAY, entries=None),
        *(Loss(first=TODAY - 10 * DAY, last=TODAY - 10 * DAY, entries=1) for _ in range(5)),
    )
    [notice, *_] = shown(made(losses=losses), Language.RU).notices
    assert notice.kind == "warn"
    assert plain(notice.lines[0]).startswith("20–21 нояб. 2026")
    assert " 1\N{NO-BREAK SPACE}234\N{NO-BREAK SPACE}события пропали" in notice.lines[0]
    assert "неизвестное число" in notice.lines[1]
    assert "1\N{NO-BREAK SPACE}событие пропало" in notice.lines[2]
    assert plain(notice.lines[-1]) == "и ещё 2 раза."
    assert len(notice.lines) == 6


def test_days_of_a_loss_are_marked() -> None:
    """Where events were lost the table says so on each of the days, beside what else there is to say of them."""
    losses = (
        Loss(first=TODAY - 2 * DAY, last=TODAY, entries=3),
        Loss(first=TODAY - 30 * DAY, last=TODAY - 6 * DAY, entries=1),
    )
    rows = shown(made("week", losses=losses)).trend.rows
    lost = "events lost"
    assert [row.note for row in rows] == [f"so far, {lost}", lost, lost, None, None, None, lost]


def test_russian_is_set_as_printers_do() -> None:
    """No line ends with a preposition or a number, none begins with a dash, and a date stays on one line."""
    words = WORDS[Language.RU]
    texts = [
        words("heading_week"),
        words("meaning_visitors"),
        words.count("days", 21),
        words.days(date(2025, 12, 25), date(2026, 1, 3)),
    ]
    visible = [text.replace("\N{NO-BREAK SPACE}", "~").replace("\N{NARROW NO-BREAK SPACE}", "_") for text in texts]
    assert visible == [
        "Последние 7~дней",
        "Посетители~— это разные люди: пришедший в~два разных дня считается один раз, "
        "поэтому их~может быть меньше, чем в~сумме по~дням.",
        "21~день",
        "25~дек.~2025_г. – 3~янв.~2026_г.",  # noqa: RUF001
    ]
    assert not any(" – " in text.ru or " %" in text.ru for text in TEXTS.values())


@pytest.mark.parametrize(
    ("as_of", "english", "fresh"),
    [
        (NOW - timedelta(minutes=2), "As of 14:03", True),
        (NOW - timedelta(hours=15), "As of 22 Nov 2026, 23:05", False),
        (None, "Nothing has been read yet", False),
    ],
)
def test_as_of(as_of: datetime | None, english: str, fresh: bool) -> None:
    """The time is that of the configured zone, with its date if it is not today's."""
    view = shown(made(as_of=as_of))
    assert (plain(view.as_of), view.is_fresh) == (english, fresh)
    assert plain(view.complete) == "complete through 22 Nov 2026"
    assert view.zone == "time zone: Moscow"


@pytest.mark.parametrize(
    ("zone", "english", "russian"),
    [
        ("Europe/Moscow", "Moscow", "Москва"),
        ("Europe/Kyiv", "Kyiv", "Киев"),
        ("Asia/Calcutta", "Kolkata", "Калькутта"),
        ("Pacific/Kiritimati", "Kiritimati", "Киритимати"),
        ("America/New_York", "New York", "Нью-Йорк"),
        ("UTC", "UTC", "UTC"),
        ("Etc/GMT+5", "GMT+5", "GMT+5"),
    ],
)
def test_zones_have_names_of_places(zone: str, english: str, russian: str) -> None:
    """Also those that were renamed since the names of places were collected."""
    assert (WORDS[Language.EN].zone(zone), WORDS[Language.RU].zone(zone)) == (english, russian)


def test_the_period_before_stands_below_this_one() -> None:
    """Each day has the one as many days before beside it."""
    found = made("week", views={TODAY: 9, TODAY - 7 * DAY: 4, TODAY - DAY: 8, TODAY - 8 * DAY: 3})
    before = made(None, first="2026-11-10", last="2026-11-16", views={TODAY - 7 * DAY: 4, TODAY - 8 * DAY: 3})
    view = shown(found, before=before)
    assert [column.name for column in view.trend.columns][:3] == ["profile_views", "before", "contact_views"]
    assert [(row.cells[0].value, row.cells[1].value) for row in view.trend.rows][:3] == [(9, 4), (8, 3), (0, 0)]


def test_what_is_only_a_part_says_so() -> None:
    """Today, and a week or month that the period cuts, are marked: there a line falls although nothing did."""
    year = shown(made("year")).trend.rows
    assert (plain(year[0].label), year[0].note) == ("23 Nov 2026", "so far")
    assert {row.note for row in year[1:-1]} == {None}
    assert (plain(year[-1].label), year[-1].note) == ("24–30 Nov 2025", None)
    cut = shown(made(None, first="2026-01-01", last="2026-10-31")).trend.rows
    assert [(plain(cut[-1].label), cut[-1].note), (plain(cut[0].label), cut[0].note)] == [
        ("1–4 Jan 2026", "4 days"),
        ("26–31 Oct 2026", "6 days"),
    ]
    everything = shown(made("all")).trend.rows
    assert plain(everything[1].label) == "Oct 2026"
    assert (plain(everything[-1].label), everything[-1].note) == ("6–30 Jun 2024", "25 days")
    began = shown(made("year", since=date(2026, 11, 12))).trend.rows
    assert began[2].note == "counted on 4 days only"


def test_the_tiny_lines_have_gaps() -> None:
    """A line breaks where there is no number; one number alone is a dot, and the day that is not over is left out."""
    assert spark([1, None, 2, 2]) == "M0.0 14.0h0.01M66.7 1.0L100.0 1.0"
    assert spark([0, 9]) == "M0.0 27.0L100.0 1.0"
    assert spark([0, None, 0]) == ""
    assert spark([3]) == ""
    assert card(shown(made("week"))).spark.count("L") == 5


def test_funnel() -> None:
    """Bars are in proportion to the largest, and a rate of nothing is none."""
    stages = shown(made("day")).funnel
    assert [(stage.name, stage.value, stage.width) for stage in stages] == [
        ("profile_views", "10", 100), ("contact_views", "5", 50), ("requests", "2", 20), ("orders", "1", 10),
    ]  # fmt: skip
    assert [stage.rate for stage in stages] == [
        None,
        "50% of profile views",
        "40% of contact views",
        "50% of requests",
    ]
    views_alone = shown(made("day", views={TODAY: 1})).funnel  # half of it are contact views, rounded down
    assert [stage.rate for stage in views_alone][:2] == [None, "0% of profile views"]
    assert shown(made(views={TODAY - 300 * DAY: 1})).funnel == []


def test_sources_fill_the_bar() -> None:
    """Each begins where the one before ends, and together they are all."""
    sources = shown(made("day")).sources
    assert [(each.name, each.share, each.start, each.width) for each in sources] == [
        ("catalog", "50%", 0, 50), ("search", "20%", 50, 20), ("direct", "0%", 70, 0), ("other", "30%", 70, 30),
    ]  # fmt: skip
    assert shown(made("day", views={TODAY - DAY: 1})).sources == []


def test_contact_types_are_not_trusted() -> None:
    """A known type has a name in our language; another is what was sent, short, and without invisible characters."""
    types = (("phone", 5), ("a\u202eb\x00" + 100 * "x", 2), (None, 1))
    labels = [each.label for each in shown(made(types=types), Language.RU).contact_types]
    assert labels == [
        "Телефон",
        "a\ufffdb\ufffd" + (LONGEST_TYPE - 4) * "x" + "…",
        "Прочие или не\N{NO-BREAK SPACE}указано",
    ]
    assert harmless("fax") == "fax"


class Structure(HTMLParser):
    """What is wrong with the structure of a page."""

    VOID = frozenset({"meta", "link", "input", "rect", "path", "circle"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self.headings.append(int(tag[1]))
        self.ids += [value or "" for name, value in attrs if name == "id"]
        assert "style" not in dict(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("period", PeriodName)
@pytest.mark.parametrize("kind", ["usual", "new", "quiet", "hostile"])
def test_every_page_is_well_formed(language: Language, period: PeriodName, kind: str) -> None:
    """Whatever a reading says, the page is whole HTML, headings go down step by step, and no id is there twice."""
    found = {
        "usual": made(period),
        "new": made(period, since=None, views={}, as_of=None),
        "quiet": made(period, views={TODAY - 700 * DAY: 0}, visitors=None),
        "hostile": made(period, types=(("</td><script>alert(1)</script>", 3),)),
    }[kind]
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/profile/analytics",
            "query_string": b"period=%22%3E%3Cb%3E",
            "headers": [(b"accept-language", language.encode())],
        }
    )
    context = {
        "view": shown(found, language),
        "specialist": "anna",
        "periods": list(PeriodName),
        "chosen": period,
        "first": found.period.first,
        "last": found.period.last,
        "today": TODAY,
        "action": "/profile/analytics",
    }
    html = bytes(render(request, "page.html", context).body).decode()
    assert "alert(1)</script>" not in html
    assert "<b>" not in html
    page = Structure(html)
    assert page.open == []
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert len(set(page.ids)) == len(page.ids)
