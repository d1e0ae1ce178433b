"""What routes ask for: the runtime, the caller, and the caller's right to be there.

    @router.get("/frames", dependencies=[requires(Role.READ)])
    def frames(here: Here) -> Page[FrameView]: ...

A route that blocks (catalog, broker, artifacts) is a plain ``def``: the framework runs it in a thread.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request

from api.http.access import Caller, Role
from api.http.errors import Forbidden, NotSignedIn
from api.http.front import Front
from tasks.runtime import Runtime


async def front_of(request: Request) -> Front:
    """What the requests of this application share."""
    front: Front = request.app.state.front
    return front


async def caller_of(request: Request) -> Caller:
    """Who asks.

    Raises:
        NotSignedIn: nobody known.
    """
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    if caller is None:
        raise NotSignedIn("This takes a token.", "Send the header Authorization: Bearer TOKEN.")
    return caller


FrontHere = Annotated[Front, Depends(front_of)]
CallerHere = Annotated[Caller, Depends(caller_of)]


async def open_access(front: FrontHere) -> bool:
    """Whether this API has no tokens, and so knows nobody by name."""
    return front.access.open


OpenAccess = Annotated[bool, Depends(open_access)]


def runtime_of(front: FrontHere) -> Runtime:
    """Catalog, control state and artifacts. In a thread, because it may have to look for a broker."""
    return front.runtime()


Here = Annotated[Runtime, Depends(runtime_of)]
"""The runtime of this API."""


async def drawing_turn(front: FrontHere) -> AsyncIterator[None]:
    """Waits for one of the places of those who draw; held while the route runs."""
    async with front.drawing:
        yield


async def ordering_turn(front: FrontHere) -> AsyncIterator[None]:
    """Waits for one of the places of those who order jobs; held while the route runs."""
    async with front.ordering:
        yield


def requires(role: Role) -> Any:
    """A dependency that lets callers with ``role`` pass.

    Raises:
        Forbidden: (the dependency) the caller has other roles.
    """

    async def check(caller: CallerHere) -> None:
        if role not in caller.roles:
            raise Forbidden(
                f"{caller.name} may not do this: it takes the role {role}.",
                "Use a token with that role; HARDPOSE_API_TOKENS names them.",
            )

    check.role = role  # type: ignore[attr-defined] # for the OpenAPI page
    return Depends(check)
