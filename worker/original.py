"""An entry's original fields as a dead letter keeps them: readable, and the bytes come back without loss. Pure."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence

from worker.printable import printable

Kept = Sequence[Sequence[str | dict[str, str]]]
"""`[[name, value], …]`; bytes that are no text are `{"base64": "…"}`."""


def as_json(fields: Sequence[bytes]) -> str:
    """The JSON text of fields, whose names and values come in turn."""
    values = [_kept(part) for part in fields]
    return json.dumps(list(zip(values[::2], values[1::2], strict=False)), ensure_ascii=False)


def from_json(kept: Kept) -> list[bytes]:
    """The fields again, names and values in turn."""
    return [_bytes(part) for pair in kept for part in pair]


def readable(part: str | dict[str, str]) -> str:
    """A name or value for a person."""
    return printable(part) if isinstance(part, str) else repr(_bytes(part))


def _kept(raw: bytes) -> str | dict[str, str]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"base64": b64encode(raw).decode()} if "\0" in text else text


def _bytes(part: str | dict[str, str]) -> bytes:
    return part.encode() if isinstance(part, str) else b64decode(part["base64"])
