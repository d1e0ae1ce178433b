"""What a task says it is about: short, in one line, whatever strangers have written."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_books import a_plan, a_result, a_video

from broker.messages import Failure, SegmentResult, Verdict
from tasks.captions import failure_caption, link_caption, next_caption, result_caption, segment_caption
from tasks.readable import LinkFailed

SEGMENT = a_plan(a_video(title="A dance"), 3)[2]


def test_a_segment_says_which_stretch_of_what_it_is() -> None:
    assert segment_caption(SEGMENT) == "“A dance” 0:40–1:00 (3/3), job job"
    late = SEGMENT.model_copy(update={"start_ms": 3_661_500, "end_ms": 3_680_000})
    assert " 1:01:01.5–1:01:20 " in segment_caption(late)


def test_the_next_task_says_what_came_before() -> None:
    done = a_result(SEGMENT)
    assert result_caption(done) == "2 examined, 1 hard"
    kept = done.model_copy(update={"keepers": (done.keepers[0].model_copy(update={"verdict": None}),)})
    assert next_caption(kept) == "“A dance” 0:40–1:00 (3/3), job job: 2 examined, 1 kept"
    assert result_caption(SegmentResult(segment=SEGMENT)) == "0 examined, 0 kept"
    assert done.keepers[0].verdict == Verdict.HARD


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://u:pw@example.org/a.mp4?token=hunter2&x=1", "https://example.org/a.mp4?x=1"),  # what lets in
        (
            "https://www.youtube.com/watch?v=abc&si=who",
            "https://www.youtube.com/watch?v=abc",
        ),  # who shared it
        ("/home/someone/films/a.mp4", "a.mp4"),  # the folders of a machine
    ],
)
def test_a_link_is_shown_without_what_is_nobodys_business(link: str, shown: str) -> None:
    assert link_caption("1a2b", 2, link) == f"link 3 of job 1a2b: {shown}"


@given(title=st.text(max_size=500), link=st.text(max_size=2000), cause=st.text(max_size=2000))
def test_a_caption_is_one_printable_line_of_bounded_length(title: str, link: str, cause: str) -> None:
    segment = SEGMENT.model_copy(update={"video": a_video(title=title)})
    failure = Failure(code="gone", cause=cause, remedy="Try another.")
    shown = [segment_caption(segment), link_caption("j", 0, link), failure_caption(failure, link)]
    assert all(text.isprintable() and len(text) < 900 for text in shown)
    assert len(shown[0]) < 120


def test_a_failed_link_is_told_by_its_code_and_without_its_secret() -> None:
    link = "https://example.org/a.mp4?token=hunter2"
    failure = Failure(code="gone", cause=f"{link} is gone.", remedy="Look -> there.")
    told = LinkFailed.of(failure, link)
    assert repr(told) == "gone: https://example.org/a.mp4 is gone. -> Look -> there."
    assert (told.code, told.cause) == ("gone", "https://example.org/a.mp4 is gone.")
    again = pickle.loads(pickle.dumps(told))  # as between a worker and its pool
    assert (repr(again), again.code) == (repr(told), "gone")
