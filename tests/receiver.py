"""Who is told of alerts: a real HTTP server that remembers what it was sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Answers with `code` and takes in every message, with the path it came to."""

    def __init__(self) -> None:
        self.code = 200
        self.location = ""
        self.url = ""
        self.tried: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.answers = threading.Event()
        self.answers.set()

    def said(self, alert: str) -> list[str]:
        """Which messages about an alert were taken in: `start`, `end`."""
        return [message["event"] for message in self.taken if message["alert"] == alert]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own, at a URL with a token as chat services have it."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            receiver.tried.append({**message, "path": self.path})
            receiver.answers.wait(30)
            if receiver.code == 200:
                receiver.taken.append(message)
            self.send_response(receiver.code)
            self.send_header("Location", receiver.location)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook/geheim-token"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.shutdown()
            thread.join()
