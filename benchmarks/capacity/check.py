"""The model against the real system: service times of some runs, and the wall time of others foretold.

What a prediction knows: the service times of single segments, the time of a fetch, and what a message and a
picture that is read back cost, all from runs with another placement, other workers and other videos (of the
same scene); the number of segments of each video, the number of workers of each queue, and the number of
cores. It does not know how long anything took in the run it foretells.

The service times are measured before and behind the runs that are foretold, because the speed of a shared
machine drifts by more than the model errs; what those of before alone foretell is told beside it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity.demand import Profile, Work
from benchmarks.capacity.fleet import Fleet, Site
from benchmarks.capacity.gauges import mean
from benchmarks.capacity.measuring import calibrate, hop_of, profile_of
from benchmarks.capacity.outcome import DOWNLOAD
from benchmarks.capacity.real import RealRun, run_real
from benchmarks.capacity.simulation import simulate
from benchmarks.clips import two_minutes
from workers.machine import cores

BOUND = 0.10
"""Of the measured wall time, by which a prediction may miss it."""
SEGMENT_SECONDS = 5.0
CALIBRATION_SECONDS = 40
RUNS: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "one worker for each queue": ({"pose": 1, "mask": 1, "me": 1, "compare": 1}, (35, 40)),
    "a second pose worker": ({"pose": 2, "mask": 1, "me": 1, "compare": 1}, (30, 35, 40)),
}
"""Workers by queue, and the seconds of each video. More processes than cores: they share them."""
SEEDS = range(20)
_LOCAL = Site(videos_per_hour=0)


def check() -> dict[str, Any]:
    """Measures, foretells, and compares; ``worst`` is the largest error, as a share."""
    with tempfile.TemporaryDirectory(prefix="hardpose-capacity-") as name:
        folder = Path(name)
        before = calibrate(folder / "before", CALIBRATION_SECONDS, SEGMENT_SECONDS)
        hop = hop_of(before, folder / "hop")
        real = {title: _run(folder / str(n), *RUNS[title]) for n, title in enumerate(RUNS)}
        behind = calibrate(folder / "behind", CALIBRATION_SECONDS, SEGMENT_SECONDS)
    return compared(before, behind, real, hop)


def compared(
    before: RealRun, behind: RealRun, real: Mapping[str, RealRun], hop_seconds: float
) -> dict[str, Any]:
    """The table, from the runs and the cost of a message."""
    both = profile_of([before, behind], SEGMENT_SECONDS, hop_seconds)
    alone = profile_of([before], SEGMENT_SECONDS, hop_seconds)
    drift = behind.stage_seconds / len(behind.samples) / (before.stage_seconds / len(before.samples))
    rows = {title: _row(run, RUNS[title][0], both, alone) for title, run in real.items()}
    return {
        "cores": cores(),
        "bound": BOUND,
        "worst": max(abs(row["error"]) for row in rows.values()),
        "drift": round(drift, 4),
        "others_cores": round(max(run.others_cores for run in (before, behind, *real.values())), 3),
        "mean_seconds": {s.value: round(both.mean_seconds(s), 3) for s in both.samples[0].seconds},
        "hop_seconds": round(both.hop_seconds, 4),
        "picture_seconds": round(both.picture_seconds, 6),
        "runs": rows,
    }


def _run(folder: Path, workers: Mapping[str, int], lengths: Sequence[int]) -> RealRun:
    clips = []
    for seconds in lengths:
        place = folder / str(seconds)
        place.mkdir(parents=True)
        clips.append(two_minutes(place, seconds))
    return run_real(folder / "state", clips, workers, SEGMENT_SECONDS)


def _row(run: RealRun, workers: Mapping[str, int], both: Profile, alone: Profile) -> dict[str, Any]:
    foretold, first = (predict(profile, workers, run.segments) for profile in (both, alone))
    told = predict(both, workers, run.segments, cores() - run.others_cores)
    measured = run.wall_seconds
    return {
        "workers": dict(workers),
        "segments": list(run.segments),
        "measured_seconds": round(measured, 2),
        "predicted_seconds": round(foretold["seconds"], 2),
        "error": round(foretold["seconds"] / measured - 1, 4),
        "error_from_before_alone": round(first["seconds"] / measured - 1, 4),
        "bottleneck": foretold["bottleneck"],
        # Beside the claim: how well the model does if it is told what other programs have left of the cores.
        "error_with_the_cores_left": round(told["seconds"] / measured - 1, 4),
        "stage_seconds_in_the_run": round(run.stage_seconds, 2),
        "cpu_seconds_in_the_run": round(run.cpu_seconds, 2),
        "others_cores": round(run.others_cores, 3),
    }


def predict(
    profile: Profile, workers: Mapping[str, int], segments: Sequence[int], left: float | None = None
) -> dict[str, Any]:
    """Wall-clock seconds on this machine, mean over several draws, and the queue that it hangs on.

    Args:
        profile: service times.
        workers: by queue.
        segments: of each video.
        left: cores; None: all of this machine.
    """
    work = Work(profile, at_once=segments)
    fleet = Fleet(workers=workers, site=_LOCAL, cores=left or cores())
    runs = [simulate(work, fleet, seed=seed) for seed in SEEDS]
    chain = [queue for queue in runs[0].queues if queue.name != DOWNLOAD]
    return {
        "seconds": mean([run.seconds for run in runs]),
        "bottleneck": max(chain, key=lambda queue: queue.utilisation).name,
    }
