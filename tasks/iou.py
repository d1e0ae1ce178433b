"""How far two masks agree: intersection over union, the report's way."""

import numpy as np

from workers.contracts import Mask

EPSILON = 1e-7
"""Keeps two empty masks from a division by zero (report 4.3)."""


def mask_iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks of one size.

    The formula of report 4.3: (sum(A*B) + e) / (sum(A+B) - sum(A*B) + e) with e = 1e-7. Two empty
    masks agree (1.0); masks without a common pixel give e over their area, practically 0.

    Args:
        a: H x W bool.
        b: H x W bool.

    Returns:
        A number in (0, 1].

    Raises:
        ValueError: if the masks differ in size.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of different size: {a.shape} and {b.shape}")
    both = float(np.count_nonzero(a & b))
    either = float(np.count_nonzero(a)) + float(np.count_nonzero(b)) - both
    return (both + EPSILON) / (either + EPSILON)
