"""Results of stages in the artifact store: a stage whose result is there is not run again."""

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from broker.errors import ArtifactMissing
from broker.messages import Segment, SegmentResult
from broker.recipe import Stage

if TYPE_CHECKING:
    from tasks.runtime import Runtime

log = logging.getLogger(__name__)


def store_result(runtime: "Runtime", stage: Stage, result: SegmentResult) -> None:
    """Keeps what ``stage`` has made of a segment. The last thing that a stage does: whoever sees the result
    also finds the pictures that it names.
    """
    runtime.artifacts.put(result.segment.result_key(stage), result.model_dump_json().encode())


def stored_result(runtime: "Runtime", stage: Stage, segment: Segment) -> SegmentResult | None:
    """The result of an earlier run of ``stage`` on the same stretch under the same part of the recipe."""
    key = segment.result_key(stage)
    try:
        earlier = SegmentResult.model_validate_json(runtime.artifacts.get(key))
    except ArtifactMissing:
        return None
    except ValidationError as error:
        log.warning("stored result %s cannot be read and is made anew: %s", key, error)
        return None
    if not _pictures_there(runtime, stage, earlier):
        log.warning("pictures of the stored result %s are gone, it is made anew", key)
        return None
    return earlier.model_copy(update={"segment": segment})


def _pictures_there(runtime: "Runtime", stage: Stage, result: SegmentResult) -> bool:
    """Whether every picture that ``stage`` wrote for ``result`` is still in the store."""
    keys: dict[Stage, list[str | None]] = {
        Stage.POSE: [k.frame_key for k in result.keepers],
        Stage.MASK: [k.mask_key for k in result.keepers],
        Stage.ME: [k.device_key for k in result.keepers],
    }
    return all(runtime.artifacts.exists(key) for key in keys.get(stage, []) if key)
