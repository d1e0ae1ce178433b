"""What real workers count, as Prometheus sees it: scraped, read by its own parser, and linted."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from hardpose_process import hardpose, only_job, start
from prom_lint import lint
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.messages import Verdict
from broker.presence import Presence, WorkerCard

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def workers(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]
) -> Iterator[tuple[dict[str, WorkerCard], Path, int, Path]]:
    """The cards of a system that has worked on a clip and a missing file."""
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "temp").mkdir()
    env = {"HARDPOSE_METRICS_PORT": "0", "HARDPOSE_TEMP_DIR": str(folder / "temp")}
    home = folder / "state"
    process = start("up", "--home", home, "--flower-port", "0", env=env)
    try:
        assert process.stdout is not None
        assert any("is up" in line for line in process.stdout)
        sent = hardpose("enqueue", clips["SinglePerson_cam03"], folder / "none.mp4", "--home", home)
        assert sent.code == 0, sent.stderr
        hardpose("watch", sent.stdout.strip(), "--home", home)
        url = EmbeddedBroker.running_url(home / "broker")
        assert url is not None
        cards = {card.queues[0]: card for card in Presence(Control(url)).alive()}
        yield cards, home, process.pid, folder / "temp"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert not list((folder / "temp").glob("hardpose-metrics-*")), "left behind"


def scrape(card: WorkerCard) -> tuple[str, dict[str, Metric]]:
    text = httpx.get(f"http://{card.metrics}/metrics").raise_for_status().text
    return text, {metric.name: metric for metric in text_string_to_metric_families(text)}


def counts(metric: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels.values()): s.value for s in metric.samples if s.name.endswith("_total")}


def test_every_worker_has_a_card_that_says_what_it_serves_and_has_loaded(workers) -> None:
    cards = workers[0]
    assert set(cards) >= {"download", "pose", "mask", "me", "compare"}
    assert all(card.name.startswith(f"{queue}@") for queue, card in cards.items())
    assert {stage: tuple(cards[stage].models) for stage in ("pose", "mask", "me", "compare")} == {
        "pose": ("pose",), "mask": ("mask",), "me": ("me",), "compare": ()
    }  # fmt: skip
    assert "/" not in str([ref.source for ref in cards["me"].models["me"].weights if "file" in ref.source])
    assert all(time.time() - 60 < card.started < card.seen for card in cards.values())


def test_the_counts_are_those_of_the_catalog(workers) -> None:
    cards, home, *_ = workers
    job = only_job(home)
    seen: dict[str, dict[tuple[str, ...], float]] = {}
    for card in cards.values():
        for name, metric in scrape(card)[1].items():
            if metric.type == "counter":
                seen.setdefault(name, {}).update(counts(metric) if name != "hardpose_frames" else {})
    frames: dict[Verdict, float] = {}
    for card in cards.values():
        metric = scrape(card)[1].get("hardpose_frames")
        for (verdict,), count in counts(metric).items() if metric else ():
            frames[Verdict(verdict)] = frames.get(Verdict(verdict), 0) + count
    (video,) = [link.video for link in job.links if link.video]
    funnel = job.funnel()
    assert funnel.examined > 0
    assert frames == funnel.verdicts
    assert seen["hardpose_segments"] == {("done", stage): 1.0 for stage in ("pose", "mask", "me", "compare")}
    assert seen["hardpose_links"] == {("done",): 1.0, ("failed",): 1.0}
    assert list(seen["hardpose_download_bytes"].values()) == [video.size_bytes]
    assert seen["hardpose_stage_frames"][("pose",)] == funnel.examined


@pytest.mark.parametrize("queue", ["download", "pose", "compare"])
def test_promtool_finds_no_fault(workers, queue: str) -> None:
    text, families = scrape(workers[0][queue])
    assert families
    lint(text)


def test_a_model_of_a_killed_process_is_not_shown_and_its_counts_stay(workers) -> None:
    card = workers[0]["pose"]
    (child,) = psutil.Process(card.pid).children()
    before = scrape(card)[1]
    assert len(before["hardpose_model_info"].samples) == 1
    child.kill()
    child.wait()
    deadline = time.monotonic() + 30
    while not (after := scrape(card)[1].get("hardpose_model_info")) or not after.samples:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert counts(scrape(card)[1]["hardpose_segments"]) == counts(before["hardpose_segments"])


def test_who_is_killed_vanishes(workers) -> None:
    cards, home, *_ = workers
    url = EmbeddedBroker.running_url(home / "broker")
    assert url is not None
    presence = Presence(Control(url))
    psutil.Process(cards["me"].pid).suspend()
    try:
        deadline = time.monotonic() + 20
        while any(card.key == cards["me"].key for card in presence.alive(within=8)):
            assert time.monotonic() < deadline, "a worker that does not beat is still shown"
            time.sleep(0.2)
        assert {card.queues[0] for card in presence.alive(within=8)} >= set(cards) - {"me"}
    finally:
        psutil.Process(cards["me"].pid).resume()
