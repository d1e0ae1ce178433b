"""The OpenAPI description, with what is true of every route: how one signs in, which problems may come."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.front import Front
from api.http.problems import Problem, problems
from api.http.progress import Progress

ANYWHERE = (400, 401, 403, 413, 415, 429, 503)
"""Problems that every route may answer with: what the guards refuse, and what it stands on being away."""
OPEN_ROUTES = ("/healthz", "/readyz")
TAGS = [
    {"name": "jobs", "description": "Links to videos, and how far their work is."},
    {
        "name": "frames",
        "description": "What was found: frames, their pictures, and what reviewers say of them.",
    },
    {"name": "reviews", "description": "Decisions of reviewers."},
    {"name": "videos", "description": "The videos, and their segments."},
    {"name": "exports", "description": "Data sets to download."},
    {"name": "devices", "description": "Who works, with which models."},
    {"name": "session", "description": "Who one is."},
    {"name": "system", "description": "Whether all is well."},
]


def describe(app: FastAPI, front: Front) -> None:
    """Gives ``app`` its OpenAPI description, made when first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app, front)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _schema(app: FastAPI, front: Front) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Problem, Progress):  # no route names them as its answer
        described = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(described.pop("$defs", {}))
        schemas[model.__name__] = described
    if not front.access.open:
        schema["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "hardpose_session"},
        }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(path, operation, front.access.open)
    return schema


def _complete(path: str, operation: dict[str, Any], is_open: bool) -> None:
    """Adds the problems that ``operation`` may answer with, and how one signs in."""
    responses = operation["responses"]
    responses.pop("422", None)
    for status in _problems(path, operation, is_open):
        ours = problems(status)[status]
        described = responses.setdefault(str(status), ours)
        described["content"] = {**described.get("content", {}), **ours["content"]}
        if status in (429, 503):
            described["headers"] = {
                "Retry-After": {"description": "Seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
            }
    if not is_open and path not in OPEN_ROUTES:
        operation.setdefault("security", [{"token": []}, {"session": []}])


def _problems(path: str, operation: dict[str, Any], is_open: bool) -> set[int]:
    found = set(ANYWHERE) - ({401} if is_open else set())
    if "{" in path:
        found |= {404, 409}
    if "requestBody" in operation:
        found |= {404, 408, 409, 422}
    if operation.get("parameters"):
        found |= {404, 422}
    return found
