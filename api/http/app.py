"""The application: guards, routes and pages put together. Made by a function, never at import."""

from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.http import (
    devices,
    events,
    exports,
    frames,
    health,
    images,
    jobs,
    replays,
    reviews,
    session_routes,
    videos,
)
from api.http.doubles import no_doubles
from api.http.front import Front
from api.http.guards import Guard, Outermost
from api.http.openapi import describe
from api.http.pages import mount_pages
from api.http.problems import handle_problems
from broker.settings import Settings

DESCRIPTION = (
    "Links to videos in; out come the frames on which an on-device person segmentation fails, each with a "
    "teacher's mask. Every error is a problem (RFC 9457) with a stable `code` and a `remedy`."
)
ROUTERS: tuple[APIRouter, ...] = (
    session_routes.router,
    health.router,
    jobs.router,
    events.router,
    frames.router,
    images.router,
    reviews.router,
    videos.router,
    exports.router,
    devices.router,
    replays.router,
)
"""Every router of the API; a new one is named here."""


def create_api(settings: Settings) -> FastAPI:
    """The HTTP API of ``settings``. Connects to nothing until a request needs it.

    Raises:
        SettingsError: a token cannot be used, or the API would be open to more than this machine.
    """
    front = Front(settings)
    app = FastAPI(
        title="hardpose",
        version=version("hardpose"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(no_doubles)],
    )
    app.state.front = front
    handle_problems(app)
    describe(app, front)
    for router in ROUTERS:
        app.include_router(router)
    mount_pages(app)
    _guard(app, front)
    return app


def _guard(app: FastAPI, front: Front) -> None:
    """The last that is added is the first that a request meets."""
    app.add_middleware(Guard, front=front)
    if front.settings.api_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in front.settings.api_origins],
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
            expose_headers=["Retry-After", "Content-Range", "ETag"],
            max_age=600,
        )
    app.add_middleware(Outermost, front=front)
