"""What is answered in place of the page when something is wrong, whatever it is."""

import asyncio
import re
from datetime import date
from html import unescape
from http import HTTPStatus
from typing import cast

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tests.support import settings_for
from worker.errors import Retry, Stop
from worker.reading.period import NoPeriod, Why, parse_period
from worker.reading.read import NoSpecialist
from worker.token import Audience
from worker.web.access import Access
from worker.web.page import PATH, page_routes
from worker.web.problems import problem_of
from worker.web.readings import Readings


class Wrong:
    """An access at which something goes wrong."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def exchange(self, _: Request, __: Audience) -> Response | None:
        raise self._error


def answer_to(error: Exception, language: str) -> Response:
    settings = settings_for("postgresql://nowhere/none", "redis://nowhere")
    routes = page_routes(settings, cast(Access, Wrong(error)), cast(Readings, None))
    route = next(route for route in routes if route.path == PATH)
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": PATH,
            "query_string": b"token=abc&period=%3Cb%3E",
            "headers": [(b"accept-language", language.encode())],
        }
    )
    answer: Response = asyncio.run(route.endpoint(request))
    return answer


def plain(answer: Response) -> str:
    return unescape(bytes(answer.body).decode()).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("error", "status", "english", "russian"),
    [
        (HTTPException(401), 401, "come in through the site", "Войдите через сайт"),
        (HTTPException(429, headers={"Retry-After": "7"}), 429, "A little slower", "Чуть помедленнее"),
        (HTTPException(503, "a line for the API"), 503, "ANALYTICS_SECRET", "ANALYTICS_SECRET"),
        (NoPeriod(Why.NO_FIRST, "from"), 400, "no such period", "Такого периода нет"),
        (NoSpecialist("a line for the API"), 404, "not known here", "Такого профиля здесь нет"),
        (Retry("a line for the log"), 503, "database cannot be reached", "База данных не отвечает"),
        (Stop("a line for the log"), 503, "our mistake", "наша ошибка"),
        (RuntimeError("a line for the log"), 500, "our mistake", "наша ошибка"),
    ],
)
def test_every_error_is_a_page(error: Exception, status: int, english: str, russian: str) -> None:
    """It has its status, says in both languages what to do, and not a word of what is meant for the log or the API."""
    for language, words in (("en", english), ("ru", russian)):
        answer = answer_to(error, language)
        body = plain(answer)
        assert (answer.status_code, answer.headers["cache-control"]) == (HTTPStatus(status), "no-store")
        assert words in body
        assert f'<html lang="{language}">' in body
        assert not any(said in body for said in ("a line for", "Traceback", "<b>", "token="))
        assert ("retry-after" in answer.headers) == (status == 429 or isinstance(error, Retry))


REFUSED: dict[Why, tuple[tuple[str | None, str | None, str | None], str]] = {
    Why.NAME: (("fortnight", None, None), "period: периода 'fortnight' нет, есть day, week, month"),
    Why.DATE: ((None, "2026-11-01", "<b>"), "to: '<b>' — не дата, её пишут так: 2026-11-10"),
    Why.BOTH: (("week", "2026-11-01", None), "period, from: период и даты исключают друг друга"),
    Why.NO_FIRST: ((None, None, "2026-11-01"), "from: первая дата не указана"),
    Why.BEFORE_EPOCH: ((None, "1926-01-01", None), "from: 1926-01-01 раньше самой первой возможной даты, 1970-01-01"),
    Why.NOT_COME: ((None, "2026-11-24", None), "from: 2026-11-24 ещё не наступило: сегодня 2026-11-23"),
    Why.REVERSED: (
        (None, "2026-11-10", "2026-11-01"),
        "from, to: последняя дата, 2026-11-01, раньше первой, 2026-11-10: поменяйте их местами",
    ),
    Why.TOO_LONG: (
        (None, "1980-01-01", "2026-01-01"),
        "from, to: период 1980-01-01 – 2026-01-01 слишком длинный: можно не больше 3660 дней",
    ),
}


@pytest.mark.parametrize("why", Why)
def test_a_period_that_is_none_is_told_as_by_the_api(why: Why) -> None:
    """The page names the parameter that is wrong and says why: in English in the words of the API, and in Russian."""
    asked, russian = REFUSED[why]
    with pytest.raises(NoPeriod) as refused:
        parse_period(*asked, today=date(2026, 11, 23))
    detail = problem_of(refused.value).detail
    assert detail is not None
    said = {language: re.sub(r"</?code>", "", plain(answer_to(refused.value, language))) for language in ("en", "ru")}
    assert f"<p>{detail}.</p>" in said["en"]
    assert f"<p>{russian}" in said["ru"]
