"""How a video becomes segments, and a segment passes the stages: in a plain loop, or as a chain of tasks."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from amqp.exceptions import AMQPError
from celery import Celery, chain, signature
from kombu.exceptions import OperationalError

from broker.connection import broker_error
from broker.errors import BrokerRefuses, BrokerUnavailable
from broker.messages import Segment, SegmentResult, Video
from broker.parking import Parking
from broker.priority import Priority, message_priority
from broker.recipe import CHAIN, Recipe, Stage
from broker.settings import Settings
from tasks.attempts import attempt_of_link, bot_checks_of_link
from tasks.captions import link_caption, segment_caption
from tasks.counting import stage_worked
from tasks.device_names import note_device_queues
from tasks.frame_store import FrameStore
from tasks.inline_pictures import away_from_store, comes_from_away
from tasks.inline_way import draw, take_in
from tasks.placement import Placement, queue_name
from tasks.readable import captioned
from tasks.runtime import Runtime
from tasks.stored_results import store_result
from tasks.stored_results import stored_result as stored_result
from workers.sampling import plan_segments

DOWNLOAD_MARGIN_SECONDS = 300
"""For probing and storing a file, after its transfer."""

if TYPE_CHECKING:
    from tasks.frames import Frames

log = logging.getLogger(__name__)


def segments_of(job_id: str, video: Video, recipe: Recipe) -> list[Segment]:
    """The segments of ``video``: they partition its duration."""
    spans = plan_segments(video.duration_ms, recipe.sampling.segment_seconds)
    return [
        Segment(job_id=job_id, video=video, recipe=recipe, index=index, start_ms=start, end_ms=end)
        for index, (start, end) in enumerate(spans)
    ]


def _any() -> None:
    """Everything is wanted."""


def run_stages(
    runtime: Runtime, stages: Iterable[Stage], result: SegmentResult, wanted: Callable[[], None] = _any
) -> SegmentResult:
    """Runs ``stages`` one after the other on one segment; frames stay in memory between them.

    A stage whose result is already stored is not run again. That makes a repeated delivery cheap, lets a
    job resume, and lets a new device reuse the poses and the teacher's masks of an earlier recipe.

    A device that does not reach the artifact store works on the frames inside ``result``, and leaves its
    masks there for the stage behind it.

    Args:
        runtime: of this process.
        stages: in the order of the chain.
        result: of the stages before them.
        wanted: called between two stages; what it raises ends the work there.
    """
    group = tuple(stages)
    if away_from_store(group, result.segment.recipe):
        return draw(runtime, result)
    frames = frames_for(group, runtime)
    if comes_from_away(group, result.segment.recipe):
        result = take_in(runtime, result, frames)
    for number, stage in enumerate(group):
        if number:
            wanted()
        result = stored_result(runtime, stage, result.segment) or _run(runtime, stage, result, frames)
    return result


def frames_for(stages: Sequence[Stage], runtime: Runtime) -> "Frames":
    """The pictures of a segment for ``stages``; with OpenCV, which a device's worker does without."""
    if set(stages) <= {Stage.ME}:
        return cast("Frames", FrameStore(runtime.artifacts))  # that stage asks for no pixels
    with runtime.loading(*stages):
        from tasks.frames import Frames
    return Frames(runtime.artifacts)


def _run(runtime: Runtime, stage: Stage, result: SegmentResult, frames: "Frames") -> SegmentResult:
    before = result
    runner = runtime.runner(stage, result.segment.recipe)
    with frames:  # all pictures are in the store when it ends: the result that names them comes behind
        frames.expect(pictures_for(stage, before))
        result = runner.run(before, frames).check_open()
    store_result(runtime, stage, result)
    stage_worked(stage, before, result)
    return result


def pictures_for(stage: Stage, result: SegmentResult) -> list[str]:
    """The keys of the pictures that ``stage`` will read, in its order."""
    if stage == Stage.POSE:
        return []
    if stage == Stage.COMPARE:
        found = [key for keeper in result.open for key in (keeper.mask_key, keeper.device_key)]
    else:
        found = [keeper.frame_key for keeper in result.open]
    return [key for key in found if key]


def run_plainly(runtime: Runtime, segments: Iterable[Segment]) -> list[SegmentResult]:
    """The whole chain as a ``for`` loop in this process: the yardstick for the distributed run."""
    return [run_stages(runtime, CHAIN, SegmentResult(segment=segment)) for segment in segments]


