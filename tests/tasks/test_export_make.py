"""What an export's file becomes when the order ends otherwise while the file is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_jobs import RECIPE
from export_books import book, book_samples, open_books

from broker.artifacts import Artifacts
from broker.errors import ArtifactMissing
from broker.export_books import FramesRemoved
from broker.exports import ExportFormat, ExportSpec
from broker.frame_views import FrameFilter
from broker.messages import Verdict
from broker.recipe import Comparison
from broker.settings import load_settings
from broker.views import State
from tasks.erasing import delete_job, forget_video
from tasks.exports.make import export_key, make_export
from tasks.runtime import Runtime


class Interrupted(Artifacts):
    """A store in which something else happens just before a file is put, once."""

    meanwhile: Callable[[], object] | None = None

    def put_file(self, key: str, path: Path) -> None:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        super().put_file(key, path)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A job of two videos, and a store as above."""
    catalog, store = open_books(tmp_path)
    book_samples(catalog, store, videos=2)
    catalog.dispose()
    runtime = Runtime(load_settings(home=tmp_path, temp_dir=tmp_path / "tmp"))
    runtime.artifacts = Interrupted(runtime.settings.artifacts)
    return runtime


def order(runtime: Runtime, meanwhile: Callable[[str], object]) -> str:
    made = runtime.catalog.exports.create(ExportSpec(format=ExportFormat.FOLDERS), "ann").id
    runtime.artifacts.meanwhile = lambda: meanwhile(made)  # type: ignore[attr-defined]
    return made


def test_another_worker_is_done_first(runtime: Runtime) -> None:
    told: list[object] = []
    made = order(runtime, lambda name: told.append(make_export(runtime, name)))
    assert make_export(runtime, made) is None
    assert told[0] is not None
    view = runtime.catalog.exports.get(made)
    assert (view.state, view.artifact) == (State.DONE, export_key(made))
    assert len(runtime.artifacts.get(export_key(made))) == view.size_bytes
    assert not list((runtime.settings.temp_dir).iterdir())


def test_the_order_is_deleted(runtime: Runtime) -> None:
    made = order(runtime, lambda name: runtime.catalog.exports.delete(name))
    assert make_export(runtime, made) is None
    assert not runtime.artifacts.exists(export_key(made))


def test_a_video_is_forgotten(runtime: Runtime) -> None:
    made = order(runtime, lambda _: forget_video(runtime, "youtube:v1", "ann", "asked"))
    with pytest.raises(FramesRemoved):
        make_export(runtime, made)
    assert not runtime.artifacts.exists(export_key(made))
    again = order(runtime, lambda _: None)
    counts = make_export(runtime, again)
    assert counts is not None
    assert (counts["train"], counts["videos"]) == (3, 1)
    view = runtime.catalog.exports.get(again)
    forget_video(runtime, "youtube:v0", "ann", "asked")
    assert view.artifact is not None
    assert not runtime.artifacts.exists(view.artifact)
    assert runtime.catalog.exports.page(10).total == 1  # the first, which has no file


def test_a_job_is_deleted_whose_video_another_job_has_too(runtime: Runtime) -> None:
    looser = RECIPE.model_copy(update={"comparison": Comparison(iou_threshold=0.7)})
    book(runtime.catalog, "stays", {"v1": ()}, recipe=looser)
    only = FrameFilter(jobs=("job-1",), videos=("youtube:v1",), verdicts=(Verdict.HARD,))
    spec = ExportSpec(format=ExportFormat.FOLDERS, frames=only)
    made = runtime.catalog.exports.create(spec, "ann").id
    runtime.artifacts.meanwhile = lambda: delete_job(runtime, "job-1")  # type: ignore[attr-defined]
    with pytest.raises(FramesRemoved, match=r"youtube:v1 of a job that was deleted"):
        make_export(runtime, made)
    assert runtime.catalog.known_video("youtube:v1") is not None
    assert not runtime.artifacts.exists(export_key(made))


def test_a_picture_that_is_gone_is_no_reason_to_throw_all_books_away(runtime: Runtime) -> None:
    stored = runtime.artifacts.keys()
    runtime.artifacts.delete(next(key for key in stored if key.endswith(".png")))
    made = runtime.catalog.exports.create(ExportSpec(format=ExportFormat.FOLDERS), "ann").id
    with pytest.raises(ArtifactMissing, match=r"frame at \d+ ms of youtube:v\d") as error:
        make_export(runtime, made)
    assert "Reject the frame in the review" in error.value.remedy
    assert "home folder" not in error.value.remedy
