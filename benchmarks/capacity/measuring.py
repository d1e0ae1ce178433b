"""Service times from the real system, as a profile: written once, read by every prediction."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.capacity.demand import Bytes, Profile, Sample
from benchmarks.capacity.real import RealRun, run_real
from benchmarks.capacity.transfer import message_seconds
from benchmarks.clips import two_minutes
from broker.recipe import Stage
from workers.machine import cores

FUSED = "pose+mask+me+compare"
"""All stages in one process: as many of these as cores, and no stage waits for a core inside its own time."""
PROFILE = Path(__file__).parent.parent / "results" / "capacity_profile.json"
SEGMENT_SECONDS = 20.0
CONTENT = "sample clip SinglePerson_cam03, one athlete, 1088x1920 at 60 frames a second, repeated"


def calibrate(folder: Path, clip_seconds: int, segment_seconds: float) -> RealRun:
    """One run of one video in which every core works on a segment of its own."""
    folder.mkdir(parents=True)
    clip = two_minutes(folder, clip_seconds)
    return run_real(folder / "state", [clip], {FUSED: cores()}, segment_seconds)


def hop_of(run: RealRun, folder: Path) -> float:
    """CPU seconds of a message with as many frames as those of a segment of ``run``.

    Args:
        run: of the recipe.
        folder: for a run of its own; short, and not there yet.
    """
    count = len(run.samples)
    kept = sum(sample.kept for sample in run.samples) / count
    examined = sum(sample.examined for sample in run.samples) / count
    return message_seconds(folder, (round(kept), round(examined - kept)))


def profile_of(runs: Sequence[RealRun], segment_seconds: float, hop_seconds: float) -> Profile:
    """What fused runs (one message a segment) say together.

    The stages time themselves by the clock on the wall. Where other programs took processors meanwhile, the
    CPU time that the system got, but for its messages, is less than that sum, and each time is cut by the
    same share: what remains is seconds of a core. The difference is no measure of the messages: it is one of
    two large numbers, and a stage that waits for a moment makes it negative.
    """
    samples = [sample for run in runs for sample in _own_time(run, hop_seconds)]
    return Profile(
        segment_seconds=segment_seconds,
        samples=tuple(samples),
        fetch_seconds=tuple(seconds for run in runs for seconds in run.fetch_seconds),
        hop_seconds=hop_seconds,
        picture_seconds=sum(run.picture_seconds for run in runs) / len(runs),
        sizes=runs[0].sizes,
        machine=f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}",
        others_cores=max(run.others_cores for run in runs),
        content=CONTENT,
    )


def _own_time(run: RealRun, hop_seconds: float) -> list[Sample]:
    share = min(1.0, (run.cpu_seconds - hop_seconds * len(run.samples)) / run.stage_seconds)
    cut = [{stage: took * share for stage, took in sample.seconds.items()} for sample in run.samples]
    return [replace(sample, seconds=own) for sample, own in zip(run.samples, cut, strict=True)]


def measure(folder: Path, clip_seconds: int = 120) -> Profile:
    """Two minutes of video in segments of the usual length, and messages alone: 1.5 minutes of two cores."""
    run = calibrate(folder / "profile", clip_seconds, SEGMENT_SECONDS)
    return profile_of([run], SEGMENT_SECONDS, hop_of(run, folder / "hop"))


def write_profile(profile: Profile, path: Path = PROFILE) -> None:
    """As JSON; seconds with four decimals, those of a message or picture with six; sizes in bytes."""
    record = dataclasses.asdict(profile)
    for sample in record["samples"]:
        sample["seconds"] = {stage.value: round(took, 4) for stage, took in sample["seconds"].items()}
    record["fetch_seconds"] = [round(took, 4) for took in record["fetch_seconds"]]
    for name in ("hop_seconds", "picture_seconds", "others_cores"):
        record[name] = round(record[name], 6)
    record["sizes"] = {name: round(size) for name, size in record["sizes"].items()}
    path.write_text(json.dumps(record, indent=2) + "\n")


def read_profile(path: Path = PROFILE) -> Profile:
    """A written profile.

    Raises:
        FileNotFoundError: nothing was measured yet.
    """
    record = json.loads(path.read_text())
    samples = [{**sample, "seconds": _by_stage(sample["seconds"])} for sample in record.pop("samples")]
    return Profile(
        **{
            **record,
            "samples": tuple(Sample(**sample) for sample in samples),
            "fetch_seconds": tuple(record["fetch_seconds"]),
            "sizes": Bytes(**record["sizes"]),
        }
    )


def _by_stage(seconds: dict[str, float]) -> dict[Stage, float]:
    return {Stage(name): took for name, took in seconds.items()}
