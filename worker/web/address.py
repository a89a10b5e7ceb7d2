"""The address of a page, as others may see it."""

from urllib.parse import urlencode

from starlette.requests import Request


def here(request: Request, **changes: str | None) -> str:
    """The address of the same page, without host, with other parameters; None takes one out.

    What grants access never stays in an address.
    """
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in {*changes, "token"}]
    query = urlencode([*kept, *((name, value) for name, value in changes.items() if value is not None)])
    return f"{request.url.path}?{query}" if query else request.url.path
