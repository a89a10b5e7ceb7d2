"""Who may see what: bearer tokens, cookies, and links that open once; and how often somebody may ask.

Rates are counted in this process: where there are several, each allows as much.
"""

import ipaddress
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Literal, NamedTuple, Self

import redis
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.bots import is_bot
from worker.errors import AnalyticsError, Stop
from worker.link import Link
from worker.log import get_logger
from worker.settings import Settings
from worker.stream import connect_redis, redis_errors
from worker.token import Audience, BadToken, Claims, sign, signing_key, verify
from worker.web.address import here
from worker.web.headers import is_https
from worker.web.rendering import render

COOKIE_LIFETIME = timedelta(hours=12)

REDIS_ANSWER_S = 2.0
"""Seconds that Redis has to say whether a link was used before."""

LONGEST_S = 10**9
"""Redis takes no time of life without end; a link of thirty years is remembered for as long."""

log = get_logger(__name__)


class Cookie(NamedTuple):
    """Where a token is kept in a browser."""

    name: str
    path: str
    same_site: Literal["lax", "strict"]


COOKIES: Mapping[Audience, Cookie] = MappingProxyType(
    {
        Audience.SPECIALIST: Cookie("analytics_token", "/", "lax"),
        Audience.OPERATOR: Cookie("analytics_ops", "/ops", "strict"),
    }
)


class RateLimit:
    """So many at once, and so many a second in the long run, of each key (the generic cell rate algorithm)."""

    def __init__(self, burst: int, per_second: float, most_keys: int = 10_000) -> None:
        """Remembers the `most_keys` that came last."""
        self._step = 1 / per_second
        self._ahead = (burst - 1) * self._step
        self._most_keys = most_keys
        self._due: dict[str, float] = {}

    def wait_s(self, key: str, now: float) -> float:
        """Seconds until it may be done; 0: now, and it is counted as done."""
        due = max(self._due.pop(key, now), now)
        wait = max(0.0, due - now - self._ahead)
        self._due[key] = due if wait else due + self._step
        if len(self._due) > self._most_keys:
            del self._due[next(iter(self._due))]
        return wait


class Access:
    """Says who is asking. Raises HTTPException: 401 for a bad token whatever is bad about it, 429 for too many."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._requests = RateLimit(burst=120, per_second=10)
        self._refusals = RateLimit(burst=60, per_second=1)
        self._redis: Link[redis.Redis] = Link("Redis", lambda: connect_redis(settings), REDIS_ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()

    def cookie(self, request: Request, audience: Audience) -> Claims:
        """Whose token the cookie has."""
        return self._first(request, audience, _cookies(request, COOKIES[audience].name))

    def specialist(self, request: Request) -> Claims:
        """The specialist: by the header if there is one, else by the cookie, which is what a page's script has.

        A header of another scheme is somebody else's: a browser sends that of a site behind a password with everything.
        """
        if tokens := list(_bearers(request)):
            return self._first(request, Audience.SPECIALIST, tokens)
        return self.cookie(request, Audience.SPECIALIST)

    async def exchange(self, request: Request, audience: Audience) -> Response | None:
        """Turn the token of a link (`?token=`) into a cookie, once, and go on to the address without it.

        Returns:
            None if the address has no token. Whoever opens a link again whose cookie they still have goes on, too.
            A robot, and HEAD, only look: of a link in a message or a mail there are previews before anybody opens it.
            They get a page that says so, whether or not the link was used; who poses as one gets nothing else.

        Raises:
            Retry, Stop: Redis cannot be asked whether it was used before.
        """
        tokens = request.query_params.getlist("token")
        if not tokens:
            return None
        key = self._key()
        try:
            claims = verify(key, tokens[0], audience, link=True)
        except BadToken:
            raise self._refusal(request) from None
        assert claims.link is not None
        if request.method == "HEAD" or is_bot(request.headers.get("user-agent", "")):
            return render(request, "link.html", {"periods": []})
        answer = RedirectResponse(here(request), HTTPStatus.SEE_OTHER)
        if not await run_in_threadpool(self._use, claims.link, claims.expires):
            if self.cookie(request, audience).subject != claims.subject:
                raise self._refusal(request)
            return answer
        cookie = COOKIES[audience]
        answer.set_cookie(
            cookie.name,
            sign(key, claims.subject, audience=audience, lifetime=COOKIE_LIFETIME),
            max_age=round(COOKIE_LIFETIME.total_seconds()),
            path=cookie.path,
            secure=is_https(request.scope),
            httponly=True,
            samesite=cookie.same_site,
        )
        return answer

    def _use(self, link: str, expires: datetime) -> bool:
        """Note that a link is used, until it would expire by itself; whether it was not yet."""
        seconds = min(math.ceil((expires - datetime.now(UTC)).total_seconds()) + 1, LONGEST_S)
        key = f"analytics:link:{link}"
        try:
            with redis_errors(self._settings):
                return bool(self._redis.ask(lambda client: client.set(key, 1, nx=True, ex=seconds)))
        except AnalyticsError as error:
            log.warning("a link cannot be opened", why=str(error))
            raise

    def _first(self, request: Request, audience: Audience, tokens: Iterable[str]) -> Claims:
        """What the first token says that holds."""
        key = self._key()
        for token in tokens:
            with suppress(BadToken):
                claims = verify(key, token, audience)
                if wait_s := self._requests.wait_s(f"{audience} {claims.subject}", time.monotonic()):
                    raise _too_many(wait_s)
                return claims
        raise self._refusal(request)

    def _key(self) -> str:
        try:
            return signing_key(self._settings.secret)
        except Stop as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None

    def _refusal(self, request: Request) -> HTTPException:
        """What somebody without a good token is told. Good ones are not held up by bad ones from the same address:
        behind one there may be the whole site.
        """
        if wait_s := self._refusals.wait_s(client_address(request), time.monotonic()):
            return _too_many(wait_s)
        return HTTPException(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})


def client_address(request: Request) -> str:
    """Who asks, as far as can be known: an address of IPv4, or the /64 of IPv6 that one subscriber has.

    Railway's proxy connects from a private address and says in `X-Real-IP` who asked it. A header from a public address
    is anybody's word, and not read.
    """
    peer = _address(request.client.host if request.client else "")
    if peer is None or not peer.is_global:
        peer = _address(request.headers.get("x-real-ip", "")) or peer
    if isinstance(peer, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((peer, 64), strict=False))
    return str(peer)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address  # somebody over IPv4 where we listen for both


def _bearers(request: Request) -> Iterator[str]:
    for header in request.headers.getlist("authorization"):
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()


def _cookies(request: Request, name: str) -> Iterator[str]:
    """All of the name: the site may have set one for its domain, which a browser sends beside ours."""
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            its_name, _, value = pair.strip().partition("=")
            if its_name == name:
                yield value


def _too_many(wait_s: float) -> HTTPException:
    return HTTPException(HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": str(math.ceil(wait_s))})
