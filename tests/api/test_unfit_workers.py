"""A worker that cannot load its model is told of by ``hardpose status`` and by the API's metrics."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.downloads import DownloadsState
from api.metrics import collect
from api.status import print_jobs
from api.unfit_workers import unfit_workers
from broker.embedded import EmbeddedBroker
from broker.presence import Presence, Unfit, WorkerCard
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime

WHY = Unfit(code="no_provider", cause="There is no GPU here.", remedy="Look.", stages=(Stage.POSE,), at=1.0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a system with a fit worker and one that is not; its broker ends with the module."""
    folder: Path = tmp_path_factory.mktemp("unfit")
    with EmbeddedBroker(folder / "broker") as server:
        made = load_settings(home=folder, broker_url=server.url)
        presence = Presence(Runtime(made).control)
        for pid, unfit in ((1, None), (2, WHY)):
            name = f"pose-{pid}@rack"
            presence.announce(
                WorkerCard(
                    name=name, host="h", pid=pid, queues=("pose",), version="1", started=1.0, unfit=unfit
                )
            )
        yield made


def test_status_names_it_and_says_why(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    print_jobs([], DownloadsState(), as_json=False, unfit=unfit_workers(settings))
    told = capsys.readouterr().out.splitlines()
    assert told[1:] == [
        "The worker pose-2@rack on h is unfit for pose. no_provider: There is no GPU here. Look."
    ]
    print_jobs([], DownloadsState(), as_json=True, unfit=unfit_workers(settings))
    (worker,) = json.loads(capsys.readouterr().out)["unfit_workers"]
    assert worker == {
        "worker": "pose-2@rack",
        "host": "h",
        "queues": ["pose"],
        "code": "no_provider",
        "cause": "There is no GPU here.",
        "remedy": "Look.",
        "stages": ["pose"],
    }


def test_the_metrics_count_it_beside_the_others(settings: Settings) -> None:
    told = collect(Runtime(settings)).decode().splitlines()
    assert 'hardpose_workers{queue="pose"} 2.0' in told
    assert 'hardpose_unfit_workers{queue="pose"} 1.0' in told
    assert 'hardpose_unfit_workers{queue="mask"} 0.0' in told


def test_without_a_broker_nothing_is_said(tmp_path: Path) -> None:
    assert unfit_workers(load_settings(home=tmp_path)) == []
