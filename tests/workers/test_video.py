import os
import random
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_video import picture, turn, write_huge, write_sound, write_steady, write_video

from broker.errors import HardposeError
from workers.downloads.errors import (
    EmptyFile,
    FileMissing,
    FileUnreadable,
    FrameUndecodable,
    NotAVideo,
    NoVideoStream,
    VideoTooLarge,
    VideoTooLong,
    VideoTruncated,
)
from workers.video import plan_segments, probe, read_candidates

PIXELS, SECONDS = 4096 * 2304, 3600.0
ALL = 1000.0
"""More grid times than any of these videos has frames: every frame is a candidate."""


def look(path):
    return probe(path, PIXELS, SECONDS)


def times(path, start=0, end=None, per_second=ALL, threads=1):
    end = look(path).duration_ms if end is None else end
    return [c.time_ms for c in read_candidates(path, start, end, per_second, threads)]


# --- what a file is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "found"),
    [
        ("a.mp4", "libx264", "h264"),  # the usual: B-frames, edit list
        ("a.mkv", "libx264", "h264"),  # time base of milliseconds
        ("a.ts", "libx264", "h264"),  # times that do not start at 0
        ("a.mov", "mpeg4", "mpeg4"),  # an older codec
        ("a.avi", "mpeg4", "mpeg4"),  # no presentation times in the file
        ("a.webm", "libvpx-vp9", "vp9"),  # the other usual
        ("a.mp4", "mjpeg", "mjpeg"),  # every frame a key frame
    ],
)
def test_facts_and_frames_of_common_files(tmp_path, name, codec, found):
    path = write_steady(tmp_path / name, 50, 25, codec=codec, options={"g": "12"})
    facts = look(path)

    assert (facts.width, facts.height, facts.codec, facts.frames) == (64, 48, found, 50)
    assert facts.fps == pytest.approx(25, abs=0.1)
    assert 1960 < facts.duration_ms <= 2001
    assert facts.size_bytes == path.stat().st_size
    assert times(path) == list(range(0, 2000, 40))


def test_one_frame(tmp_path):
    path = write_video(tmp_path / "one.mp4", [0])
    facts = look(path)
    assert (facts.frames, facts.fps) == (1, 0.0)
    (segment,) = plan_segments(facts.duration_ms, 20)
    assert times(path, *segment, per_second=8) == [0]


def test_variable_frame_rate(tmp_path):
    stamps = [0, 10, 500, 510, 520, 3000, 3033]
    path = write_video(tmp_path / "vfr.mp4", stamps)
    assert times(path) == stamps
    # At 2 a second: the grid times 1000 ... 3000 are all answered by the one frame at 3000.
    assert times(path, per_second=2) == [0, 500, 3000]


def test_sixty_frames_a_second_give_as_many_candidates_as_thirty(tmp_path):
    slow = write_steady(tmp_path / "30.mp4", 60, 30)
    fast = write_steady(tmp_path / "60.mp4", 120, 60)
    assert times(slow, per_second=8)[:5] == [0, 133, 267, 400, 500]
    assert times(fast, per_second=8)[:5] == [0, 133, 250, 383, 500]
    assert len(times(slow, per_second=8)) == len(times(fast, per_second=8)) == 16


