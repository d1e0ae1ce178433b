"""Deletion down to the artifact store: nothing of a video is left, whoever is killed or still at work."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples_of_books import RECIPE, a_plan, a_result, a_video

from broker.embedded import EmbeddedBroker
from broker.errors import NotFound, VideoForgotten
from broker.messages import Segment, stage_folders
from broker.recipe import CHAIN, Stage
from broker.settings import Settings, load_settings
from broker.voiding import CANCELLED, Voided
from tasks.erasing import allow_video, delete_job, finish_left, forget_video
from tasks.publish import publish
from tasks.runtime import Runtime
from tasks.voids import MessageVoid, check_start, unless_void

DIES = """
import os, signal, sys
from broker.artifacts import Artifacts
from broker.settings import load_settings
import tasks.erasing
from tasks.runtime import Runtime
deleted, delete = [], Artifacts.delete
def one(self, key):
    if deleted:
        os.kill(os.getpid(), signal.SIGKILL)
    deleted.append(key)
    delete(self, key)
Artifacts.delete = one
tasks.erasing.TURN_SECONDS = 1.0
tasks.erasing.forget_video(Runtime(load_settings(home=sys.argv[1])), "a.mp4", "ana")
"""
"""A process that is killed after the first of the files that it removes; its turn ends a second later."""


@pytest.fixture
def runtime(settings: Settings) -> Runtime:
    return Runtime(settings)


def worked(runtime: Runtime, job_id: str, *names: str) -> list[Segment]:
    """A job over videos of these names, each with a source and with pictures and results of all stages."""
    runtime.catalog.create_job(job_id, RECIPE, [f"{name}.mp4" for name in names])
    made = []
    for position, name in enumerate(names):
        video = a_video(name, source=f"{name}.mp4")
        runtime.artifacts.put(video.artifact, b"source")
        for segment in runtime.catalog.plan_video(job_id, position, video, a_plan(video, 2, job_id)):
            made.append(segment)
            leave_all(runtime, segment)
            runtime.catalog.settle_segment(a_result(segment))
    return made


def leave_all(runtime: Runtime, segment: Segment) -> None:
    """What all stages leave of a segment."""
    for stage in CHAIN:
        runtime.artifacts.put(segment.result_key(stage), b"{}")
        if stage != Stage.COMPARE:
            runtime.artifacts.put(segment.artifact_key(stage, segment.start_ms + 10, "jpg"), b"pixels")


def of(runtime: Runtime, name: str) -> list[str]:
    every = runtime.artifacts.keys()
    return [key for key in every if f"sha256-{name}/" in key or key == f"sources/{name}"]


def test_a_job_takes_only_its_own_files_with_it(runtime: Runtime) -> None:
    worked(runtime, "one", "a", "b")
    worked(runtime, "two", "b")
    kept = of(runtime, "b")
    assert len(of(runtime, "a")) == len(kept) == 15  # the source, and 7 of each of two segments
    erased = delete_job(runtime, "one")
    assert (erased.videos, erased.artifacts) == (1, 15)
    assert runtime.artifacts.keys() == kept
    with pytest.raises(NotFound):
        delete_job(runtime, "one")


def test_a_killed_forgetting_is_finished_by_the_next_call_or_start(runtime: Runtime) -> None:
    worked(runtime, "one", "a", "b")
    line = [sys.executable, "-c", DIES, str(runtime.settings.home)]
    died = subprocess.run(line, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(of(runtime, "a")) == 14  # the books have let go of it already
    assert runtime.catalog.known_video("sha256:a") is None
    erased = forget_video(runtime, "a.mp4", "ana")
    assert (erased.artifacts, of(runtime, "a")) == (14, [])
    assert not [path for path in runtime.settings.home.rglob("*") if path.name == "sha256-a"]
    assert len(of(runtime, "b")) == 15
    runtime.catalog.erasing.delete_job("one")  # and the process that was to remove the files has ended
    told = delete_job(runtime, "one")
    assert (told.jobs, told.artifacts, runtime.artifacts.keys()) == ((), 15, [])
    runtime.catalog.erasing.discard("sources/left")
    runtime.artifacts.put("sources/left", b"source")
    finish_left(runtime)
    assert runtime.artifacts.keys() == []


def test_forgetting_names_what_it_looked_for_and_finds_a_file_by_its_bytes(
    runtime: Runtime, tmp_path: Path
) -> None:
    worked(runtime, "one", "a")
    with pytest.raises(NotFound, match="youtube:abcdefghijk"):
        forget_video(runtime, "https://youtu.be/abcdefghijk", "ana")
    file = tmp_path / "renamed.mp4"
    file.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    worked(runtime, "two", empty)
    assert forget_video(runtime, str(file), "ana", "by mail").videos == 1
    assert of(runtime, empty) == [] and len(of(runtime, "a")) == 15
    with pytest.raises(VideoForgotten):
        runtime.catalog.erasing.check(f"sha256:{empty}")
    assert allow_video(runtime, str(file)) == [f"sha256:{empty}"]
    runtime.catalog.erasing.check(f"sha256:{empty}")


def test_a_data_set_written_later_holds_nothing_of_a_forgotten_video(
    runtime: Runtime, tmp_path: Path
) -> None:
    worked(runtime, "one", "a")
    forget_video(runtime, "sha256:a", "ana")
    published = publish(runtime.catalog.job("one"), runtime.artifacts, tmp_path / "out")
    assert published.images == 0
    assert not list(published.folder.rglob("*.jpg"))
    assert "sha256-a" not in (published.folder / "frames.csv").read_text()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def working(tmp_path: Path, broker: EmbeddedBroker) -> Runtime:
    return Runtime(load_settings(home=tmp_path / "state", broker_url=broker.url))


def test_a_stage_that_ends_after_the_forgetting_leaves_nothing(working: Runtime) -> None:
    first, second = worked(working, "one", "a")
    working.control.issue_tickets([first, second])
    check_start(working, first)
    with pytest.raises(MessageVoid, match="erased"), unless_void(working, first):
        forget_video(working, "sha256:a", "ana")
        assert working.artifacts.keys() == []
        leave_all(working, first)
        raise RuntimeError("the source is gone")
    assert working.artifacts.keys() == []
    leave_all(working, second)  # its process is killed here: the message comes again
    with pytest.raises(MessageVoid):
        check_start(working, second)
    assert working.artifacts.keys() == []


def test_a_stage_removes_no_more_than_its_stretch_of_the_erased_stages(working: Runtime) -> None:
    first, second = worked(working, "one", "a")
    before = working.artifacts.keys()
    working.control.void_tickets({first.key: Voided(erased=(Stage.MASK,)).on("9")})
    with pytest.raises(MessageVoid):
        check_start(working, first)
    (pictures, results) = stage_folders(Stage.MASK, RECIPE.stage_id(Stage.MASK), "sha256:a")
    gone = {first.result_key(Stage.MASK), first.artifact_key(Stage.MASK, 10, "jpg")}
    assert set(before) - set(working.artifacts.keys()) == gone
    assert {key.rpartition("/")[0] for key in gone} == {pictures, results}
    working.control.void_tickets({second.key: CANCELLED.on("9")})
    with pytest.raises(MessageVoid, match="cancelled"):
        check_start(working, second)
    assert set(before) - set(working.artifacts.keys()) == gone  # what is cancelled may go on one day
