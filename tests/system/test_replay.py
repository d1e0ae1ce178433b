"""A replay on a real worker and a real broker: another device on 500 frames, without video or teacher.

First a device that reads the artifact store, then the same network with its pictures inside the messages.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ended import ended
from hardpose_process import command, environment, hardpose, wait_for
from kept_books import kept_books, red_device

from api.exit_codes import ExitCode
from broker.embedded import EmbeddedBroker
from broker.frame_views import FrameDetail, FrameFilter
from broker.messages import result_folder
from broker.priority import Priority
from broker.recipe import Recipe, Stage
from broker.settings import load_settings
from broker.views import JobView, State
from tasks.runtime import Runtime

pytestmark = pytest.mark.system
VIDEOS, FRAMES = 10, 50
KEPT = VIDEOS * FRAMES
BACKLOG, INLINE_BACKLOG = 20, 15
"""Fewer than a replay has segments: it must not flood the device's queue."""
PAGE = """
name = "red"
firmware = "2"
driver = "litert"
pixels = "inline"
threshold = 0.15
[network]
model = "{model}"
"""


@dataclass(frozen=True)
class Old:
    """A home with an earlier job, its videos deleted, and one worker that serves me and compare alone."""

    home: Path
    device: Path
    runtime: Runtime
    recipe: Recipe
    env: dict[str, str]

    def replay(self, device: Path, *more: str) -> dict[str, object]:
        options = ["--device", str(device), "--home", str(self.home), "--json", *more]
        done = hardpose("devices", "replay", *options, env=self.env)
        assert done.code == ExitCode.OK, done.stderr
        (replay,) = json.loads(done.stdout)["replays"]
        return dict(replay)

    def ended(self, job_id: object) -> JobView:
        wait_for(lambda: self.runtime.catalog.job_light(str(job_id)).final)
        return self.runtime.catalog.job_light(str(job_id))

    def frames(self, job_id: object) -> dict[tuple[str, int], FrameDetail]:
        asked = FrameFilter(jobs=(str(job_id),))
        return {(each.video_id, each.time_ms): each for each in self.runtime.catalog.frames.each(asked)}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    folder = tmp_path_factory.mktemp("replay")
    device, home = red_device(folder), folder / "state"
    settings = load_settings(home=home, device_model=str(device), device_threshold=0.5)
    recipe = kept_books(settings, VIDEOS, FRAMES)
    Runtime(settings).artifacts.delete_prefix("videos")
    with EmbeddedBroker(folder / "broker") as broker:
        env = {"HARDPOSE_BROKER_URL": broker.url, "HARDPOSE_DEVICE_MODEL": str(device)}
        env["HARDPOSE_REPAIRS"] = "false"  # on a busy machine: they would send anew what is about to be sent
        env |= {"HARDPOSE_DEVICE_BACKLOG": str(BACKLOG), "HARDPOSE_INLINE_BACKLOG": str(INLINE_BACKLOG)}
        line = command("worker", "me", "compare", "--home", home)
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment(env))
        with ended(worker):
            runtime = Runtime(load_settings(home=home, broker_url=broker.url, device_model=str(device)))
            yield Old(home, device, runtime, recipe, env)


def test_only_me_and_compare_run_and_every_frame_that_was_kept_is_judged(old: Old) -> None:
    sent = old.replay(old.device, "--device-threshold", "0.15")
    assert (sent["videos"], sent["segments"], sent["left_out"]) == (VIDEOS, KEPT // 10, {})
    assert sent["bases"] == [old.recipe.id]
    job = old.ended(sent["job_id"])
    assert (job.priority, {link.state for link in job.links}) == (Priority.LOW, {State.DONE})
    assert [link.link for link in job.links] == [f"https://videos.example/{n}.mp4" for n in range(VIDEOS)]
    counts = old.runtime.control.progress(job.id)
    assert counts == {Stage.POSE: 0, Stage.MASK: 0, Stage.ME: KEPT // 10, Stage.COMPARE: KEPT // 10}
    before, after = old.frames("earlier"), old.frames(job.id)
    assert len(after) == KEPT
    assert before.keys() == after.keys()
    for place, new in after.items():
        was = before[place].keeper
        assert (new.keeper.frame_key, new.keeper.mask_key) == (was.frame_key, was.mask_key)
        assert new.keeper.device_key != was.device_key
        assert new.iou is not None
    assert sum(new.iou != before[place].iou for place, new in after.items()) > KEPT // 2
    assert job.funnel().examined == KEPT + KEPT // 10  # the dropped frames are in it as they were
    seconds = {stage for link in job.links for segment in link.segments for stage in segment.seconds}
    assert seconds == {Stage.ME, Stage.COMPARE}, "what the teacher took is not taken twice"
    assert old.runtime.artifacts.keys("videos") == []


def test_inline_gives_the_same_and_what_is_not_kept_is_left_out_with_its_reason(old: Old) -> None:
    page = old.device.with_name("red.toml")
    page.write_text(PAGE.format(model=old.device))
    by_store = old.replay(old.device, "--device-threshold", "0.15")
    assert (by_store["segments"], by_store["done"]) == (0, VIDEOS), "the same again is the same job"
    store, video = old.runtime.artifacts, "https:clip3"
    results = sorted(store.keys(result_folder(old.recipe.stage_id(Stage.MASK), video)))
    assert len(results) == FRAMES // 10
    store.delete(results[1])  # seen before anything is sent
    masks = sorted(store.keys(f"masks/{old.recipe.stage_id(Stage.MASK)}/https-clip3"))
    assert len(masks) == FRAMES
    store.delete(masks[-1])  # seen by the worker
    sent = old.replay(page)
    assert sent["left_out"] == {"removed": 1}
    assert sent["segments"] == KEPT // 10 - 1
    job = old.ended(sent["job_id"])
    states = {link.video.id: link.state for link in job.links if link.video}
    assert states.pop(video) == State.PARTIAL
    assert set(states.values()) == {State.DONE}
    (link,) = [link for link in job.links if link.video and link.video.id == video]
    failed = {segment.index: segment.failure for segment in link.segments if segment.failure}
    assert {index: failure.code for index, failure in failed.items()} == {
        1: "masks_not_kept",
        4: "masks_not_kept",
    }
    assert job.recipe.device_model.route is not None
    assert job.recipe.device_model.route.pixels == "inline"
    found, wanted = old.frames(job.id), old.frames(by_store["job_id"])
    assert len(found) == KEPT - 20
    assert {place: each.iou for place, each in found.items()} == {place: wanted[place].iou for place in found}
    tried = hardpose("retry", job.id, "--home", old.home, env=old.env)  # the ordinary way: from the video
    assert tried.code == ExitCode.OK, tried.stderr
    assert old.runtime.control.lengths(["download"])[0] == {"download": 1}