def test_times_count_from_the_first_frame(tmp_path):
    path = write_video(tmp_path / "late.mkv", [5000 + 40 * n for n in range(10)])
    assert times(path) == [40 * n for n in range(10)]
    assert look(path).duration_ms == pytest.approx(400, abs=40)


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])  # as phones write them
def test_frames_are_upright_as_opencv_turns_them(tmp_path, clockwise):
    path = turn(write_video(tmp_path / "phone.mp4", [0, 40, 80], options={"crf": "5"}), clockwise)
    facts = look(path)
    candidate = next(read_candidates(path, 0, 100, 8))
    image = candidate.image()

    capture = cv2.VideoCapture(str(path))
    ok, bgr = capture.read()
    capture.release()
    assert ok
    assert image.shape == bgr.shape == (facts.height, facts.width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - bgr[:, :, ::-1]).mean() < 3
    expected = np.rot90(picture(0, 64, 48), k=-clockwise // 90)
    assert np.abs(image.astype(int) - expected).mean() < 8


# --- segments ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.integers(5, 400), min_size=1, max_size=60),
    seconds=st.floats(0.2, 3),
    group=st.sampled_from(["1", "7", "250"]),
    suffix=st.sampled_from(["mp4", "mkv"]),
)
def test_segments_share_and_lose_no_frame(tmp_path_factory, gaps, seconds, group, suffix):
    stamps = [sum(gaps[:n]) for n in range(len(gaps))]
    path = write_video(tmp_path_factory.mktemp("v") / f"v.{suffix}", stamps, options={"g": group})
    parts = [times(path, *segment) for segment in plan_segments(look(path).duration_ms, seconds)]
    assert [time for part in parts for time in part] == stamps


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("v.ts", "libx264", {"bf": "3"}),  # seeks land by file position
        ("v.mp4", "libx264", {"x264-params": "open-gop=1:bframes=5"}),  # frames shown before their key frame
        ("v.mp4", "mpeg4", {"bf": "3"}),  # seeks land by decoding time
        ("v.flv", "libx264", {"bf": "3"}),  # no index
        ("v.avi", "mpeg4", {}),  # no presentation times
    ],
)
def test_a_seek_that_lands_late_loses_no_frame(tmp_path, name, codec, options):
    path = write_steady(tmp_path / name, 60, 25, codec=codec, options={"g": "12", **options})
    parts = [list(read_candidates(path, *s, ALL)) for s in plan_segments(look(path).duration_ms, 0.33)]
    assert [c.time_ms for part in parts for c in part] == list(range(0, 2400, 40))
    assert [c.image().shape for part in parts for c in part] == [(48, 64, 3)] * 60


def test_a_candidate_shows_the_frame_of_its_time(tmp_path):
    path = write_steady(tmp_path / "v.mp4", 100, 25, options={"g": "30", "crf": "5"})
    candidates = read_candidates(path, 1500, 3000, 5)
    seen = {c.time_ms: c.image().astype(int) for c in candidates}
    assert sorted(seen) == [1520, 1720, 1920, 2120, 2320, 2520, 2720, 2920]
    for time, image in seen.items():
        errors = [np.abs(image - picture(n, 64, 48)).mean() for n in range(100)]
        assert int(np.argmin(errors)) % 51 == time // 40 % 51  # the ramp repeats after 256 / 5 frames


def test_odd_time_base_and_threads(tmp_path):
    path = write_video(tmp_path / "v.mp4", [n * 1001 for n in range(90)], Fraction(1, 30000))
    expected = [round(n * 1001 / 30) for n in range(90)]
    assert times(path) == expected
    assert times(path, 1000, 2000, threads=2) == [t for t in expected if 1000 <= t < 2000]


# --- broken files ------------------------------------------------------------------------------------


def cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def _faststart(path):
    plain = write_steady(path.with_suffix(".mov"), 100, 25, options={"crf": "5"})
    with av.open(str(plain)) as given, av.open(str(path), "w", options={"movflags": "faststart"}) as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    return path


BROKEN = [
    (lambda p: p / "absent.mp4", FileMissing),  # no such file
    (lambda p: p, FileUnreadable),  # a folder
    (lambda p: (p / "e.mp4").touch() or p / "e.mp4", EmptyFile),  # 0 bytes
    (lambda p: (p / "t.mp4").write_text("hello\n" * 200) and p / "t.mp4", NotAVideo),  # text named .mp4
    (lambda p: cut(write_steady(p / "m.mp4", 100, 25), 0.6), VideoTruncated),  # index at the end, lost
    (lambda p: cut(_faststart(p / "f.mp4"), 0.6), VideoTruncated),  # index at the start, pictures cut
    (lambda p: cut(_faststart(p / "f.mp4"), 0.02), VideoTruncated),  # cut inside the index
    (lambda p: cut(write_steady(p / "m.mkv", 100, 25), 0.6), VideoTruncated),  # Matroska
    (lambda p: cut(write_steady(p / "m.avi", 100, 25, codec="mpeg4"), 0.6), VideoTruncated),  # AVI
    (lambda p: write_sound(p / "s.mp4"), NoVideoStream),  # sound only
    (lambda p: write_huge(p / "8k.mp4", 7680, 4320), VideoTooLarge),  # 8K
]


