"""A system at work, and what is seen of it: tasks in Flower without a secret, workers, and their counts."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import http_server
import httpx
import psutil
import pytest
from free_ports import free_port
from hardpose_process import PATIENCE_SECONDS, broker_time, family, gone, hardpose, start, wait_for
from prom_lint import lint
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.exit_codes import ExitCode
from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.messages import Verdict
from broker.presence import Presence, WorkerCard

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


QUEUES = {"download", "pose", "mask", "me", "compare", "export"}


@dataclass(frozen=True)
class Watched:
    """A system that has worked, all that Flower said on the way, and its tasks at the end."""

    url: str
    flower: httpx.Client
    job: str
    said: str
    tasks: dict[str, dict[str, Any]]
    pid: int
    home: Path
    control: Control
    presence: Presence
    cards: dict[str, WorkerCard]
    """By queue."""
    rounds: int
    """Times that the link that fails was tried, with its retries, until one was seen to wait."""

    def of(self, name: str, words: str = "") -> list[dict[str, Any]]:
        found = [
            t for t in self.tasks.values() if t["name"] == f"hardpose.{name}" and words in (t["args"] or "")
        ]
        return sorted(found, key=lambda task: task["received"] or 0)


def _until(what: str, look: Any) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
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
    port = free_port()
    (folder / "temp").mkdir()
    env = {
        "HARDPOSE_FLOWER_AUTH": ":".join(LOGIN),
        "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.1/32"]',
        "HARDPOSE_METRICS_PORT": "0",
        "HARDPOSE_TEMP_DIR": str(folder / "temp"),
    }
    process = start("up", "--home", home, "--flower-port", str(port), env=env)
    try:
        assert process.stdout is not None
        assert any("is up" in line for line in process.stdout)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, auth=LOGIN, timeout=120) as flower, http_server.running() as server:
            yield _work(process, home, folder, flower, server, clips)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)


def _work(
    process: "subprocess.Popen[str]",
    home: Path,
    folder: Path,
    flower: httpx.Client,
    server: http_server.Server,
    clips: dict[str, Path],
) -> Watched:
    """One clip through the whole chain, one whose video is lost on the way, and two links with secrets."""
    _until("Flower", lambda: flower.get("/api/workers").status_code == 200)
    said = []
    whole = folder / f"{WILD[:120]}.mp4"
    shutil.copy(clips["SinglePerson_cam03"], whole)
    secrets = [server.url(f"{name}.mp4?token={SECRET}") for name in ("secret", "broken")]
    sent = hardpose("enqueue", whole, *secrets, "--home", home)
    assert sent.code == ExitCode.OK, sent.stderr
    job = sent.stdout.strip()

    def downloaders() -> list[str]:
        return [
            name for name in flower.get("/api/workers", params={"status": "1"}).json() if "download@" in name
        ]

    (worker,) = _until("the worker that downloads", downloaders)
    catalog, rounds = Catalog(f"sqlite:///{home / 'catalog.sqlite'}"), [job]

    def retried() -> bool:
        said.append(flower.get("/api/workers", params={"refresh": "1", "workername": worker}).text)
        if failure := catalog.job_light(job).links[2].failure:  # it has waited while nobody looked
            again = hardpose("retry", job, "--reason", failure.code, "--home", home)
            assert again.code == ExitCode.OK, again.stderr
            rounds.append(job)
        return "link 3 of job" in said[-1]

    _until("a task that waits for its retry", retried)

    def all_tasks() -> list[dict[str, Any]]:
        answer = flower.get("/api/tasks", params={"limit": 100})
        said.append(answer.text)
        return list(answer.json().values())

    def seen(name: str) -> bool:
        return any((t["name"], t["state"]) == (f"hardpose.{name}", "SUCCESS") for t in all_tasks())

    _until("the first clip's last stage", lambda: seen("compare"))
    with _standing(process, "pose"):
        assert hardpose("enqueue", clips["MultiPerson_cam01"], "--home", home).code == ExitCode.OK
        # Not by the queue's length: a standing worker has asked for a message, and the server has answered.
        sent_segment = "“MultiPerson_cam01” 0:00"
        _until("a sent segment", lambda: any(sent_segment in str(t["args"]) for t in all_tasks()))
        (artifact,) = [p for p in (home / "artifacts" / "videos").rglob("*") if p.is_file() and _is(p, clips)]
        artifact.unlink()

    def ended() -> dict[str, dict[str, Any]]:
        found = all_tasks()
        done = seen("record_segment_failure") and all(t["state"] in ("SUCCESS", "FAILURE") for t in found)
        return {task["uuid"]: task for task in found} if done else {}

    tasks = _until("the end of all tasks", ended)
    said += [flower.get(f"/api/task/info/{uuid}").text for uuid in tasks]
    said += [flower.get(path).text for path in (*REFUSED, "/metrics", "/healthcheck", "/tasks/datatable")]
    said += [flower.get(f"/task/{uuid}").text for uuid in tasks]
    url = EmbeddedBroker.running_url(home / "broker")
    assert url is not None
    control = Control(url)
    presence = Presence(control)

    def all_cards() -> dict[str, WorkerCard]:
        found = {card.queues[0]: card for card in presence.alive()}
        return found if found.keys() >= QUEUES else {}

    cards = _until("the cards of all workers", all_cards)
    return Watched(
        *(str(flower.base_url), flower, job, "\n".join(said), tasks, process.pid, home),
        *(control, presence, cards, len(rounds)),
    )


@contextmanager
def _standing(process: "subprocess.Popen[str]", queue: str) -> Iterator[None]:
    """The worker of ``queue`` is stopped meanwhile, as a machine that hangs."""
    (worker,) = [p for p in psutil.Process(process.pid).children() if p.cmdline()[-3:-2] == [queue]]
    standing = [worker, *worker.children(recursive=True)]
    for member in standing:
        member.suspend()
    try:
        yield
    finally:
        for member in standing:
            member.resume()


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
    assert httpx.get(watched.url + path, timeout=120).status_code == 401
    assert httpx.get(watched.url + path, auth=(LOGIN[0], "wrong"), timeout=120).status_code == 401
    assert watched.flower.get(path).status_code == 200


def test_every_queue_has_its_length(watched: Watched) -> None:

    def lengths() -> list[dict[str, Any]]:
        watched.flower.get("/api/workers", params={"refresh": "1"})  # it lists those of workers that answered
        found = list(watched.flower.get("/api/queues/length").json()["active_queues"])
        return found if {q["name"] for q in found} >= QUEUES - {"export"} else []

    assert {q["messages"] for q in _until("all queues", lengths)} == {0}


def scrape(card: WorkerCard) -> tuple[str, dict[str, Metric]]:
    text = httpx.get(f"http://{card.metrics}/metrics", timeout=120).raise_for_status().text
    return text, {metric.name: metric for metric in text_string_to_metric_families(text)}


def counts(metric: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels.values()): s.value for s in metric.samples if s.name.endswith("_total")}


def test_every_worker_has_a_card_that_says_what_it_serves_and_has_loaded(watched: Watched) -> None:
    cards = watched.cards
    assert set(cards) >= QUEUES
    assert all(card.name.startswith(f"{queue}@") for queue, card in cards.items())
    loaded = {queue: tuple(card.models) for queue, card in cards.items() if card.models}
    assert loaded == {"pose": ("pose",), "mask": ("mask",), "me": ("me",)}
    assert all(card.started < card.seen for card in cards.values())


def test_the_counts_are_those_of_the_catalog(watched: Watched) -> None:
    seen: dict[str, dict[tuple[str, ...], float]] = {}
    for card in watched.cards.values():
        for name, metric in scrape(card)[1].items():
            sums = seen.setdefault(name, {})
            for labels, count in counts(metric).items():
                sums[labels] = sums.get(labels, 0) + count
    catalog = Catalog(f"sqlite:///{watched.home / 'catalog.sqlite'}")
    funnel = catalog.job(watched.job).funnel()
    assert funnel.examined > 0
    assert {
        Verdict(verdict): count for (verdict,), count in seen["hardpose_frames"].items()
    } == funnel.verdicts
    assert seen["hardpose_stage_frames"][("pose",)] == funnel.examined
    done = {("done", stage): 1.0 for stage in ("pose", "mask", "me", "compare")}
    assert seen["hardpose_segments"] == {**done, ("failed", "pose"): 1.0}
    assert seen["hardpose_links"] == {
        ("done",): 2.0, ("failed",): 1.0 + watched.rounds, ("retried",): 3.0 * watched.rounds
    }  # fmt: skip
    assert sum(seen["hardpose_retries"].values()) == 3 * watched.rounds
    videos = [link.video for job in catalog.jobs() for link in job.links if link.video]
    assert sum(seen["hardpose_download_bytes"].values()) == sum(video.size_bytes for video in videos) > 0


@pytest.mark.parametrize("queue", ["download", "pose", "compare"])
def test_promtool_finds_no_fault(watched: Watched, queue: str) -> None:
    text, families = scrape(watched.cards[queue])
    assert families
    lint(text)


def test_a_model_of_a_killed_process_is_not_shown_and_its_counts_stay(watched: Watched) -> None:
    card = watched.cards["pose"]
    (child,) = psutil.Process(card.pid).children()
    before = scrape(card)[1]
    assert len(before["hardpose_model_info"].samples) == 1
    child.kill()
    after = _until("a model that is gone", lambda: without_models(scrape(card)[1]))
    assert counts(after["hardpose_segments"]) == counts(before["hardpose_segments"])


def without_models(families: dict[str, Metric]) -> dict[str, Metric]:
    return families if not getattr(families.get("hardpose_model_info"), "samples", None) else {}


def test_who_does_not_beat_vanishes(watched: Watched) -> None:
    main = psutil.Process(watched.cards["me"].pid)

    def cards() -> dict[str, WorkerCard]:
        return {card.queues[0]: card for card in watched.presence.alive(within=3600)}

    def silent() -> dict[str, WorkerCard]:
        """The cards when all others have been heard of since, by the broker's clock, whatever ours says."""
        found = cards()
        others = min(found[queue].seen for queue in QUEUES - {"me"})
        return found if others - found["me"].seen > 8 else {}

    main.suspend()
    try:
        last = _until("a worker that is silent", silent)["me"].seen
        within = broker_time(watched.control) - last - 4
        shown = {card.queues[0] for card in watched.presence.alive(within)}
        assert "me" not in shown
        assert shown >= QUEUES - {"me"}
    finally:
        main.resume()


def test_who_ends_well_leaves_no_folder_of_counts(watched: Watched) -> None:
    worker = psutil.Process(watched.cards["compare"].pid)
    pids = {member.pid for member in family(worker.pid)}
    temp = watched.home.parent / "temp"
    (own,) = {file.parent for pid in pids for file in temp.glob(f"hardpose-metrics-*/*_{pid}.db")}
    worker.terminate()
    wait_for(lambda: gone([worker]))
    wait_for(lambda: not own.exists())
