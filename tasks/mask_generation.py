"""The mask stage: the teacher's mask of each kept frame, and whether it may be called the truth."""

import cv2
import numpy as np

from broker.messages import Keeper, SegmentResult, Verdict
from broker.recipe import Stage, TeacherGates
from tasks.faults import decide_open, require_frame_size
from tasks.frames import Frames
from tasks.full_body import Points, body_extent, confident_points
from tasks.looks import TeacherLooks
from tasks.timing import Stopwatch
from workers.contracts import Instance, Mask, Teacher

OUTLINE_TOLERANCE = 0.03
"""How far outside the mask a keypoint may lie, over the body's extent: toes, wrists and ears sit on the
outline, where two networks agree to some 3 % of the body (1 % of it is 3 pixels of the 256 that the
embedded teacher sees)."""


class MaskGeneration:
    """Stage ``mask``: judges every open keeper and stores the teacher's mask of it, good or doubtful.

    Args:
        teacher: the segmentation model whose masks become the labels.
    """

    stage = Stage.MASK

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def load(self) -> None:
        """Loads the teacher."""
        self._teacher.load()

    def run(self, result: SegmentResult, frames: Frames) -> SegmentResult:
        """Gives each open keeper a mask, its measures, and a verdict if a gate stops it.

        Raises:
            HardposeError: if the process cannot work at all.
        """
        watch = Stopwatch()
        looks = TeacherLooks(self._teacher, frames, result.open, result.segment.recipe.teacher.second_look)
        done = decide_open(result, Stage.MASK, lambda keeper: self._judge(keeper, looks, result, frames))
        return watch.stamp(done, Stage.MASK)

    def _judge(self, keeper: Keeper, looks: TeacherLooks, result: SegmentResult, frames: Frames) -> Keeper:
        gates = result.segment.recipe.teacher
        image, people = looks.next()
        measures = {**keeper.measures, "teacher_people": float(len(people))}
        if not people:
            return keeper.model_copy(update={"measures": measures}).decide(Verdict.TEACHER_NONE, 0.0)
        main = people[0]
        mask = require_frame_size(main.mask, image, "The teacher")
        key = result.segment.artifact_key(Stage.MASK, keeper.time_ms, "png")
        frames.put_mask(key, mask)
        measures |= measure_mask(main, _points(keeper), result.segment.recipe.rule.min_confidence)
        masked = keeper.model_copy(update={"mask_key": key, "measures": measures})
        stopped = judge_mask(len(people), measures, gates)
        return masked.decide(*stopped) if stopped else masked


def edge_contact(mask: Mask) -> int:
    """Pixels of ``mask`` (H x W bool) on the frame edge that it touches most."""
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return max(int(np.count_nonzero(edge)) for edge in edges)


def mask_side(mask: Mask) -> float:
    """Longer side in pixels of the box around ``mask``; 1 for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(max(np.ptp(rows), np.ptp(columns)) + 1) if len(rows) else 1.0


def keypoints_outside(mask: Mask, points: Points, min_confidence: float) -> float:
    """Share of the confident points (of 25 x 3) that lie farther outside the mask than the tolerance.

    1.0 when the mask is empty, 0.0 when no point is confident.
    """
    seen = confident_points(points, min_confidence)[:, :2]
    if not len(seen):
        return 0.0
    if not mask.any():
        return 1.0
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    height, width = mask.shape
    x = np.clip(seen[:, 0].astype(int), 0, width - 1)
    y = np.clip(seen[:, 1].astype(int), 0, height - 1)
    beyond = distance[y, x] > OUTLINE_TOLERANCE * body_extent(points, min_confidence)
    return float(np.count_nonzero(beyond)) / len(seen)


def measure_mask(instance: Instance, points: Points, min_confidence: float) -> dict[str, float]:
    """Every number that the gates judge, and what the teacher itself measured (``teacher_*``)."""
    side = instance.side or mask_side(instance.mask)
    own = {f"teacher_{name}": float(value) for name, value in instance.measures.items()}
    return own | {
        "teacher_score": float(instance.score),
        "teacher_stability": float(instance.stability),
        "edge_contact": max(edge_contact(instance.mask), instance.edge_pixels) / side,
        "keypoints_outside": keypoints_outside(instance.mask, points, min_confidence),
        "mask_share": float(np.count_nonzero(instance.mask)) / instance.mask.size,
    }


def judge_mask(people: int, measures: dict[str, float], gates: TeacherGates) -> tuple[Verdict, float] | None:
    """The first gate that stops the frame, with its number; None when the mask is good."""
    if people > 1:
        return Verdict.TEACHER_SEVERAL, float(people)
    contact, outside = measures["edge_contact"], measures["keypoints_outside"]
    if contact > gates.max_edge_contact:
        return Verdict.CUT_BY_FRAME, contact
    if outside > gates.max_keypoints_outside:
        return Verdict.TEACHER_DOUBT, outside
    stability = measures["teacher_stability"]
    return (Verdict.TEACHER_DOUBT, stability) if stability < gates.min_stability else None


def _points(keeper: Keeper) -> Points:
    return np.asarray(keeper.keypoints, np.float32)
