"""Reading videos: what a file is, and its frames by time. The only module that imports PyAV."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import av
import av.container
import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.containers import find_cut
from workers.contracts import Image
from workers.downloads.errors import (
    EmptyFile,
    FileMissing,
    FileUnreadable,
    FrameUndecodable,
    NotAVideo,
    NoVideoStream,
    VideoDamaged,
    VideoTooLarge,
    VideoTooLong,
    VideoTruncated,
)
from workers.sampling import Grid
from workers.sampling import plan_segments as plan_segments  # the one door to everything about time

VideoPacket: TypeAlias = "Packet[VideoStream]"
log = logging.getLogger(__name__)

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,mxf,ivf,yuv4mpegpipe"
"""Demuxers that may open a file. Play lists (HLS, DASH, concat) are left out on purpose: they name further
files and addresses, so a crafted "video" could read this machine's files or reach its private network."""
ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg"})
"""Codecs whose every packet gives exactly one frame, so that a frame which never comes out shows as lost.
Others have packets without a picture (hidden VP8 reference frames, "not coded" MPEG-4 frames)."""
REORDER_LIMIT = 32
"""Packets within which the smallest time stamp must turn up: H.264 and HEVC reorder at most 16 frames."""
LOOK_BACK_MS = (0, 1_000, 5_000, 30_000)
"""How much further back a seek that landed too late is tried again, before reading from the start."""
FIRST_FRAME_LIMIT = 300
"""Packets that may be decoded in search of the first picture before a file is called damaged."""


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video file.

    Attributes:
        fps: average frames per second, measured; 0.0 when there is one frame.
        width: pixels as displayed, after the file's rotation flag.
        height: pixels as displayed.
        duration_ms: greater than the time of every frame, so segments up to it miss none.
        codec: FFmpeg's name of the video codec, such as ``h264``.
        size_bytes: of the file.
        frames: pictures in the file, counted by packet.
    """

    fps: float
    width: int
    height: int
    duration_ms: int
    codec: str
    size_bytes: int
    frames: int


@dataclass(frozen=True)
class Candidate:
    """A frame to examine.

    Attributes:
        time_ms: time since the video's first frame, rounded; unique within a video over all segments.
    """

    time_ms: int
    _frame: VideoFrame | None
    _why: str = ""

    def image(self) -> Image:
        """The picture, H x W x 3 uint8 RGB, upright, contiguous. Converted anew at every call.

        Raises:
            FrameUndecodable: if the file is damaged at this frame.
        """
        if self._frame is None:
            raise FrameUndecodable(
                f"The frame at {self.time_ms} ms cannot be decoded: {self._why}.",
                "It is counted as failed; a whole copy of the video may have it.",
            )
        pixels = self._frame.to_ndarray(format="rgb24")
        turned = np.rot90(pixels, k=_quarter_turns(self._frame))
        return np.ascontiguousarray(turned, dtype=np.uint8)


def probe(path: Path, max_pixels: int, max_seconds: float) -> VideoFacts:
    """Looks at the whole file without decoding more than its first frame.

    Args:
        path: a local file.
        max_pixels: largest width times height.
        max_seconds: longest duration.

    Raises:
        FileMissing, FileUnreadable, EmptyFile: there is nothing to read.
        NotAVideo: text, a picture, a play list or anything else.
        VideoTruncated: the file ends before its container says.
        NoVideoStream: no video track, or one without frames.
        VideoTooLarge, VideoTooLong: beyond ``max_pixels`` or ``max_seconds``.
        VideoDamaged: no frame can be decoded, or frames carry no times.
    """
    size = _check_file(path)
    with _opened(path) as (_, stream):
        codec = stream.codec_context.name
        _check_pixels(path, stream.codec_context.width, stream.codec_context.height, max_pixels)
    frames, last_ms, end_ms = _measure(path, max_seconds)
    width, height = _displayed_size(path, max_pixels)
    fps = (frames - 1) * 1000 / last_ms if last_ms else 0.0
    return VideoFacts(fps, width, height, end_ms, codec, size, frames)


def read_candidates(
    path: Path, start_ms: int, end_ms: int, per_second: float, threads: int = 1
) -> Iterator[Candidate]:
    """The frames of ``[start_ms, end_ms)`` to examine, in the order of time.

    For every grid time ``start_ms + k / per_second`` the first frame at or after it, each frame once.
    A frame belongs to the segment that holds its ``time_ms``, so consecutive segments share no frame. A
    damaged frame is a candidate like any other, whose ``image()`` raises. Decodes forward from the last
    key frame at or before the start; frames that are not asked for are never converted to RGB.

    Args:
        path: a file that ``probe`` accepted.
        start_ms: first millisecond, since the video's first frame.
        end_ms: millisecond after the last.
        per_second: grid times in a second.
        threads: of the decoder.

    Raises:
        ValueError: if ``per_second`` is not positive.
        FileMissing, FileUnreadable, EmptyFile, NotAVideo, VideoTruncated, NoVideoStream, VideoDamaged:
            as for ``probe``.
    """
    grid = Grid(start_ms, per_second)
    _check_file(path)
    origin = _origin(path)
    previous = -1
    with _from_key_frame(path, origin, start_ms, threads) as source:
        for frame in _frames(source, end_ms):
            # Also drops a second frame within the same millisecond: time_ms is a frame's name.
            if frame.time_ms <= previous:
                continue
            previous = frame.time_ms
            if start_ms <= frame.time_ms < end_ms and grid.takes(frame.time_ms):
                yield frame


# --- opening -----------------------------------------------------------------------------------------


def _check_file(path: Path) -> int:
    """The size in bytes of a regular, readable, whole file."""
    if not path.exists():
        raise FileMissing(f"There is no file {path}.", "Check the path.")
    if not path.is_file():
        raise FileUnreadable(f"{path} is not a regular file.", "Give a video file.")
    size = path.stat().st_size
    if size == 0:
        raise EmptyFile(f"{path} has 0 bytes.", "Copy or download it again.")
    try:
        cut = find_cut(path)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if cut:
        raise VideoTruncated(f"{path} is not whole: {cut}.", "Copy or download it again.")
    return size


@contextmanager
def _opened(path: Path, threads: int = 1) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), container_options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise NotAVideo(
            f"{path} is not a video that can be opened: {error.strerror}.",
            "Give an MP4, WebM, MKV or AVI file.",
        ) from error
    with container:
        # A cover picture inside a sound file is a video stream to FFmpeg, not to us.
        pictures = [
            s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
        ]
        if not pictures:
            raise NoVideoStream(f"{path} has no video track.", "Give a file with a picture.")
        if pictures[0].codec_context is None:  # what the type hints do not know
            raise VideoDamaged(f"{path} has a codec that is not known here.", "Convert it to H.264.")
        pictures[0].codec_context.thread_count = threads
        pictures[0].codec_context.thread_type = "AUTO" if threads > 1 else "NONE"
        yield container, pictures[0]


def _check_pixels(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise VideoTooLarge(
            f"{path} has frames of {width} x {height} pixels, the limit is {max_pixels} pixels.",
            "Scale it down, or raise HARDPOSE_MAX_FRAME_PIXELS.",
        )


# --- time --------------------------------------------------------------------------------------------


def _stamp(item: "VideoPacket | VideoFrame") -> int | None:
    """Presentation time in the stream's time base; AVI carries the decoding time only."""
    return item.pts if item.pts is not None else item.dts


