"""Exports that are ordered: a real worker of the export queue on a real broker, killed too."""

import hashlib
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from celery import Celery
from hardpose_process import PATIENCE_SECONDS, gone, hardpose, start, wait_for
from many_frames import fill
from sqlalchemy import insert

from api.exit_codes import ExitCode
from broker.app import create_app
from broker.artifacts import Artifacts
from broker.embedded import EmbeddedBroker
from broker.exports import ExportFormat, ExportSpec, ExportView
from broker.frame_views import FrameFilter
from broker.messages import Verdict
from broker.settings import load_settings
from broker.tables import ForgottenRow
from broker.views import State
from tasks.exports.order import send_export, send_open_exports
from tasks.runtime import Runtime

pytestmark = pytest.mark.system

OF_ONE = FrameFilter(jobs=("job-00",), verdicts=(Verdict.HARD,))
COCO = ExportSpec(format=ExportFormat.COCO, frames=OF_ONE, control=20)


@dataclass(frozen=True)
class Queue:
    """A home folder with a catalog, its broker, and a worker that serves exports."""

    home: Path
    runtime: Runtime
    app: Celery
    worker: "subprocess.Popen[str]"

    def order(self, spec: ExportSpec, times: int = 1) -> str:
        order = self.runtime.catalog.exports.create(spec, "ann").id
        for _ in range(times):
            send_export(self.app, self.runtime, order)
        return order

    def ended(self, order: str) -> ExportView:
        return self.until(order, lambda view: view.state.final)

    def until(self, order: str, told: Callable[[ExportView], bool]) -> ExportView:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not told(view := self.runtime.catalog.exports.get(order)):
            assert time.monotonic() < deadline, view
            time.sleep(0.02)
        return view


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """600 frames of 12 videos, and nothing ordered yet."""
    home = tmp_path_factory.mktemp("home")
    fill(
        f"sqlite:///{home / 'catalog.sqlite'}",
        frames=600,
        videos=12,
        jobs=1,
        artifacts=Artifacts((home / "artifacts").as_uri()),
    )
    with EmbeddedBroker(home / "broker") as broker:
        given = {
            "HARDPOSE_HOME": str(home),
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_TEMP_DIR": str(home / "tmp"),
        }
        worker = start("worker", "export", env=given)
        settings = load_settings(home=home, broker_url=broker.url)
        with create_app(settings) as app:
            yield Queue(home, Runtime(settings), app, worker)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def first(queue: Queue) -> ExportView:
    """An export whose order was sent three times."""
    return queue.ended(queue.order(COCO, times=3))


def test_an_order_is_made_once_and_its_file_is_whole(queue: Queue, first: ExportView, tmp_path: Path) -> None:
    assert first.state == State.DONE
    assert first.counts["control"] == 20 < first.counts["train"]
    assert first.artifact is not None
    data = queue.runtime.artifacts.get(first.artifact)
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (first.sha256, first.size_bytes)
    file = tmp_path / "export.zip"
    file.write_bytes(data)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {"README.md", "export.json", "frames.csv", "SHA256SUMS"} < set(names)
        assert sum(name.endswith(".jpg") for name in names) == first.counts["train"]
        pictures = [i for i in archive.infolist() if i.filename.endswith(".jpg")]
        assert {i.compress_type for i in pictures} == {zipfile.ZIP_STORED}
        assert {i.date_time[0] for i in archive.infolist()} == {1980}
        archive.extractall(tmp_path / "zip")
    # The folder of the command line holds the same bytes.
    done = hardpose(
        "export", "job-00", "--format", "coco", "--control", "20", "--home", queue.home, "--out", tmp_path
    )
    assert done.code == ExitCode.OK, done.stderr
    assert "control arm: 20 of these" in done.stdout
    for name in ("SHA256SUMS", "annotations/instances_train.json"):
        assert (tmp_path / "coco" / name).read_bytes() == (tmp_path / "zip" / name).read_bytes()


@contextmanager
def unreadable(queue: Queue) -> Iterator[None]:
    """Whoever reads a frame's picture waits for it meanwhile: no export ends."""
    pictures = [path for path in (queue.home / "artifacts" / "frames").rglob("*") if path.is_file()]
    assert pictures
    for path in pictures:
        path.rename(aside(path))
        os.mkfifo(path)
    try:
        yield
    finally:
        for path in pictures:
            aside(path).replace(path)


def aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.aside")


def test_a_worker_that_is_killed_over_an_export_makes_it_again(queue: Queue, first: ExportView) -> None:
    with unreadable(queue):
        order = queue.order(COCO)
        queue.until(order, lambda view: view.state == State.RUNNING)
        main = psutil.Process(queue.worker.pid)
        (child,) = main.children()
        main.suspend()  # until its next process can read them
        child.kill()
        wait_for(lambda: gone([child]))
    main.resume()
    done = queue.ended(order)
    assert done.state == State.DONE
    assert (done.sha256, done.size_bytes, done.counts) == (first.sha256, first.size_bytes, first.counts)
    left = [path for path in (queue.home / "tmp").iterdir() if "export" in path.name]
    assert len(left) <= 1  # of the killed process; it goes when it is a day old


def test_what_fails_is_recorded_with_its_remedy(queue: Queue) -> None:
    unknown = OF_ONE.model_copy(update={"jobs": ("none",)})
    missing = queue.ended(queue.order(ExportSpec(format=ExportFormat.DATASET, frames=unknown)))
    assert missing.failure is not None
    assert (missing.state, missing.failure.code, missing.artifact) == (State.FAILED, "not_found", None)
    assert missing.failure.remedy
    assert send_open_exports(queue.app, queue.runtime) == 0  # nothing is left open


def test_an_export_of_a_video_that_is_forgotten_meanwhile_leaves_no_file(queue: Queue) -> None:
    books = queue.runtime.catalog
    order = books.exports.create(ExportSpec(format=ExportFormat.CSV, frames=OF_ONE), "ann").id
    gone = next(books.frames.each(OF_ONE)).video_id
    row = {"video_id": gone, "at": "now", "by": "ann", "reason": "asked", "together": "one"}
    books._database.write(lambda connection: connection.execute(insert(ForgottenRow).values(row)))
    assert send_open_exports(queue.app, queue.runtime) == 1
    failed = queue.ended(order)
    assert failed.failure is not None
    assert (failed.state, failed.failure.code) == (State.FAILED, "frames_removed")
    assert not [key for key in queue.runtime.artifacts.keys("exports") if order in key]
