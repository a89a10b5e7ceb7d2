"""Tokens hold what they say, and nothing else does."""

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from worker.errors import Stop
from worker.token import MOST_CHARACTERS, SKEW, Audience, BadToken, sign, signing_key, verify

SECRET = "a secret of tests, with 32 bytes or more"
HOUR = timedelta(hours=1)
LATER = 2**32
"""Seconds since 1970: some time in 2106."""
README = Path(__file__).resolve().parents[2] / "README.md"


def made(key: str = SECRET, algorithm: str | None = "HS256", **claims: Any) -> str:
    """A token as some other program would make it: valid unless said otherwise. None leaves a claim out."""
    whole = {"sub": "anna", "aud": "analytics", "exp": datetime.now(UTC) + HOUR} | claims
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, key, algorithm)


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("audience", Audience)
@pytest.mark.parametrize("link", [False, True])
def test_round_trip(audience: Audience, link: bool) -> None:
    """What was signed is read again, with its end; every link is another."""
    token = sign(SECRET, "anna", audience=audience, lifetime=HOUR, link=link)
    claims = verify(SECRET, token, audience, link=link)
    assert (claims.subject, claims.audience) == ("anna", audience)
    assert abs(claims.expires - datetime.now(UTC) - HOUR) < timedelta(seconds=5)
    assert bool(claims.link) is link
    again = verify(SECRET, sign(SECRET, "anna", audience=audience, lifetime=HOUR, link=link), audience, link=link)
    assert not link or again.link != claims.link


def test_the_line_of_the_readme() -> None:
    """The line of Python in the README makes a token that holds for half a day."""
    [line] = re.findall(r"^token = jwt\.encode.*$", README.read_text("utf-8"), re.MULTILINE)
    made_by_it: dict[str, Any] = {"jwt": jwt, "time": time, "specialist_id": "anna", "secret": SECRET}
    exec(line, made_by_it)
    claims = verify(SECRET, made_by_it["token"], Audience.SPECIALIST)
    assert (claims.subject, claims.expires - datetime.now(UTC) > 11.9 * HOUR) == ("anna", True)


