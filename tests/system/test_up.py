"""The system that stays up: enqueue from another terminal, watch, export, Flower behind a password."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from free_ports import free_port
from hardpose_process import PATIENCE_SECONDS, api_of, family, gone, hardpose, start, wait_for

from api.exit_codes import ExitCode

pytestmark = pytest.mark.system


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", Path, int]]:
    home, port = tmp_path / "state", free_port()
    process = start("up", "--home", home, "--flower-port", str(port))
    assert process.stdout is not None
    assert any("is up" in line for line in process.stdout)
    yield process, home, port
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)


def test_a_job_from_another_terminal(
    up: tuple["subprocess.Popen[str]", Path, int], clips: dict[str, Path], tmp_path: Path
) -> None:
    process, home, port = up
    sent = hardpose("enqueue", clips["MultiPerson_cam01"], tmp_path / "missing.mp4", "--home", home)
    assert sent.code == ExitCode.OK, sent.stderr
    job_id = sent.stdout.strip()
    watched = hardpose("watch", job_id, "--home", home)
    assert watched.code == ExitCode.SOME_FAILED, watched.stderr
    assert "videos 2/2 (1 failed)" in watched.stderr
    status = hardpose("status", job_id, "--home", home, "--json")
    answer = json.loads(status.stdout)
    assert [failure["code"] for failure in answer["failures"]] == ["file_missing"]
    assert answer["funnel"]["examined"] == 14
    exported = hardpose("export", job_id, "--home", home, "--out", tmp_path / "export")
    assert exported.code == ExitCode.OK, exported.stderr
    assert (tmp_path / "export" / "dataset" / "report.html").exists()

    api = api_of(home)
    shown = httpx.get(f"{api}/jobs/{job_id}", timeout=120).json()
    assert (shown["links"], shown["funnel"]["examined"]) == ({"done": 1, "failed": 1}, 14)
    wait_for(lambda: httpx.get(f"{api}/readyz", timeout=120).json()["ready"])

    password = (home / "flower" / "password").read_text()
    url = f"http://127.0.0.1:{port}/api/workers"
    wait_for(lambda: answers(url))
    assert httpx.get(url, timeout=120).status_code == 401
    assert httpx.get(url, auth=("hardpose", "wrong"), timeout=120).status_code == 401
    assert httpx.get(url, auth=("hardpose", password), timeout=120).status_code == 200
    command_lines = " ".join(" ".join(p.cmdline()) for p in family(process.pid))
    assert password not in command_lines
    assert "redis://" not in command_lines

    started = family(process.pid)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK
    wait_for(lambda: gone(started))


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=120).status_code > 0
    except httpx.TransportError:
        return False


def test_without_a_running_system_enqueue_says_what_to_do(tmp_path: Path, clips: dict[str, Path]) -> None:
    ended = hardpose("enqueue", clips["MultiPerson_cam01"], "--home", tmp_path / "nothing")
    assert ended.code == ExitCode.ENVIRONMENT
    assert "hardpose up" in ended.stderr


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = hardpose("up", "--home", tmp_path / "state", "--flower-port", str(port))
    assert ended.code == ExitCode.USAGE
    assert f"port {port} is taken" in ended.stderr
    assert not (tmp_path / "state").exists()


def test_a_worker_started_by_hand_serves_the_home_it_is_given(
    up: tuple["subprocess.Popen[str]", Path, int], clips: dict[str, Path], tmp_path: Path
) -> None:
    process, home, _ = up
    # The system's own pose worker stands still; whatever is done, the one by hand has done.
    (own,) = [p for p in psutil.Process(process.pid).children() if p.cmdline()[-3:-2] == ["pose"]]
    for member in [own, *own.children(recursive=True)]:
        member.suspend()
    by_hand = start("worker", "pose", "--home", home)
    try:
        sent = hardpose("enqueue", clips["MultiPerson_cam01"], "--home", home)
        watched = hardpose("watch", sent.stdout.strip(), "--home", home)
    finally:
        for member in [own, *own.children(recursive=True)]:
            member.resume()
        by_hand.send_signal(signal.SIGTERM)
        by_hand.communicate(timeout=PATIENCE_SECONDS)
    assert watched.code == ExitCode.OK, watched.stderr
    assert "examined 14" in watched.stderr
