"""`/profile/analytics` over HTTP, from a process of its own."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from tests.counting import TODAY_MS, add, drain, event
from tests.serving import Answer, Web, serving
from tests.support import add_specialists, settings_with
from worker.settings import Settings
from worker.store import Connection
from worker.token import Audience, sign
from worker.web.assets import ROOT

SECRET = "a secret of the tests, and of nobody else"
PAGE = "/profile/analytics"
HOSTILE = '<script src="//evil.example">\u202e"\'><img onerror=alert(1)>'

FIRST_LOAD_BYTES = 100_000


@pytest.fixture
def secret_settings(settings: Settings) -> Settings:
    return settings_with(settings, ANALYTICS_SECRET=SECRET)


@pytest.fixture
def web(secret_settings: Settings, connection: Connection, client: redis.Redis) -> Iterator[Web]:
    """Anna was seen three times, and her contacts twice; and once a month ago."""
    add_specialists(connection, ["anna", "boris"])
    views = [event(source=source) for source in ("catalog", "search", "search")]
    add(client, *views, *(event(type="contact_view", contactType=kind) for kind in ("phone", HOSTILE)))
    add(client, event(occurredAt=TODAY_MS - 31 * 86_400_000))
    drain(secret_settings)
    with serving(secret_settings) as running:
        yield running


def signed_in(specialist: str = "anna", **headers: str) -> dict[str, str]:
    token = sign(SECRET, specialist, lifetime=timedelta(hours=1))
    return {"Cookie": f"analytics_token={token}", "Accept-Encoding": "gzip", **headers}


def link(specialist: str = "anna", lifetime: timedelta = timedelta(minutes=5)) -> str:
    return f"{PAGE}?period=week&token={sign(SECRET, specialist, lifetime=lifetime, link=True)}"


def linked(body: str) -> list[str]:
    """Whatever a page makes a browser fetch."""
    return re.findall(r'<(?:link|script|img)[^>]*(?:href|src)="([^"]*)"', body)


def plain(answer: Answer) -> str:
    """A page with spaces where no line may break."""
    return answer.body.replace("\N{NO-BREAK SPACE}", " ")


def test_a_link_signs_in_once(web: Web) -> None:
    """A link of the site leads to the page, whose address keeps the period and loses the token; it is used up then, and
    not by a robot that looks at it before.
    """
    address = link()
    preview = web.ask(address, headers={"User-Agent": "TelegramBot (like TwitterBot)", "Accept-Language": "ru"})
    assert (preview.code, preview.headers["Set-Cookie"], preview.headers["X-Robots-Tag"]) == (200, None, "noindex")
    assert "Эта ссылка открывается в браузере" in plain(preview)
    assert "token=" not in preview.body
    assert (web.ask(address, "HEAD").code, web.ask(address, "HEAD").headers["Set-Cookie"]) == (200, None)
    answer = web.ask(address)
    assert (answer.code, answer.headers["Location"]) == (303, f"{PAGE}?period=week")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    page = web.ask(answer.headers["Location"], headers={"Cookie": cookie})
    assert (page.code, "The last 7 days" in page.body) == (200, True)
    assert web.ask(address).code == 401


@pytest.mark.parametrize("language", ["en", "ru"])
def test_first_load(web: Web, language: str) -> None:
    """The page and all that it loads are from here, together 100 kB compressed at most; but the page is not kept."""
    page = web.ask(PAGE, headers=signed_in(**{"Accept-Language": language}))
    assert (page.code, page.headers["Content-Encoding"]) == (200, "gzip")
    assert page.headers["Cache-Control"] == "no-store"
    size = len(page.content)
    for address in linked(page.body):
        assert address.startswith(f"{ROOT}/"), address
        asset = web.ask(address, headers={"Accept-Encoding": "gzip"})
        assert (asset.code, asset.headers["Content-Encoding"]) == (200, "gzip"), address
        assert "immutable" in asset.headers["Cache-Control"]
        assert asset.body == web.ask(address).body
        size += len(asset.content)
    assert len(linked(page.body)) == 6
    assert size <= FIRST_LOAD_BYTES


def test_nothing_inline_and_nothing_from_elsewhere(web: Web) -> None:
    """What the policy forbids is nowhere in a page: scripts, styles and handlers within it, and addresses elsewhere."""
    pages = [
        web.ask(f"{PAGE}?period={period}", headers=signed_in()) for period in ("day", "month", "year", "all", "none")
    ]
    for page in [*pages, web.ask(PAGE)]:
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        html = page.body
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+\s*=\s*[\"']|javascript:", html)
        assert not re.search(r"https?:|[\"'(]//", html)
    for address in linked(pages[1].body):
        text = web.ask(address).body.replace("/*! https://github.com/leeoniya/uPlot (v1.6.32) */", "")
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|url\(|@import|[\"']//|eval\(|new Function", text), address


def test_what_others_sent_is_only_text(web: Web) -> None:
    """A contact type is anybody's: it is shown escaped, short, and cannot turn the words around it."""
    body = web.ask(PAGE, headers=signed_in()).body
    assert (
        "<bdi>&lt;script src=&#34;//evil.example&#34;&gt;\N{REPLACEMENT CHARACTER}&#34;&#39;&gt;&lt;img on…</bdi>"
        in body
    )
    assert "\u202e" not in body


