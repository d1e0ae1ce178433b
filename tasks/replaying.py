"""Replays: another device, or its new firmware, on frames that are kept already. No video, no teacher.

A replay's recipe is an earlier one with the device replaced. Its pose and mask stages are the earlier one's
by the same hash, so what they have left in the artifact store is its own; ``me`` and ``compare`` remain.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from celery import Celery

from broker.app import create_app
from broker.errors import BeingErased, NotFound, VideoForgotten, WorkCancelled
from broker.messages import Failure, Segment, Video, result_folder
from broker.priority import Priority
from broker.recipe import ModelSpec, Recipe, Stage, canonical_hash
from broker.replay_books import Place, ReplayBase
from broker.views import JobView, LinkView, State
from tasks.pipeline import segments_of, send_links
from tasks.replay_chain import MasksNotKept, send_replays
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

EVERYTHING = "all"


class NothingToReplay(NotFound):
    """No earlier recipe has examined anything that the device has not been tried on."""

    code = "nothing_to_replay"


@dataclass
class Replay:
    """What a replay under one recipe has sent, and what it has left out.

    Attributes:
        job_id: of its job; the same replay again is the same job.
        recipe_id: the earlier recipe with the new device.
        bases: ids of the earlier recipes.
        videos: of its videos, those that are not done.
        segments: sent to the device.
        done: videos on which the device was tried before.
        left_out: how many segments for each reason; of a video that is left out whole, all of them.
    """

    job_id: str
    recipe_id: str
    bases: tuple[str, ...]
    videos: int = 0
    segments: int = 0
    done: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, segments: int = 1) -> None:
        """Counts segments that are not replayed."""
        self.left_out[reason] = self.left_out.get(reason, 0) + segments


@dataclass(frozen=True)
class Plan:
    """A replay under one recipe: several earlier ones that differ in their device alone come to the same."""

    job_id: str
    recipe: Recipe
    bases: tuple[ReplayBase, ...]

    @property
    def links(self) -> dict[str, str]:
        """Of each video its link, by the age of the recipes."""
        found: dict[str, str] = {}
        for base in self.bases:
            found = {**base.links, **found}
        return found


def plan(runtime: Runtime, device: ModelSpec, named: Sequence[str] = ()) -> list[Plan]:
    """What a replay of ``device`` would do; changes nothing.

    Args:
        runtime: of this process.
        device: to be tried.
        named: ids of the jobs or recipes whose frames it is tried on; none: all there are.

    Raises:
        NotFound: there is no such job or recipe.
        NothingToReplay: they have examined nothing, or with this very device.
        SettingsError: the placement cannot serve the device.
    """
    by_recipe: dict[str, list[ReplayBase]] = {}
    recipes: dict[str, Recipe] = {}
    for base in runtime.catalog.replays.bases(named):
        recipe = base.recipe.model_copy(update={"device_model": device})
        recipes[recipe.id] = recipe
        by_recipe.setdefault(recipe.id, []).append(base)
    selection = sorted(set(named)) or EVERYTHING
    plans = []
    for recipe_id, bases in by_recipe.items():
        others = tuple(base for base in bases if base.recipe.id != recipe_id)
        if others:
            job_id = canonical_hash(["replay", recipe_id, selection])
            plans.append(Plan(job_id, recipes[recipe_id], others))
    for each in plans:
        runtime.placement.check(each.recipe)
    if not plans:
        raise NothingToReplay(
            f"There is nothing to try {device.name} {device.version} on.",
            "Examine videos first, or name jobs of another device with --from.",
        )
    return plans


def replay_all(
    runtime: Runtime, device: ModelSpec, named: Sequence[str] = (), priority: Priority = Priority.LOW
) -> list[Replay]:
    """Starts every replay of ``device``: one for each group of earlier recipes that differ in it alone.

    Raises:
        NotFound, NothingToReplay, SettingsError: see ``plan``.
        BrokerUnavailable: some may have been sent; the same again is safe.
    """
    plans = plan(runtime, device, named)
    with create_app(runtime.settings) as app:
        return [start(app, runtime, each, priority) for each in plans]


def book(runtime: Runtime, plan: Plan, priority: Priority = Priority.LOW) -> dict[str, Place]:
    """Writes a replay's job to the books, which sends nothing yet; of each video its place in the job."""
    return runtime.catalog.replays.book(plan.job_id, plan.recipe, plan.links, priority)


def start(app: Celery, runtime: Runtime, plan: Plan, priority: Priority = Priority.LOW) -> Replay:
    """Books a replay and sends what is kept; called again, it goes on where it was.

    Args:
        app: sends.
        runtime: of this process.
        plan: what is to be done.
        priority: of the messages.

    Raises:
        BrokerUnavailable: some may have been sent; starting it again is safe.
    """
    runtime.ask_broker()
    bases = tuple(base.recipe.id for base in plan.bases)
    replay = Replay(plan.job_id, plan.recipe.id, bases)
    places = book(runtime, plan, priority)
    for video_id, place in places.items():
        if place.state in (State.DONE, State.FAILED):  # a failed one was forgotten: it is not queued again
            replay.done += place.state == State.DONE
            if place.state == State.FAILED:
                replay.leave_out(VideoForgotten.code)
            continue
        _replay_video(app, runtime, plan, (video_id, place), priority, replay)
    log.info("replay %s: %s segments sent, %s left out", plan.job_id, replay.segments, replay.left_out)
    return replay


