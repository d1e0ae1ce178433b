"""The way of a segment to a device that does not reach the artifact store, and back, step by step."""

from typing import TYPE_CHECKING, cast

from celery import Task

from broker.messages import SegmentResult
from broker.recipe import Stage
from tasks.counting import stage_worked
from tasks.frame_store import FrameStore
from tasks.inline_pictures import NoStore, away_from_store, check_room, undrawn
from tasks.inline_store import with_frames, with_masks
from tasks.placement import Group, group_of_task
from tasks.runtime import Runtime
from tasks.stored_results import store_result, stored_result

if TYPE_CHECKING:
    from tasks.frames import Frames


def ready_to_send(task: Task, runtime: Runtime, result: SegmentResult) -> SegmentResult:
    """What the next task of the chain is to be given (``hand_on``).

    A device that has nothing to draw of this segment is passed over: it may be away for a day.

    Raises:
        InlineTooLarge, ArtifactMissing: see ``hand_on``.
        BrokerUnavailable: it cannot be told that the device is passed over.
    """
    chain = task.request.chain
    group = group_of_task(chain[-1]["task"]) if chain else None
    if group is None or not away_from_store(group, result.segment.recipe):
        return result
    handed = hand_on(runtime, result, group)
    if not undrawn(handed):
        runtime.control.advance(handed.segment, Stage.ME)  # else it would count as waiting for the device
        chain.pop()
    return handed


def hand_on(runtime: Runtime, result: SegmentResult, next_group: Group) -> SegmentResult:
    """What ``next_group`` is to be given: with the frames inside, if it works without the store.

    A device that has seen this stretch before is not shown it again: its result is handed on as it is.

    Args:
        runtime: of this process, which reaches the store.
        result: of the stages before ``next_group``.
        next_group: the stages of the task that the result is sent to.

    Raises:
        InlineTooLarge: the frames take more than ``settings.inline_max_bytes``.
        ArtifactMissing: not one frame is in the store.
    """
    if not away_from_store(next_group, result.segment.recipe):
        return result
    seen = stored_result(runtime, Stage.ME, result.segment)
    if seen is not None:
        return seen
    return with_frames(result, FrameStore(runtime.artifacts), runtime.settings.inline_max_bytes)


def draw(runtime: Runtime, result: SegmentResult) -> SegmentResult:
    """The stage ``me`` on the frames inside ``result``; asks nothing of the artifact store.

    Returns:
        With the person maps of its open keepers inside; a result that has all its masks, as it came.

    Raises:
        PicturesMissing, PicturesUnknown: the frames inside are not those that are open.
        InlineTooLarge: the maps take more than ``settings.inline_max_bytes``.
        HardposeError: what else the stage raises.
    """
    before = result
    if undrawn(result):
        device = runtime.runner(Stage.ME, result.segment.recipe)
        result = device.run(before, cast("Frames", NoStore())).check_open()
        check_room(result.segment, result.pictures, runtime.settings.inline_max_bytes)
        stage_worked(Stage.ME, before, result)
    return result


def take_in(runtime: Runtime, result: SegmentResult, frames: FrameStore) -> SegmentResult:
    """What the stage ``me`` would have handed on had it reached the store; makes and stores it.

    The first answer that arrives is kept: one that is delivered twice leaves the same bytes.

    Raises:
        PicturesMissing, PicturesUnknown: the maps inside are not those of the open keepers.
        ArtifactMissing: not one frame's mask is in the store.
    """
    seen = stored_result(runtime, Stage.ME, result.segment)
    if seen is not None:
        return seen
    done = with_masks(result, frames)
    store_result(runtime, Stage.ME, done)
    return done
