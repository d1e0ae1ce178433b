"""A fault of one frame costs that frame; a fault of the process costs the segment.

What a strange picture can cause (a stored picture that does not decode, an OpenCV or numpy complaint about
its numbers) becomes the verdict ``failed`` of that frame, logged with its cause. Everything else rises:
missing weights, a full disk, a device that does not answer, the soft time limit.
"""

import logging
import sys
from collections.abc import Callable

import numpy as np

from broker.errors import ArtifactMissing, HardposeError
from broker.messages import Keeper, SegmentResult, Verdict
from workers.contracts import Image, Mask
from workers.downloads.errors import FrameUndecodable
from workers.errors import ImageFailed

log = logging.getLogger(__name__)

_FAULTS = (ArtifactMissing, FrameUndecodable, ImageFailed, ValueError, ArithmeticError, IndexError)
FAILED_VALUE = -1.0
"""The value behind the verdict ``failed``."""
UNEXPECTED = "unexpected"
"""The fault of a frame whose error is none of ours, as in ``Failure.of``."""


class BadModelOutput(HardposeError):
    """A model answered with something that its contract does not allow."""

    code = "bad_model_output"


def frame_faults() -> tuple[type[Exception], ...]:
    """What one picture can cause. Not OSError, RuntimeError or MemoryError: those are the machine's.

    OpenCV's own error is among them where OpenCV is loaded: a device's worker does without it.
    """
    opencv = sys.modules.get("cv2")
    return _FAULTS if opencv is None else (*_FAULTS, opencv.error)


def fault_of(error: Exception) -> str:
    """What ``Keeper.fault`` says of ``error``."""
    return error.code if isinstance(error, HardposeError) else UNEXPECTED


def log_fault(segment_key: str, time_ms: int, stage: str, error: Exception) -> None:
    """Logs why the frame at ``time_ms`` gets the verdict ``failed``."""
    log.warning(
        "%s: frame at %d ms failed in stage %s: %s: %s",
        segment_key, time_ms, stage, type(error).__name__, error,
    )  # fmt: skip


def decide_open(result: SegmentResult, stage: str, judge: Callable[[Keeper], Keeper]) -> SegmentResult:
    """Runs ``judge`` on every open keeper, by time; decided ones stay as they are.

    Raises:
        ArtifactMissing: not one open frame's pictures are there: this process looks into another store
            than the one that wrote them. The verdict would be kept for good; an error is tried again.
        HardposeError: what else ``judge`` raises and no single frame can have caused.
    """
    missing: list[ArtifactMissing] = []

    def decide(keeper: Keeper) -> Keeper:
        try:
            return judge(keeper)
        except frame_faults() as error:
            if isinstance(error, ArtifactMissing):
                missing.append(error)
            log_fault(result.segment.key, keeper.time_ms, stage, error)
            return keeper.decide(Verdict.FAILED, FAILED_VALUE, fault_of(error))

    keepers = tuple(decide(k) if k.verdict is None else k for k in result.keepers)
    if missing and len(missing) == len(result.open):
        raise missing[-1]
    return result.model_copy(update={"keepers": keepers})


def require_frame_size(mask: Mask, image: Image, who: str) -> Mask:
    """Returns ``mask`` as bool.

    Raises:
        BadModelOutput: if it has not the size of ``image``; every other frame would fail the same way.
    """
    if mask.shape != image.shape[:2]:
        raise BadModelOutput(
            f"{who} gave a mask of shape {mask.shape} for a frame of shape {image.shape[:2]}.",
            "Its adapter has to resize the mask to the frame's height and width.",
        )
    return mask.astype(np.bool_, copy=False)
