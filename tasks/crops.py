"""The part of a frame that shows the person: how sharp it is, and a hash of how it looks."""

import cv2
import numpy as np

from tasks.full_body import Points, confident_points
from workers.contracts import Image

CROP_MARGIN = 0.05
"""Share of the box's longer side by which the person crop is wider than the keypoints."""
SHARPNESS_HEIGHT = 256
"""Height in pixels at which sharpness is measured, so that it means the same at every resolution."""


def person_crop(image: Image, points: Points, min_confidence: float) -> Image:
    """The part of ``image`` around the confident points (25 x 3), a little wider, inside the frame.

    At least one pixel in each direction, also when every point lies outside.
    """
    seen = confident_points(points, min_confidence)[:, :2]
    if not len(seen):
        return image
    low, high = seen.min(axis=0), seen.max(axis=0)
    pad = CROP_MARGIN * float((high - low).max())
    height, width = image.shape[:2]
    x0, y0 = (int(np.clip(v - pad, 0, n - 1)) for v, n in zip(low, (width, height), strict=True))
    x1, y1 = (int(np.clip(v + pad + 1, 1, n)) for v, n in zip(high, (width, height), strict=True))
    return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def perceptual_hash(crop: Image) -> str:
    """64-bit DCT hash of ``crop`` (H x W x 3 uint8 RGB), 16 hex digits.

    Grey 32 x 32 picture, its cosine transform's 8 x 8 lowest frequencies, each bit above their median
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). The constant
    term is left out of the median: it is brightness, and would shift it.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return np.packbits(bits).tobytes().hex()


def sharpness(crop: Image) -> float:
    """Variance of the Laplacian of ``crop`` (H x W x 3 uint8 RGB) at 256 pixels height.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    width = max(1, round(grey.shape[1] * SHARPNESS_HEIGHT / grey.shape[0]))
    small = cv2.resize(grey, (width, SHARPNESS_HEIGHT), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).var())