def segment_chain(app: Celery, segment: Segment, placement: Placement, priority: int | None = None) -> Any:
    """The Celery canvas of one segment: one task for each group, on the group's queue.

    There is no chord: a revoked or lost member would leave a chord waiting for ever. The catalog counts.
    """
    start = SegmentResult(segment=segment).model_dump(mode="json")
    shown = captioned(segment_caption(segment))
    tasks = []
    for position, group in enumerate(placement.groups):
        args = (start,) if position == 0 else ()
        queue = placement.queue_of(group, segment.recipe)
        made = {"args": args, "queue": queue, "app": app, "priority": priority}
        tasks.append(signature(f"hardpose.{queue_name(group)}", **made, **shown))
    return joined(app, tasks, segment, placement)


def joined(app: Celery, tasks: Sequence[Any], segment: Segment, placement: Placement) -> Any:
    """``tasks`` about ``segment`` as one chain, whose failure is told to whoever keeps the books."""
    failed = signature(
        "hardpose.segment_failed",
        kwargs={"segment": segment.model_dump(mode="json"), "books_queue": placement.books_queue},
        app=app,
    )
    return chain(*tasks, app=app).on_error(failed)


def send_segments(
    app: Celery, runtime: Runtime, segments: Sequence[Segment], priority: Priority = Priority.NORMAL
) -> None:
    """Sends one chain for each segment; messages of earlier sendings become void.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    send_chains(app, runtime, segments, priority, segment_chain)


def send_chains(
    app: Celery,
    runtime: Runtime,
    segments: Sequence[Segment],
    priority: Priority,
    canvas: Callable[[Celery, Segment, Placement, int | None], Any],
) -> None:
    """Sends ``canvas`` of each segment under its ticket.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    number = message_priority(runtime.settings, priority)
    runtime.control.issue_tickets(segments)
    note_device_queues(runtime.control, segments)
    with sending():
        for segment in segments:
            canvas(app, segment, runtime.placement, number).apply_async()


@contextmanager
def sending() -> Iterator[None]:
    """A broker that is away while a message is sent is no failure of what the message is about."""
    try:
        yield
    except (OperationalError, AMQPError) as error:  # kombu has not wrapped all of the latter
        if isinstance(known := broker_error(error), BrokerRefuses):
            raise known from error
        raise BrokerUnavailable(
            f"The broker takes no message: {error}.",
            "Check that it runs and that HARDPOSE_BROKER_URL and its password are right.",
        ) from error


def send_links(app: Celery, runtime: Runtime, job_id: str, positions: Collection[int] | None = None) -> int:
    """Enqueues a download for every link of the job that has not ended; returns how many.

    Args:
        app: sends.
        runtime: of this process.
        job_id: of the job.
        positions: only these of its links.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    job = runtime.catalog.job_light(job_id)
    open_links = [link for link in job.links if not link.state.final]
    if positions is not None:
        open_links = [link for link in open_links if link.position in positions]
    for link in open_links:
        send_link(app, runtime, job_id, link.position, link.link, job.priority)
    return len(open_links)


def send_link(
    app: Celery,
    runtime: Runtime,
    job_id: str,
    position: int,
    link: str,
    priority: Priority = Priority.NORMAL,
) -> None:
    """Enqueues a download; messages of earlier sendings become void, and its starts are counted anew.

    Raises:
        BrokerUnavailable: sending it anew is safe.
    """
    runtime.control.end(attempt_of_link(job_id, position))
    runtime.control.end(bot_checks_of_link(job_id, position))
    ticket = runtime.control.issue_link_ticket(job_id, position)
    Parking(runtime.control).drop(job_id, position)  # void by now, and it would be shown as waiting
    with sending():
        app.send_task(
            "hardpose.download",
            args=(job_id, position, link),
            kwargs={"ticket": ticket},
            queue=Stage.DOWNLOAD,
            priority=message_priority(runtime.settings, priority),
            **captioned(link_caption(job_id, position, link)),
            **link_limits(runtime.settings),
        )


def link_limits(settings: Settings) -> dict[str, int]:
    """Time limits of a download, which is about a transfer; those of the stages are about a segment."""
    soft = int(settings.download_timeout_seconds) + DOWNLOAD_MARGIN_SECONDS
    return {"soft_time_limit": soft, "time_limit": soft + 60}
