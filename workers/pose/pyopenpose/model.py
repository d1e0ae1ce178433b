"""The pose model pyopenpose: an OpenPose that the user has built, through its own Python module."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Image, Person
from workers.models import Weights
from workers.options import option_values, read_options
from workers.pose.geometry import person_box
from workers.pose.openpose.cards import LICENCE
from workers.pose.openpose.skeletons import BODY_25
from workers.pose.pyopenpose.options import PyOpenPoseOptions
from workers.pose.pyopenpose.process import Starting
from workers.pose.pyopenpose.restarting import Limits, RestartingOpenPose


class PyOpenPose:
    """Finds people with the OpenPose of this machine. Implements ``workers.contracts.PoseModel``.

    OpenPose runs in a process of its own, on the GPU that this process sees. Not thread-safe.

    Args:
        spec: see ``default_spec``.
        weights: of no use here: OpenPose has its own.
        compute: threads of a CPU build.

    Raises:
        SettingsError: an option of ``spec`` is unknown, of the wrong type, or cannot be used.
    """

    runtime: ClassVar[str] = "openpose"
    answers: ClassVar[frozenset[int]] = frozenset(range(BODY_25.n_parts))
    """The BODY_25 points that it can find."""
    untried: ClassVar[str] = (
        "Never run with a real OpenPose build, nor on a GPU: only with a stand-in that has its interface and "
        "its faults."
    )
    """For ``hardpose models list``."""

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:  # noqa: ARG002
        self._options = read_options(PyOpenPoseOptions, spec)
        o = self._options
        starting = Starting(o.python, o.python_path, o.configuration(), compute.threads)
        self._openpose = RestartingOpenPose(
            starting, Limits(o.start_seconds, o.frame_seconds, o.recycle_frames)
        )

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """No weights: OpenPose reads its own. The version is that of an installed package, else "unknown"."""
        return ModelSpec(
            name="pyopenpose",
            version=_version(),
            options=option_values(PyOpenPoseOptions()),
            stated_licence=LICENCE,
        )

    @property
    def batch_size(self) -> int:
        """1: OpenPose takes one frame at a time."""
        return 1

    @property
    def pid(self) -> int | None:
        """The process in which OpenPose runs now."""
        return self._openpose.pid

    def load(self) -> None:
        """Starts OpenPose; a second call does nothing.

        Raises:
            MissingDependency: its Python module is not here.
            OpenPoseFailed: it ended at start three times.
            OutOfMemory: it did so for want of memory.
        """
        self._openpose.start()

    def close(self) -> None:
        """Ends OpenPose's process; it is started anew when it is needed."""
        self._openpose.close()

    def find_people(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people of each image (H x W x 3 uint8 RGB), best score first.

        A person's score is the sum of its confidences over 25, so that a fragment comes after a body.

        Raises:
            ImageFailed: OpenPose failed twice on one of the images, or died of it.
            ModelMismatch: it answers with another skeleton than BODY_25.
            OpenPoseFailed: it cannot be started any more, or fails on every frame.
        """
        return [self._people(self._openpose.people(image), image) for image in images]

    def _people(self, bodies: NDArray[np.float32], image: Image) -> list[Person]:
        counts = self._options.counts
        people = [_person(b, *image.shape[:2]) for b in bodies if counts(b[:, 2], BODY_25.foot_parts)]
        return sorted(people, key=lambda person: -person.score)


def _person(body: NDArray[np.float32], height: int, width: int) -> Person:
    keypoints = body.copy()
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    found = keypoints[keypoints[:, 2] > 0, :2]
    return Person(keypoints, person_box(found, height, width), float(keypoints[:, 2].sum()) / BODY_25.n_parts)


def _version() -> str:
    for package in ("pyopenpose", "openpose"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue  # a build in a folder of its own has no metadata
    return "unknown"
