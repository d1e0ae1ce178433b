"""Exit statuses, progress and summaries, from job views made by hand."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_books import a_video

from api.exit_codes import ExitCode, exit_code
from api.failures import retry_command
from api.progress import JsonLines, Lines, describe
from api.snapshot import Eta, Snapshot
from api.summary import summary_json, summary_lines
from broker.errors import Action
from broker.messages import Failure, Funnel, Keeper, Verdict
from broker.recipe import CHAIN, ModelSpec, Recipe, Stage
from broker.views import JobView, LinkView, SegmentView, State

SPEC = ModelSpec(name="m", version="1")
RECIPE = Recipe(pose_model=SPEC, mask_model=SPEC, device_model=SPEC)
FAILURE = Failure(code="empty_file", cause="clip.mp4 has 0 bytes.", remedy="Copy it again.")


def segment(index: int, state: State = State.DONE, **verdicts: int) -> SegmentView:
    counts = {Verdict(name): number for name, number in verdicts.items()}
    funnel = Funnel(examined=sum(counts.values()), verdicts=counts)
    return SegmentView(index=index, start_ms=index * 10, end_ms=index * 10 + 10, state=state, funnel=funnel)


def job(*links: LinkView) -> JobView:
    return JobView(id="job", recipe=RECIPE, created_at="2026-01-01T00:00:00+00:00", links=links)


def link(position: int, state: State, failure: Failure | None = None, *segments: SegmentView) -> LinkView:
    path, video = f"{position}.mp4", a_video(f"{position}") if segments else None
    return LinkView(
        position=position, link=path, state=state, failure=failure, video=video, segments=segments
    )


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([State.DONE, State.DONE], ExitCode.OK),
        ([], ExitCode.OK),  # nothing was asked for, nothing failed
        ([State.DONE, State.FAILED], ExitCode.SOME_FAILED),
        ([State.PARTIAL], ExitCode.SOME_FAILED),  # some of its segments are good
        ([State.FAILED, State.FAILED], ExitCode.ALL_FAILED),
    ],
)
def test_exit_status(states: list[State], code: ExitCode) -> None:
    assert exit_code(job(*(link(n, state) for n, state in enumerate(states)))) == code


def test_nothing_kept_is_explained_largest_reason_first() -> None:
    text = "\n".join(summary_lines(job(link(0, State.DONE, None, segment(0, no_person=3, no_feet=9)))))
    assert "Nothing was kept, because:" in text
    assert text.index("9") < text.index("a foot is not seen") < text.index("nobody was found")


def test_no_hard_frame_is_said_too() -> None:
    text = "\n".join(summary_lines(job(link(0, State.DONE, None, segment(0, easy=2)))))
    assert "No frame is hard" in text


def test_failures_carry_cause_and_remedy() -> None:
    view = job(link(0, State.FAILED, FAILURE), link(1, State.DONE, None, segment(0, hard=1)))
    text = "\n".join(summary_lines(view))
    assert "failed (empty_file): 0.mp4" in text
    assert "has 0 bytes. Copy it again." in text
    answer = json.loads(json.dumps(summary_json(view)))
    assert answer["failures"] == [{"link": "0.mp4", **FAILURE.model_dump(mode="json")}]


def test_frames_that_failed_are_told_by_their_fault() -> None:
    codes = ["device_too_late", "picture_damaged", "device_too_late", ""]
    frame = {"keypoints": ((0, 0, 0),) * 25, "box": (0, 0, 1, 1), "frame_key": "f", "phash": "0" * 16}
    kept = [Keeper(time_ms=n, **frame) for n in range(len(codes))]
    decided = tuple(
        k.decide(Verdict.FAILED, -1, code) if code else k.decide(Verdict.HARD, 0.1)
        for k, code in zip(kept, codes, strict=True)
    )
    made = segment(0, failed=3, hard=1).model_copy(update={"keepers": decided})
    view = job(link(0, State.DONE, None, made), link(1, State.DONE))
    again = link(2, State.DONE, None, made).model_copy(update={"video": view.links[0].video})
    view = job(*view.links, again)  # one video by two links counts once
    assert "3 frames failed: 2 device_too_late, 1 picture_damaged" in summary_lines(view)
    assert summary_json(view)["faults"] == {"device_too_late": 2, "picture_damaged": 1}


SNAPSHOT = Snapshot(
    videos=4,
    videos_done=1,
    videos_failed=1,
    videos_waiting=1,
    segments=4,
    segments_by_stage=dict.fromkeys(CHAIN, 2),
)


def test_the_fraction_counts_failed_and_waiting_videos() -> None:
    # One of four failed (all of it is over), one waits (nothing is over), two are half done.
    assert SNAPSHOT.fraction == pytest.approx(0.25 + 0.5 * 0.5)


@given(
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_the_fraction_is_a_share(failed: int, waiting: int, planned: int, done: list[int]) -> None:
    by_stage = {stage.value: number for stage, number in zip(CHAIN, done, strict=True)}
    segments = 9 if planned else 0
    snapshot = Snapshot(failed + waiting + planned, 0, failed, waiting, segments, by_stage if planned else {})
    assert 0 <= snapshot.fraction <= 1


def test_a_settled_segment_has_left_all_stages() -> None:
    view = job(link(0, State.RUNNING, None, segment(0, easy=1), segment(1, State.QUEUED)))
    snapshot = Snapshot.of(view, {Stage.POSE: 2, Stage.MASK: 0})
    assert snapshot.segments_by_stage == {"pose": 2, "mask": 1, "me": 1, "compare": 1}
    assert snapshot.kept == 1
    again = Snapshot.of(view, {Stage.POSE: 3, Stage.MASK: 9})  # some came again long after they were settled
    assert again.segments_by_stage == {"pose": 2, "mask": 2, "me": 1, "compare": 1}


def test_there_is_no_estimate_before_there_is_a_pace() -> None:
    eta = Eta()
    assert eta.left() is None
    eta.note(replace(SNAPSHOT, videos_failed=0, segments_by_stage={}))
    assert eta.left() is None
    eta.note(SNAPSHOT)
    assert eta.left() is not None


def test_lines_are_written_when_something_moves() -> None:
    out = io.StringIO()
    with Lines(out, every=0) as lines:
        for _ in range(3):
            lines.show(SNAPSHOT)
        lines.show(replace(SNAPSHOT, hard=1))
    assert len(out.getvalue().splitlines()) == 2
    assert describe(SNAPSHOT) in out.getvalue()


def test_json_lines_are_json() -> None:
    out = io.StringIO()
    with JsonLines(out) as lines:
        lines.say("hello")
        lines.show(SNAPSHOT)
        lines.show(SNAPSHOT)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["message", "progress"]
    assert events[1]["videos"] == 4


def test_many_failures_are_told_by_reason_with_an_example_each() -> None:
    private = Failure(code="video_private", cause="It is private.")
    busy = Failure(
        code="server_busy", cause="HTTP 503.", action=Action.TRANSIENT, tool="yt-dlp", tool_version="1"
    )
    links = [link(n, State.FAILED, private) for n in range(37)]
    view = job(*links, link(37, State.FAILED, busy), link(38, State.DONE, None, segment(0, hard=1)))
    lines = summary_lines(view)
    assert lines[1:] == [
        "failed (video_private) 37 x, e.g. 0.mp4\n    (permanent) It is private.",
        "failed (server_busy): 37.mp4\n    (transient; yt-dlp 1) HTTP 503.",
        "1 failure may pass: the same command tries again.",
    ]
    assert summary_lines(view, retry=retry_command("job"))[-1] == (
        "1 failure may pass: hardpose retry job --reason server_busy"
    )
    assert retry_command("job", Path("my films")) == "hardpose retry job --home 'my films'"
    assert sum(line.startswith("failed (") for line in summary_lines(view, all_failures=True)) == 38
    answer = summary_json(view)
    assert len(answer["failures"]) == 38
    assert [(r["code"], r["count"], r["retry"]) for r in answer["failure_reasons"]] == [
        ("video_private", 37, False),
        ("server_busy", 1, True),
    ]


def test_a_list_that_was_read_is_no_success_by_itself() -> None:
    listing = link(0, State.DONE).model_copy(update={"listed": 1})
    assert exit_code(job(listing, link(1, State.FAILED, FAILURE))) == ExitCode.ALL_FAILED
    assert exit_code(job(listing, link(1, State.DONE))) == ExitCode.OK
