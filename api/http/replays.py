"""Replays: a device on frames that are kept already."""

import logging
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import FrontHere, Here, ordering_turn, requires
from api.http.job_orders import ModelName, RecipeOrder
from api.http.jobs import SENT_AT_ONCE
from api.http.problems import problems
from api.http.shown import Shown
from broker.app import create_app
from broker.errors import HardposeError
from broker.frame_views import Name
from broker.priority import Priority
from broker.recipe import Frozen
from tasks.replaying import Plan, book, plan, start
from tasks.runtime import Runtime

log = logging.getLogger(__name__)
router = APIRouter(prefix="/replays", tags=["devices"])

EXAMPLE = {"device": "me-2", "jobs": ["0123456789abcdef"], "priority": "low"}


class ReplayOrder(Frozen):
    """An order for a replay."""

    device: ModelName
    """The name of a device that has announced itself (its newest firmware, see `/devices`), or a driver's."""
    jobs: list[Name] = Field(default_factory=list, max_length=1000)
    """Only frames of these jobs."""
    recipes: list[Name] = Field(default_factory=list, max_length=100)
    """Only frames of these recipes; without jobs and recipes, all frames that are kept."""
    priority: Priority = Priority.LOW


class ReplayPlaced(Shown):
    """A replay that was taken: a job like any other, of me and compare alone."""

    job_id: str
    """The same device on the same choice of frames is the same job, and goes on where it was."""
    recipe_id: str
    """The earlier recipe with this device."""
    bases: tuple[str, ...]
    """Ids of the earlier recipes; several, where they differ in their device alone."""
    videos: int
    url: str
    events: str


class ReplaysPlaced(Shown):
    """What a replay has become: a job for each group of earlier recipes that differ in their device alone."""

    replays: tuple[ReplayPlaced, ...]


def start_now(runtime: Runtime, plan: Plan, priority: Priority) -> None:
    """Books the segments of a replay and sends what is kept of them.

    Raises:
        BrokerUnavailable: some may have been sent; the same order again is safe.
    """
    with create_app(runtime.settings) as app:
        start(app, runtime, plan, priority)


def start_later(runtime: Runtime, plan: Plan, priority: Priority) -> None:
    """Starts in a thread that nobody waits for: a failure is logged, and the same order again mends it."""
    try:
        start_now(runtime, plan, priority)
    except HardposeError as error:
        log.error(
            "not all of replay %s was sent; the same order again sends the rest: %s", plan.job_id, error
        )


@router.post(
    "",
    status_code=202,
    summary="Try a device on the frames that are kept",
    dependencies=[requires(Role.ENQUEUE), Depends(ordering_turn, scope="function")],
    responses=problems(404, 409),
)
def place(
    order: Annotated[ReplayOrder, Body(examples=[EXAMPLE])], front: FrontHere, here: Here, response: Response
) -> ReplaysPlaced:
    """Neither video nor teacher is touched; what is not kept any more is left out, as failed segments.

    `/jobs/{job_id}/links` names those, and `/jobs/{job_id}/retry` makes them anew, from the video.
    """
    changes = RecipeOrder(device_model=order.device).changes(here.settings)
    device = front.recipes.of(here, changes).device_model
    plans = plan(here, device, [*order.jobs, *order.recipes])
    here.ask_broker()
    for each in plans:
        book(here, each, order.priority)
        if len(each.links) <= SENT_AT_ONCE:
            start_now(here, each, order.priority)
        else:
            front.sending.submit(start_later, here, each, order.priority)
    response.headers["Location"] = f"/jobs/{plans[0].job_id}"
    return ReplaysPlaced(replays=tuple(map(_placed, plans)))


def _placed(plan: Plan) -> ReplayPlaced:
    url = f"/jobs/{plan.job_id}"
    return ReplayPlaced(
        job_id=plan.job_id,
        recipe_id=plan.recipe.id,
        bases=tuple(base.recipe.id for base in plan.bases),
        videos=len(plan.links),
        url=url,
        events=f"{url}/events",
    )
