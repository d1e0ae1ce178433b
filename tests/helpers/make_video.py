"""Small videos for tests, made with the real encoder. Frame number n is a grey ramp shifted by n."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

MS = Fraction(1, 1000)
QUARTER_TURNS = {
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}
"""a, b, c, d of a track header's matrix, by clockwise degrees (ISO/IEC 14496-12, 8.3.2)."""


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """H x W x 3 uint8 RGB: dark at the top left, a red corner at the top right, and a moving ramp."""
    rows, columns = np.mgrid[0:height, 0:width]
    grey = ((rows * 160 / height + columns * 60 / width + number * 5) % 256).astype(np.uint8)
    image = np.repeat(grey[:, :, None], 3, axis=2)
    image[: height // 4, -width // 4 :] = (220, 20, 20)
    return image


def write_video(
    path: Path,
    stamps: Sequence[int],
    base: Fraction = MS,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Writes frames at ``stamps`` (in units of ``base``); ``size`` is width, height."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = base
        stream.codec_context.time_base = base
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = stamp, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_steady(path: Path, count: int, fps: int, **kwargs: object) -> Path:
    """``count`` frames at ``fps``, with exact times."""
    return write_video(path, range(count), Fraction(1, fps), **kwargs)  # type: ignore[arg-type]


def write_pictures(path: Path, pictures: Sequence[NDArray[np.uint8]], fps: int, crf: int = 10) -> Path:
    """The given pictures (H x W x 3 uint8 RGB, all of one size) at ``fps``, each a key frame.

    ``crf``: quality; an ordinary upload has 20.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "g": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for number, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_huge(path: Path, width: int, height: int) -> Path:
    """One frame of any content: drawing a picture of this size would take seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame(width, height, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence, no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, clockwise: int) -> Path:
    """Sets the rotation flag of an MP4 file, as a phone does that is held upright."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4
    matrix = header + (40 if data[header] == 0 else 52)
    a, b, c, d = QUARTER_TURNS[clockwise]
    for index, value in ((0, a), (1, b), (3, c), (4, d)):
        data[matrix + 4 * index : matrix + 4 * index + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path
