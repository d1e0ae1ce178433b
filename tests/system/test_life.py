"""Deaths, stops and strangers: what happens to a job when processes end, and when a model misbehaves."""

import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import redis
from gate import Gate
from hardpose_process import (
    PATIENCE_SECONDS,
    TOGETHER,
    family,
    gone,
    hardpose,
    only_job,
    outcome,
    start,
    wait_for,
)
from odd_models_package import gate_of, install

from api.exit_codes import ExitCode
from broker.embedded import EmbeddedBroker, server_binary
from broker.views import State

pytestmark = pytest.mark.system


@pytest.fixture
def odd_models(tmp_path: Path) -> dict[str, str]:
    return install(tmp_path / "stranger")


def grey_video(path: Path, brightness: int, seconds: float) -> Path:
    """A grey picture that changes a little, 10 fps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(int(seconds * 10)):
            picture = np.full((120, 160, 3), brightness + number % 5, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def gated_run(tmp_path: Path, odd_models: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """A run that goes as far as its gate lets it: five segments of four looks, a queue for each stage."""
    video = grey_video(tmp_path / "grey.mp4", 128, 10)
    env = {
        **odd_models,
        "HARDPOSE_POSE_MODEL": "gated",
        "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "2",
        "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
        "HARDPOSE_VISIBILITY_TIMEOUT": "4",
    }
    return ["run", str(video), "--out", str(tmp_path / "out")], env


def notes(odd_models: dict[str, str]) -> list[str]:
    return Path(odd_models["ODD_NOTES"]).read_text().splitlines()


def held_after(looks: int, odd_models: dict[str, str]) -> Gate:
    """A gate that lets ``looks`` through from now on; the one that comes next waits at it."""
    gate = gate_of(odd_models)
    gate.let(looks)
    return gate


def reaches(process: "subprocess.Popen[str]", gate: Gate, looks: int) -> None:
    """Waits until so many looks have begun; a run that ends before says why."""
    wait_for(lambda: len(gate.looks) >= looks or process.poll() is not None)
    assert len(gate.looks) == looks, process.communicate()[0] if process.poll() is not None else gate.looks


def is_told_to_end(log: Path, process: "subprocess.Popen[str]") -> bool:
    """Whether the worker that writes ``log`` knows, or it is all over anyway."""
    return "Warm shutdown" in log.read_text(errors="replace") or process.poll() is not None


def worker_of(pid: int, queue: str) -> psutil.Process:
    """The main process of the worker that serves ``queue``."""
    (found,) = [p for p in psutil.Process(pid).children() if p.cmdline()[-3:-2] == [queue]]
    return found


def test_ctrl_c_ends_everything_and_the_same_command_resumes(
    tmp_path: Path, odd_models: dict[str, str]
) -> None:
    arguments, env = gated_run(tmp_path, odd_models)
    env["HARDPOSE_VISIBILITY_TIMEOUT"] = "60"  # what is given back needs none, and nothing is to run twice
    gate = held_after(5, odd_models)
    process = start(*arguments, env=env)
    reaches(process, gate, 6)  # one of the five segments is through, and one is not
    started = family(process.pid)
    assert len(started) >= 6  # itself, the broker, five workers (and their pools)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: is_told_to_end(tmp_path / "out" / "state" / "logs" / "pose.log", process))
    gate.open()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.INTERRUPTED, output
    assert "the same command goes on" in output
    wait_for(lambda: gone(started))

    job = only_job(tmp_path / "out" / "state")
    done_before = sum(s.state == State.DONE for s in job.links[0].segments)
    seen_before = len(gate.looks)
    ended = hardpose(*arguments, env=env)
    assert ended.code == ExitCode.OK, ended.stderr
    job = only_job(tmp_path / "out" / "state")
    assert [s.state for s in job.links[0].segments] == [State.DONE] * 5
    assert job.funnel().check().examined == 20
    # What was done is not done again: the second run looks only at segments that were not through.
    assert len(gate.looks) - seen_before <= 20 - 4 * done_before


def test_a_killed_worker_costs_nothing(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models)
    gate = held_after(2, odd_models)
    process = start(*arguments, env=env)
    reaches(process, gate, 3)
    worker = worker_of(process.pid, "pose")
    for victim in [*worker.children(recursive=True), worker]:
        victim.kill()  # as the kernel does when memory runs out
    gate.open()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output
    job = only_job(tmp_path / "out" / "state")
    assert job.funnel().check().examined == 20
    assert "started again" in output


def test_a_killed_supervisor_leaves_no_orphans(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models)
    gate = held_after(0, odd_models)
    process = start(*arguments, env=env)
    reaches(process, gate, 1)
    started = family(process.pid)
    process.kill()
    process.communicate()
    gate.open()  # workers finish the running segment; then nothing is left
    wait_for(lambda: gone(started))
    ended = hardpose(*arguments, env=env)
    assert ended.code == ExitCode.OK, ended.stderr
    assert only_job(tmp_path / "out" / "state").funnel().check().examined == 20


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models | TOGETHER)
    gate = held_after(0, odd_models)
    process = start(*arguments, env=env)
    reaches(process, gate, 1)
    second = hardpose(*arguments, env=env)
    assert second.code == ExitCode.ENVIRONMENT
    assert "already_running" in second.stderr
    gate.open()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output  # the first did not notice


def test_messages_that_the_broker_lost_are_sent_again(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models)
    gate = held_after(2, odd_models)
    with EmbeddedBroker(tmp_path / "given") as broker:
        process = start(*arguments, env={**env, "HARDPOSE_BROKER_URL": broker.url})
        reaches(process, gate, 3)
        redis.Redis.from_url(broker.url).flushdb()  # as a server without persistence after a restart
        gate.open()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output
    assert "the broker has lost its messages" in output
    assert only_job(tmp_path / "out" / "state").funnel().check().examined == 20


def test_two_runs_share_a_broker_and_not_their_work(tmp_path: Path, odd_models: dict[str, str]) -> None:
    _, env = gated_run(tmp_path, odd_models | TOGETHER)
    with EmbeddedBroker(tmp_path / "given") as broker:
        env["HARDPOSE_BROKER_URL"] = broker.url
        runs = []
        for name in ("one", "two"):
            video = grey_video(tmp_path / f"{name}.mp4", 128 + len(runs), 4)
            runs.append(start("run", str(video), "--out", str(tmp_path / name), env=env))
        outputs = [run.communicate(timeout=PATIENCE_SECONDS)[0] for run in runs]
    assert [run.returncode for run in runs] == [ExitCode.OK, ExitCode.OK], outputs
    for name in ("one", "two"):
        assert only_job(tmp_path / name / "state").funnel().check().examined == 8


def test_a_poison_segment_fails_alone(tmp_path: Path, odd_models: dict[str, str]) -> None:
    dark = grey_video(tmp_path / "dark.mp4", 5, 2)
    light = grey_video(tmp_path / "light.mp4", 128, 2)
    env = {**odd_models, **TOGETHER, "HARDPOSE_POSE_MODEL": "deadly"}
    ended = hardpose("run", light, dark, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.SOME_FAILED, ended.stderr
    job = only_job(tmp_path / "out" / "state")
    states = {Path(link.link).stem: link.state for link in job.links}
    assert states == {"light": State.DONE, "dark": State.FAILED}
    (failure,) = [s.failure for link in job.links for s in link.segments if s.failure]
    assert failure.code in ("worker_lost", "poison")
    assert 1 <= sum(note.startswith("deadly") for note in notes(odd_models)) <= 4  # and not for ever


def test_starts_that_never_ended_are_counted(tmp_path: Path, odd_models: dict[str, str]) -> None:
    dark = grey_video(tmp_path / "dark.mp4", 5, 2)
    env = {**odd_models, **TOGETHER, "HARDPOSE_POSE_MODEL": "deadly", "HARDPOSE_MAX_ATTEMPTS": "2"}
    ended = hardpose("run", dark, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.ALL_FAILED, ended.stderr
    assert "failed (poison)" in ended.stdout
    assert "has ended its worker process 2 times" in ended.stdout
    assert len(notes(odd_models)) == 2


def test_out_of_memory_costs_the_segment_and_not_the_worker(
    tmp_path: Path, odd_models: dict[str, str]
) -> None:
    dark = grey_video(tmp_path / "dark.mp4", 5, 2)
    light = grey_video(tmp_path / "light.mp4", 128, 2)
    env = {**odd_models, **TOGETHER, "HARDPOSE_POSE_MODEL": "greedy"}
    ended = hardpose("run", dark, light, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.SOME_FAILED, ended.stderr
    assert "failed (out_of_memory)" in ended.stdout
    assert "started again" not in ended.stderr
    assert len(notes(odd_models)) == 1


def test_ctrl_c_is_no_death(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models | TOGETHER)
    worker_log = tmp_path / "out" / "state" / "logs" / f"{TOGETHER['HARDPOSE_PLACEMENT']}.log"
    with EmbeddedBroker(tmp_path / "given") as broker:
        env |= {"HARDPOSE_BROKER_URL": broker.url, "HARDPOSE_MAX_ATTEMPTS": "1"}
        for _ in range(2):
            gate = held_after(before := len(notes(odd_models)), odd_models)
            process = start(*arguments, env=env)
            reaches(process, gate, before + 1)
            process.send_signal(signal.SIGINT)
            wait_for(lambda process=process: is_told_to_end(worker_log, process))
            gate.open()
            process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == ExitCode.INTERRUPTED
            worker_log.unlink()
        ended = hardpose(*arguments, env=env)
    assert ended.code == ExitCode.OK, ended.stdout


def test_a_broker_that_is_restarted_is_waited_for(tmp_path: Path, odd_models: dict[str, str]) -> None:
    arguments, env = gated_run(tmp_path, odd_models)
    gate = held_after(2, odd_models)
    broker = EmbeddedBroker(tmp_path / "given").start()
    url, port = broker.url, int(broker.url.rsplit(":", 1)[1].split("/")[0])
    process = start(*arguments, env={**env, "HARDPOSE_BROKER_URL": url})
    reaches(process, gate, 3)
    broker.stop()
    gate.open()
    time.sleep(3)  # the broker is away meanwhile
    server = server_on_port(tmp_path / "given", port, url)
    try:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        server.terminate()
        server.wait()
    assert process.returncode == ExitCode.OK, output
    assert only_job(tmp_path / "out" / "state").funnel().check().examined == 20


def server_on_port(folder: Path, port: int, url: str) -> "subprocess.Popen[bytes]":
    """The server's own program on the old port, with its data and password: a restart. It answers."""
    password = url.split(":")[2].split("@")[0]
    line = [str(server_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    line += ["--appendonly", "yes", "--requirepass", password]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.poll() is None:
            if answers(url):
                return server
            time.sleep(0.05)
        # Somebody's connection may have been given the port in between, for a moment.
        assert time.monotonic() < deadline, f"no server on port {port}"
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.RedisError:
        return False


def test_an_unplanned_error_is_recorded_on_its_segments(tmp_path: Path, odd_models: dict[str, str]) -> None:
    video = grey_video(tmp_path / "light.mp4", 128, 2)
    env = {**odd_models, **TOGETHER, "HARDPOSE_POSE_MODEL": "broken"}
    ended = hardpose("run", video, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.ALL_FAILED, ended.stderr
    (link,) = only_job(tmp_path / "out" / "state").links
    assert [s.failure.code for s in link.segments if s.failure] == ["unexpected"]
    assert "tensor has the wrong shape" in ended.stdout


def test_a_stage_that_hangs_is_ended_by_its_time_limit(tmp_path: Path, odd_models: dict[str, str]) -> None:
    video = grey_video(tmp_path / "light.mp4", 128, 2)
    limits = {"HARDPOSE_SOFT_TIME_LIMIT": "2", "HARDPOSE_HARD_TIME_LIMIT": "120"}
    env = {**odd_models, **TOGETHER, **limits, "HARDPOSE_POSE_MODEL": "hanging"}
    ended = hardpose("run", video, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.ALL_FAILED, ended.stderr
    assert "failed (time_limit)" in ended.stdout
    assert "HARDPOSE_SOFT_TIME_LIMIT" in ended.stdout


def test_what_passes_is_tried_again(tmp_path: Path, odd_models: dict[str, str]) -> None:
    video = grey_video(tmp_path / "light.mp4", 128, 2)
    ended = hardpose(
        "run",
        video,
        "--out",
        tmp_path / "out",
        env={**odd_models, **TOGETHER, "HARDPOSE_POSE_MODEL": "flaky"},
    )
    assert ended.code == ExitCode.OK, ended.stderr
    assert only_job(tmp_path / "out" / "state").funnel().check().examined == 16
    assert len(notes(odd_models)) == 17  # the one that failed, and all sixteen after it


def test_leases_are_renewed_so_long_segments_run_once(tmp_path: Path, odd_models: dict[str, str]) -> None:
    video = grey_video(tmp_path / "grey.mp4", 128, 6)
    gate = held_after(1, odd_models)
    with EmbeddedBroker(tmp_path / "given") as broker:
        env = {
            **odd_models,
            **TOGETHER,
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_POSE_MODEL": "gated",
            "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
            "HARDPOSE_VISIBILITY_TIMEOUT": "4",
        }
        process = start("run", str(video), "--out", str(tmp_path / "out"), env=env)
        reaches(process, gate, 2)
        stamps: set[float] = set()
        with redis.Redis.from_url(broker.url) as server:
            # Five quarters of the timeout and more: without the renewals it would have run out.
            wait_for(lambda: len(stamps.update(stamps_of_held(server)) or stamps) >= 7)
        gate.open()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output
    assert len(gate.looks) == 12  # every candidate was looked at once
    assert len(set(gate.looks)) == 1  # by one process
    assert outcome(only_job(tmp_path / "out" / "state"))


def stamps_of_held(server: "redis.Redis") -> list[float]:
    """When each message that is held was last known to be in good hands."""
    keys = [key for key in server.keys("*") if key.endswith(b"unacked_index")]
    return [stamp for key in keys for _, stamp in server.zrange(key, 0, -1, withscores=True)]