@pytest.mark.parametrize(("make", "error"), BROKEN)
def test_broken_files_are_named_by_type(tmp_path, make, error):
    path = make(tmp_path)
    with pytest.raises(error) as caught:
        look(path)
    assert str(path) in caught.value.cause
    assert caught.value.remedy


def test_bytes_after_the_last_box_are_no_cut(tmp_path):
    path = write_steady(tmp_path / "camera.mp4", 10, 25)
    path.write_bytes(path.read_bytes() + b"MAKERNOTE 1234567890" * 3)
    assert times(path) == list(range(0, 400, 40))


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile private.mkv\n",  # FFmpeg's own list of files
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.mkv\n#EXT-X-ENDLIST\n",  # HLS
    ],
)
def test_a_play_list_is_no_video(tmp_path, text):
    # FFmpeg would follow it to other files and addresses.
    write_steady(tmp_path / "private.mkv", 10, 25)
    trap = tmp_path / "trap.mp4"
    trap.write_text(text)
    with pytest.raises(NotAVideo):
        look(trap)


def test_too_long(tmp_path):
    path = write_video(tmp_path / "long.mp4", [0, 61_000])
    with pytest.raises(VideoTooLong, match="60 s"):
        probe(path, PIXELS, 60)


def test_a_damaged_stretch_costs_its_own_frames_only_and_loses_none(tmp_path):
    path = write_steady(tmp_path / "v.mp4", 100, 25, size=(160, 120), options={"g": "20"})
    data = bytearray(path.read_bytes())
    flips = random.Random(3)
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    for _ in range(40):
        data[middle + flips.randrange(400)] ^= 0xFF
    path.write_bytes(data)

    whole = list(read_candidates(path, 0, look(path).duration_ms, ALL))
    assert [c.time_ms for c in whole] == list(range(0, 4000, 40))
    broken = [c for c in whole if c._frame is None]
    assert 1 <= len(broken) <= 30
    for candidate in broken:
        with pytest.raises(FrameUndecodable, match=f"{candidate.time_ms} ms"):
            candidate.image()
    assert all(c.image().shape == (120, 160, 3) for c in whole if c not in broken)


def test_noise_in_a_video_never_hangs_or_crashes(tmp_path):
    good = write_steady(tmp_path / "v.mp4", 30, 25).read_bytes()
    noise = random.Random(5)
    outcomes = set()
    for number in range(60):
        data = bytearray(good)
        for _ in range(30):
            data[noise.randrange(len(data))] = noise.randrange(256)
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        try:
            found = times(path, 0, min(look(path).duration_ms, 10**6), 8)
        except HardposeError as error:
            outcomes.add(error.code)
        else:
            assert found == sorted(set(found))
            outcomes.add("read")
    assert "read" in outcomes
    assert len(outcomes) > 1


# --- real videos -------------------------------------------------------------------------------------


def shared_clips():
    folder = Path(os.environ.get("HARDPOSE_SHARED_DATA", Path(__file__).parents[3] / "shared/data")) / "clips"
    return sorted(folder.glob("*.mp4"))


def test_real_clips_agree_with_opencv():
    clips = [c for c in shared_clips() if c.stat().st_size < 2_000_000]
    if not clips:
        pytest.skip("no shared clips: set HARDPOSE_SHARED_DATA")
    for clip in clips:
        capture = cv2.VideoCapture(str(clip))
        size = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        count = 0
        while capture.grab():
            count += 1
        capture.release()
        facts = look(clip)
        assert (facts.width, facts.height, facts.frames) == (*size, count)
        assert len(times(clip)) == count
