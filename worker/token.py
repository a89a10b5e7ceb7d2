"""Signed, expiring tokens: who may see whose numbers. Pure but for the clock.

A token is a JWT (RFC 7519), HS256 with `ANALYTICS_SECRET`, so the site makes one in a line. `sub` names the
specialist, or whoever operates the worker; `aud` says which of the two it is for, so that no specialist is an operator.
With a `jti` it is good for one link; without, as bearer and in a cookie, until it expires.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from secrets import token_urlsafe
from types import MappingProxyType
from typing import Any, NamedTuple

import jwt
from pydantic import SecretStr

from worker.errors import AnalyticsError, Stop

ALGORITHM = "HS256"

SECRET_BYTES = 32
"""Fewer than the hash has make the key the weakest part (RFC 7518, section 3.2)."""

SKEW = timedelta(minutes=2)
"""How far the clock of whoever signs may be ahead. A token never lives longer for it."""

REMEMBERED = 8_192
"""Tokens whose signature was found to be good, half a kilobyte each: a page sends the same one again and again."""

MOST_CHARACTERS = 2_048
"""Of a token. One of ours has 200; nobody's header is parsed just because it is long."""

DEFAULT_HOURS, DEFAULT_LINK_HOURS = 12.0, 0.25
"""How long a token of the command line is good for. A link may be sent on by whoever gets it: it is short."""


class Audience(StrEnum):
    """Whom a token is for."""

    SPECIALIST = "analytics"
    OPERATOR = "analytics-ops"


PAGES: Mapping[Audience, str] = MappingProxyType({Audience.SPECIALIST: "/profile/analytics", Audience.OPERATOR: "/ops"})
"""Where a link leads to."""


class Claims(NamedTuple):
    """What a token says that holds."""

    subject: str
    """Of a specialist the id."""
    audience: Audience
    expires: datetime
    link: str | None = None
    """Its `jti`, if it is for one link."""


class BadToken(AnalyticsError):
    """The token is forged, expired, not for this, or none at all: do not let them in, and do not say why."""


def signing_key(secret: SecretStr | None) -> str:
    """`ANALYTICS_SECRET` as a key for tokens.

    Raises:
        Stop: it is not set, or too short. It may still be what visitors are hashed with.
    """
    key = secret.get_secret_value() if secret else ""
    if len(key.encode()) < SECRET_BYTES:
        what = f"has fewer than {SECRET_BYTES} bytes" if key else "is not set"
        raise Stop(f"ANALYTICS_SECRET {what}, so there are no tokens: make one with `openssl rand -hex 32`")
    return key


def sign(
    secret: str, subject: str, *, audience: Audience = Audience.SPECIALIST, lifetime: timedelta, link: bool = False
) -> str:
    """A token.

    Args:
        secret: of `signing_key`.
        subject: id of a specialist, or a name for an operator.
        audience: which of the two.
        lifetime: how long it is good for, from now on.
        link: for a link that opens once.
    """
    now = datetime.now(UTC)
    claims: dict[str, Any] = {"sub": subject, "aud": audience.value, "iat": now, "exp": now + lifetime}
    if link:
        claims["jti"] = token_urlsafe(16)
    return jwt.encode(claims, secret, ALGORITHM)


def verify(secret: str, token: str, audience: Audience, *, link: bool = False) -> Claims:
    """What a token says, if it holds. The signature is compared in constant time (`hmac.compare_digest`).

    Args:
        secret: of `signing_key`.
        token: whatever somebody sent.
        audience: whom it must be for, alone.
        link: whether it must be for a link; else it must not be.

    Raises:
        BadToken: it does not hold.
    """
    claims = _signed(secret, token, audience)
    if claims.expires <= datetime.now(UTC):  # PyJWT gives the end the leeway too, and this is asked each time
        raise BadToken("the token has expired")
    if (claims.link is not None) is not link:
        raise BadToken("the token is for a link" if not link else "the token is not for a link")
    return claims


@lru_cache(REMEMBERED)
def _signed(secret: str, token: str, audience: Audience) -> Claims:
    """What a token says that is signed, and begins: that stays so. What is not is looked at anew each time."""
    if len(token) > MOST_CHARACTERS or not token.isascii():
        raise BadToken("no token")
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            secret,
            [ALGORITHM],
            audience=audience.value,
            leeway=SKEW,
            options={"require": ["sub", "aud", "exp"], "strict_aud": True},
        )
        if not all(type(claims.get(name, 0)) in (int, float) for name in ("exp", "iat", "nbf")):
            raise BadToken("a time is no number")  # PyJWT takes whatever `int` does, and so "2000000000" and true
        expires = datetime.fromtimestamp(int(claims["exp"]), UTC)
        (claims["sub"] + claims.get("jti", "")).encode()
    except (jwt.PyJWTError, OverflowError, ValueError):  # the last two: no date of a calendar, half a character
        raise BadToken("the token does not hold") from None
    return Claims(claims["sub"], audience, expires, claims.get("jti"))
