"""Deleting and forgetting in the books: what goes, what stays, and what is still to go from the store."""

import hypothesis
import pytest
from hypothesis import strategies as st
from samples_of_books import RECIPE, a_plan, a_result, a_video

from broker.catalog import Catalog
from broker.errors import BeingErased, JobRunning, NotFound, VideoForgotten
from broker.exports import ExportSpec
from broker.frame_views import Decision, FrameFilter, ReviewDecision
from broker.messages import stage_folders
from broker.recipe import CHAIN, Comparison, Recipe, Stage
from broker.views import State
from broker.voiding import Voided

LOOSE = RECIPE.model_copy(update={"comparison": Comparison(iou_threshold=0.9)})
"""Shares all stages with RECIPE but the last."""


def worked(
    catalog: Catalog, job_id: str, *names: str, recipe: Recipe = RECIPE, done: bool = True, **changes: str
) -> None:
    """A job over videos of these names, each of one segment with one hard frame."""
    catalog.create_job(job_id, recipe, [f"{name}.mp4" for name in names])
    for position, name in enumerate(names):
        video = a_video(name, **{"source": f"{name}.mp4", **changes})
        catalog.start_link(job_id, position)
        todo = catalog.plan_video(job_id, position, video, a_plan(video, 1, job_id, recipe))
        for segment in todo if done else ():
            catalog.settle_segment(a_result(segment))


def places(catalog: Catalog) -> set[str]:
    return {erasure.place for erasure in catalog.erasing.pending()}


def emptied(catalog: Catalog) -> None:
    catalog.erasing.emptied([erasure.number for erasure in catalog.erasing.pending()])


def folders(name: str, recipe: Recipe, *stages: Stage) -> set[str]:
    found = (stage_folders(stage, recipe.stage_id(stage), f"sha256:{name}") for stage in stages)
    return {f"{folder}/" for group in found for folder in group}


def frames(catalog: Catalog) -> set[tuple[str, str]]:
    return {(frame.video_id, frame.recipe_id) for frame in catalog.frames.page(FrameFilter()).items}


def reviewed(catalog: Catalog, number: str) -> None:
    (frame, *_) = catalog.frames.page(FrameFilter()).items
    catalog.reviews.decide(
        "ana", [ReviewDecision(id=f"decision-{number}", frame_id=frame.id, decision=Decision.KEEP)]
    )


def exported(catalog: Catalog, *names: str) -> str:
    view = catalog.exports.create(ExportSpec(), "ana")
    assert catalog.exports.start(view.id)
    ids = [f"sha256:{name}" for name in names]
    assert catalog.exports.finish(view.id, f"exports/{view.id}.zip", 9, "0" * 64, {}, ids)
    return view.id


def test_a_job_goes_with_what_only_it_has(catalog: Catalog) -> None:
    worked(catalog, "one", "a", "b")
    worked(catalog, "two", "b")
    reviewed(catalog, "1")
    with_a, without = exported(catalog, "a", "b"), exported(catalog, "b")
    gone = catalog.erasing.delete_job("one")
    counts = gone.counts
    assert (counts.videos, counts.segments, counts.frames, counts.reviews) == (1, 1, 1, 1)
    assert (counts.exports, counts.jobs) == ((with_a,), ("one",))
    assert places(catalog) == {"sources/a", f"exports/{with_a}.zip"} | folders("a", RECIPE, *CHAIN)
    assert [job.id for job in catalog.jobs()] == ["two"]
    assert frames(catalog) == {("sha256:b", RECIPE.id)}
    assert catalog.exports.get(without).artifact == f"exports/{without}.zip"
    assert {Voided.parse(ticket) for ticket in gone.tickets.values()} == {Voided(erased=CHAIN)}
    with pytest.raises(NotFound):
        catalog.erasing.delete_job("one")


def test_stages_that_another_recipe_shares_stay_and_so_do_same_bytes(catalog: Catalog) -> None:
    worked(catalog, "one", "a")
    worked(catalog, "loose", "a", recipe=LOOSE)
    gone = catalog.erasing.delete_job("one")
    assert (gone.counts.videos, gone.counts.frames) == (0, 1)
    assert places(catalog) == folders("a", RECIPE, Stage.COMPARE)
    assert {Voided.parse(ticket) for ticket in gone.tickets.values()} == {Voided(erased=(Stage.COMPARE,))}
    emptied(catalog)
    worked(catalog, "copy", "c", artifact="sources/a")
    gone = catalog.erasing.delete_job("loose")
    assert places(catalog) == folders("a", LOOSE, *CHAIN)
    assert gone.counts.kept == ("The source of sha256:a: sha256:c is the same file.",)


