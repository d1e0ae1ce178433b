"""Jobs: ordered, listed, shown, cancelled, tried again, deleted."""

import logging
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Response
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import FrontHere, Here, ordering_turn, requires
from api.http.errors import BadOrder
from api.http.job_orders import EXAMPLE, JobOrder, accepted
from api.http.paging import PageAsked
from api.http.problems import problems
from api.http.public import public_failure, public_recipe
from api.http.shown import Shown
from api.options import UnknownReason
from api.orders import book, send, send_in_parts
from api.retry import retry
from broker.errors import BrokerUnavailable, HardposeError
from broker.frame_views import Page
from broker.recipe import Frozen, Recipe
from broker.views import State
from broker.work_views import Cancelled, Erased, JobSummary, LinkSummary
from tasks.dataset.text import public_source
from tasks.runtime import Runtime

log = logging.getLogger(__name__)
router = APIRouter(prefix="/jobs", tags=["jobs"])

SENT_AT_ONCE = 100
"""Links; more are sent after the answer, which is to come at once."""

JobId = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9._-]+$", examples=["0123456789abcdef"])]


class WorkAsked(PageAsked):
    """The query of a list of jobs or links."""

    state: tuple[State, ...] = Field((), max_length=10, description="Any of these; none: all.")


OfWork = Annotated[WorkAsked, Query()]


class JobPlaced(Shown):
    """An order that was taken."""

    job_id: str
    """The same links under the same recipe and rules are the same job."""
    links: int
    """As many as were given, each once; a folder counts as its videos."""
    url: str
    events: str


class JobDetail(JobSummary):
    """A job by itself."""

    recipe: Recipe
    """What its results depend on: models with their hashes, and every number that decides."""


class RetryOrder(Frozen):
    """What is tried again."""

    reasons: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=50)
    """Codes or actions of failures, such as ``http_429`` or ``session_poisoned``; none stands for any."""


class Retried(Shown):
    """What is tried again."""

    job_id: str
    links: int


def send_later(runtime: Runtime, job_id: str) -> None:
    """Sends in a thread that nobody waits for: a failure is logged, and the same order again mends it."""
    try:
        send_in_parts(runtime, job_id)
    except HardposeError as error:
        log.error("not all links of job %s were sent; the same order again sends the rest: %s", job_id, error)


@router.post(
    "",
    status_code=202,
    summary="Order a job",
    dependencies=[requires(Role.ENQUEUE), Depends(ordering_turn, scope="function")],
    responses=problems(409),
)
def place(
    order: Annotated[JobOrder, Body(examples=[EXAMPLE])],
    front: FrontHere,
    here: Here,
    response: Response,
) -> JobPlaced:
    """Books the links and puts them on the queue. The same order again takes the same job up again."""
    links = accepted(order.links, here.settings.api_folders)
    recipe = front.recipes.of(here, order.recipe.changes(here.settings))
    job_id = book(here, recipe, links, order.rules(here.settings.intake), order.priority)
    if len(links) <= SENT_AT_ONCE:
        send(here, job_id)
    else:
        front.sending.submit(send_later, here, job_id)
    url = f"/jobs/{job_id}"
    response.headers["Location"] = url
    return JobPlaced(job_id=job_id, links=len(links), url=url, events=f"{url}/events")


@router.get("", summary="List jobs", dependencies=[requires(Role.READ)])
def jobs(asked: OfWork, here: Here) -> Page[JobSummary]:
    """The newest first."""
    return here.catalog.work.page(asked.limit, asked.cursor, asked.state)


@router.get("/{job_id}", summary="Show a job", dependencies=[requires(Role.READ)])
def job(job_id: JobId, here: Here) -> JobDetail:
    """Its recipe, and counts by state, verdict and stage; `/jobs/{job_id}/events` follows them."""
    summary = here.catalog.work.summary(job_id)
    recipe = public_recipe(here.catalog.work.recipe(summary.recipe_id))
    return JobDetail(**dict(summary), recipe=recipe)


@router.get("/{job_id}/links", summary="List a job's links", dependencies=[requires(Role.READ)])
def links(job_id: JobId, asked: OfWork, here: Here) -> Page[LinkSummary]:
    """In their order, each with its video, its counts and, if it failed, the typed reason."""
    page = here.catalog.work.links(job_id, asked.limit, asked.cursor, asked.state)
    return page.model_copy(update={"items": tuple(map(_shown, page.items))})


def _shown(link: LinkSummary) -> LinkSummary:
    shown = {"link": public_source(link.link), "failure": public_failure(link.failure, link.link)}
    return link.model_copy(update=shown)


@router.post("/{job_id}/cancel", summary="Cancel a job", dependencies=[requires(Role.ENQUEUE)])
def cancel(job_id: JobId, here: Here) -> Cancelled:
    """Stops what has not ended; what is done stays done. Segments that another job waits for go on."""
    from tasks.cancelling import cancel_job

    here.ask_broker()
    return cancel_job(here, job_id)


@router.post("/{job_id}/retry", summary="Try again what failed", dependencies=[requires(Role.ENQUEUE)])
def try_again(job_id: JobId, here: Here, order: RetryOrder | None = None) -> Retried:
    """All of it, or what failed for certain reasons; a reason for which nothing failed is refused."""
    try:
        sent = retry(here, job_id, (order or RetryOrder()).reasons)
    except BrokerUnavailable as error:
        raise BrokerUnavailable(error.cause, "Try again when the broker is back.") from error
    except UnknownReason as error:
        raise BadOrder(error.cause, error.remedy) from error
    return Retried(job_id=job_id, links=sent.get(job_id, 0))


@router.delete("/{job_id}", summary="Delete a job", dependencies=[requires(Role.ADMIN)])
def delete(job_id: JobId, here: Here) -> Erased:
    """With all that no other job has; 409 while it runs: cancel it first."""
    from tasks.erasing import delete_job

    return delete_job(here, job_id)