def resume(app: Celery, runtime: Runtime, job_id: str) -> int:
    """Sends a job's open links anew, after their messages were lost; returns how many.

    What waits only for its device, as in a replay, goes back to it and needs no video: a link whose video an
    earlier recipe with the same teacher has examined, and whose open segments all have masks. The others
    begin with their download, as ever.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    job, sent = runtime.catalog.job_light(job_id), 0
    plan = Plan(job_id, job.recipe, _same_masks(runtime, job.recipe))
    fetched = []
    for link in job.links:
        if link.state.final:
            continue
        if link.video is None or link.video.id not in plan.links or not _masks_kept(runtime, job, link):
            fetched.append(link.position)
            continue
        at = (link.video.id, Place(position=link.position, state=link.state))
        _replay_video(app, runtime, plan, at, job.priority, Replay(job_id, job.recipe.id, ()))
        sent += 1
    return sent + send_links(app, runtime, job_id, fetched)


def _same_masks(runtime: Runtime, recipe: Recipe) -> tuple[ReplayBase, ...]:
    """The earlier recipes whose masks are those of ``recipe``, by the same hash."""
    masks = recipe.stage_id(Stage.MASK)
    bases = (base for base in runtime.catalog.replays.bases() if base.recipe.id != recipe.id)
    return tuple(base for base in bases if base.recipe.stage_id(Stage.MASK) == masks)


def _masks_kept(runtime: Runtime, job: JobView, link: LinkView) -> bool:
    """Whether all that is open of a link has the teacher's masks. One without segments yet is of a replay."""
    assert link.video is not None, "asked of a link with a video"
    still_open = {segment.index for segment in link.segments if not segment.state.final}
    kept = _kept_masks(runtime, job.recipe, link.video)
    whole = segments_of(job.id, link.video, job.recipe)
    return all(each.result_key(Stage.MASK) in kept for each in whole if each.index in still_open)


def _kept_masks(runtime: Runtime, recipe: Recipe, video: Video) -> set[str]:
    """Keys of the teacher's results of a video that are in the store."""
    return set(runtime.artifacts.keys(result_folder(recipe.stage_id(Stage.MASK), video.id)))


def _replay_video(
    app: Celery, runtime: Runtime, plan: Plan, at: tuple[str, Place], priority: Priority, replay: Replay
) -> None:
    video_id, place = at
    video = runtime.catalog.known_video(video_id)
    if video is None:  # removed since its link was booked, and the link has ended with it
        replay.leave_out(VideoForgotten.code)
        return
    whole = segments_of(plan.job_id, video, plan.recipe)
    try:
        todo = runtime.catalog.plan_video(plan.job_id, place.position, video, whole)
    except (VideoForgotten, BeingErased, WorkCancelled) as error:
        runtime.catalog.fail_link(plan.job_id, place.position, Failure.of(error))
        replay.leave_out(error.code, len(whole))
        return
    kept = _kept_masks(runtime, plan.recipe, video)
    sent = [segment for segment in todo if segment.result_key(Stage.MASK) in kept]
    left = [segment for segment in todo if segment.result_key(Stage.MASK) not in kept]
    for segment, why in _reasons(runtime, plan, video, left):
        runtime.catalog.fail_segment(segment, Failure.of(why, Stage.MASK))
        replay.leave_out(why.reason)
    if sent:
        send_replays(app, runtime, sent, priority)
    replay.videos += bool(sent)
    replay.segments += len(sent)
    replay.done += not todo


class _Left(MasksNotKept):
    """With the reason in a word, for counts."""

    def __init__(self, segment: Segment, reason: str, why: str) -> None:
        what = f"The teacher's masks of segment {segment.index} of {segment.video.title}"
        super().__init__(
            f"{what} are not kept: {why}.", f"`hardpose retry {segment.job_id}` makes them anew."
        )
        self.reason = reason


def _reasons(
    runtime: Runtime, plan: Plan, video: Video, segments: Sequence[Segment]
) -> Iterator[tuple[Segment, _Left]]:
    """Why the masks of ``segments`` are not in the store."""
    if not segments:
        return
    earlier = runtime.catalog.replays.earlier(video.id, [base.recipe.id for base in plan.bases])
    for segment in segments:
        then = earlier.get((segment.start_ms, segment.end_ms))
        if then is None:
            yield segment, _Left(segment, "not examined", "no earlier recipe has this stretch")
        elif then.failure is not None:
            yield segment, _Left(segment, f"failed then: {then.failure.code}", then.failure.cause.rstrip("."))
        elif not then.state.final:
            yield segment, _Left(segment, "not finished", "the earlier job is not done with it")
        else:
            yield segment, _Left(segment, "removed", "they were removed from the artifact store since")
