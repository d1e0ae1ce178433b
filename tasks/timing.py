"""How long a stage took, written into the result it hands on."""

import time

from broker.messages import SegmentResult
from broker.recipe import Stage


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def stamp(self, result: SegmentResult, stage: Stage, waited: float = 0.0) -> SegmentResult:
        """``result`` with the seconds of ``stage``, checked: every examined frame is in it once.

        Args:
            result: of the stage.
            stage: that is timed.
            waited: seconds that do not count, because other work was done in them.

        Raises:
            FunnelMismatch: if a frame was lost or counted twice.
        """
        seconds = {**result.seconds, stage: time.perf_counter() - self._start - waited}
        return result.model_copy(update={"seconds": seconds}).check_open()
