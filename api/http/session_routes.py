"""Signing in with a browser: the token goes in once, a cookie that only the browser sees comes out."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.http import sessions
from api.http.access import Caller, Role
from api.http.dependencies import CallerHere, FrontHere
from api.http.errors import NotSignedIn
from api.http.problems import problems
from api.http.shown import Shown

router = APIRouter(prefix="/session", tags=["session"])


class SignIn(BaseModel):
    """A token of ``HARDPOSE_API_TOKENS``."""

    model_config = ConfigDict(extra="forbid")

    token: SecretStr = Field(max_length=1000)


class Session(Shown):
    """Who one is."""

    name: str
    roles: list[Role]
    """Sorted, with those that they include."""
    open: bool
    """Whether this API has no tokens: everybody on this machine is ``local`` and may do anything."""


def _shown(caller: Caller, is_open: bool) -> Session:
    return Session(name=caller.name, roles=sorted(caller.roles), open=is_open)


@router.get("", summary="Who one is")
async def who(caller: CallerHere, front: FrontHere) -> Session:
    """By token, by session, or ``local`` on an open API."""
    return _shown(caller, front.access.open)


@router.post("", summary="Sign in", openapi_extra={"security": []}, responses=problems(401))
async def sign_in(order: SignIn, request: Request, response: Response, front: FrontHere) -> Session:
    """Answers with the cookie ``hardpose_session``; it ends after 12 hours, or when the token is changed."""
    caller = front.access.by_token(order.token.get_secret_value())
    if caller is None:
        raise NotSignedIn(
            "This is no token of this API.", "Ask whoever runs it; HARDPOSE_API_TOKENS holds them."
        )
    response.set_cookie(
        sessions.COOKIE,
        sessions.issue(front.access, caller),
        max_age=sessions.SECONDS,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _shown(caller, front.access.open)


@router.delete("", summary="Sign out", status_code=204, openapi_extra={"security": []})
async def sign_out(response: Response) -> None:
    """Has the browser forget its cookie."""
    response.delete_cookie(sessions.COOKIE, path="/", httponly=True, samesite="strict")