def test_a_running_job_is_not_deleted(catalog: Catalog) -> None:
    worked(catalog, "one", "a", done=False)
    with pytest.raises(JobRunning, match="1 of its links are open") as refused:
        catalog.erasing.delete_job("one")
    assert "hardpose cancel one" in refused.value.remedy
    catalog.cancel_job("one")
    assert catalog.erasing.delete_job("one").counts.segments == 1


def test_nothing_is_planned_while_its_remains_are_removed(catalog: Catalog) -> None:
    worked(catalog, "one", "a")
    catalog.erasing.delete_job("one")
    with pytest.raises(BeingErased):
        worked(catalog, "two", "a")
    emptied(catalog)
    worked(catalog, "two", "a")
    assert frames(catalog) == {("sha256:a", RECIPE.id)}


def test_a_forgotten_video_goes_from_all_jobs_and_does_not_come_back(catalog: Catalog) -> None:
    worked(catalog, "one", "a", "b")
    worked(catalog, "loose", "a", recipe=LOOSE)
    worked(catalog, "same", "youtubes", artifact="sources/a", sha256="f" * 64)
    reviewed(catalog, "1")
    export = exported(catalog, "a")
    assert catalog.erasing.find(["a.mp4"]) == ["sha256:a"]
    assert catalog.claim("sha256:a", "late:0:ticket", 60)
    catalog.create_job("late", RECIPE, ["somewhere"])
    gone = catalog.erasing.forget(["sha256:a"], "ana", "asked by mail").counts
    assert (gone.videos, gone.segments, gone.frames, gone.reviews) == (2, 3, 3, 1)
    assert (gone.exports, gone.jobs) == ((export,), ("late", "loose", "one", "same"))
    assert {"sources/a"} | folders("a", RECIPE, *CHAIN) | folders("a", LOOSE, *CHAIN) <= places(catalog)
    assert frames(catalog) == {("sha256:b", RECIPE.id)}
    assert catalog.claimed("sha256:a") is None
    codes = {
        job.id: [link.failure.code if link.failure else "" for link in job.links] for job in catalog.jobs()
    }
    assert codes == {
        "one": ["forgotten", ""], "loose": ["forgotten"], "same": ["forgotten"], "late": ["forgotten"],
    }  # fmt: skip
    emptied(catalog)
    with pytest.raises(VideoForgotten, match="sha256:a"):
        worked(catalog, "new", "a")
    with pytest.raises(VideoForgotten):  # the same bytes by another name
        worked(catalog, "newer", "other", sha256="f" * 64)
    catalog.create_job("one", RECIPE, ["a.mp4", "b.mp4"])  # not even looked at again
    assert catalog.job_light("one").links[0].state == State.FAILED
    assert catalog.retry() == {}
    assert catalog.erasing.allow(["sha256:a"]) == ["sha256:a", f"sha256:{'f' * 64}", "sha256:youtubes"]
    assert catalog.retry(["forgotten"], "one") == {"one": [0]}
    worked(catalog, "newest", "a")
    with pytest.raises(NotFound):
        catalog.erasing.allow(["sha256:a"])


def test_a_source_that_was_stored_and_not_booked_is_condemned(catalog: Catalog) -> None:
    worked(catalog, "one", "a")
    catalog.erasing.discard("sources/a")
    assert places(catalog) == set()
    catalog.erasing.discard("sources/nobody's")
    assert places(catalog) == {"sources/nobody's"}


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
JOBS = st.lists(st.tuples(NAMES, st.sampled_from([RECIPE, LOOSE])), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog(f"sqlite:///{tmp_path_factory.mktemp('law') / 'catalog.sqlite'}")
    catalog.migrate()
    return catalog


@hypothesis.given(jobs=JOBS, data=st.data())
@hypothesis.settings(max_examples=10)
def test_law_of_deletion(jobs: list[tuple[list[str], Recipe]], data: st.DataObject, lawful: Catalog) -> None:
    """In whatever order jobs go, the books and the store hold what the others refer to, and nothing else."""
    catalog = lawful  # every example leaves it empty
    stored: set[str] = set()
    for number, (names, recipe) in enumerate(jobs):
        worked(catalog, f"job{number}", *names, recipe=recipe)
        stored |= held(names, recipe)
    left = dict(enumerate(jobs))
    for number in data.draw(st.permutations(sorted(left))):
        del left[number]
        catalog.erasing.delete_job(f"job{number}")
        stored -= places(catalog)
        emptied(catalog)
        analyses = {(f"sha256:{name}", recipe.id) for names, recipe in left.values() for name in names}
        assert frames(catalog) == analyses
        assert stored == set().union(*(held(*job) for job in left.values()))
        known = {name for name in "abc" if catalog.known_video(f"sha256:{name}")}
        assert known == {name for names, _ in left.values() for name in names}


def held(names: list[str], recipe: Recipe) -> set[str]:
    """The places of the store that a job refers to."""
    return {f"sources/{name}" for name in names}.union(*(folders(name, recipe, *CHAIN) for name in names))
