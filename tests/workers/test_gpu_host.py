"""`hardpose worker --gpu all`: a real process for each GPU, started again when it dies, ended together."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_cuda
import psutil
import pytest
from hardpose_process import hardpose, start
from make_video import write_video
from odd_models_package import install

from api.exit_codes import ExitCode
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.presence import Presence, WorkerCard
from broker.settings import load_settings
from workers.gpu import VISIBLE
from workers.gpu_host import GpuHost
from workers.supervisor import RESTARTS, Supervisor, WorkerDied

pytestmark = pytest.mark.system


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A machine of two GPUs of 24 GiB, a broker, and a pose model that may compute anywhere."""
    if not sys.platform.startswith("linux") or not fake_cuda.can_build():
        pytest.skip("the stand-in for the CUDA driver needs Linux and gcc")
    monkeypatch.delenv(VISIBLE, raising=False)
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield {
            **install(tmp_path / "stranger"),
            "LD_LIBRARY_PATH": fake_cuda.build(tmp_path / "cuda"),
            "FAKE_CUDA_GPUS": "2",
            "FAKE_CUDA_GIB": "24",
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(tmp_path / "state"),
            "HARDPOSE_POSE_MODEL": "slow",
        }


def until(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.2)


def cards(env: dict[str, str]) -> dict[str, WorkerCard]:
    """The workers that have loaded their models, by name."""
    control = Control.of(load_settings(broker_url=env["HARDPOSE_BROKER_URL"]))
    return {card.name.partition("@")[0]: card for card in Presence(control).alive()}


def test_a_process_for_each_gpu_that_is_started_again_and_ends_with_its_segment(
    env: dict[str, str], tmp_path: Path
) -> None:
    host = start("worker", "pose", "--gpu", "all", "--gpu-memory", "8GiB", env=env)
    try:
        until(lambda: len(cards(env)) == 2, "both workers")
        first = cards(env)
        assert {name: card.gpu[:12] for name, card in first.items()} == {
            "pose-gpu0": "GPU-00000000", "pose-gpu1": "GPU-00000001"
        }  # fmt: skip
        for card in first.values():
            own = psutil.Process(card.pid)
            assert own.cmdline()[-2:] == ["--gpu", card.gpu]
            assert own.environ()["HARDPOSE_GPU_MEMORY"] == str(8 * 1024**3)
            assert len(own.children()) == 1
        left = psutil.Process(first["pose-gpu1"].pid).children()
        os.kill(first["pose-gpu1"].pid, signal.SIGKILL)
        until(lambda: cards(env)["pose-gpu1"].pid != first["pose-gpu1"].pid, "the one that died")
        assert cards(env)["pose-gpu0"].pid == first["pose-gpu0"].pid  # the other went on
        assert not any(process.is_running() for process in left)
        downloads = start("worker", "download", env=env)
        try:
            sent = hardpose("enqueue", write_video(tmp_path / "ramp.mp4", range(0, 500, 100)), env=env)
            assert sent.code == ExitCode.OK, sent.stderr
            notes = Path(env["ODD_NOTES"])
            until(lambda: "slow" in notes.read_text(), "a segment at work")
            host.terminate()
            log, _ = host.communicate(timeout=60)
        finally:
            downloads.terminate()
            downloads.communicate(timeout=60)
    finally:
        if host.poll() is None:
            host.kill()
    assert host.returncode == ExitCode.OK, log
    assert len(set(notes.read_text().splitlines())) == 1  # one process alone had it, and finished it
    control = Control.of(load_settings(broker_url=env["HARDPOSE_BROKER_URL"]))
    assert control.lengths(["pose", "mask"]) == ({"pose": 0, "mask": 1}, 0)
    assert not any(psutil.pid_exists(card.pid) for card in first.values())
    assert "worker pose-gpu1 ended with status -9" in log
    assert log.count(" ready.") == 3, log  # what the children write stands in the parent's output


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["pose", "download", "--gpu", "all"], ExitCode.USAGE, "The queue download has no use for a GPU"),
        (["compare", "--gpu", "0,1"], ExitCode.USAGE, "The queue compare has no use for a GPU"),
        (["pose", "--gpu", "0,4"], ExitCode.ENVIRONMENT, "this machine has 2 (numbers 0 to 1)"),
        (["pose", "--slots", "2"], ExitCode.USAGE, "Name it with --gpu"),
    ],
)
def test_what_is_refused_before_anything_starts(
    env: dict[str, str], line: list[str], code: ExitCode, words: str
) -> None:
    ended = hardpose("worker", *line, env=env, timeout=120)
    assert (ended.code, words in ended.stderr) == (code, True), ended.stderr


def program(host: GpuHost, name: str, text: str) -> None:
    host.supervisor.start_program([sys.executable, "-c", text], name)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuHost]:
    monkeypatch.setattr("workers.gpu_host.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("workers.gpu_host.MOST_PAUSE_SECONDS", 0.02)
    supervisor = Supervisor(load_settings(home=tmp_path), logs_apart=False)
    yield GpuHost(supervisor)
    supervisor.stop(patience=0.2)


def test_one_that_dies_for_ever_does_not_end_the_others(host: GpuHost) -> None:
    program(host, "works", "import time; time.sleep(99)")
    program(host, "dies", "raise SystemExit(3)")
    works, dies = host.supervisor.workers

    def often() -> bool:
        host.mend()
        return dies.restarts > RESTARTS + 1

    until(often, "restarts")
    assert works.process.poll() is None
    works.process.kill()
    works.restarts = RESTARTS
    with pytest.raises(WorkerDied, match="All 2 workers"):
        until(lambda: host.mend(), "the end")


@pytest.mark.parametrize(
    ("asked", "handled", "fails"),
    [
        ([signal.SIGTERM], "15", False),  # finishes in its time
        ([signal.SIGTERM, signal.SIGTERM], "3", False),  # insisted: gives back at once
        ([signal.SIGQUIT], "3", False),
        ([signal.SIGTERM], "none", True),  # ended by the signal itself: not in order, and the status says so
    ],
)
def test_the_end_is_told_to_each(
    host: GpuHost, tmp_path: Path, asked: list[int], handled: str, fails: bool
) -> None:
    flag = tmp_path / "up"
    text = f"import signal, sys, time, pathlib\nhandled = {json.dumps(handled)}\n"
    text += "ok = lambda *a: (time.sleep(0.5), sys.exit(0))\n"
    text += "if handled == '3': signal.signal(15, signal.SIG_IGN)\n"
    text += "if handled != 'none': signal.signal(int(handled), ok)\n"
    text += f"pathlib.Path({str(flag)!r}).touch()\ntime.sleep(99)"
    program(host, "one", text)
    until(flag.exists, "the program")
    worker = host.supervisor.workers[0]
    if fails:
        with pytest.raises(WorkerDied, match="one: status -15"):
            host.finish(asked)
    else:
        host.finish(asked)
        assert worker.process.returncode == 0


def test_its_children_end_with_a_parent_that_is_killed(env: dict[str, str]) -> None:
    host = start("worker", "pose", "--gpu", "0", "--slots", "2", env=env)
    try:
        until(lambda: len(cards(env)) == 2, "both workers")
        found = cards(env)
        assert sorted(found) == ["pose-gpu0-1", "pose-gpu0-2"]
    finally:
        host.kill()
        host.wait(30)
    gone = [psutil.Process(card.pid) for card in found.values() if psutil.pid_exists(card.pid)]
    assert psutil.wait_procs(gone, timeout=60)[1] == []
