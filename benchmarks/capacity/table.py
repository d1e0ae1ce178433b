"""The tables of ``docs/capacity.md``: 10, 1,000 and 100,000 videos a day on three kinds of hardware."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.capacity.demand import Profile, Work
from benchmarks.capacity.showing import markdown, row_of
from benchmarks.capacity.sizing import plan
from broker.recipe import Stage

RESULTS = Path(__file__).parent.parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
RATES = (10, 1_000, 100_000)
MEGABITS = 20.0
"""ASSUMED: of one transfer from a site."""
ON_GPUS: Mapping[Stage, float] = {Stage.POSE: 20.0, Stage.MASK: 5.0}
"""ASSUMED, never measured here: frames a second of OpenPose and Mask R-CNN, a GPU for each worker."""
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
CEILING_BEGIN, CEILING_END = "<!-- ceiling: begin -->", "<!-- ceiling: end -->"


def hardware(profile: Profile) -> dict[str, Profile]:
    """The kinds of hardware and models, by the title of their table; all with their pictures on S3."""
    if rate := pictures_from_s3():
        profile = profile.on_store(rate)
    measured = models_on_this_cpu()
    kinds = {"Embedded networks, one core of this machine for each worker (measured)": profile}
    if measured:
        title = "OpenPose and Mask R-CNN on ONNX Runtime, both cores of this machine for each worker"
        told = ", ".join(f"{stage.value} {rate:.2f}" for stage, rate in measured.items())
        kinds[f"{title} (measured: {told} frames a second)"] = profile.at_rates(measured)
    told = ", ".join(f"{stage.value} {rate:g}" for stage, rate in ON_GPUS.items())
    title = "OpenPose and Mask R-CNN on one GPU for each worker"
    kinds[f"{title} (ASSUMED: {told} frames a second)"] = profile.at_rates(ON_GPUS)
    return kinds


def models_on_this_cpu(path: Path = RESULTS / "models.json") -> dict[Stage, float]:
    """Frames a second of the report's networks as stages, as ``python -m benchmarks`` has measured them."""
    if not path.exists():
        return {}
    rows = {row["runtime"]: row for row in json.loads(path.read_text())["model_stages"]["rows"]}
    named = {Stage.POSE: "openpose-body25", Stage.MASK: "matterport-onnxruntime"}
    return {stage: rows[name]["frames_per_second"] for stage, name in named.items() if name in rows}


def pictures_from_s3(path: Path = RESULTS / "s3_frames.json") -> float | None:
    """Pictures a second that a stage gets from an S3 server beside it, as ``benchmarks.s3_frames`` has it."""
    if not path.exists():
        return None
    return float(json.loads(path.read_text())["frames_a_second"]["s3"]["read as the stages do"])


def tables(profile: Profile) -> dict[str, list[dict[str, Any]]]:
    """Each kind of hardware at each rate."""
    return {
        title: [row_of(plan(Work(kind, rate, fetch_megabits=MEGABITS))) for rate in RATES]
        for title, kind in hardware(profile).items()
    }


def ceilings(path: Path = RESULTS / "volume.json") -> str:
    """The brokers' measured ceilings as a Markdown table; in words, where nothing was measured yet."""
    if not path.exists():
        return "Not measured yet: `python -m benchmarks.volume`."
    lines = [
        "| broker | segments a second that came through | segments for a CPU second of the broker "
        "| CPU ms a segment, all processes |",
        "|---|---|---|---|",
    ]
    for kind, row in json.loads(path.read_text())["runs"].items():
        ceiling = ", ".join(f"{n} {c}" for n, c in row["ceiling_segments_per_broker_cpu_second"].items())
        lines.append(f"| {kind} | {row['segments_per_second']} | {ceiling} | {row['cpu_ms_per_segment']} |")
    return "\n".join(lines)


def write_page(profile: Profile, found: Mapping[str, Any], page: Path = PAGE) -> None:
    """Puts the tables between their marks; the words around them stay.

    Raises:
        ValueError: the page has lost a mark.
    """
    text = _between(page.read_text(), BEGIN, END, markdown(profile, found))
    page.write_text(_between(text, CEILING_BEGIN, CEILING_END, ceilings()))


def _between(text: str, begin: str, end: str, inside: str) -> str:
    before, marked, rest = text.partition(begin)
    _, closed, behind = rest.partition(end)
    if not (marked and closed):
        raise ValueError(f"{begin} ... {end} is not in the page")
    return f"{before}{begin}\n{inside}\n{end}{behind}"
