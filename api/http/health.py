"""Whether the process lives, whether the system works, and its metrics."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import FrontHere, Here, requires
from api.http.problems import RETRY_SECONDS
from api.http.shown import Shown
from broker.errors import HardposeError
from tasks.runtime import Runtime

router = APIRouter(tags=["system"])


class Health(Shown):
    """That the process answers."""

    status: Literal["ok"] = "ok"


class Part(Shown):
    """One thing that the system stands on."""

    ok: bool
    code: str = ""
    cause: str = ""
    """Why it does not work; empty for callers without the role ``read``."""


class Readiness(Shown):
    """What works."""

    ready: bool
    parts: dict[str, Part] = Field(default_factory=dict)
    """``catalog``, ``broker`` and ``artifacts``."""


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> Health:
    """Asks nothing of anybody else: a restart of this process mends no database."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether the system can work",
    responses={503: {"model": Readiness, "description": "A part is away"}},
)
def readyz(request: Request, response: Response, runtime: Here) -> Readiness:
    """Asks the catalog, the broker and the artifact store for a sign of life; 503 when one gives none."""
    told = request.scope["state"]["caller"] is not None
    parts = {
        "catalog": _ask(lambda: runtime.catalog.known_video(""), told),
        "broker": _ask(lambda: runtime.ask_broker(), told),
        "artifacts": _ask(lambda: _ask_artifacts(runtime), told),
    }
    ready = all(part.ok for part in parts.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return Readiness(ready=ready, parts=parts)


def _ask_artifacts(runtime: Runtime) -> None:
    runtime.artifacts.exists("hardpose/readyz")


def _ask(question: Callable[[], object], told: bool) -> Part:
    try:
        question()
    except HardposeError as error:
        return Part(ok=False, code=error.code, cause=error.cause if told else "")
    return Part(ok=True)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    dependencies=[requires(Role.READ)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(front: FrontHere, runtime: Here) -> Response:
    """The system's numbers, from catalog and broker, and this process's own requests."""
    from api.metrics import collect

    return Response(collect(runtime) + front.metrics.text(), media_type=CONTENT_TYPE_LATEST)
