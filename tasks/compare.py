"""The compare stage: where the teacher and the device disagree, the frame is hard."""

from broker.messages import Keeper, SegmentResult, Verdict
from broker.recipe import Stage
from tasks.faults import decide_open
from tasks.frames import Frames
from tasks.iou import mask_iou
from tasks.timing import Stopwatch


class Compare:
    """Stage ``compare``: the IoU of the two masks of every open keeper, and the final verdict."""

    stage = Stage.COMPARE

    def load(self) -> None:
        """Nothing to load."""

    def run(self, result: SegmentResult, frames: Frames) -> SegmentResult:
        """Decides every open keeper: ``hard`` below the recipe's threshold, else ``easy``.

        Raises:
            FunnelMismatch: if the segment's verdicts do not add up to its examined frames.
        """
        watch = Stopwatch()
        threshold = result.segment.recipe.comparison.iou_threshold
        done = decide_open(result, Stage.COMPARE, lambda keeper: _decide(keeper, frames, threshold))
        done.funnel()
        return watch.stamp(done, Stage.COMPARE)


def _decide(keeper: Keeper, frames: Frames, threshold: float) -> Keeper:
    if keeper.mask_key is None or keeper.device_key is None:
        raise ValueError(f"no {'teacher' if keeper.mask_key is None else 'device'} mask was handed on")
    iou = mask_iou(frames.mask(keeper.mask_key), frames.mask(keeper.device_key))
    verdict = Verdict.HARD if iou < threshold else Verdict.EASY
    return keeper.model_copy(update={"iou": iou}).decide(verdict, iou)
