"""What lists tell of a frame beside its verdict: the class of the pose, and doubt in the teacher's mask."""

import logging
from typing import TYPE_CHECKING

from broker.frame_views import FrameFacts, FrameId
from broker.messages import Keeper, SegmentResult, Verdict, Video
from broker.recipe import Recipe, TeacherGates
from tasks.pose_classes import classify

if TYPE_CHECKING:
    from tasks.runtime import Runtime

log = logging.getLogger(__name__)

BATCH = 500
"""Old frames that are read and written at a time: some 2 MB of JSON."""


def facts_of(keeper: Keeper, video: Video, recipe: Recipe) -> FrameFacts:
    """The facts of a frame.

    Args:
        keeper: the frame; open or decided.
        video: which it is from; its size bounds the frame.
        recipe: whose rule says which keypoints count, and whose gates say what doubt is.
    """
    least = recipe.rule.min_confidence
    return FrameFacts(
        pose_class=classify(keeper.keypoints, video.width, video.height, least),
        doubt=doubt_of(keeper, recipe.teacher),
    )


def facts_by_time(result: SegmentResult) -> dict[int, FrameFacts]:
    """The facts of a segment's keepers by ``time_ms``, as ``catalog.settle_segment`` takes them."""
    video, recipe = result.segment.video, result.segment.recipe
    return {keeper.time_ms: facts_of(keeper, video, recipe) for keeper in result.keepers}


def doubt_of(keeper: Keeper, gates: TeacherGates) -> float | None:
    """How near the teacher's mask is to being refused, in [0, 1]; None when there is no mask.

    ``max(keypoints_outside / max_keypoints_outside, (1 - teacher_stability) / (1 - min_stability),
    edge_contact / max_edge_contact)``, at most 1: each measure over the room that its gate leaves, and the
    worst of them, because any one gate stops a frame. So it is 0 for a mask that holds every keypoint, that
    a second look repeats and that touches no edge, and 1 at a gate and beyond. It is also 1 when the
    teacher saw several people: then nothing says whose mask it is.
    """
    if keeper.mask_key is None:
        return None
    if keeper.verdict == Verdict.TEACHER_SEVERAL:
        return 1.0
    measures = keeper.measures
    parts = (
        (measures.get("keypoints_outside", 0.0), gates.max_keypoints_outside),
        (1.0 - measures.get("teacher_stability", 1.0), 1.0 - gates.min_stability),
        (measures.get("edge_contact", 0.0), gates.max_edge_contact),
    )
    return max(_share(used, room) for used, room in parts)


def _share(used: float, room: float) -> float:
    """``used / room`` in [0, 1]; a gate without room is at its limit as soon as anything is used."""
    if used <= 0:
        return 0.0
    return min(1.0, used / room) if room > 0 else 1.0


def class_old_frames(runtime: "Runtime") -> int:
    """Gives their facts to frames that were booked before there were any; costs one query when none is left.

    May run in several processes at once, and while workers book frames: every one writes the same.

    Returns:
        How many frames were given facts.

    Raises:
        CatalogUnavailable, CatalogBroken: what was written until then stays.
    """
    frames, total = runtime.catalog.frames, 0
    while old := frames.unclassed(BATCH):
        facts = {FrameId.parse(frame.id): facts_of(frame.keeper, frame.video, frame.recipe) for frame in old}
        changed = frames.class_frames(facts)
        total += changed
        if not changed:
            break  # they were removed meanwhile, or cannot be written: asking again would never end
    if total:
        log.info("%d frames of earlier releases were given their pose class", total)
    return total
