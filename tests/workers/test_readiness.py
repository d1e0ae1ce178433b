"""A worker says that it is ready when its models are loaded and the broker knows it, and not before."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from broker.presence import WorkerCard
from broker.presence_beat import PresenceBeat
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings
from workers.metrics_server import is_ready, serve_metrics

MODEL = ModelSpec(name="blazepose", version="1")


def a_card(*queues: str, loaded: tuple[Stage, ...] = ()) -> WorkerCard:
    models = dict.fromkeys(loaded, MODEL)
    return WorkerCard(name="w", host="h", pid=1, queues=queues, models=models, version="1", started=1.0)


@pytest.mark.parametrize("queue", ["download", "compare", "export"])
def test_a_worker_without_a_model_is_ready_when_it_is_known(queue: str) -> None:
    assert is_ready(a_card(queue))


@pytest.mark.parametrize("queue", ["pose", "mask", "me", "me.shelf-7", "pose+mask", "me+compare"])
def test_a_worker_that_could_not_load_a_model_is_not_ready(queue: str) -> None:
    stages = tuple(Stage(name.split(".")[0]) for name in queue.split("+"))
    wanted = tuple(stage for stage in stages if stage != Stage.COMPARE)
    assert is_ready(a_card(queue, loaded=wanted))
    assert not is_ready(a_card(queue, loaded=wanted[1:]))
    assert not is_ready(None)


def test_readiness_is_served_beside_the_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(metrics_host="127.0.0.1", metrics_port=0)
    url = f"http://127.0.0.1:{serve_metrics(settings, tmp_path)}"

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(url + path, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    monkeypatch.setattr(PresenceBeat, "card", None)
    assert (status("/readyz"), status("/metrics")) == (503, 200)
    monkeypatch.setattr(PresenceBeat, "card", a_card("pose"))
    assert (status("/readyz"), status("/metrics")) == (503, 200)
    monkeypatch.setattr(PresenceBeat, "card", a_card("pose", loaded=(Stage.POSE,)))
    assert (status("/readyz"), status("/metrics")) == (200, 200)
