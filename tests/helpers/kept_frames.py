"""A segment as the mask stage leaves it, of pictures that the test gives: the device stage's input."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from stage_fakes import make_segment

from broker.artifacts import Artifacts
from broker.messages import Keeper, SegmentResult
from broker.recipe import ModelSpec, Stage
from workers.pictures import encode_jpeg, encode_png

STEP_MS = 500


def with_keepers(
    artifacts: Artifacts, pictures: Sequence[NDArray[np.uint8]], device: ModelSpec
) -> SegmentResult:
    """An open keeper for each of ``pictures`` (H x W x 3 uint8 RGB), with a teacher mask of all True."""
    segment = make_segment()
    recipe = segment.recipe.model_copy(update={"device_model": device})
    segment = segment.model_copy(update={"recipe": recipe, "ticket": "1"})
    keepers = []
    for number, picture in enumerate(pictures):
        time_ms = STEP_MS * number
        frame = segment.artifact_key(Stage.POSE, time_ms, "jpg")
        mask = segment.artifact_key(Stage.MASK, time_ms, "png")
        artifacts.put(frame, encode_jpeg(picture))
        artifacts.put(mask, encode_png(np.full(picture.shape[:2], 255, np.uint8)))
        points = ((1.0, 1.0, 0.9),) * 25
        keeper = Keeper(
            time_ms=time_ms,
            keypoints=points,
            box=(0, 0, 9, 9),
            frame_key=frame,
            mask_key=mask,
            phash="0" * 16,
        )
        keepers.append(keeper)
    return SegmentResult(segment=segment, examined=len(keepers), keepers=tuple(keepers))
