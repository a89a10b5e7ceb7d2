"""The language and the theme of whoever asks."""

import re

import pytest
from starlette.requests import Request

from worker.web.address import here
from worker.web.preferences import Theme, accepted_language, preferences, switched
from worker.web.words import Language


def request(query: str = "", **headers: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/page",
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
    )


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("en;q=0.5, RU;q=0.6", "ru"),
        ("de,uk;q=0.9,ru;q=0.1", "ru"),
        ("ru;q=0, en;q=0.1", "en"),
        ("de, fr", "en"),
        ("", "en"),
        ("*", "en"),
        ("ru;q=nan", "en"),
        ("ru;q=many,;;;,=,\x00", "en"),
        ("x," * 5_000 + "ru", "en"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    """The best that we have is taken, whatever the header looks like; English if there is none."""
    assert accepted_language(header) == language


def test_a_choice_counts_more_than_the_browser() -> None:
    """Cookies say what was chosen; what they cannot say is passed over."""
    chosen = preferences(request(accept_language="ru", cookie="analytics_lang=en; analytics_theme=dark"))
    assert chosen == (Language.EN, Theme.DARK)
    broken = preferences(request(accept_language="ru", cookie="analytics_lang=xx; analytics_theme=<b>"))
    assert broken == (Language.RU, Theme.AUTO)


def test_a_switch_leads_back() -> None:
    """A switch sets its cookie and leads to the same page with the other parameters; nonsense sets none."""
    assert switched(request("period=week")) is None
    answer = switched(request("period=week&theme=dark&lang=ru"))
    assert answer is not None
    assert (answer.status_code, answer.headers["location"]) == (303, "/page?period=week")
    cookies = answer.headers.getlist("set-cookie")
    assert [cookie.partition(";")[0] for cookie in cookies] == ["analytics_lang=ru", "analytics_theme=dark"]
    assert all("HttpOnly" in cookie and "SameSite=lax" in cookie for cookie in cookies)
    nonsense = switched(request("lang=%0d%0aSet-Cookie:x"))
    assert nonsense is not None
    assert (nonsense.headers["location"], nonsense.headers.getlist("set-cookie")) == ("/page", [])


def test_the_address_of_this_page() -> None:
    """Parameters are changed, added, taken out and encoded; a token is never handed on."""
    asked = request("period=week&token=secret&x=%26%3D")
    assert here(asked) == "/page?period=week&x=%26%3D"
    assert here(asked, period="day", x=None, lang="ru") == "/page?period=day&lang=ru"


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "/\t/evil.example", "///evil.example/", "/", "/page/"]
)
def test_the_address_of_a_page_has_no_host(path: str) -> None:
    """Whatever was asked for, behind the first slash is nothing that a browser takes for a host."""
    where = {"scheme": "http", "server": ("testserver", 80), "path": path}
    asked = Request({"type": "http", "method": "GET", "query_string": b"", "headers": []} | where)
    assert re.fullmatch(r"/([\w%].*[^/])?", here(asked))
