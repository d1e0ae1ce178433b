"""The contract of a stage. Knows nothing of Celery; tests run stages in a ``for`` loop."""

from typing import TYPE_CHECKING, Protocol

from broker.messages import SegmentResult
from broker.recipe import Stage

if TYPE_CHECKING:
    from tasks.frames import Frames


class StageRunner(Protocol):
    """A stage: ``load`` once in each process, then ``run`` on one segment after another."""

    stage: Stage

    def load(self) -> None:
        """Loads models; called once in each process before the first ``run``."""

    def run(self, result: SegmentResult, frames: "Frames") -> SegmentResult:
        """Looks at what is open in ``result`` and hands on a new result.

        A problem with one frame becomes the verdict ``failed`` of that frame; an error that is
        raised fails the segment.
        """
        ...
