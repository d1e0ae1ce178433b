"""What Flower shows of real tasks: what they are about, in words, and never a secret."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import http_server
import httpx
import psutil
import pytest
from hardpose_process import family, hardpose, start

from api.exit_codes import ExitCode

pytestmark = pytest.mark.system

SECRET = "hunter2-7f3a"
WILD = "One \u202eathlete\x1b[31m, " + "again and " * 20
LOGIN = ("watcher", "a-word-of-this-test")
REFUSED = (
    "/api/workers",
    "/api/tasks",
    "/api/queues/length",
    "/api/task/types",
    "/",
    "/workers",
    "/tasks",
    "/broker",
)


@dataclass(frozen=True)
class Watched:
    """A system that has worked, all that Flower said on the way, and its tasks at the end."""

    url: str
    flower: httpx.Client
    job: str
    said: str
    tasks: dict[str, dict[str, Any]]
    pid: int

    def of(self, name: str, words: str = "") -> list[dict[str, Any]]:
        found = [
            t for t in self.tasks.values() if t["name"] == f"hardpose.{name}" and words in (t["args"] or "")
        ]
        return sorted(found, key=lambda task: task["received"] or 0)


def _until(what: str, seconds: float, look: Any) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except httpx.TransportError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("flower")
    home = folder / "state"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    env = {"HARDPOSE_FLOWER_AUTH": ":".join(LOGIN), "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.1/32"]'}
    process = start("up", "--home", home, "--flower-port", str(port), env=env)
    try:
        assert process.stdout is not None
        assert any("is up" in line for line in process.stdout)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, auth=LOGIN, timeout=30) as flower, http_server.running() as server:
            yield _work(process, home, folder, flower, server, clips)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _work(
    process: "subprocess.Popen[str]",
    home: Path,
    folder: Path,
    flower: httpx.Client,
    server: http_server.Server,
    clips: dict[str, Path],
) -> Watched:
    """One clip through the whole chain, one whose video is lost on the way, and two links with secrets."""
    _until("Flower", 30, lambda: flower.get("/api/workers").status_code == 200)
    said = []
    whole = folder / f"{WILD[:120]}.mp4"
    shutil.copy(clips["SinglePerson_cam03"], whole)
    secrets = [server.url(f"{name}.mp4?token={SECRET}") for name in ("secret", "broken")]
    sent = hardpose("enqueue", whole, *secrets, "--home", home)
    assert sent.code == ExitCode.OK, sent.stderr
    job = sent.stdout.strip()

    (worker,) = (
        name for name in flower.get("/api/workers", params={"status": "1"}).json() if "download@" in name
    )

    def retried() -> bool:
        said.append(flower.get("/api/workers", params={"refresh": "1", "workername": worker}).text)
        return "link 3 of job" in said[-1]

    _until("a task that waits for its retry", 30, retried)
    ended = hardpose("watch", job, "--home", home)
    assert ended.code == ExitCode.SOME_FAILED, ended.stderr

    (pose,) = [p for p in psutil.Process(process.pid).children() if p.cmdline()[-3:-2] == ["pose"]]
    standing = [pose, *pose.children(recursive=True)]
    for member in standing:
        member.suspend()
    lost = hardpose("enqueue", clips["MultiPerson_cam01"], "--home", home).stdout.strip()
    # Not by the queue's length: a standing worker has asked for a message, and the server has answered.
    _until(
        "a sent segment", 30, lambda: "“MultiPerson_cam01” 0:00" in flower.get("/api/tasks").json().__str__()
    )
    (artifact,) = [p for p in (home / "artifacts" / "videos").rglob("*") if p.is_file() and _is(p, clips)]
    artifact.unlink()
    for member in standing:
        member.resume()
    assert hardpose("watch", lost, "--home", home).code == ExitCode.ALL_FAILED

    def all_seen() -> dict[str, Any]:
        answer = flower.get("/api/tasks", params={"limit": 100})
        said.append(answer.text)
        tasks: dict[str, Any] = answer.json()
        done = all(task["state"] in ("SUCCESS", "FAILURE") for task in tasks.values())
        names = {task["name"] for task in tasks.values()}
        return tasks if done and {"hardpose.record_segment_failure", "hardpose.compare"} <= names else {}

    tasks = _until("the end of all tasks", 30, all_seen)
    said += [flower.get(f"/api/task/info/{uuid}").text for uuid in tasks]
    said += [flower.get(path).text for path in (*REFUSED, "/metrics", "/healthcheck", "/tasks/datatable")]
    said += [flower.get(f"/task/{uuid}").text for uuid in tasks]
    return Watched(str(flower.base_url), flower, job, "\n".join(said), tasks, process.pid)


def _is(path: Path, clips: dict[str, Path]) -> bool:
    return path.stat().st_size == clips["MultiPerson_cam01"].stat().st_size


def test_a_chain_reads_as_one(watched: Watched) -> None:
    (download,) = watched.of("download", f"link 1 of job {watched.job}")
    assert download["args"].startswith(f"link 1 of job {watched.job}: One ?athlete?[31m")
    chain = [watched.of(stage, "athlete")[0] for stage in ("pose", "mask", "me", "compare")]
    heads = {task["args"].partition(", job ")[0] for task in chain}
    assert len(heads) == 1
    (head,) = heads
    assert (
        head.startswith("“One ?athlete?[31m, again and") and "…” 0:00–0:0" in head and head.endswith("(1/1)")
    )
    assert f"job {watched.job}" in chain[0]["args"]
    assert [("kept" in task["args"], "examined" in task["args"]) for task in chain] == [
        (False, False), (True, True), (True, True), (True, True)
    ]  # fmt: skip
    assert [task["result"].partition(" ")[2][:8] for task in chain] == ["examined"] * 4
    assert "easy" in chain[-1]["result"] or "hard" in chain[-1]["result"]
    assert {task["root_id"] for task in chain} == {chain[0]["root"] or chain[0]["root_id"]}
    assert [task["parent_id"] for task in chain[1:]] == [task["uuid"] for task in chain[:-1]]


def test_a_failed_task_shows_its_typed_reason(watched: Watched) -> None:
    (refused,) = watched.of("download", "link 2 of job")
    assert refused["state"] == "FAILURE"
    assert " -> " in refused["exception"] and refused["exception"].split(":")[0].isidentifier()
    (lost,) = [task for task in watched.of("pose") if task["state"] == "FAILURE"]
    assert lost["exception"].startswith("artifact_missing: ") and " -> " in lost["exception"]
    (booked,) = watched.of("record_segment_failure")
    assert ": artifact_missing: " in booked["args"] and booked["args"].startswith("“MultiPerson_cam01” 0:00–")


def test_nothing_that_flower_says_is_a_secret_or_a_picture(watched: Watched) -> None:
    assert "secret.mp4" in watched.said and "broken.mp4" in watched.said
    broker = json.dumps([p.environ().get("HARDPOSE_BROKER_URL", "") for p in family(watched.pid)])
    password = broker.partition("redis://:")[2].partition("@")[0] or "no password"
    assert len(password) > 15
    for word in (SECRET, password, LOGIN[1], "keypoints", "phash", "\x1b", "\u202e", "base64"):
        assert word not in watched.said, word


@pytest.mark.parametrize("path", REFUSED)
def test_nobody_looks_without_the_password(watched: Watched, path: str) -> None:
    assert httpx.get(watched.url + path).status_code == 401
    assert httpx.get(watched.url + path, auth=(LOGIN[0], "wrong")).status_code == 401
    assert watched.flower.get(path).status_code == 200


def test_every_queue_has_its_length(watched: Watched) -> None:
    watched.flower.get("/api/workers", params={"refresh": "1"})  # it lists the queues of workers it has asked
    lengths = watched.flower.get("/api/queues/length").json()["active_queues"]
    assert {q["name"] for q in lengths} >= {"download", "pose", "mask", "me", "compare"}
    assert {q["messages"] for q in lengths} == {0}
