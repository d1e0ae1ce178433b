"""Which frames an export holds, where they go, and what it costs to choose."""

import cProfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dataset_jobs import RECIPE, keeper, video
from export_books import book, book_samples, open_books
from hypothesis import given
from hypothesis import strategies as st
from many_frames import fill

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.exports import ExportFormat, ExportSpec, Split
from broker.frame_views import Decision, FrameFilter, Review, ReviewDecision
from broker.messages import Verdict
from tasks.exports.choice import Choice, MixedRecipes, choose
from tasks.exports.picked import SPLITS, Arm
from tasks.exports.split import split_of

Books = tuple[Catalog, Artifacts]
HARD = FrameFilter(verdicts=(Verdict.HARD,))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    catalog, store = open_books(tmp_path)
    yield catalog, store
    catalog.dispose()


def chosen(catalog: Catalog, **spec: object) -> Choice:
    return choose(catalog.frames.each, catalog.exports.jobs_of, ExportSpec.model_validate(spec))


def names(choice: Choice, arm: Arm = Arm.HARD) -> list[str]:
    return [frame.name for frame in choice.frames if frame.arm == arm]


def test_the_hard_frames_are_chosen_in_order(books: Books) -> None:
    book_samples(*books, videos=3)
    choice = chosen(books[0])
    assert names(choice) == [f"youtube-v{n}_{t}" for n in range(3) for t in (1000, 2000, 3000)]
    assert choice.counts == {
        "train": 9, "val": 0, "test": 0, "control": 0, "left_out": 0, "without_mask": 0, "videos": 3,
    }  # fmt: skip
    below = {"verdicts": ("easy", "hard"), "below_iou": 0.15}
    found = chosen(books[0], frames=below).frames
    assert found
    assert all(frame.iou is not None and frame.iou < 0.15 for frame in found)


def test_rejected_frames_go_in_only_when_they_are_named(books: Books) -> None:
    catalog, _ = books
    book_samples(*books, videos=2)
    first, second = (frame.frame_id for frame in chosen(catalog).frames[:2])
    decisions = [
        ReviewDecision(id="decision-1", frame_id=first, decision=Decision.REJECT),
        ReviewDecision(id="decision-2", frame_id=second, decision=Decision.KEEP),
    ]
    catalog.reviews.decide("ann", decisions)
    assert [f.frame_id for f in chosen(catalog).frames].count(first) == 0
    assert len(chosen(catalog).frames) == 5
    rejected = chosen(catalog, frames={"verdicts": ("hard",), "reviews": (Review.REJECTED,)})
    assert [frame.frame_id for frame in rejected.frames] == [first]
    kept = chosen(catalog, frames={"verdicts": ("hard",), "reviews": (Review.KEPT,)})
    assert [(frame.frame_id, frame.review) for frame in kept.frames] == [(second, Review.KEPT)]


def test_repeats_are_left_out_over_all_videos_and_jobs(books: Books) -> None:
    catalog, store = books
    one = keeper(store, video("aaa"), 500, Verdict.HARD, 1)
    moved = tuple((x + 0.5, y, c) for x, y, c in one.keypoints)
    same = f"{int(one.phash, 16) ^ 0b111:016x}"
    again = keeper(store, video("bbb"), 700, Verdict.HARD, 2, keypoints=moved, phash=same)
    other = keeper(store, video("bbb"), 900, Verdict.HARD, 3, keypoints=moved)
    book(catalog, "job-1", {"aaa": [one]})
    book(catalog, "job-2", {"bbb": [again, other]})
    choice = chosen(catalog)
    assert (names(choice), choice.left_out) == (["youtube-aaa_500", "youtube-bbb_900"], 1)
    assert choice.jobs == ("job-1", "job-2")
    alone = chosen(catalog, frames={"verdicts": ("hard",), "jobs": ("job-2",)})
    assert (names(alone), alone.left_out) == (["youtube-bbb_700", "youtube-bbb_900"], 0)


def test_frames_of_different_models_are_refused_by_name(books: Books) -> None:
    catalog, store = books
    firmware = RECIPE.device_model.model_copy(update={"version": "2.0"})
    newer = RECIPE.model_copy(update={"device_model": firmware})
    book(catalog, "job-old", {"aaa": [keeper(store, video("aaa"), 500, Verdict.HARD, 1)]})
    book(catalog, "job-new", {"aaa": [keeper(store, video("aaa"), 500, Verdict.HARD, 1)]}, newer)
    with pytest.raises(MixedRecipes) as error:
        chosen(catalog)
    for word in ("job-old", "job-new", RECIPE.id, newer.id, "me 1.0", "me 2.0"):
        assert word in error.value.cause
    assert len(chosen(catalog, frames={"jobs": ("job-new",)}).frames) == 1


