"""`hardpose worker --gpu all`: a real process for each GPU, started again when it dies, ended together."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_cuda
import psutil
import pytest
from hardpose_process import hardpose, start
from make_video import write_video
from odd_models_package import install
from patience import until

from api.exit_codes import ExitCode
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.presence import Presence, WorkerCard
from broker.settings import load_settings
from workers.gpu import VISIBLE
from workers.gpu_host import GpuHost
from workers.gpu_slots import OUTSIDE_BYTES
from workers.supervisor import RESTARTS, Supervisor, WorkerDied

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


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
            "FAKE_CUDA_GONE": str(tmp_path / "gone"),
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(tmp_path / "state"),
            "HARDPOSE_POSE_MODEL": "slow",
        }


def cards(env: dict[str, str]) -> dict[str, WorkerCard]:
    """The workers of pose that have loaded their models, by name; of the dead none."""
    control = Control.of(load_settings(broker_url=env["HARDPOSE_BROKER_URL"]))
    alive = [card for card in Presence(control).alive(within=3600) if "pose" in card.queues]
    return {card.name.partition("@")[0]: card for card in alive if psutil.pid_exists(card.pid)}


def both(env: dict[str, str], besides: int = 0) -> Callable[[], dict[str, WorkerCard]]:
    """For ``until``: both cards, and none of the process ``besides``."""

    def found() -> dict[str, WorkerCard]:
        here = cards(env)
        return here if len(here) == 2 and besides not in {card.pid for card in here.values()} else {}

    return found


def test_a_process_for_each_gpu_whose_gpu_may_be_away_for_a_while_and_that_ends_with_its_segment(
    env: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        host = start("worker", "pose", "--gpu", "all", "--gpu-memory", "8GiB", env=env, output=output)
    downloads = start("worker", "download", env=env)
    try:
        first = until(both(env), "both workers")
        until(lambda: log.read_text().count(" ready.") == 2, "their word, which comes after their cards")
        assert {name: card.gpu[:12] for name, card in first.items()} == {
            "pose-gpu0": "GPU-00000000", "pose-gpu1": "GPU-00000001"
        }  # fmt: skip
        for card in first.values():
            own = psutil.Process(card.pid)
            assert own.cmdline()[-2:] == ["--gpu", card.gpu]
            assert own.environ()["HARDPOSE_GPU_MEMORY"] == str(8 * 1024**3)
            assert "HARDPOSE_REPAIRS" not in own.environ()  # nobody else here looks for lost messages
            assert len(own.children()) == 1
        left = psutil.Process(first["pose-gpu1"].pid).children()
        (tmp_path / "gone").write_text("1")
        os.kill(first["pose-gpu1"].pid, signal.SIGKILL)
        until(lambda: "again in 2 s" in log.read_text(), "the one that does not come up")
        (tmp_path / "gone").unlink()
        second = until(both(env, besides=first["pose-gpu1"].pid), "the one that died")
        until(lambda: log.read_text().count(" ready.") == 3, "its word")
        assert second["pose-gpu0"].pid == first["pose-gpu0"].pid  # the other went on
        assert not any(process.is_running() for process in left)
        sent = hardpose("enqueue", write_video(tmp_path / "ramp.mp4", range(0, 500, 100)), env=env)
        assert sent.code == ExitCode.OK, sent.stderr
        notes = Path(env["ODD_NOTES"])
        until(lambda: "slow" in notes.read_text(), "a segment at work")
        pools = {
            str(own.pid): card.gpu for card in second.values() for own in psutil.Process(card.pid).children()
        }
        host.terminate()
        host.wait(240)
    finally:
        downloads.terminate()
        downloads.communicate(timeout=120)
        if host.poll() is None:
            host.kill()
    assert host.returncode == ExitCode.OK, log.read_text()
    (note,) = set(notes.read_text().splitlines())  # one process alone had it, and finished it
    _, pid, visible, order = note.split()
    assert (visible, order) == (pools[pid], "PCI_BUS_ID")  # a pool's process sees the GPU of its worker
    control = Control.of(load_settings(broker_url=env["HARDPOSE_BROKER_URL"]))
    assert control.lengths(["pose", "mask"]) == ({"pose": 0, "mask": 1}, 0)
    assert not any(psutil.pid_exists(card.pid) for card in first.values())
    written = log.read_text()  # what the children write stands in the parent's output
    assert "worker pose-gpu1 ended with status -9" in written
    assert f"worker pose-gpu1 ended with status {ExitCode.ENVIRONMENT:d}" in written
    assert f"no_provider: The GPU {first['pose-gpu1'].gpu} was asked for, and this machine has 1" in written
    assert written.count(" ready.") == 3, written


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["pose", "download", "--gpu", "all"], ExitCode.USAGE, "The queue download has no use for a GPU"),
        (["pose", "--gpu", "0,4"], ExitCode.ENVIRONMENT, "this machine has 2 (numbers 0 to 1)"),
    ],
)
def test_what_is_refused_before_anything_starts(
    env: dict[str, str], line: list[str], code: ExitCode, words: str
) -> None:
    ended = hardpose("worker", *line, env=env, timeout=240)
    assert (ended.code, words in ended.stderr) == (code, True), ended.stderr


def program(host: GpuHost, name: str, text: str) -> None:
    host.supervisor.start_program([sys.executable, "-c", text], name)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuHost]:
    monkeypatch.setattr("workers.gpu_host.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("workers.gpu_host.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("workers.gpu_host.MOST_PAUSE_SECONDS", 0.02)
    supervisor = Supervisor(load_settings(home=tmp_path), logs_apart=False)
    yield GpuHost(supervisor)
    supervisor.stop(patience=0.2)


def test_one_that_dies_for_ever_does_not_end_the_others(
    host: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(host, "works", "import time; time.sleep(999)")
    program(host, "dies", "raise SystemExit(3)")
    works, dies = host.supervisor.workers

    def often() -> bool:
        host.mend()
        return dies.restarts > RESTARTS + 1

    until(often, "restarts")
    assert works.process.poll() is None
    monkeypatch.setattr("workers.gpu_host.MOST_PAUSE_SECONDS", 2.0)  # so that they are dead at the same time
    works.arguments[:] = dies.arguments
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
        ([signal.SIGTERM], "none", False),  # had not come so far as to heed it: nothing was at work
        ([signal.SIGTERM], "badly", True),
    ],
)
def test_the_end_is_told_to_each(
    host: GpuHost, tmp_path: Path, asked: list[int], handled: str, fails: bool
) -> None:
    flag = tmp_path / "up"
    text = f"import signal, sys, time, pathlib\nhandled = {json.dumps(handled)}\n"
    text += "ok = lambda *a: (time.sleep(0.1), sys.exit(0))\n"
    text += "if handled == '3': signal.signal(15, signal.SIG_IGN)\n"
    text += "if handled == 'badly': signal.signal(15, lambda *a: sys.exit(7))\n"
    text += "elif handled != 'none': signal.signal(int(handled), ok)\n"
    text += f"pathlib.Path({str(flag)!r}).touch()\ntime.sleep(999)"
    program(host, "one", text)
    until(flag.exists, "the program")
    worker = host.supervisor.workers[0]
    if fails:
        with pytest.raises(WorkerDied, match="one: status 7"):
            host.finish(asked)
    else:
        host.finish(asked)
        assert worker.process.returncode == (-signal.SIGTERM if handled == "none" else 0)


def test_an_end_in_the_middle_of_a_pause_is_in_order(host: GpuHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gpu_host.FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr("workers.gpu_host.MOST_PAUSE_SECONDS", 600.0)
    program(host, "works", "import time; time.sleep(999)")
    program(host, "dies", "raise SystemExit(3)")
    works, dies = host.supervisor.workers
    until(lambda: dies.process.poll() is not None, "its death")
    host.mend()
    host.finish([signal.SIGTERM])  # its death was told of when it died
    assert works.process.poll() is not None
    assert dies.restarts == 0


def test_its_children_end_with_a_parent_that_is_killed(env: dict[str, str]) -> None:
    host = start("worker", "pose", "--gpu", "0", "--slots", "2", env=env)
    try:
        found = until(both(env), "both workers")
        assert sorted(found) == ["pose-gpu0-1", "pose-gpu0-2"]
        for card in found.values():
            share = psutil.Process(card.pid).environ()["HARDPOSE_GPU_MEMORY"]
            assert int(share) == 12 * 1024**3 - OUTSIDE_BYTES
    finally:
        host.kill()
        host.wait(240)
    until(lambda: not any(psutil.pid_exists(card.pid) for card in found.values()), "their end")
