"""Models look at several pictures at once; a picture that a model cannot take must not cost the others."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from broker.messages import Keeper
from tasks.faults import BadModelOutput, frame_faults
from workers.contracts import Image, Instance, Teacher

if TYPE_CHECKING:
    from tasks.frames import Frames

Found = TypeVar("Found")


def look(
    images: Sequence[Image], model: Callable[[Sequence[Image]], Sequence[Found]]
) -> list[Found | Exception]:
    """What ``model`` finds in each image, or the fault that this image causes.

    Args:
        images: H x W x 3 uint8 RGB.
        model: looks at all of them in one call. When that fails for something a picture can cause, it is
            asked for each alone.

    Raises:
        BadModelOutput: it does not answer once for each image.
    """
    if not images:
        return []
    try:
        found = model(images)
    except frame_faults() as error:
        if len(images) == 1:
            return [error]
        return [one for image in images for one in look([image], model)]
    if len(found) != len(images):
        raise BadModelOutput(
            f"The model gave {len(found)} answers for {len(images)} images.",
            "Its adapter has to give one list for each image, an empty one where it finds nobody.",
        )
    return list(found)


def or_raise(answer: Found | Exception) -> Found:
    """``answer``, or the fault that it is, raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer


class TeacherLooks:
    """The teacher's answers for keepers that are asked for in their order, made a batch at a time.

    Args:
        teacher: asked for ``teacher.batch_size`` frames at once.
        frames: where the pictures are.
        keepers: everyone that will be asked for.
        second_look: see ``Teacher.segment``.
    """

    def __init__(
        self, teacher: Teacher, frames: "Frames", keepers: Sequence[Keeper], second_look: bool
    ) -> None:
        self._teacher, self._frames, self._second_look = teacher, frames, second_look
        self._ahead = deque(keepers)
        self._ready: deque[tuple[Image, list[Instance]] | Exception] = deque()

    def next(self) -> tuple[Image, list[Instance]]:
        """The next keeper's frame (H x W x 3 uint8 RGB) and the people that the teacher sees in it.

        Raises:
            Exception: one of ``frame_faults()`` that this frame causes.
        """
        if not self._ready:
            self._look_ahead()
        return or_raise(self._ready.popleft())

    def _look_ahead(self) -> None:
        count = min(max(1, self._teacher.batch_size), len(self._ahead))
        pictures = [self._picture(self._ahead.popleft()) for _ in range(count)]
        images = [picture for picture in pictures if not isinstance(picture, Exception)]
        found = iter(look(images, lambda some: self._teacher.segment(some, self._second_look)))
        for picture in pictures:
            if isinstance(picture, Exception):
                self._ready.append(picture)
                continue
            people = next(found)
            self._ready.append(people if isinstance(people, Exception) else (picture, people))

    def _picture(self, keeper: Keeper) -> Image | Exception:
        try:
            return self._frames.image(keeper.frame_key)
        except frame_faults() as error:
            return error