BAD = {
    "expired": made(exp=datetime.now(UTC) - timedelta(seconds=1)),
    "without an end": made(exp=None),
    "an end that no calendar has": made(exp=10**30),
    "an end that is no number": made(exp="soon"),
    "an end of digits": jwt.encode({"sub": "anna", "aud": "analytics", "exp": str(LATER)}, SECRET),
    "an end that is true": made(exp=True),
    "an end that is a list": made(exp=[LATER]),
    "an end that is not a number": made(exp=float("nan")),
    "an end that never comes": made(exp=float("inf")),
    "an end far beyond the calendar": made(exp=1e300),
    "a beginning of digits": made(nbf="1"),
    "an issue of digits": made(iat="1"),
    "an issue that is true": made(iat=True),
    "without a subject": made(sub=None),
    "a subject that is no text": jwt.encode(
        {"sub": 1, "aud": "analytics", "exp": LATER}, SECRET, headers={"typ": "JWT"}
    ),
    "a subject that is a list": jwt.encode({"sub": ["anna"], "aud": "analytics", "exp": LATER}, SECRET),
    "a link that is no text": made(jti=1),
    "without an audience": made(aud=None),
    "of an operator": made(aud="analytics-ops"),
    "for two audiences": made(aud=["analytics", "analytics-ops"]),
    "another key": made(key="x" + SECRET),
    "unsigned": made(key="", algorithm="none"),
    "another algorithm": made(algorithm="HS512", key=2 * SECRET),
    "another algorithm, right key": made(algorithm="HS384", key=SECRET + "0123456789abcdef"),
    "a subject that is no text of Unicode": made(sub="\ud800"),
    "for a link": made(jti="once"),
    "for a link without a name": made(jti=""),
    "another's signature": ".".join((*made(sub="boris").split(".")[:2], made().split(".")[2])),
    "a nested header": f"{part(1_000 * '[')}.{part({})}.x",
    "a header that is a list": f"{part([])}.{part({})}.x",
    "not base64": "ä.ö.ü",
    "two parts": "a.b",
    "empty": "",
    "long": made(x=MOST_CHARACTERS * "x"),
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
def test_what_does_not_hold(token: str) -> None:
    """Whatever is wrong with a token, it is a bad token, and no other error."""
    with pytest.raises(BadToken):
        verify(SECRET, token, Audience.SPECIALIST)


def test_an_end_between_two_seconds() -> None:
    """A time may have a fraction (RFC 7519, section 2): it is over when its second begins."""
    assert verify(SECRET, made(exp=LATER + 0.9), Audience.SPECIALIST).expires == datetime.fromtimestamp(LATER, UTC)


def test_every_changed_character() -> None:
    """A token of which any character is another one does not hold."""
    token = made()
    for place, character in enumerate(token):
        changed = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
        with pytest.raises(BadToken):
            verify(SECRET, changed, Audience.SPECIALIST)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_anything(text: str) -> None:
    """Whatever is sent in the place of a token is no error of ours."""
    for token in (text, f"{part(text)}.{part(text)}.{part(text)}", f"{part({'alg': text})}.{part(text)}.{part(text)}"):
        with pytest.raises(BadToken):
            verify(SECRET, token, Audience.SPECIALIST)


def test_what_was_good_is_not_good_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that held once does not hold when it has expired, for anybody else, as a link, or with another secret."""
    token = sign(SECRET, "anna", audience=Audience.SPECIALIST, lifetime=HOUR)
    assert verify(SECRET, token, Audience.SPECIALIST).subject == "anna"
    for secret, audience, link in (
        (SECRET[::-1], Audience.SPECIALIST, False),
        (SECRET, Audience.OPERATOR, False),
        (SECRET, Audience.SPECIALIST, True),
    ):
        with pytest.raises(BadToken):
            verify(secret, token, audience, link=link)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + HOUR

    monkeypatch.setattr("worker.token.datetime", Later)
    with pytest.raises(BadToken, match="expired"):
        verify(SECRET, token, Audience.SPECIALIST)


def test_the_clock_of_the_issuer() -> None:
    """A token holds at once also if the clock of whoever signed it is a minute ahead, and not yet if it is more than it
    may be; its end is not put off for it.
    """
    ahead, far_ahead = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) + 2 * SKEW
    assert verify(SECRET, made(iat=ahead, nbf=ahead), Audience.SPECIALIST)
    for early in (made(iat=far_ahead), made(nbf=far_ahead)):
        with pytest.raises(BadToken):
            verify(SECRET, early, Audience.SPECIALIST)
    with pytest.raises(BadToken):
        verify(SECRET, sign(SECRET, "anna", lifetime=-timedelta(seconds=1)), Audience.SPECIALIST)


def test_a_link_is_no_bearer_and_a_bearer_no_link() -> None:
    """Each kind is refused in the place of the other."""
    link, bearer = (sign(SECRET, "anna", lifetime=HOUR, link=link) for link in (True, False))
    for token, as_link in ((link, False), (bearer, True)):
        with pytest.raises(BadToken):
            verify(SECRET, token, Audience.SPECIALIST, link=as_link)


@pytest.mark.parametrize("secret", [None, SecretStr(""), SecretStr("short"), SecretStr(31 * "x")])
def test_no_key(secret: SecretStr | None) -> None:
    """Without a secret of 32 bytes there are no tokens, and the line says what to do without repeating it."""
    with pytest.raises(Stop, match=r"ANALYTICS_SECRET .* `openssl rand -hex 32`") as refused:
        signing_key(secret)
    assert "short" not in str(refused.value)
    assert signing_key(SecretStr(16 * "я")) == 16 * "я"
