"""Why a frame was kept or dropped: each verdict in words, its measure, and the setting that governs it."""

from collections import Counter
from dataclasses import dataclass

from broker.messages import Funnel, Verdict
from broker.views import JobView


@dataclass(frozen=True)
class Explanation:
    """A verdict for people.

    Attributes:
        measure: name of the number kept with the verdict.
        text: one line that says what happened to the frame.
        setting: the environment variables that govern it, empty when none does.
    """

    measure: str
    text: str
    setting: str = ""


VERDICTS: dict[Verdict, Explanation] = {
    Verdict.NO_PERSON: Explanation("people", "nobody was found", "HARDPOSE_POSE_MODEL"),
    Verdict.SEVERAL_PEOPLE: Explanation("people", "more than one person was found", "HARDPOSE_POSE_MODEL"),
    Verdict.NO_HEAD: Explanation(
        "head_confidence", "the head is not seen", "HARDPOSE_RULE__MIN_CONFIDENCE, HARDPOSE_RULE__HEAD_POINTS"
    ),
    Verdict.NO_HANDS: Explanation("hands_confidence", "a hand is not seen", "HARDPOSE_RULE__MIN_CONFIDENCE"),
    Verdict.NO_FEET: Explanation("feet_confidence", "a foot is not seen", "HARDPOSE_RULE__MIN_CONFIDENCE"),
    Verdict.CUT_BY_FRAME: Explanation(
        "frame_margin or edge_contact",
        "the person is cut by the frame's edge or too near to it",
        "HARDPOSE_RULE__FRAME_MARGIN, HARDPOSE_TEACHER__MAX_EDGE_CONTACT",
    ),
    Verdict.TOO_SOON: Explanation(
        "ms_since_last_keep",
        "it came too soon after a kept frame to be looked at",
        "HARDPOSE_SAMPLING__KEEPS_PER_SECOND",
    ),
    Verdict.NEAR_DUPLICATE: Explanation(
        "pose_distance",
        "it repeats a kept frame of the same segment",
        "HARDPOSE_DUPLICATES__POSE_DISTANCE, HARDPOSE_DUPLICATES__HASH_DISTANCE",
    ),
    Verdict.BLURRED: Explanation("sharpness", "the person is blurred", "HARDPOSE_RULE__MIN_SHARPNESS"),
    Verdict.TEACHER_NONE: Explanation("teacher_people", "the teacher found nobody", "HARDPOSE_MASK_MODEL"),
    Verdict.TEACHER_SEVERAL: Explanation(
        "teacher_people", "the teacher found more than one person", "HARDPOSE_TEACHER__SECOND_LOOK"
    ),
    Verdict.TEACHER_DOUBT: Explanation(
        "keypoints_outside or teacher_stability",
        "the teacher's mask is doubtful; the frame is kept apart",
        "HARDPOSE_TEACHER__MAX_KEYPOINTS_OUTSIDE, HARDPOSE_TEACHER__MIN_STABILITY",
    ),
    Verdict.EASY: Explanation(
        "iou", "the device already agrees with the teacher", "HARDPOSE_COMPARISON__IOU_THRESHOLD"
    ),
    Verdict.HARD: Explanation(
        "iou", "device and teacher disagree: training data", "HARDPOSE_COMPARISON__IOU_THRESHOLD"
    ),
    Verdict.FAILED: Explanation(
        "none", "it could not be decoded or processed; its fault and the worker's log say why"
    ),
}
"""One explanation for every verdict."""


def explain_funnel(funnel: Funnel) -> list[str]:
    """Why frames did not become training data: one line a verdict, largest count first.

    Frames that did (``hard``) are not listed; equal counts keep the order of :class:`Verdict`.
    """
    counts = [(count, verdict) for verdict, count in funnel.verdicts.items() if verdict != Verdict.HARD]
    ordered = sorted((pair for pair in counts if pair[0]), key=lambda pair: -pair[0])
    return [_line(count, funnel.examined, verdict) for count, verdict in ordered]


def _line(count: int, examined: int, verdict: Verdict) -> str:
    entry = VERDICTS[verdict]
    setting = f" [{entry.setting}]" if entry.setting else ""
    return f"{count} of {examined} frames: {entry.text} ({verdict}){setting}"


def faults(job: JobView) -> dict[str, int]:
    """How many frames of each fault (``Keeper.fault``) failed, the most first; each frame of a video once."""
    videos = {link.video.id: link for link in job.links if link.video is not None}
    keepers = (k for link in videos.values() for segment in link.segments for k in segment.keepers)
    return dict(Counter(keeper.fault for keeper in keepers if keeper.fault).most_common())
