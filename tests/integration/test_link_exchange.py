"""A link opens once, whoever else has it, and leaves a cookie."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
import redis
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tests.support import settings_with
from worker.errors import Retry
from worker.settings import Settings
from worker.token import Audience, sign, verify
from worker.web.access import Access

SECRET = "a secret of tests, with 32 bytes or more"
PATHS = {Audience.SPECIALIST: "/profile/analytics", Audience.OPERATOR: "/ops"}


@pytest.fixture
def access(settings: Settings) -> Iterator[Access]:
    with Access(settings_with(settings, ANALYTICS_SECRET=SECRET)) as made:
        yield made


def link(subject: str = "anna", audience: Audience = Audience.SPECIALIST, minutes: float = 5) -> str:
    return sign(SECRET, subject, audience=audience, lifetime=timedelta(minutes=minutes), link=True)


def exchange(
    access: Access, query: str, audience: Audience = Audience.SPECIALIST, method: str = "GET", **headers: str
) -> Response | HTTPException | None:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": PATHS[audience], "query_string": query.encode()}
    scope |= {"headers": raw, "client": ("127.0.0.1", 1), "scheme": "http", "server": ("testserver", 80)}
    try:
        return asyncio.run(access.exchange(Request(scope), audience))
    except HTTPException as refused:
        return refused


def cookie_of(answer: Response | HTTPException | None) -> SimpleCookie:
    assert isinstance(answer, Response), answer
    return SimpleCookie(answer.headers["set-cookie"])


@pytest.mark.parametrize("audience", Audience)
def test_a_link_opens_once(access: Access, audience: Audience) -> None:
    """The token of a link becomes a cookie of the same person, and leaves the address; twice it is nothing."""
    token = link(audience=audience)
    answer = exchange(access, f"period=week&token={token}&lang=ru", audience)
    [(name, cookie)] = cookie_of(answer).items()
    assert isinstance(answer, Response) and answer.status_code == 303
    assert answer.headers["location"] == f"{PATHS[audience]}?period=week&lang=ru"
    assert verify(SECRET, cookie.value, audience).subject == "anna"
    assert cookie["httponly"] and not cookie["secure"]
    if audience is Audience.OPERATOR:
        assert (name, cookie["path"], cookie["samesite"]) == ("analytics_ops", "/ops", "strict")
    else:
        assert (name, cookie["path"], cookie["samesite"]) == ("analytics_token", "/", "lax")
    again = exchange(access, f"token={token}", audience)
    assert isinstance(again, HTTPException) and again.status_code == 401
    assert exchange(access, "period=week", audience) is None


def test_opened_again_by_the_same(access: Access) -> None:
    """Whoever goes back to the link they have opened goes on with the cookie they have; somebody else's is no help."""
    token = link()
    mine = cookie_of(exchange(access, f"token={token}"))["analytics_token"].value
    others = cookie_of(exchange(access, f"token={link('boris')}"))["analytics_token"].value
    again = exchange(access, f"token={token}", cookie=f"analytics_token={mine}")
    assert isinstance(again, Response) and again.status_code == 303 and "set-cookie" not in again.headers
    assert isinstance(exchange(access, f"token={token}", cookie=f"analytics_token={others}"), HTTPException)


def test_opened_by_many_at_once(access: Access) -> None:
    """Of those who open a link at the same moment one gets in."""
    token = link()
    with ThreadPoolExecutor(20) as opening:
        answers = list(opening.map(lambda _: exchange(access, f"token={token}"), range(20)))
    assert sum(isinstance(answer, Response) and "set-cookie" in answer.headers for answer in answers) == 1


def test_a_look_at_where_a_link_leads(access: Access) -> None:
    """HEAD, which robots send for a link that somebody wrote to somebody, does not use it up, nor let in."""
    token = link()
    looked = exchange(access, f"token={token}", method="HEAD")
    assert isinstance(looked, Response) and looked.headers["location"] == PATHS[Audience.SPECIALIST]
    assert "set-cookie" not in looked.headers
    cookie_of(exchange(access, f"token={token}"))


def test_a_link_is_forgotten_when_it_has_expired(access: Access, client: redis.Redis) -> None:
    """Redis remembers a used link for as long as it would hold, and no longer."""
    exchange(access, f"token={link(minutes=5)}")
    [key] = client.keys("analytics:link:*")
    assert 290 <= client.ttl(key) <= 302


def test_over_https(access: Access) -> None:
    """Behind a proxy that a browser reached by https the cookie never goes another way; the first of several knows."""
    for said in ("https", "HTTPS", "https,http", "https, http"):
        assert cookie_of(exchange(access, f"token={link()}", x_forwarded_proto=said))["analytics_token"]["secure"]
    for said in ("http", "http, https", ""):
        assert not cookie_of(exchange(access, f"token={link()}", x_forwarded_proto=said))["analytics_token"]["secure"]


def test_what_is_no_link(access: Access) -> None:
    """A token that is not for a link, for another page, expired, or nonsense is refused, and uses up nothing."""
    bearer = sign(SECRET, "anna", lifetime=timedelta(hours=1))
    for token in ("", "x", bearer, link(minutes=-1), link(audience=Audience.OPERATOR)):
        refused = exchange(access, f"token={token}")
        assert isinstance(refused, HTTPException) and refused.status_code == 401


def test_redis_is_away(settings: Settings) -> None:
    """Where nobody can say whether a link was used before, it is not opened, and can be when Redis is back."""
    nowhere = settings_with(settings, ANALYTICS_SECRET=SECRET, REDIS_URL="redis://127.0.0.1:1/0")
    token = link()
    with Access(nowhere) as access, pytest.raises(Retry):
        exchange(access, f"token={token}")
    with Access(settings_with(settings, ANALYTICS_SECRET=SECRET)) as access:
        cookie_of(exchange(access, f"token={token}"))
