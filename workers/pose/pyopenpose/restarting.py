"""OpenPose that goes on: a process that dies, hangs or grows is replaced, each frame gets two attempts."""

import logging
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.errors import HardposeError
from workers.contracts import Image
from workers.errors import ImageFailed, OutOfMemory
from workers.pose.pyopenpose.process import FrameRefused, OpenPoseProcess, ProcessLost, Starting

log = logging.getLogger(__name__)

STARTS = 3
"""Starts in a row that may fail."""
ATTEMPTS = 2
"""At one frame."""
FAILED_IN_A_ROW = 5
"""Frames: as many are no longer a matter of the frames."""


class OpenPoseFailed(HardposeError):
    """OpenPose does not start, or fails on every frame."""

    code = "openpose_failed"


@dataclass(frozen=True)
class Limits:
    """Seconds for a start and for a frame, and frames after which a process is replaced (0: never)."""

    start_seconds: float
    frame_seconds: float
    recycle_frames: int


class RestartingOpenPose:
    """Answers frames as long as OpenPose can be started at all.

    Args:
        starting: how a process is started.
        limits: of each process.
    """

    def __init__(self, starting: Starting, limits: Limits) -> None:
        self._starting, self._limits = starting, limits
        self._process: OpenPoseProcess | None = None
        self._failed_in_a_row = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the process, unless it runs.

        Raises:
            MissingDependency: OpenPose's module is not here.
            OpenPoseFailed: it ended at start three times.
            OutOfMemory: it did so for want of memory.
        """
        if self._process is not None and self._process.owner != os.getpid():
            self._process = None  # a fork's: two that ask through one pipe get each other's answers
        if self._process is None:
            self._process = self._started()

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None  # first, so that one half closed is never asked again
        if process is not None:
            process.close()

    def people(self, image: Image) -> NDArray[np.float32]:
        """The people in ``image`` (H x W x 3 uint8, RGB): N x 25 x 3 float32: x, y in pixels, confidence.

        Raises:
            ImageFailed: two attempts failed, or ended the process.
            OpenPoseFailed: this was so for five frames in a row, or it cannot be started any more.
            OutOfMemory: the same, for want of memory.
            ModelMismatch: OpenPose answers with another skeleton than BODY_25.
        """
        why = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                points = self._ask(image)
            except (ProcessLost, FrameRefused) as error:
                why = str(error)
                log.warning("OpenPose failed on a frame, attempt %d of %d: %s", attempt, ATTEMPTS, why)
            else:
                self._failed_in_a_row = 0
                return points
        # After an error of CUDA every call in that process fails: the next frame gets a new one.
        self.close()
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILED_IN_A_ROW:
            self._failed_in_a_row = 0
            raise _failed(f"OpenPose failed on {FAILED_IN_A_ROW} frames in a row, at last: {why}.", why)
        raise ImageFailed(
            f"OpenPose failed {ATTEMPTS} times on this frame: {why}.",
            "Nothing, if it is one frame of many: the others are not touched.",
        )

    def _ask(self, image: Image) -> NDArray[np.float32]:
        process = self._fresh()
        # Networks are compiled at the first frame.
        first = 0.0 if process.frames else self._limits.start_seconds
        try:
            return process.ask(image, self._limits.frame_seconds + first)
        except FrameRefused:
            raise
        except BaseException:  # also a time limit of the stage, whose answer would still come
            self.close()
            raise

    def _fresh(self) -> OpenPoseProcess:
        most = self._limits.recycle_frames
        self.start()
        assert self._process is not None
        if 0 < most <= self._process.frames:
            log.info("OpenPose has done %d frames and is started anew", self._process.frames)
            self.close()
            self.start()
        assert self._process is not None
        return self._process

    def _started(self) -> OpenPoseProcess:
        why = ""
        for attempt in range(1, STARTS + 1):
            try:
                return OpenPoseProcess(self._starting, self._limits.start_seconds)
            except ProcessLost as error:
                why = str(error)
                log.warning("OpenPose did not start, attempt %d of %d: %s", attempt, STARTS, why)
        raise _failed(f"OpenPose did not start {STARTS} times, at last: {why}.", why)


def _failed(cause: str, why: str) -> HardposeError:
    if "out of memory" in why.lower():
        return OutOfMemory(
            cause,
            "Give the process a GPU with more free memory (HARDPOSE_GPU), or set a smaller net_resolution in "
            "the model's options.",
        )
    return OpenPoseFailed(
        cause,
        "Look whether OpenPose's own Python example runs in this folder, and name the folder of its models "
        "in the option model_folder; or use the model openpose-body25.",
    )
