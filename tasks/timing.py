"""How long a stage took, written into the result it hands on."""

import time

from broker.messages import SegmentResult
from broker.recipe import Stage


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def stamp(self, result: SegmentResult, stage: Stage) -> SegmentResult:
        """``result`` with the seconds of ``stage``, checked: every examined frame is in it once.

        Raises:
            FunnelMismatch: if a frame was lost or counted twice.
        """
        seconds = {**result.seconds, stage: time.perf_counter() - self._start}
        return result.model_copy(update={"seconds": seconds}).check_open()
