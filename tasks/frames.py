"""The pictures of one segment as pixels: written to the artifact store and read from it, with OpenCV."""

import cv2
import numpy as np

from broker.errors import ArtifactMissing
from tasks.frame_store import FrameStore
from workers.contracts import Image, Mask

JPEG_QUALITY = 95


class Frames(FrameStore):
    """Frames and masks of one segment, by artifact key."""

    def put_image(self, key: str, image: Image) -> None:
        """Stores ``image`` (H x W x 3 uint8 RGB) as JPEG."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self._put(key, ".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    def image(self, key: str) -> Image:
        """The stored frame, H x W x 3 uint8 RGB."""
        bgr = self._decode(key, cv2.IMREAD_COLOR)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)

    def put_mask(self, key: str, mask: Mask) -> None:
        """Stores ``mask`` (H x W bool) as a PNG of 0 and 255."""
        self._put(key, ".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 3])

    def mask(self, key: str) -> Mask:
        """The stored mask, H x W bool."""
        return self._decode(key, cv2.IMREAD_GRAYSCALE) > 127

    def _put(self, key: str, suffix: str, pixels: np.ndarray, options: list[int]) -> None:
        ok, data = cv2.imencode(suffix, pixels, options)
        if not ok:
            raise ValueError(f"OpenCV could not encode {key}")
        self.put(key, data.tobytes())

    def _decode(self, key: str, flags: int) -> np.ndarray:
        pixels = cv2.imdecode(np.frombuffer(self.get(key), np.uint8), flags)
        if pixels is None:
            raise ArtifactMissing(
                f"The stored picture {key} cannot be decoded.",
                "Remove the job with `hardpose delete JOB` and run it again.",
            )
        return pixels
