"""The OpenAPI document of the API, made of the classes that make its answers."""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import msgspec

from worker.reading import shape
from worker.reading.period import PeriodName
from worker.reading.shape import Part, Reading
from worker.web.problems import ProblemDetails

VERSION = "1"
"""Of the API: it goes up when something that a client may rely on goes away."""

_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}}

_ETAG = {"ETag": {"description": "Of these very bytes.", "schema": {"type": "string"}}}


def openapi(path: str) -> dict[str, Any]:
    """The document (OpenAPI 3.1).

    Args:
        path: of the one route there is, with `{id}` in it.
    """
    _, schemas = msgspec.json.schema_components([Reading], ref_template="#/components/schemas/{name}")
    for name, field, text in _documented(shape):
        schemas[name]["properties"][field]["description"] = text
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema["description"])
        if "properties" in schema:
            schema["required"] = [*schema["properties"]]  # an answer has all of them, also where there is a default
    schemas |= {ProblemDetails.__name__: ProblemDetails.model_json_schema(mode="serialization")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Specialist analytics",
            "version": VERSION,
            "description": "Who saw a specialist's profile, who opened their contacts, and what came of it.",
        },
        "paths": {path: {"get": _analytics()}},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256 with `ANALYTICS_SECRET`; `sub` is the specialist's id, `aud` is `analytics`,"
                    " and it has an `exp`.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "analytics_token",
                    "description": "The same token, for the page's own script.",
                },
            },
        },
    }


def _documented(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Class, JSON name of a field, and what is written below it. Python itself throws a field's docstring away."""
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef) or not issubclass(kind := getattr(module, node.name), Part):
            continue
        for field, text in pairwise(node.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(described))):
                    yield node.name, kind.__struct_encode_fields__[kind.__struct_fields__.index(name)], described


def _analytics() -> dict[str, Any]:
    date = {"type": "string", "format": "date"}
    return {
        "operationId": "getAnalytics",
        "summary": "A specialist's numbers of a period, all of one moment",
        "security": [{"bearer": []}, {"cookie": []}],
        "parameters": [
            _parameter("id", "path", "Of the specialist that the token names.", {"type": "string"}),
            _parameter(
                "period",
                "query",
                "It ends today. Not together with a range.",
                {"enum": [*PeriodName], "default": PeriodName.MONTH},
            ),
            _parameter("from", "query", "First date of a range, in the reading's time zone.", date),
            _parameter("to", "query", "Last date of it; without it today. At most ten years behind the first.", date),
            _parameter("If-None-Match", "header", "ETags of what the client has.", {"type": "string"}),
        ],
        "responses": {
            "200": {
                "description": "The numbers.",
                "headers": _ETAG,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Reading"}}},
            },
            "304": {"description": "The client has them already.", "headers": _ETAG},
            "400": _problem("What was asked for is no period."),
            "401": _problem("No token, or one that does not hold."),
            "403": _problem("The token is another specialist's."),
            "404": _problem("There is no such specialist."),
            "429": _problem("Asked too often.", _RETRY_AFTER),
            "500": _problem("A defect."),
            "503": _problem("The numbers cannot be read now.", _RETRY_AFTER),
        },
    }


def _parameter(name: str, where: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}


def _problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})