def test_a_frame_under_two_thresholds_is_there_once(books: Books) -> None:
    catalog, store = books
    stricter = RECIPE.model_copy(
        update={"comparison": RECIPE.comparison.model_copy(update={"iou_threshold": 0.7})}
    )
    for name, recipe in (("job-1", RECIPE), ("job-2", stricter)):
        book(catalog, name, {"aaa": [keeper(store, video("aaa"), 500, Verdict.HARD, 1)]}, recipe)
    choice = chosen(catalog)
    assert [frame.recipe_id for frame in choice.frames] == [min(RECIPE.id, stricter.id)]
    assert choice.left_out == 0


def test_frames_without_a_mask_are_in_tables_alone(books: Books) -> None:
    catalog, store = books
    none = {"mask_key": None, "device_key": None, "value": 0.0}
    book(catalog, "job", {"aaa": [keeper(store, video("aaa"), 500, Verdict.TEACHER_NONE, 1, **none)]})
    where = {"verdicts": ("teacher_none",)}
    pictures = chosen(catalog, frames=where)
    assert (len(pictures.frames), pictures.without_mask) == (0, 1)
    table = chosen(catalog, frames=where, format=ExportFormat.CSV)
    assert (len(table.frames), table.without_mask) == (1, 0)


def test_the_control_arm_is_drawn_from_the_others_and_stays_when_the_books_grow(books: Books) -> None:
    catalog, _ = books
    book_samples(*books, videos=8)
    choice = chosen(catalog, control=5, seed=3)
    drawn, asked = names(choice, Arm.CONTROL), names(choice)
    assert (len(drawn), len(asked)) == (5, 24)
    assert not set(drawn) & set(asked)
    assert all(f.verdict == Verdict.EASY for f in choice.frames if f.arm == Arm.CONTROL)
    assert names(chosen(catalog, control=5, seed=3), Arm.CONTROL) == drawn
    assert names(chosen(catalog, control=5, seed=4), Arm.CONTROL) != drawn
    assert set(drawn) < set(names(chosen(catalog, control=9, seed=3), Arm.CONTROL))
    every = chosen(catalog, control=500)
    assert every.counts["control"] == 16  # there are no more
    low = chosen(catalog, frames={"verdicts": ("hard",), "below_iou": 0.2}, control=30)
    assert Counter(f.verdict for f in low.frames if f.arm == Arm.CONTROL)[Verdict.HARD] > 0


shares = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any)


@given(
    st.lists(st.text("abcxyz019_-", min_size=1), unique=True, max_size=40), shares, st.integers(0, 2**31 - 1)
)
def test_no_video_moves_and_none_is_in_a_split_without_a_share(
    videos: list[str], parts: tuple[int, int, int], seed: int
) -> None:
    split = Split(**{name: part / sum(parts) for name, part in zip(SPLITS, parts, strict=True)})
    places = {name: split_of(f"youtube:{name}", split, seed) for name in videos}
    assert all(getattr(split, place) > 0 for place in places.values())
    # A video's place depends on no other: whatever is added, it stays.
    assert all(split_of(f"youtube:{name}", split, seed) == place for name, place in places.items())


def test_shares_are_met_over_many_videos() -> None:
    split = Split(train=0.8, val=0.1, test=0.1)
    counts = Counter(split_of(f"youtube:{n}", split, 0) for n in range(5000))
    assert [counts[name] / 5000 for name in SPLITS] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    moved = sum(split_of(f"youtube:{n}", split, 0) != split_of(f"youtube:{n}", split, 1) for n in range(5000))
    assert moved > 1000  # another seed deals anew


def test_a_video_is_in_one_split(books: Books) -> None:
    book_samples(*books, videos=8)
    choice = chosen(books[0], control=10, split={"train": 0.4, "val": 0.3, "test": 0.3})
    places = {(frame.video.id, frame.split) for frame in choice.frames}
    assert len(places) == 8
    assert len({split for _, split in places}) > 1


def test_two_thousand_frames_are_chosen_in_few_steps_and_little_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    fill(url, frames=2000, videos=50, jobs=1)
    catalog = Catalog(url)
    kept = {"verdicts": ("easy", "hard"), "below_iou": 0.9}
    tracemalloc.start()
    choice = chosen(catalog, frames=kept, control=50)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with cProfile.Profile() as profile:
        chosen(catalog, frames=kept, control=50)
    calls = sum(entry.callcount for entry in profile.getstats())
    catalog.dispose()
    assert len(choice.frames) + choice.left_out > 1400
    assert choice.counts["control"] == 50
    assert calls / 2000 < 1000  # 120; each frame with each other would be 2,000 and more
    assert held / len(choice.frames) < 3000  # bytes of a frame
    assert peak - held < 20_000_000  # what grows with no frame: the books' batches