def _ms(stamp: int, origin: int, base: Fraction) -> int:
    return round((stamp - origin) * base * 1000)


def _base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1000)


def _demux(container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """Packets with data, from the first key frame to the end or to where the file can be read no further."""
    key = False
    try:
        for packet in container.demux(stream):
            key = key or packet.is_keyframe
            if packet.size and key:
                yield packet
    except av.error.FFmpegError as error:
        # What follows cannot be reached; probe() stops here too, so the planned segments end here.
        log.warning("reading stops early: %s", error)


def _origin(path: Path) -> int:
    """Time stamp of the first frame shown: the first key frame, or where an edit list cuts in after it."""
    key: int | None = None
    shown: list[int] = []
    with _opened(path) as (container, stream):
        for packet in _demux(container, stream):
            stamp = _stamp(packet)
            if stamp is None:
                continue
            key = stamp if key is None else key
            # A frame shown before the first key frame needs another one that is not in the file.
            if stamp >= key and not packet.is_discard:
                shown.append(stamp)
            if len(shown) >= REORDER_LIMIT:
                break
    if not shown:
        raise NoVideoStream(
            f"{path} has a video track without a single frame that has a time.", "Convert it to MP4 first."
        )
    return min(shown)


def _measure(path: Path, max_seconds: float) -> tuple[int, int, int]:
    """Number of frames, time of the last, and duration, in ms.

    From every packet, because headers may be wrong or silent.
    """
    origin, frames, last_ms, end_ms = _origin(path), 0, 0, 0
    with _opened(path) as (container, stream):
        base = _base(stream)
        for packet in _demux(container, stream):
            stamp = _stamp(packet)
            if stamp is None or stamp < origin or packet.is_discard:
                continue
            frames += 1
            time_ms = _ms(stamp, origin, base)
            last_ms = max(last_ms, time_ms)
            end_ms = max(end_ms, time_ms + 1, _ms(stamp + (packet.duration or 0), origin, base))
            if time_ms > max_seconds * 1000:
                raise VideoTooLong(
                    f"{path} is longer than {max_seconds:g} s.",
                    "Cut it into shorter pieces, or raise HARDPOSE_MAX_DURATION_SECONDS.",
                )
    return frames, last_ms, end_ms


# --- pictures ----------------------------------------------------------------------------------------


def _quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise quarter turns that set the frame upright."""
    return round(frame.rotation / 90) % 4


def _displayed_size(path: Path, max_pixels: int) -> tuple[int, int]:
    with _opened(path) as (container, stream):
        packets: Iterator[VideoPacket | None] = islice(_demux(container, stream), FIRST_FRAME_LIMIT)
        for packet in chain(packets, [None]):
            for frame in _decode(stream, packet) or ():
                _check_pixels(path, frame.width, frame.height, max_pixels)
                turned = _quarter_turns(frame) % 2 == 1
                return (frame.height, frame.width) if turned else (frame.width, frame.height)
    raise VideoDamaged(
        f"{path}: none of the first {FIRST_FRAME_LIMIT} frames can be decoded.", "Copy or download it again."
    )


def _decode(stream: VideoStream, packet: "VideoPacket | None") -> list[VideoFrame] | None:
    """The frames that come out when ``packet`` goes in (None: the end); None when the packet is damaged."""
    try:
        return stream.codec_context.decode(packet)
    except av.error.FFmpegError as error:
        log.warning("damaged video packet at %s: %s", packet and _stamp(packet), error)
        return None


@dataclass(frozen=True)
class _Opened:
    """A file positioned for decoding; times are relative to ``origin``, the first frame's time stamp."""

    stream: VideoStream
    packets: Iterator[VideoPacket]
    origin: int
    one_to_one: bool
    """Whether every packet must give a frame with the packet's own time stamp."""

    def ms(self, stamp: int) -> int:
        return _ms(stamp, self.origin, _base(self.stream))


@contextmanager
def _from_key_frame(path: Path, origin: int, start_ms: int, threads: int) -> Iterator[_Opened]:
    """The file, positioned on a key frame at or before ``start_ms``.

    A container finds key frames by decoding time or by a sparse index, so a seek can land too late; it is
    repeated further back until the key frame's presentation time is early enough.
    """
    for target_ms in (start_ms - back for back in LOOK_BACK_MS if start_ms > back):
        with _opened(path, threads) as (container, stream):
            try:
                container.seek(origin + int(target_ms / (_base(stream) * 1000)), stream=stream)
            except av.error.FFmpegError as error:
                log.info("cannot seek in %s (%s), reading from its start", path, error)
                break
            packets = _demux(container, stream)
            first = next(packets, None)
            stamp = None if first is None else _stamp(first)
            if first is not None and stamp is not None and _ms(stamp, origin, _base(stream)) <= start_ms:
                yield _Opened(stream, chain([first], packets), origin, _one_to_one(container, stream))
                return
    with _opened(path, threads) as (container, stream):
        yield _Opened(stream, _demux(container, stream), origin, _one_to_one(container, stream))


def _one_to_one(container: av.container.InputContainer, stream: VideoStream) -> bool:
    # AVI keeps no presentation times; FFmpeg's guesses at a packet's and at its frame's can differ.
    return stream.codec_context.name in ONE_FRAME_A_PACKET and container.format.name != "avi"


def _frames(source: _Opened, end_ms: int) -> Iterator[Candidate]:
    """Every frame up to ``end_ms`` in the order of time; those that did not come out of the decoder too."""
    first_key, beyond = None, 0
    waiting: list[int] = []
    for packet in chain(source.packets, [None]):
        stamp = None if packet is None else _stamp(packet)
        first_key = stamp if first_key is None else first_key
        frames = _decode(source.stream, packet)
        if packet is not None and stamp is not None and first_key is not None and stamp >= first_key:
            if frames is None or (source.one_to_one and packet.pts is not None and not packet.is_discard):
                heappush(waiting, stamp)
            beyond += source.ms(stamp) >= end_ms
        for frame in frames or ():
            shown = _stamp(frame)
            if shown is None or first_key is None or shown < first_key:
                continue
            yield from _lost(source, waiting, shown)
            if (time_ms := source.ms(shown)) >= end_ms:
                return
            yield Candidate(time_ms, None if frame.is_corrupt else frame, "its data is damaged")
        if beyond > REORDER_LIMIT:  # the decoder gives nothing more: do not read on to the file's end
            break
    yield from _lost(source, waiting)


def _lost(source: _Opened, waiting: list[int], shown: int | None = None) -> Iterator[Candidate]:
    """Frames that should have come before the one at ``shown`` (None: before the end), and did not."""
    while waiting and (shown is None or waiting[0] <= shown):
        stamp = heappop(waiting)
        if stamp != shown:
            yield Candidate(source.ms(stamp), None, "its data is damaged")
