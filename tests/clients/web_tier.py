"""A web tier: a Node process that does what a test tells it, see `web_tier.mjs`."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.node import installed
from tests.support import TOP
from worker.embedded import NOTHING

HERE = Path(__file__).parent
CLIENT = TOP / "worker/clients/analytics.ts"
LIBRARIES = ("ioredis", "ioredis-5")


def compiled() -> Path:
    """The folder where the client lies compiled, beside the scripts of this folder."""
    return installed(HERE, CLIENT, build="tsc")


class WebTier:
    """One Node process. What it is told it does in turn, so a test may do something else before it asks for answers."""

    def __init__(self, redis_url: str, library: str, options: dict[str, Any], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            ["node", "web_tier.mjs", library, json.dumps(options)],
            cwd=compiled(),
            env=os.environ | {"REDIS_URL": redis_url, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def tell(self, command: str, *arguments: object) -> None:
        """Let it do something."""
        assert self.process.stdin is not None
        print(json.dumps([command, *arguments]), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        """What the first of those came to that were not yet asked for."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the web tier has ended: {self.process.wait()}"
        return json.loads(line)

    def ask(self, command: str, *arguments: object) -> Any:
        """Let it do something, and wait for what it comes to."""
        self.tell(command, *arguments)
        return self.answer()

    def end(self) -> int:
        """Let it have nothing to do any more; its exit code. A promise that was rejected unseen would make it 1."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


@contextmanager
def web_tier(
    redis_url: str, library: str = "ioredis", *, environment: Mapping[str, str] = NOTHING, **options: Any
) -> Iterator[WebTier]:
    """A web tier that ends by itself, and well, unless the test has ended it."""
    tier = WebTier(redis_url, library, options, environment)
    with tier.process:
        try:
            yield tier
            if tier.process.poll() is None:
                assert tier.end() == 0
        finally:
            tier.process.kill()
