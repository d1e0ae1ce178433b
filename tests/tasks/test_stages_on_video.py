"""The pose stage on real video files: sampling by time, whatever the file's frame rate."""

from fractions import Fraction

import av
import numpy as np
import pytest
from stage_fakes import HEIGHT, WIDTH, Scripted, make_frames, make_segment, person, picture, standing

from broker.messages import SegmentResult, Verdict
from tasks.pose_filter import PoseFilter
from workers.video import plan_segments, probe


def write(path, stamps_ms):
    """A clip whose every frame shows another picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps_ms:
            frame = av.VideoFrame.from_ndarray(picture(stamp), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def run(folder, stamps_ms, segment_seconds=20.0, answers=None):
    frames = make_frames(folder)
    path = folder / "videos" / "clip.mp4"
    write(path, stamps_ms)
    facts = probe(path, 10**6, 600)
    stage = PoseFilter(Scripted(answers or [[person()]]))
    whole = make_segment(facts.duration_ms)
    spans = plan_segments(facts.duration_ms, segment_seconds)
    segments = [
        whole.model_copy(update={"index": i, "start_ms": start, "end_ms": end})
        for i, (start, end) in enumerate(spans)
    ]
    return [stage.run(SegmentResult(segment=segment), frames) for segment in segments], frames


@pytest.mark.parametrize(
    "step_ms",
    [
        16,  # 60 frames a second
        33,  # 30
        41,  # 24
        100,  # 10
    ],
)
def test_the_frame_rate_does_not_change_what_is_examined(tmp_path, step_ms):
    (result,), _ = run(tmp_path, range(0, 4000, step_ms))
    assert result.examined == 32  # 8 a second
    # Never more than 2 a second; fewer when frames do not fall on the half seconds.
    assert 7 <= len(result.keepers) <= 8
    kept = [k.time_ms for k in result.keepers]
    assert np.diff(kept).min() >= 500
    assert result.check_open()


def test_a_gap_in_a_variable_rate_is_no_loss(tmp_path):
    stamps = [*range(0, 1000, 40), *range(3000, 4000, 25)]
    (result,), _ = run(tmp_path, stamps)
    # Grid times inside the gap fall on the first frame after it, which counts once.
    assert result.examined == 8 + 8
    assert all(t in stamps for t in (k.time_ms for k in result.keepers))


def test_segments_examine_every_frame_once_and_find_what_the_whole_finds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (whole,), _ = run(tmp_path / "a", range(0, 6000, 33), answers=[[]])
    parts, _ = run(tmp_path / "b", range(0, 6000, 33), segment_seconds=2.0, answers=[[]])
    assert len(parts) == 3
    assert sum(p.examined for p in parts) == whole.examined == 48
    assert [d.time_ms for p in parts for d in p.drops] == [d.time_ms for d in whole.drops]


def test_the_stored_frame_is_the_frame_of_that_time(tmp_path):
    (result,), frames = run(tmp_path, range(0, 2000, 100))
    assert len(result.keepers) == 4
    for keeper in result.keepers:
        stored = frames.image(keeper.frame_key).astype(float)
        assert np.abs(stored - picture(keeper.time_ms)).mean() < 12
        assert np.abs(stored - picture(keeper.time_ms + 100)).mean() > 30


def test_a_moving_person_in_a_still_picture_is_new_each_time(tmp_path):
    answers = [[person(standing(shift=(x, 0)))] for x in range(-12, 20, 6)]
    (result,), _ = run(tmp_path, range(0, 2000, 100), answers=answers)
    assert len(result.keepers) == 4
    assert {d.verdict for d in result.drops} == {Verdict.TOO_SOON}
