"""What the model says, as text and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.capacity.demand import Profile
from benchmarks.capacity.flows import Flows, flows_of
from benchmarks.capacity.outcome import DOWNLOAD
from benchmarks.capacity.sizing import Plan, fullness, seconds_of, segments_per_second

QUIET = 0.1
"""Processors that other programs may take before a measurement is called disturbed."""
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def amount(number: float) -> str:
    """Bytes in decimal units, three digits."""
    for unit in UNITS[:-1]:
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} {UNITS[-1]}"


def lasting(seconds: float) -> str:
    """A time, readable."""
    for limit, unit, of in ((90, "s", 1), (5400, "min", 60), (129_600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / of:.2g} {unit}" if seconds / of < 10 else f"{seconds / of:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def plan_text(plan: Plan) -> str:
    """One plan for a terminal."""
    work, outcome = plan.work, plan.outcome
    lines = [
        f"{work.videos_per_day:,.0f} videos a day of {work.video_seconds:.0f} s: "
        f"{segments_per_second(work):.3g} segments a second; simulated {lasting(outcome.seconds)}, "
        f"{outcome.segments_done:,} segments",
        f"{'queue':14}{'workers':>8}{'s/segment':>11}{'busy':>7}{'away':>7}"
        f"{'waiting':>9}{'wait':>9}{'95 %':>9}",
    ]
    for queue in outcome.queues:
        each = "" if queue.name == DOWNLOAD else f"{seconds_of(work, queue.name):.3g}"
        rest = f"{queue.utilisation:7.0%}{queue.down:7.0%}"
        if queue.name != DOWNLOAD:
            waits = f"{lasting(queue.mean_wait):>9}{lasting(queue.p95_wait):>9}"
            rest += f"{queue.mean_waiting:9.1f}{waits}"
        lines.append(f"{queue.name:14}{queue.workers:8}{each:>11}{rest}")
    flows = flows_of(work, plan.fleet.workers)
    site = plan.fleet.site
    lines += [
        f"download: {site.identities} identities of {site.videos_per_hour:g} videos an hour, "
        f"{site.workers} workers in all, {work.mean_fetch_seconds:.3g} s a transfer",
        f"bottleneck: {outcome.bottleneck.name}, {fullness(outcome.bottleneck):.0%} busy"
        + ("" if plan.keeps_up else ": IT DOES NOT KEEP UP"),
        f"a video takes {lasting(outcome.mean_video_seconds)} from its link to its verdicts, "
        f"95 % at most {lasting(outcome.p95_video_seconds)}",
        f"a day: {amount(flows.videos)} of videos, {amount(flows.frames)} of frames, "
        f"{amount(flows.masks + flows.device)} of masks, {amount(flows.results + flows.catalog)} of books; "
        f"{amount(flows.read)} read from the store, {amount(flows.messages)} through the broker",
    ]
    return "\n".join(lines)


def row_of(plan: Plan) -> dict[str, Any]:
    """One plan as data, for the table."""
    outcome, flows = plan.outcome, flows_of(plan.work, plan.fleet.workers)
    return {
        "videos_per_day": plan.work.videos_per_day,
        "segments_per_second": round(segments_per_second(plan.work), 4),
        "workers": {queue.name: queue.workers for queue in outcome.queues},
        "download_workers": plan.fleet.site.workers,
        "busy": {queue.name: round(fullness(queue), 3) for queue in outcome.queues},
        "bottleneck": outcome.bottleneck.name,
        "keeps_up": plan.keeps_up,
        "mean_video_seconds": round(outcome.mean_video_seconds, 1),
        "p95_video_seconds": round(outcome.p95_video_seconds, 1),
        "simulated_segments": outcome.segments_done,
        "bytes": {name: round(number) for name, number in _flows(flows).items()},
    }


def _flows(flows: Flows) -> dict[str, float]:
    return {
        "videos": flows.videos,
        "pictures": flows.frames + flows.masks + flows.device,
        "books": flows.results + flows.catalog,
        "read": flows.read,
        "messages": flows.messages,
    }


def markdown(profile: Profile, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The tables of ``docs/capacity.md``, from what ``row_of`` gave, by title."""
    return f"{measured_on(profile)}\n\n" + "\n\n".join(
        f"**{title}**\n\n{_table(rows)}" for title, rows in tables.items()
    )


def measured_on(profile: Profile) -> str:
    """What the tables stand on, in a line of Markdown."""
    seconds = ", ".join(f"{s.value} {profile.mean_seconds(s):.2f} s" for s in profile.samples[0].seconds)
    line = (
        f"A segment of {profile.segment_seconds:g} s ({profile.mean('examined'):.0f} frames examined, "
        f"{profile.mean('looked_at'):.0f} looked at, {profile.mean('kept'):.0f} kept): {seconds}, "
        f"{profile.hop_seconds * 1000:.0f} ms a message, {profile.picture_seconds * 1000:.2f} ms a picture "
        f"read back from a folder; {profile.machine}; {profile.content}."
    )
    if profile.others_cores > QUIET:
        line += (
            f" **Measured while other programs took {profile.others_cores:.1f} processors, and cut to the "
            "CPU time that was had: measure again on a quiet machine.**"
        )
    return line


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = [f"{row['videos_per_day']:,.0f} a day" for row in rows]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(rows) + 1) + "|"]
    lines.append(_line("segments a second", [f"{row['segments_per_second']:.3g}" for row in rows]))
    for queue in rows[0]["workers"]:
        what = "download identities" if queue == DOWNLOAD else f"`{queue}` workers"
        cells = [f"{row['workers'][queue]:,} ({row['busy'][queue]:.0%} busy)" for row in rows]
        lines.append(_line(what, cells))
    lines.insert(4, _line("download workers", [f"{row['download_workers']:,}" for row in rows]))
    lines.append(_line("bottleneck", [f"`{row['bottleneck']}`" for row in rows]))
    times = [f"{lasting(row['mean_video_seconds'])}, {lasting(row['p95_video_seconds'])}" for row in rows]
    lines.append(_line("a video's way, mean and 95 %", times))
    for kind, what in BYTES.items():
        lines.append(_line(what, [amount(row["bytes"][kind]) for row in rows]))
    return "\n".join(lines)


BYTES = {
    "videos": "videos fetched and stored, a day",
    "pictures": "frames and masks stored, a day",
    "books": "results and catalog, a day",
    "read": "read from the store, a day",
    "messages": "through the broker, in and out, a day",
}


def _line(what: str, cells: Sequence[str]) -> str:
    return f"| {what} | " + " | ".join(cells) + " |"
