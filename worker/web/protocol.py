"""HTTP/1.1 for clients that mean no good: uvicorn by itself waits for a head as long and as large as it comes."""

from asyncio import TimerHandle, Transport
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
"""Seconds in which the head of a request must be there."""

MOST_HEAD_BYTES = 32_768
"""Bytes that it may have: cookies of a site fit in, twice."""


class LimitedProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers take too long, or are too much (431)."""

    _head_bytes: int | None = 0
    """None: the head is complete."""
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A client is there, and has to say something."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of a head or of what follows it."""
        super().data_received(data)
        if self._head_bytes is None:
            return
        self._head_bytes += len(data)  # and of a request before it: that one was let in
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.transport.write(
                f"HTTP/1.1 {status} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
            )
            self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request, perhaps one of several on this connection."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_arrived()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_arrived()
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_arrived(self) -> None:
        self._head_bytes = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
