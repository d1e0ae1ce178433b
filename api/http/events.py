"""A job's progress as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.http.access import Role
from api.http.dependencies import FrontHere, Here, requires
from api.http.errors import TooManyStreams
from api.http.jobs import JobId
from api.http.problems import problems
from api.http.progress import Look, Progress

router = APIRouter(prefix="/jobs", tags=["jobs"])

MAX_STREAMS = 100
"""Of one process: each holds a connection for as long as its job lasts."""
LISTEN_SECONDS = 0.5
"""Between two looks whether the server is to end."""
RECONNECT_MS = 3000
"""After which a browser whose stream was cut asks again."""


async def stream_slot(front: FrontHere) -> AsyncIterator[None]:
    """Holds one of the places for streams until the answer has ended or its client has gone.

    Raises:
        TooManyStreams: all are taken.
    """
    if front.streams >= MAX_STREAMS:
        raise TooManyStreams(
            f"{MAX_STREAMS} streams of events are open, and no more are allowed.",
            "GET /jobs/JOB tells the same, once; or try again.",
            seconds=5,
        )
    front.count_stream(+1)
    try:
        yield
    finally:
        front.count_stream(-1)


def existing(job_id: JobId, here: Here) -> str:
    """The job's id; once a stream has begun it is too late for a 404.

    Raises:
        NotFound: there is no such job.
    """
    here.catalog.work.summary(job_id)
    return job_id


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    dependencies=[requires(Role.READ)],
    responses=problems(404),
)
async def events(
    job_id: Annotated[str, Depends(existing)],
    slot: Annotated[None, Depends(stream_slot)],  # noqa: ARG001 - held while the stream lasts
    front: FrontHere,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,  # noqa: ARG001 - every event is whole
) -> AsyncIterator[ServerSentEvent]:
    """Events `progress` whenever something has changed (the whole standing each time), `unavailable` while
    broker or catalog are away (a problem), and `finished` at the end: close the stream then. A comment at
    least every 15 seconds.
    """
    async with front.watches.of(job_id, Look(front.runtime, job_id)) as watch:
        seen = 0
        while not front.stopping.is_set():
            if not await watch.wait(seen, LISTEN_SECONDS):
                continue
            seen, news = watch.number, watch.news
            if isinstance(news, Progress):
                ended = news.state.final
                yield _event("finished" if ended else "progress", seen, news)
            else:
                assert news is not None
                ended = False
                said = {"code": news.code, "detail": news.cause, "remedy": news.remedy}
                yield _event("unavailable", seen, said)
                ended = news.code == "not_found"
            if ended:
                return


def _event(name: str, number: int, data: Any) -> ServerSentEvent:
    return ServerSentEvent(event=name, id=str(number), data=data, retry=RECONNECT_MS)
