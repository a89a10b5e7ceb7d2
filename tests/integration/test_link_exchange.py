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

from tests.serving import BROWSER
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


LOOKS = [
    ("HEAD", BROWSER),
    ("GET", "TelegramBot (like TwitterBot)"),
    ("GET", "WhatsApp/2.23.20.0"),
    ("GET", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    ("GET", "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)"),
    ("GET", f"{BROWSER} facebookexternalhit/1.1 Facebot Twitterbot/1.0"),  # a message on an iPhone
    ("GET", f"{BROWSER} (compatible; BingPreview/1.0b)"),
    ("GET", "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))"),
]


@pytest.mark.parametrize("audience", Audience)
@pytest.mark.parametrize(("method", "agent"), LOOKS)
def test_a_robot_only_looks(access: Access, method: str, agent: str, audience: Audience) -> None:
    """A link that somebody wrote to somebody is looked at by robots first, and more than once: it is not used up, and
    they get no cookie, no address, and no word of whose it is.
    """
    token = link("the-specialist", audience)
    for _ in range(2):
        looked = exchange(access, f"token={token}", audience, method, user_agent=agent)
        assert isinstance(looked, Response) and looked.status_code == 200
        assert not {"set-cookie", "location"} & {*looked.headers}
        assert not any(word in bytes(looked.body).decode() for word in (token, "the-specialist"))
    cookie_of(exchange(access, f"token={token}", audience, user_agent=BROWSER))
    again = exchange(access, f"token={token}", audience, user_agent=BROWSER)
    assert isinstance(again, HTTPException) and again.status_code == 401


@pytest.mark.parametrize(("method", "agent"), LOOKS[:2])
def test_a_robot_with_a_bad_link(access: Access, method: str, agent: str) -> None:
    """What is no link is none for robots either."""
    refused = exchange(access, "token=x", method=method, user_agent=agent)
    assert isinstance(refused, HTTPException) and refused.status_code == 401


@pytest.mark.parametrize(
    "app", ["", "Telegram-Android/11.4.2", "VKAndroidApp/8.100", "Instagram 312.0.0.0", "[FBAN/FBIOS]"]
)
def test_people_within_an_app(access: Access, app: str) -> None:
    """Whoever opens a link in the browser of a messenger is a person."""
    cookie_of(exchange(access, f"token={link()}", user_agent=f"{BROWSER} {app}"))


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
