"""HTTP/1.1 for clients that mean no good: uvicorn by itself waits for a request as long and as large as it comes."""

from asyncio import TimerHandle, Transport
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.web.headers import HEADERS, SecurityHeaders
from worker.web.problems import RETRY_S

REQUEST_S = 10.0
"""Seconds in which a request must be there."""

MOST_REQUEST_BYTES = 32_768
"""Bytes that it may have: cookies of a site fit in, twice."""

PIECE_BYTES = 4_096
"""What is parsed at a time: where in it a request begins is not known, so all of its first piece counts."""

MOST_CONNECTIONS = 1_000
"""Beyond them the answer is 503: each takes memory, and a proxy needs far fewer."""

_too_many: ASGIApp = SecurityHeaders(
    Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(RETRY_S), "Connection": "close"})
)


class LimitedProtocol(HttpToolsProtocol):
    """Ends a connection of which a request takes too long, or is too large.

    With what follows its head, to the last byte: nothing here asks for more than a small form, and what trails a body
    is kept like headers.
    """

    _request_bytes: int | None = 0
    """None: all of the request is there."""
    _in_head = True
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A client is there, and has to say something."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self.app = _too_many  # of this connection; those that were there before go on
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._request_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, perhaps of several requests."""
        for begin in range(0, len(data), PIECE_BYTES):
            piece = data[begin : begin + PIECE_BYTES]
            super().data_received(piece)
            if self._request_bytes is not None:
                self._request_bytes += len(piece)
                if self._request_bytes > MOST_REQUEST_BYTES:
                    self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            if self.transport.is_closing():
                return

    def send_400_response(self, msg: str) -> None:
        """It speaks no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    def on_message_begin(self) -> None:
        """The first byte of a request, perhaps one of several on this connection."""
        super().on_message_begin()
        self._await_request()

    def on_headers_complete(self) -> None:
        """The head is there, and may be answered."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._request_arrived()
        super().on_message_complete()

    def _await_request(self) -> None:
        self._request_arrived()
        self._request_bytes, self._in_head = 0, True
        self._deadline = self.loop.call_later(REQUEST_S, self.transport.close)

    def _request_arrived(self) -> None:
        self._request_bytes = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: HTTPStatus) -> None:
        """End the connection, with an answer unless the request has one of the application."""
        if self._in_head and not self.transport.is_closing():
            closing = ((b"content-length", b"0"), (b"connection", b"close"))
            headers = [*self.server_state.default_headers, *HEADERS.items(), *closing]
            lines = [f"HTTP/1.1 {status} {status.phrase}".encode(), *map(b": ".join, headers), b"", b""]
            self.transport.write(b"\r\n".join(lines))
        self.transport.close()
