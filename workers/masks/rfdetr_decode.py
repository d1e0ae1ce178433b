"""From what RF-DETR Seg answers to people."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.contracts import Instance, Mask
from workers.errors import ImageFailed
from workers.masks.rfdetr_network import QueryOutputs
from workers.options import require
from workers.pose.geometry import mask_iou

PERSON = 1
"""COCO's category id of a person."""


@dataclass(frozen=True)
class RFDETROptions:
    """Options of the teacher. The file decides the arithmetic: it is that in which it was exported.

    Attributes:
        min_score: least probability of a person (0.5 in RF-DETR's own ``predict``).
        mask_threshold: least probability of a pixel (0.5: a logit above 0, as RF-DETR cuts).
        duplicate_iou: two queries whose masks overlap by more are one person, the surer one. The network is
            trained to give one query for each object, but nothing forces it to, and a second query would
            make two people of one. Masks of two different people share next to no pixel.
        max_people: most people of one image, the surest.
    """

    min_score: float = 0.5
    mask_threshold: float = 0.5
    duplicate_iou: float = 0.5
    max_people: int = 20


def usable(options: RFDETROptions) -> RFDETROptions:
    """``options`` as they are.

    Raises:
        SettingsError: one has a value that cannot be used.
    """
    for name in ("min_score", "mask_threshold", "duplicate_iou"):
        value = getattr(options, name)
        require(0 < value < 1, name, value, "a number between 0 and 1")
    require(options.max_people >= 1, "max_people", options.max_people, "1 or more")
    return options


def people(found: QueryOutputs, index: int, size: tuple[int, int], options: RFDETROptions) -> list[Instance]:
    """The people of the image ``index`` of a batch, the largest first.

    Args:
        found: the network's answers.
        index: of the image in it.
        size: height and width of the frame in pixels.
        options: the thresholds.

    Raises:
        ImageFailed: an answer is not a number.
    """
    boxes, logits, masks = found.boxes[index], found.logits[index], found.masks[index]
    if not all(np.isfinite(answer).all() for answer in (boxes, logits, masks)):
        raise ImageFailed(
            "RF-DETR Seg answers with something that is not a number.",
            "Look at the frame; if all fail so, export the network anew in 32-bit floats.",
        )
    scores = person_scores(logits)
    cut = mask_cut(masks, options.mask_threshold)
    kept: list[int] = []
    for query in np.argsort(-scores, kind="stable"):
        if scores[query] < options.min_score or len(kept) == options.max_people:
            break
        small = masks[query] > cut
        if small.any() and all(mask_iou(small, masks[k] > cut) <= options.duplicate_iou for k in kept):
            kept.append(int(query))
    instances = [
        _instance(boxes[query], float(scores[query]), full_mask(masks[query], cut, size)) for query in kept
    ]
    return sorted(instances, key=lambda instance: -int(np.count_nonzero(instance.mask)))


def person_scores(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Q probabilities (sigmoid) of a person from Q x 91 logits; 0 where another class is likelier."""
    person = logits[:, PERSON]
    # exp of the negative magnitude cannot overflow.
    small = np.exp(-np.abs(person))
    probability = np.where(person >= 0, 1 / (1 + small), small / (1 + small))
    return np.where(logits.argmax(axis=1) == PERSON, probability, 0.0).astype(np.float32)


def mask_cut(masks: NDArray[np.float32], threshold: float) -> float:
    """Above which value of ``masks`` (Q x h x w, one image) a pixel belongs to the object.

    RF-DETR's own export gives logits, some other people's gives probabilities, and nothing in the file says
    which. Of logits over a whole frame, for all queries, some are always negative: an image whose values all
    lie in 0..1 holds probabilities.
    """
    if masks.min() >= 0.0 and masks.max() <= 1.0:
        return threshold
    return float(np.log(threshold / (1.0 - threshold)))


def full_mask(mask: NDArray[np.float32], cut: float, size: tuple[int, int]) -> Mask:
    """``mask`` (h x w) at the frame's height and width: interpolated bilinearly first, then cut."""
    large = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large > cut, np.bool_)


def _instance(box: NDArray[np.float32], score: float, mask: Mask) -> Instance:
    return Instance(mask=mask, score=score, measures={"box_iou": box_agreement(box, mask)})


def box_agreement(box: NDArray[np.float32], mask: Mask) -> float:
    """IoU of a box (centre x, centre y, width, height over the frame's sides) and the box around ``mask``."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / (width, height, width, height)
    drawn = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]).astype(np.float64)
    shared = np.clip(np.minimum(tight[2:], drawn[2:]) - np.maximum(tight[:2], drawn[:2]), 0, None).prod()
    union = (tight[2:] - tight[:2]).prod() + np.clip(drawn[2:] - drawn[:2], 0, None).prod() - shared
    return float(shared / union)