def test_the_period_before(web: Web) -> None:
    """The days of the period before stand in the table where anything was counted on them, day below day."""
    month, week = (web.ask(f"{PAGE}?period={period}", headers=signed_in()).body for period in ("month", "week"))
    before = re.findall(r'<th scope="row"><time.*?</th>.*?</td>\s*<td><data value="(\d+)">', month, re.DOTALL)
    assert "Profile views before" in month
    assert sum(map(int, before)) == 1
    assert "Profile views before" not in web.ask(f"{PAGE}?period=year", headers=signed_in()).body
    assert "Profile views before" in week


def test_languages(web: Web) -> None:
    """A page speaks what the browser wants, until somebody switches; then that is kept, and the period stays."""
    russian = web.ask(PAGE, headers=signed_in(**{"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}))
    assert '<html lang="ru">' in russian.body
    assert "Последние 30 дней" in plain(russian)
    switched = web.ask(f"{PAGE}?period=week&lang=en", headers=signed_in(**{"Accept-Language": "ru"}))
    assert (switched.code, switched.headers["Location"]) == (303, f"{PAGE}?period=week")
    [kept] = switched.headers.get_all("Set-Cookie") or []
    headers = signed_in(**{"Accept-Language": "ru"})
    headers["Cookie"] += f"; {kept.partition(';')[0]}; analytics_theme=dark"
    assert '<html lang="en" data-theme="dark">' in web.ask(PAGE, headers=headers).body


@pytest.mark.parametrize(("language", "words"), [("en", "Please come in"), ("ru", "Войдите")])
def test_who_may_not_come_in(web: Web, language: str, words: str) -> None:
    """Without a token, with a forged, an expired or an operator's one, there is a page that says how to come back."""
    operator = sign(SECRET, "anna", audience=Audience.OPERATOR, lifetime=timedelta(hours=1))
    forged = sign(SECRET[::-1], "anna", lifetime=timedelta(hours=1))
    used_as_cookie = sign(SECRET, "anna", lifetime=timedelta(hours=1), link=True)
    for path, token in [
        (PAGE, ""),
        (PAGE, operator),
        (PAGE, forged),
        (PAGE, used_as_cookie),
        (link(lifetime=timedelta(seconds=-1)), ""),
        (f"{PAGE}?token=%00'--", ""),
    ]:
        answer = web.ask(path, headers={"Cookie": f"analytics_token={token}", "Accept-Language": language})
        assert answer.code == 401
        assert answer.headers["Content-Type"].startswith("text/html")
        assert words in plain(answer)
        assert "token=" not in answer.body


def test_what_is_no_period(web: Web) -> None:
    """What cannot be shown is a page that says so in both languages, from which another period can be chosen."""
    for query, parameters in {
        "period=decade": "period",
        "from=2026-11-10&to=2026-11-01": "from, to",
        "from=1900-01-01": "from",
        "from=1970-01-01&to=2026-01-01": "from, to",
        "from=2126-01-01&to=2126-02-01": "from",
        "to=2026-11-10": "from",
        "period=week&from=2026-11-10": "period, from",
        "from='%3B+DROP+TABLE+x--&to=%00%0a": "from",
        "period=%3Cscript%3Ealert(1)%3C/script%3E": "period",
        "from=%D9%A2%D9%A0%D9%A2%D9%A6-11-10": "from",
    }.items():
        for language, words in (("en", "no such period"), ("ru", "Такого периода нет")):
            answer = web.ask(f"{PAGE}?{query}", headers=signed_in(**{"Accept-Language": language}))
            assert (answer.code, words in plain(answer)) == (400, True), query
            assert f"<p>{parameters}: " in re.sub(r"</?code>", "", plain(answer))
            assert f'href="{PAGE}?period=week"' in answer.body
            assert "<form" in answer.body
            assert "<script>" not in answer.body


def test_an_address_where_nothing_is(web: Web) -> None:
    """A browser gets a page, which leads to the numbers, in its language and in the one that is chosen there, and never
    to another host; others get a line, and the API's clients problem details.
    """
    html = "text/html,application/xhtml+xml,*/*;q=0.8"
    for path in ("/nowhere", f"{PAGE}/nowhere", "/favicon.ico"):
        for language, words in (("en", "There is nothing at this address"), ("ru", "По этому адресу ничего нет")):
            answer = web.ask(path, accept=html, headers={"Accept-Language": language})
            assert (answer.code, words in plain(answer)) == (404, True)
            assert f'href="{PAGE}"' in answer.body
        switched = web.ask(f"{path}?lang=ru", accept=html)
        assert (switched.code, switched.headers["Location"]) == (303, path)
        assert web.ask(path, "HEAD", html)[::2] == (404, b"")
        assert web.ask(path).body == "404 Not Found\n"
    for path in ("//evil.example/x", "/%2f/evil.example", "/%09/evil.example", "/%5cevil.example"):
        assert "evil.example" in web.ask(path, accept=html).body
        assert not re.search(r"""["'](/[/\\\t]|https?:)""", web.ask(path, accept=html).body)
        assert re.match(r"/[%e]", str(web.ask(f"{path}?lang=ru", accept=html).headers["Location"]))
    assert web.ask("/api/nowhere", accept=html).headers["Content-Type"] == "application/problem+json"


def test_the_address_of_the_server_alone(web: Web) -> None:
    """Whoever names the server alone is led to the page, and a slash at its end is none too many, also for a link."""
    for method in ("GET", "HEAD"):
        answer = web.ask("/", method)
        assert (answer.code, answer.headers["Location"]) == (307, PAGE)
    assert "The last 30 days" in web.ask(f"{PAGE}/", headers=signed_in()).body
    opened = web.ask(link().replace("?", "/?"))
    assert (opened.code, opened.headers["Location"]) == (303, f"{PAGE}?period=week")
    assert opened.headers["Set-Cookie"]


def test_empty_fields_of_the_form_are_none(web: Web) -> None:
    """A form that is sent without its dates is the usual period, and without the last one, until today."""
    assert "The last 30 days" in web.ask(f"{PAGE}?from=&to=", headers=signed_in()).body
    assert web.ask(f"{PAGE}?from=2026-01-01&to=", headers=signed_in()).code == 200
    assert web.ask(f"{PAGE}?from=1970-01-01&to=1970-01-31", headers=signed_in()).code == 200


def test_a_profile_that_is_not_there(web: Web) -> None:
    """A token that holds, of somebody who is no more: a page, and 404."""
    for language, words in (("en", "not known here"), ("ru", "Такого профиля здесь нет")):
        answer = web.ask(PAGE, headers=signed_in("nobody", **{"Accept-Language": language}))
        assert (answer.code, words in plain(answer)) == (404, True)


def test_without_a_secret(settings: Settings) -> None:
    """Without ANALYTICS_SECRET nobody comes in, and the page names it."""
    with serving(settings) as web:
        answer = web.ask(PAGE)
        assert (answer.code, "ANALYTICS_SECRET" in answer.body) == (503, True)


def test_the_database_away(secret_settings: Settings) -> None:
    """While PostgreSQL is away, the page says so and when to ask again, in both languages and with no word of hosts."""
    away = secret_settings.database_url.get_secret_value().rpartition(":")[0]
    with serving(settings_with(secret_settings, DATABASE_URL=f"{away}:1/nowhere")) as web:
        for language, words in (("en", "database cannot be reached"), ("ru", "База данных не отвечает")):
            answer = web.ask(PAGE, headers=signed_in(**{"Accept-Language": language}))
            assert (answer.code, words in plain(answer)) == (503, True)
            assert int(answer.headers["Retry-After"]) > 0
            assert "127.0.0.1" not in answer.body


def test_assets_are_found_by_their_content_only(web: Web) -> None:
    """There is nothing but the files that pages name: no other hash, no licence, no way out of the folder."""
    for path in (
        "base.css",
        "base.000000000000.css",
        "vendor/uPlot.LICENSE",
        "../templates/page.html",
        "%2e%2e/app.py",
    ):
        assert web.ask(f"{ROOT}/{path}").code == 404
