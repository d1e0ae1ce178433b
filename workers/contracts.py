"""What a pose model, a teacher and a device have to offer. Images are H x W x 3 uint8, RGB."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""H x W x 3, uint8, RGB."""
Mask = NDArray[np.bool_]
"""H x W, True where the person is."""
PersonMap = NDArray[np.uint8]
"""h x w, uint8: 0 where the background is for certain, 255 where the person is, of any size.

Eight bits are what travels, so a map is the same whether it went through a message or not."""


@dataclass(frozen=True)
class Person:
    """One person that a pose model found.

    Attributes:
        keypoints: 25 x 3 float32 in BODY_25 order: x, y in pixels, confidence in [0, 1]; 0 means absent.
            A model that regresses points it cannot see must give them confidence 0.
        box: x0, y0, x1, y1 in pixels, float32.
        score: how sure the model is that this is a person, in [0, 1].
    """

    keypoints: NDArray[np.float32]
    box: NDArray[np.float32]
    score: float


@dataclass(frozen=True)
class Instance:
    """One person that a teacher segmented, with what it measured on the way.

    Attributes:
        mask: the frame's size.
        score: in [0, 1].
        stability: least IoU between the teacher's repeated looks; 1.0 for a teacher that looks once.
        side: length in pixels that contacts with the frame's edge are measured against.
        edge_pixels: of the frame edge on which the body is cut off most, as far as the teacher knows more of
            that than its mask shows; a mask may run out just before the edge.
    """

    mask: Mask
    score: float
    stability: float = 1.0
    side: float = 0.0
    edge_pixels: int = 0
    measures: dict[str, float] = field(default_factory=dict)


class PoseModel(Protocol):
    """Finds people. Built from a ModelSpec by its entry point in the group ``hardpose.pose``."""

    @property
    def batch_size(self) -> int:
        """Images that one call of ``find_people`` is best given, at least 1; may shrink while it works."""
        ...

    def load(self) -> None:
        """Loads weights into memory; called once in each process that uses the model."""

    def find_people(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people of each image, best score first.

        Raises:
            ImageFailed: it cannot work on one of the images; the stage then asks for each alone.
        """
        ...


class Teacher(Protocol):
    """Segments people. Built from a ModelSpec by its entry point in the group ``hardpose.masks``."""

    @property
    def batch_size(self) -> int:
        """Images that one call of ``segment`` is best given, at least 1; may shrink while it works."""
        ...

    def load(self) -> None:
        """Loads weights into memory; called once in each process that uses the model."""

    def segment(self, images: Sequence[Image], second_look: bool) -> list[list[Instance]]:
        """The people in each image, the main one first.

        Args:
            images: frames, of any sizes.
            second_look: also search for people that one look at the whole frame misses.

        Raises:
            ImageFailed: it cannot work on one of the images; the stage then asks for each alone.
        """
        ...


class Device(Protocol):
    """Draws the device's masks. Built from a ModelSpec by its entry point in ``hardpose.devices``.

    A driver that needs more than the spec says (an address, a command) has a class method
    ``of_description(description, weights, compute)`` beside; see ``workers.devices.description``. One whose
    ``maps`` takes something else as well as images has a method ``prepared(image)`` that makes it: the stage
    calls it in a thread beside, and only then.
    """

    @property
    def batch_size(self) -> int:
        """Images that one call of ``maps`` is best given, at least 1."""
        ...

    def load(self) -> None:
        """Loads weights into memory; called once in each process that uses the model."""

    def maps(self, images: Sequence[Image]) -> list[PersonMap]:
        """The person map of each image, over the whole image, in the size that the device answers in.

        ``workers.devices.answers.mask_of`` makes the mask of it, at the frame's size.

        Raises:
            ImageFailed: one of the images got no usable answer; the stage then asks for each alone.
            DeviceAway: the device does not answer at all.
        """
        ...
