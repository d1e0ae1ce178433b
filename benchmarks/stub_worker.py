"""A worker whose stages take no time: ``python stub_worker.py NOTES QUEUE NAME KEEPERS DROPS``.

Everything else in it is real: downloads, messages, tickets, stored results, the catalog. What is left to
measure is the queue. A segment carries frames as a segment of the benchmarks' clip does (``REAL``, or a
``THIRD`` of them): messages, stored results and rows in the catalog have real contents.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from broker.messages import Drop, Keeper, SegmentResult, Verdict
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings
from tasks.runtime import Runtime
from tasks.timing import Stopwatch
from workers.process import serve

if TYPE_CHECKING:
    from tasks.frames import Frames

REAL = (15, 147)
"""Frames of a segment that are kept and that are not: a sixth of benchmarks/results/overhead.json's."""
THIRD = (5, 49)
VERDICTS = (Verdict.NO_HANDS, Verdict.TOO_SOON, Verdict.NEAR_DUPLICATE, Verdict.NO_PERSON)
MEASURES = {
    "keypoints_outside": 0.04,
    "teacher_stability": 0.981,
    "edge_contact": 0.0113,
    "sharpness": 312.4415283203125,
    "area_share": 0.08214,
}


class Stub:
    """A stage that finds the same in every segment, and notes each run by one byte in a file.

    Args:
        stage: that it stands for.
        notes: folder; the size of ``notes/STAGE`` is the number of runs in all processes.
        frames: that a segment has: kept by the pose stage, and not.
    """

    def __init__(self, stage: Stage, notes: Path, frames: tuple[int, int]) -> None:
        self.stage, self._frames = stage, frames
        self._notes = notes / stage.value

    def load(self) -> None:
        """Nothing to load."""

    def run(self, result: SegmentResult, frames: "Frames") -> SegmentResult:  # noqa: ARG002 - the contract
        """The result of the stage, without a look at any picture."""
        with self._notes.open("ab", buffering=0) as notes:
            notes.write(b".")
        watch = Stopwatch()
        if self.stage == Stage.POSE:
            result = examined(result, *self._frames)
        else:
            result = result.model_copy(update={"keepers": tuple(map(self._seen, result.keepers))})
        return watch.stamp(result, self.stage)

    def _seen(self, keeper: Keeper) -> Keeper:
        if self.stage == Stage.COMPARE:
            hard = keeper.time_ms % 2 == 0
            iou = 0.25 if hard else 0.75
            decided = keeper.model_copy(update={"iou": iou})
            return decided.decide(Verdict.HARD if hard else Verdict.EASY, iou)
        name = {Stage.MASK: "mask_key", Stage.ME: "device_key"}[self.stage]
        return keeper.model_copy(update={name: keeper.frame_key.replace("frames/", f"{self.stage}/")})


def examined(result: SegmentResult, kept: int, dropped: int) -> SegmentResult:
    """``result`` as the pose stage would leave it: so many open frames, and so many others."""
    segment, count = result.segment, kept + dropped
    times = [segment.start_ms + n for n in range(count)]
    drops = (Drop(time_ms=at, verdict=VERDICTS[at % 4], value=0.1234 * (at % 7)) for at in times[kept:])
    points = tuple((320.5 + 11.03125 * n, 96.25 + 17.5078125 * n, 0.874 - 0.01 * n) for n in range(25))
    keepers = (
        Keeper(
            time_ms=at,
            keypoints=points,
            box=(301.5, 90.25, 611.75, 540.5),
            frame_key=segment.artifact_key(Stage.POSE, at, "jpg"),
            phash=f"{at:016x}",
            measures=MEASURES,
        )
        for at in times[:kept]
    )
    return result.model_copy(update={"examined": count, "keepers": tuple(keepers), "drops": tuple(drops)})


def install(notes: Path, frames: tuple[int, int] = REAL) -> None:
    """Makes every ``Runtime`` of this process, and of those it forks, build stubs in place of the stages."""

    def build(runtime: Runtime, stage: Stage, spec: ModelSpec | None) -> Stub:  # noqa: ARG001
        return Stub(stage, notes, frames)

    Runtime._build = build  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    install(Path(sys.argv[1]), (int(sys.argv[4]), int(sys.argv[5])))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    serve(load_settings(), [sys.argv[2]], sys.argv[3])
