"""Forty videos through stages that take no time, on each broker; the benchmark has a thousand."""

import importlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rabbitmq_server import find_rabbitmq

REPOSITORY = Path(__file__).resolve().parents[2]
VIDEOS = 40
MOST_GROWTH_MB = 120.0
"""Ten times the benchmark's bound: a megabyte of each segment's would be seen."""


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(REPOSITORY)  # the benchmarks are not installed
    for name in ("HARDPOSE_BROKER_URL", "HARDPOSE_CONTROL_URL", "HARDPOSE_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)
    return importlib.import_module("benchmarks.volume")


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_every_frame_of_many_videos_arrives_once(kind: str, volume: Any, tmp_path: Path) -> None:
    if kind == "rabbitmq":
        find_rabbitmq()
    numbers = volume.run(tmp_path, kind, VIDEOS, frames=(2, 10))
    assert numbers["segments"] == 3 * VIDEOS
    # What a process holds is judged by the benchmark's thousand videos: so few lie within a heap's own play.
    assert max(row["growth_mb"] for row in numbers["memory"].values()) < MOST_GROWTH_MB
    for row in numbers["memory"].values():
        row["growth_mb"] = 0.0
    assert volume.faults_of(numbers, VIDEOS) == []
    doubtful(volume, numbers)


def doubtful(volume: Any, numbers: dict[str, Any]) -> None:
    """Each defect that the run was watched for would have been seen."""

    def told(*place: str, by: float) -> list[str]:
        changed: Any = deepcopy(numbers)
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] += by
        faults: list[str] = volume.faults_of(changed, VIDEOS)
        return faults

    assert len(told("videos", by=-1)) == 1  # one video is not done
    assert len(told("segments", by=-1)) == 1
    assert len(told("frames", by=-1)) == 1
    assert len(told("stage_runs", "me", by=1)) == 1  # one segment was drawn twice
    assert len(told("memory", "mask (pool)", "growth_mb", by=100.0)) == 1
    assert len(told("memory", "valkey", "growth_mb", by=100.0)) == 1


def test_growth_is_seen_whatever_was_held_at_first(volume: Any) -> None:
    watch = volume.Watch({})
    for done in range(0, 3001, 100):
        watch.done.append(done)
        for name, held in (("leaking", 80 + done / 100), ("filling", min(80 + done / 20, 120))):
            watch.memory.setdefault(name, []).append(held)
    assert watch.growth("leaking", 3000) == pytest.approx((20.0, 10.0))
    assert watch.growth("filling", 3000) == pytest.approx((0.0, 0.0))
