"""What browsers are told with every answer: trust nothing from elsewhere, keep nothing, frame nothing."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("connect", "font", "img", "manifest", "script", "style")),
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    b"cache-control": b"no-store",  # what may be kept says so itself
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}

STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Puts them on every answer, where it has not got its own; also on that of an error nobody thought of."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is asked."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with them."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] += [header for header in HEADERS.items() if header[0] not in present]
                if _is_https(scope):
                    message["headers"].append(STRICT_TRANSPORT)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _is_https(scope: Scope) -> bool:
    return scope["scheme"] == "https" or (b"x-forwarded-proto", b"https") in scope["headers"]
