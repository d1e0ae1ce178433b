"""The options of the teacher ``matterport``: part of a recipe, because they change its masks."""

from dataclasses import dataclass

from broker.recipe import ModelSpec
from workers.masks.matterport.architecture import MAX_DETECTIONS
from workers.masks.matterport.preprocess import FULL_SIZE, SIZE_STEP
from workers.options import read_options, require

RUNTIMES = ("onnxruntime", "tensorflow")
PRECISIONS = ("fp32", "fp16")
SMALLEST, LARGEST = 128, 4096
"""Sides of the input in pixels; the largest would need more memory than any GPU has today."""


@dataclass(frozen=True)
class MatterportOptions:
    """Options of the teacher. The numbers are Matterport's defaults, but for ``max_people``.

    Attributes:
        runtime: "onnxruntime", or "tensorflow" through Keras.
        precision: "fp32" or "fp16": layers in half precision, boxes and scores always in single.
        image_size: side of the square input in pixels, a multiple of 64; 1024 is what the weights were
            trained at.
        min_score: least probability of a person.
        nms_iou: detections that overlap by more are one person, the surer one.
        max_people: most people of one image, the surest; each is a mask of the frame's size.
    """

    runtime: str = "onnxruntime"
    precision: str = "fp32"
    image_size: int = FULL_SIZE
    min_score: float = 0.7
    nms_iou: float = 0.3
    max_people: int = 20


def checked_options(spec: ModelSpec) -> MatterportOptions:
    """The options of ``spec``; what is not given keeps its default.

    Raises:
        SettingsError: one is unknown, of the wrong type or cannot be used.
    """
    o = read_options(MatterportOptions, spec)
    size = o.image_size
    require(o.runtime in RUNTIMES, "runtime", o.runtime, f"one of {', '.join(RUNTIMES)}")
    require(o.precision in PRECISIONS, "precision", o.precision, f"one of {', '.join(PRECISIONS)}")
    fits = size % SIZE_STEP == 0 and SMALLEST <= size <= LARGEST
    require(fits, "image_size", size, f"a multiple of {SIZE_STEP} from {SMALLEST} to {LARGEST}")
    require(0 < o.min_score < 1, "min_score", o.min_score, "a number between 0 and 1")
    require(0 < o.nms_iou < 1, "nms_iou", o.nms_iou, "a number between 0 and 1")
    people = 1 <= o.max_people <= MAX_DETECTIONS
    require(people, "max_people", o.max_people, f"a whole number from 1 to {MAX_DETECTIONS}")
    return o
