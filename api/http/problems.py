"""Errors as problem details (RFC 9457): one table from codes to statuses, and the application's handlers."""

import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.http.errors import Limited
from api.http.shown import Shown
from broker.errors import Action, HardposeError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
"""Said with a 503: a broker or a database that is restarted is back in about as long."""
STATUSES: Mapping[str, int] = {
    "bad_request": 400, "bad_host": 400, "bad_cursor": 400,
    "not_signed_in": 401,
    "forbidden": 403, "foreign_page": 403,
    "not_found": 404, "bad_frame_id": 404, "artifact_missing": 404,
    "no_mask": 404, "picture_unusable": 404,
    "method_not_allowed": 405,
    "job_conflict": 409, "review_conflict": 409, "job_running": 409, "already_running": 409,
    "export_not_ready": 409, "nothing_to_replay": 409, "being_erased": 409, "forgotten": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "rate_limited": 429, "too_many_streams": 429,
    "missing_dependency": 503, "weights": 503, "disk_full": 503, "no_provider": 503,
    "artifacts_forbidden": 503, "catalog_broken": 503, "catalog_newer": 503,
}  # fmt: skip
"""Status by the code of a typed error. The rest: 503 if it may pass, else 422, the fault of what was asked.

A frame's id that can be none is a frame that is not there (404); a cursor is no name of anything (400).
"""
CODES = {400: "bad_request", 401: "not_signed_in", 403: "forbidden", 404: "not_found"} | {
    405: "method_not_allowed", 408: "request_timeout", 413: "too_large",
    415: "unsupported_media_type", 429: "rate_limited"
}  # fmt: skip
"""Code by status, for what the framework refuses by itself."""


class FieldProblem(Shown):
    """What is wrong with one field of the request."""

    field: str
    """Its place: ``body.links.0``, ``query.limit``."""
    message: str


class Problem(Shown):
    """A problem (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:hardpose:not_found",
                "title": "Not found",
                "status": 404,
                "detail": "There is no job 0123456789abcdef.",
                "code": "not_found",
                "remedy": "GET /jobs lists them.",
                "fields": [],
            }
        }
    )

    type: str
    """``urn:hardpose:CODE``."""
    title: str
    status: int
    detail: str
    """What is wrong, with the value that is wrong in it."""
    code: str
    """Stable, for programs."""
    remedy: str = ""
    """What can be done about it."""
    fields: list[FieldProblem] = Field(default_factory=list)
    """With the status 422: the fields that cannot be used."""


def status_of(error: HardposeError) -> int:
    """The HTTP status that says what ``error`` says."""
    if error.code in STATUSES:
        return STATUSES[error.code]
    return 503 if error.action == Action.TRANSIENT else 422


def problem(
    status: int,
    code: str,
    detail: str,
    remedy: str = "",
    fields: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response that is a problem."""
    content = Problem(
        type=f"urn:hardpose:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        remedy=remedy,
        fields=list(fields),
    )
    return JSONResponse(content.model_dump(), status, headers, MEDIA_TYPE)


def problem_of(error: HardposeError) -> Response:
    """The response to a typed error."""
    status = status_of(error)
    headers = {}
    if isinstance(error, Limited):
        headers["Retry-After"] = str(error.seconds)
    elif status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
        log.warning("%s: %s", error.code, error)
    elif status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="hardpose"'
    return problem(status, error.code, error.cause, error.remedy, headers=headers)


def internal_problem() -> Response:
    """The response to a defect; what it was is in the log alone."""
    return problem(
        500, "internal", "hardpose failed in a way that it does not know.", "The API's log has the traceback."
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route that answers with these statuses beside those of ``api.http.openapi``."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def handle_problems(app: FastAPI) -> None:
    """Has ``app`` answer every error with a problem."""
    app.add_exception_handler(HardposeError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


async def _typed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the framework's signature
    assert isinstance(error, HardposeError)
    return problem_of(error)


async def _invalid(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the framework's signature
    assert isinstance(error, RequestValidationError)
    fields = [_field(one) for one in error.errors()]
    named = ", ".join(dict.fromkeys(one.field for one in fields[:5]))
    return problem(
        422,
        "invalid_request",
        f"The request cannot be used: {named}.",
        "Each field's message says why.",
        fields,
    )


def _field(error: Mapping[str, Any]) -> FieldProblem:
    place = ".".join(str(part) for part in error["loc"])
    return FieldProblem(
        field=place.encode("utf-8", "replace").decode()[:200], message=str(error["msg"])[:500]
    )


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, f"http_{error.status_code}")
    if error.status_code == 404:
        detail, remedy = (
            f"There is no {request.url.path[:200]!r} here.",
            "GET /openapi.json says what there is.",
        )
    elif error.status_code == 405:
        detail = f"{request.method[:20]} is not possible on {request.url.path[:200]!r}."
        remedy = "The header Allow says what is."
    else:
        detail, remedy = str(error.detail or http.HTTPStatus(error.status_code).phrase), ""
    return problem(error.status_code, code, detail, remedy, headers=error.headers)
