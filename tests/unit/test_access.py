"""Who gets in, and how often."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tests.support import settings_for
from worker.token import Audience, sign
from worker.web import access as access_module
from worker.web.access import Access, RateLimit, client_address

SECRET = "a secret of tests, with 32 bytes or more"
SETTINGS = settings_for("postgresql://nowhere/x", "redis://nowhere/0", ANALYTICS_SECRET=SECRET)


def token(subject: str = "anna", audience: Audience = Audience.SPECIALIST, hours: float = 1, **which: bool) -> str:
    return sign(SECRET, subject, audience=audience, lifetime=timedelta(hours=hours), **which)


def request(peer: str = "203.0.113.7", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope | {"client": (peer, 1), "scheme": "http", "server": ("testserver", 80)})


def status_of(access: Access, asking: Request) -> tuple[int, str]:
    """What somebody is told: the status, or 200 and who they are."""
    try:
        return 200, access.specialist(asking).subject
    except HTTPException as refused:
        return refused.status_code, refused.detail


def test_bearer() -> None:
    """A bearer token lets in whoever it names; the name of the scheme has no case."""
    access = Access(SETTINGS)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert status_of(access, request(authorization=f"{scheme} {token()}")) == (200, "anna")


REFUSED = [
    "",
    "Bearer",
    "Bearer ",
    f"Basic {token()}",
    token(),
    f"Bearer {token(hours=-1)}",
    f"Bearer {token(audience=Audience.OPERATOR)}",
    f"Bearer {token(link=True)}",
    f"Bearer {token()}, Bearer {token()}",
    "Bearer \xff\xfe",
]


@pytest.mark.parametrize("authorization", REFUSED, ids=range(len(REFUSED)))
def test_who_is_refused(authorization: str) -> None:
    """Whatever is wrong with a token, the answer is the same, and asks for a bearer token."""
    with pytest.raises(HTTPException) as refused:
        Access(SETTINGS).specialist(request(authorization=authorization))
    assert (refused.value.status_code, refused.value.detail) == (401, "Unauthorized")
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_cookies() -> None:
    """A cookie lets in where there is no header; of several of one name the good one counts; one is not the other."""
    access = Access(SETTINGS)
    good, old, ops = token(), token(hours=-1), token("op", Audience.OPERATOR)
    assert status_of(access, request(cookie=f"x=1; analytics_token={good}; y=2")) == (200, "anna")
    assert status_of(access, request(cookie=f"analytics_token={old}; analytics_token={good}")) == (200, "anna")
    assert status_of(access, request(cookie=f"analytics_token={good}", authorization="Bearer x"))[0] == 401
    assert status_of(access, request(cookie=f"analytics_token={good}", authorization="Basic eDp5")) == (200, "anna")
    assert status_of(access, request(cookie=f"analytics_ops={good}"))[0] == 401
    assert access.cookie(request(cookie=f"analytics_ops={ops}"), Audience.OPERATOR).subject == "op"
    with pytest.raises(HTTPException):
        access.cookie(request(cookie=f"analytics_ops={good}"), Audience.OPERATOR)


def test_without_a_secret() -> None:
    """Without ANALYTICS_SECRET nobody gets in, and the answer names it."""
    for secret in ({}, {"ANALYTICS_SECRET": "short"}):
        access = Access(settings_for("postgresql://nowhere/x", "redis://nowhere/0", **secret))
        status, detail = status_of(access, request(authorization=f"Bearer {token()}"))
        assert status == 503 and "ANALYTICS_SECRET" in detail


def test_rate() -> None:
    """So many at once and so many a second, for each key by itself; waiting as long as was said is enough."""
    limit = RateLimit(burst=3, per_second=2)
    assert [limit.wait_s("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait_s("b", 100.0) == 0
    assert limit.wait_s("a", 100.25) == pytest.approx(0.25)
    assert limit.wait_s("a", 100.5) == 0
    assert limit.wait_s("a", 100.5) == pytest.approx(0.5)
    assert [limit.wait_s("a", 200.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_rate_forgets_who_came_first() -> None:
    """However many ask, no more keys are remembered than may be."""
    limit = RateLimit(burst=1, per_second=1, most_keys=2)
    assert [limit.wait_s(key, 0.0) for key in ("a", "b", "a", "c", "b", "a")] == [0, 0, 1, 0, 0, 0]


@pytest.fixture
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "time", SimpleNamespace(monotonic=lambda: 1_000.0))


@pytest.mark.usefixtures("_no_time_passes")
def test_too_many_requests_of_one() -> None:
    """Who asks too often waits, and says nobody else has to; the same specialist's other tokens count as one."""
    access = Access(SETTINGS)
    statuses = [status_of(access, request(authorization=f"Bearer {token()}"))[0] for _ in range(200)]
    assert statuses == sorted(statuses) and statuses.count(200) in (119, 120)  # tenths of seconds are not exact
    assert status_of(access, request(authorization=f"Bearer {token('boris')}"))[0] == 200


@pytest.mark.usefixtures("_no_time_passes")
def test_too_many_bad_tokens_from_an_address() -> None:
    """Who guesses is slowed down; a good token from the same address still holds, and other addresses are free."""
    access = Access(SETTINGS)
    statuses = [status_of(access, request(authorization="Bearer x"))[0] for _ in range(100)]
    assert statuses == [401] * 60 + [429] * 40
    with pytest.raises(HTTPException) as refused:
        access.specialist(request())
    assert refused.value.headers is not None and int(refused.value.headers["Retry-After"]) >= 1
    assert status_of(access, request(authorization=f"Bearer {token()}"))[0] == 200
    assert status_of(access, request("203.0.113.8"))[0] == 401


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("203.0.113.7", "198.51.100.1"),  # of documentation: as private as the next ones
        ("100.64.0.3", "198.51.100.1"),
        ("fd12::7", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1"),
        ("::ffff:100.64.0.3", "198.51.100.1"),
        ("8.8.8.8", "8.8.8.8"),
        ("2606:4700::1111", "2606:4700::/64"),
        ("2606:4700::2:3:4:5", "2606:4700::/64"),
        ("2606:4700:0:1::1111", "2606:4700:0:1::/64"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
    ],
)
def test_whose_address(peer: str, address: str) -> None:
    """A proxy on the private network is believed who asks it; anybody else is taken at their own address."""
    assert client_address(request(peer, x_real_ip="198.51.100.1")) == address


@pytest.mark.parametrize("header", ["", "x" * 30_000, "198.51.100.1, 198.51.100.2", "198.51.100.1:80"])
def test_an_address_that_is_none(header: str) -> None:
    """What is no address is nobody's, and not remembered."""
    assert client_address(request("100.64.0.3", x_real_ip=header)) == "100.64.0.3"
