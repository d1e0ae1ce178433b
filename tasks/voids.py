"""What a worker does with a segment whose messages were voided while it had one in its hands."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from broker.artifacts import Artifacts
from broker.messages import Segment, stage_folders
from broker.recipe import CHAIN, Stage
from broker.voiding import Voided
from tasks.inline_pictures import away_from_store
from tasks.placement import Group
from tasks.runtime import Runtime

log = logging.getLogger(__name__)


class MessageVoid(Exception):
    """The segment is not wanted any more, or was sent anew: the chain ends here. Not a failure."""


def check_start(runtime: Runtime, segment: Segment, stages: Group = CHAIN) -> None:
    """Lets a message pass that is still valid; ``stages`` are those that it asks for.

    Raises:
        MessageVoid: it is not. What an earlier delivery of it has left of an erased video is removed.
        BrokerUnavailable: nobody can say.
    """
    newer = runtime.control.newer_ticket(segment)  # one question for all the ways to be void
    if newer is None:
        return
    _end_voided(runtime, segment, stages, Voided.parse(newer))
    raise MessageVoid(f"segment {segment.key} was sent anew, this message is void")


def check_wanted(runtime: Runtime, segment: Segment, stages: Group = CHAIN) -> None:
    """Lets a segment pass that nobody has cancelled or erased since its message was sent.

    Args:
        runtime: of this process.
        segment: in the hands of this worker.
        stages: that it runs; those of a device that does not reach the artifact store leave nothing there.

    Raises:
        MessageVoid: somebody has; of an erased one nothing is left in the artifact store.
        BrokerUnavailable: nobody can say.
    """
    _end_voided(runtime, segment, stages, runtime.control.voided(segment))


def _end_voided(runtime: Runtime, segment: Segment, stages: Group, voided: Voided | None) -> None:
    """Ends the work on a segment that was voided on purpose."""
    if voided is None:
        return
    if voided.erased:
        if not away_from_store(stages, segment.recipe):
            clear_away(runtime.artifacts, segment, voided.erased)
        raise MessageVoid(
            f"the video of segment {segment.key} was erased, and so is what was made of it since"
        )
    raise MessageVoid(f"segment {segment.key} was cancelled")


@contextmanager
def unless_void(runtime: Runtime, segment: Segment, stages: Group = CHAIN) -> Iterator[None]:
    """Asks on the way out, also after an error: the source of a video that is erased is missing, for one.

    Raises:
        MessageVoid: the segment is not wanted any more.
    """
    try:
        yield
    except Exception:
        check_wanted(runtime, segment, stages)
        raise
    check_wanted(runtime, segment, stages)


def clear_away(artifacts: Artifacts, segment: Segment, stages: Sequence[Stage]) -> None:
    """Removes whatever ``stages`` have made of the segment's stretch; may be repeated."""
    for stage in stages:
        for folder in stage_folders(stage, segment.recipe.stage_id(stage), segment.video.id):
            for key in artifacts.keys(folder):
                if segment.start_ms <= _time_of(key) < segment.end_ms:
                    artifacts.delete(key)


def _time_of(key: str) -> int:
    """Milliseconds from the start of the video, of a picture; of a result, those at which it starts."""
    return int(PurePosixPath(key).stem.partition("-")[0])
