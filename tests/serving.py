"""A web process, and what it answers over HTTP."""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPMessage
from typing import NamedTuple

from tests.rq_fixtures import wait_for
from tests.support import fork_worker
from worker.embedded import free_port
from worker.settings import Settings

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
"""What a person's browser says of itself. Python's client, and a browser without a window, are taken for robots."""


class Answer(NamedTuple):
    """Redirects are answers like others."""

    code: int
    headers: HTTPMessage
    content: bytes
    """As it came, perhaps compressed."""

    @property
    def body(self) -> str:
        compressed = self.headers["Content-Encoding"] == "gzip" and self.content
        return (gzip.decompress(self.content) if compressed else self.content).decode()


class Web:
    """A running web process."""

    def __init__(self, port: int, pid: int | None = None) -> None:
        self.port = port
        self.pid = pid

    def ask(self, path: str, method: str = "GET", accept: str = "*/*", headers: Mapping[str, str] = {}) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, headers={"Accept": accept, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def is_there(self) -> bool:
        try:
            return self.ask("/").code == 307
        except ConnectionError:
            return False


@contextmanager
def serving(settings: Settings) -> Iterator[Web]:
    """Until the end, at which it must stop well."""
    port = free_port()
    process = fork_worker(settings, "web", "--host", "127.0.0.1", "--port", str(port))
    web = Web(port, process.pid)
    try:
        wait_for(web.is_there)
        yield web
    finally:
        process.terminate()
        code, _, errors = process.ended(seconds=15)
    assert code == 0, errors
    assert "Traceback" not in errors
