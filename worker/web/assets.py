"""Style sheets, scripts and pictures: a few files, held in memory and compressed once.

The address of each has a hash of its content: a browser may keep it for ever, and never has an old one with a new page.
"""

import gzip
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROOT = "/analytics-static"
"""Where they are; it begins with no word that a site has, so a reverse proxy can pass on the whole of it."""

FOR_EVER = "public, max-age=31536000, immutable"

MEDIA_TYPES = MappingProxyType(
    {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
)
"""What is given out; whatever else lies there, such as a licence, is not."""


class Asset(NamedTuple):
    """A file."""

    address: str
    media_type: str
    body: bytes
    compressed: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """All of them, by their path below `static`."""
    return MappingProxyType(dict(_found(files("worker.web") / "static", "")))


def _found(folder: Traversable, prefix: str) -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        stem, dot, suffix = entry.name.rpartition(".")
        if entry.is_dir():
            found += _found(entry, f"{prefix}{entry.name}/")
        elif media_type := MEDIA_TYPES.get(dot + suffix):
            body = entry.read_bytes()
            address = f"{ROOT}/{prefix}{stem}.{sha256(body).hexdigest()[:12]}.{suffix}"
            found.append((prefix + entry.name, Asset(address, media_type, body, gzip.compress(body, 9, mtime=0))))
    return found


def asset_routes() -> list[Route]:
    """The route of all of them."""
    by_address = {asset.address: asset for asset in assets().values()}

    async def asset(request: Request) -> Response:
        found = by_address.get(request.url.path)
        if found is None:
            return Response(status_code=404)
        headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(found.body, media_type=found.media_type, headers=headers)
        return Response(found.compressed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})

    return [Route(f"{ROOT}/{{name:path}}", asset)]
