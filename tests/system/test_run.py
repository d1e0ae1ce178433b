"""``hardpose run`` as a user starts it: real processes, a real broker, real weights, real clips."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from hardpose_process import (
    PATIENCE_SECONDS,
    TOGETHER,
    environment,
    family,
    hardpose,
    only_job,
    outcome,
    start,
)
from make_video import write_steady
from pycocotools.coco import COCO

from api.exit_codes import ExitCode
from broker.embedded import EmbeddedBroker
from broker.messages import Verdict
from broker.settings import load_settings
from broker.views import State
from tasks.download import describe
from tasks.pipeline import run_plainly, segments_of
from tasks.runtime import Runtime
from workers.downloads.contracts import FetchLimits
from workers.downloads.local import fetch

pytestmark = pytest.mark.system

CLIPS = ("SinglePerson_cam04", "MultiPerson_cam01")
MOST_CPU_SECONDS = 8.0
"""Of the process itself until its first line; it is told before anything is fetched, loaded or started."""


@pytest.fixture(scope="module")
def plain(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """What the plain loop makes of the clips: the yardstick."""
    runtime = Runtime(load_settings(home=tmp_path_factory.mktemp("plain")))
    recipe = runtime.recipe()
    limits = FetchLimits()
    found: dict[str, list[object]] = {}
    for name in CLIPS:
        fetched = fetch(str(clips[name]), tmp_path_factory.mktemp("fetch"), limits)
        video = describe(runtime, fetched)
        runtime.artifacts.put_file(video.artifact, fetched.path)
        results = run_plainly(runtime, segments_of("plain", video, recipe))
        found[str(clips[name])] = [
            (r.segment.index, State.DONE, r.funnel(), r.drops, [k.model_dump() for k in r.keepers])
            for r in results
        ]
    return found


@pytest.mark.parametrize(
    "placement",
    [
        "pose | mask | me | compare",  # the default: every stage on a queue of its own
        "pose+mask | me | compare",  # one GPU big enough for both networks
        "pose+mask+me+compare",  # one process does it all, frames stay in its memory
    ],
)
def test_every_placement_gives_what_the_plain_loop_gives(
    placement: str, plain: dict[str, list[object]], clips: dict[str, Path], tmp_path: Path
) -> None:
    paths = [clips[name] for name in CLIPS]
    ended = hardpose("run", *paths, "--out", tmp_path, "--placement", placement, "--json")
    assert ended.code == ExitCode.OK, ended.stderr
    job = only_job(tmp_path / "state")
    assert outcome(job) == plain
    assert job.funnel().of(Verdict.EASY, Verdict.HARD) >= 2
    (summary,) = ended.events("finished")
    assert summary["funnel"] == job.funnel().check().model_dump(mode="json")


def test_the_data_set_opens_and_its_masks_are_the_teachers(clips: dict[str, Path], tmp_path: Path) -> None:
    # At a threshold of 1 every kept frame is hard, so the folder has something to look at.
    ended = hardpose(
        "run", clips["SinglePerson_cam03"], "--out", tmp_path, "--threshold", "1.0", env=TOGETHER
    )
    assert ended.code == ExitCode.OK, ended.stderr
    folder = tmp_path / "dataset"
    coco = COCO(str(folder / "annotations.json"))
    assert len(coco.imgs) >= 2
    for image in coco.imgs.values():
        stem = Path(image["file_name"]).stem
        mask = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
        (annotation,) = coco.imgToAnns[image["id"]]
        np.testing.assert_array_equal(coco.annToMask(annotation) * 255, mask)
        assert (folder / "device" / f"{stem}.png").exists()
    funnel = json.loads((folder / "funnel.json").read_text())
    assert funnel
    assert "<script" not in (folder / "report.html").read_text()


def test_a_job_that_keeps_nothing_says_why(clips: dict[str, Path], tmp_path: Path) -> None:
    ended = hardpose("run", clips["MultiPerson_cam01"], "--out", tmp_path, env=TOGETHER)
    assert ended.code == ExitCode.OK, ended.stderr
    assert "Nothing was kept, because:" in ended.stdout
    assert "more than one person" in ended.stdout


def test_the_first_line_comes_before_the_work(clips: dict[str, Path], tmp_path: Path) -> None:
    """Within five seconds on a machine at rest; on any, what is counted is the work that it does before."""
    began = time.monotonic()
    process = start("run", clips["MultiPerson_cam01"], "--out", tmp_path)
    main = psutil.Process(process.pid)
    assert process.stdout is not None
    assert process.stdout.readline()
    took, spent = time.monotonic() - began, main.cpu_times()
    assert spent.user + spent.system < MOST_CPU_SECONDS
    if os.environ.get("HARDPOSE_TEST_QUIET"):  # only with the machine to itself
        assert took < 5
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output


def test_a_given_broker_is_used_and_none_is_started(clips: dict[str, Path], tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "given") as broker:
        process = start(
            "run", clips["MultiPerson_cam01"], "--out", tmp_path, env={"HARDPOSE_BROKER_URL": broker.url}
        )
        names: set[str] = set()
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):  # one of them ends while it is looked at
                names |= {p.name() for p in family(process.pid)}
            time.sleep(0.2)
        assert process.returncode == ExitCode.OK, process.communicate()[0]
    assert any("python" in name for name in names)
    assert not any("valkey" in name for name in names)
    assert not (tmp_path / "state" / "broker").exists()


def test_wrong_usage_starts_nothing(clips: dict[str, Path], tmp_path: Path) -> None:
    ended = hardpose("run", clips["MultiPerson_cam01"], "--out", tmp_path, "--placement", "mask | pose")
    assert ended.code == ExitCode.USAGE
    assert "HARDPOSE_PLACEMENT" in ended.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "nosuchjob"], "There are no jobs in"),  # a folder in which nothing ever ran
        (["watch", "nosuchjob"], "There are no jobs in"),
        (["export", "nosuchjob"], "There are no jobs in"),
        (["run", "clip.mp4", "--device", "nothing.tflite"], "nothing.tflite is not a file"),
        (["worker", "poses"], "There is no queue"),
    ],
)
def test_a_mistake_is_named_and_leaves_nothing_behind(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hardpose(*arguments, env={"HARDPOSE_BROKER_URL": ""} if arguments[0] == "worker" else None)
    assert ended.code == ExitCode.USAGE, ended.stderr
    assert said in ended.stderr
    assert "  -> " in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_modules_of_the_folder_one_works_in_are_not_ours(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("api", "tasks", "workers", "broker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the user was run')\n")
    # As the installed command: its own folder, not the current one, comes first.
    program = [sys.executable, "-P", "-m", "api.cli", "run", str(clips["MultiPerson_cam01"]), "--out", "out"]
    done = subprocess.run(
        program, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == ExitCode.OK, done.stderr


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    clip = write_steady(tmp_path / "clip.mp4", 40, 20)
    first = hardpose("run", clip, "--out", tmp_path / "out", env=TOGETHER)
    write_steady(clip, 20, 20)
    second = hardpose("run", clip, "--out", tmp_path / "out", env=TOGETHER)
    assert "16 frames examined" in first.stdout
    assert "8 frames examined" in second.stdout
