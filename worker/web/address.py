"""The address of a page, as others may see it."""

from urllib.parse import quote, urlencode

from starlette.requests import Request


def here(request: Request, **changes: str | None) -> str:
    """The address of the same page, without host, with other parameters; None takes one out.

    What grants access never stays in an address. Nor does a second slash at the beginning, behind which browsers look
    for a host, nor one at the end.
    """
    path = f"/{quote(request.url.path.strip('/'), safe='/%')}"
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in {*changes, "token"}]
    query = urlencode([*kept, *((name, value) for name, value in changes.items() if value is not None)])
    return f"{path}?{query}" if query else path
