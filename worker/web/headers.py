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
    b"x-robots-tag": b"noindex",
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
                strict = [STRICT_TRANSPORT] if is_https(scope) else []
                missing = [header for header in HEADERS.items() if header[0] not in present]
                message["headers"] = [*message["headers"], *missing, *strict]  # the list may be that of a shared answer
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_https(scope: Scope) -> bool:
    """Whether the browser's connection is encrypted, also where proxies have decrypted it: the first says so first."""
    said = (value for name, value in scope["headers"] if name == b"x-forwarded-proto")
    return scope["scheme"] == "https" or next(said, b"").split(b",")[0].strip().lower() == b"https"
