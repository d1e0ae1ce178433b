"""How many workers for so many videos a day; see docs/capacity.md.

    python -m benchmarks.capacity --per-day 1000
    python -m benchmarks.capacity --per-day 1000 --frames-per-second pose=20 mask=5   # your own hardware
    python -m benchmarks.capacity --per-day 1000 --pictures-per-second 120            # your own store
    python -m benchmarks.capacity --per-day 1000 --workers pose=4 mask=2 me=1 compare=1 --identities 2
    python -m benchmarks.capacity --measure      # this machine's service times, 1.5 minutes of two cores
    python -m benchmarks.capacity --check        # the model against the real system, about four minutes
    python -m benchmarks.capacity --table        # writes the tables of docs/capacity.md, about two minutes
    python -m benchmarks.capacity --page         # the same from results that are there, at once

Ends with 1 when --check misses its bound, and when a given fleet does not keep up.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.capacity.check import BOUND, check
from benchmarks.capacity.demand import Profile, Work
from benchmarks.capacity.fleet import Fleet, Outages, Site
from benchmarks.capacity.measuring import PROFILE, measure, read_profile, write_profile
from benchmarks.capacity.showing import QUIET, plan_text
from benchmarks.capacity.sizing import QUEUES, Plan, most_videos_per_day, plan, try_out
from benchmarks.capacity.table import tables, write_page
from broker.recipe import Stage

CHECKED = PROFILE.with_name("capacity_check.json")
TABLES = PROFILE.with_name("capacity.json")


def main() -> int:
    """Does what the command line says and returns the exit status."""
    chosen = _arguments()
    status = 0
    if chosen.measure:
        status |= _measure(chosen.profile)
    if chosen.check:
        status |= _check()
    if chosen.table:
        found = tables(read_profile(chosen.profile))
        TABLES.write_text(json.dumps(found, indent=2) + "\n")
    if chosen.table or chosen.page:
        write_page(read_profile(chosen.profile), json.loads(TABLES.read_text()))
        print(f"written to {TABLES} and docs/capacity.md")
    for per_day in chosen.per_day:
        status |= _plan(chosen, per_day)
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--per-day", type=float, nargs="+", default=[], help="videos a day")
    add("--video-seconds", type=float, default=240.0, help="mean length of a video (240)")
    add("--frames-per-second", nargs="+", default=[], metavar="STAGE=RATE", help="of stages on your hardware")
    add("--pictures-per-second", type=float, help="that a stage reads from your store (benchmarks.s3_frames)")
    add("--placement", default=" | ".join(QUEUES), help="as HARDPOSE_PLACEMENT")
    add("--workers", nargs="+", default=[], metavar="QUEUE=N", help="a given fleet in place of a found one")
    add("--identities", type=int, default=1, help="download identities of a given fleet")
    add("--download-workers", type=int, default=1, help="of each identity of a given fleet")
    add("--videos-per-hour", type=float, default=Site.videos_per_hour, help="of one identity (300)")
    add("--burst", type=int, default=Site.burst, help="videos at once after a pause (5)")
    add("--bot-checks", type=float, default=0.0, help="share of fetches that open the breaker")
    add("--failed", type=float, default=0.0, help="share of links that give no video")
    add("--megabits", type=float, default=20.0, help="of one transfer, Mbit/s (20)")
    add("--device-up", type=float, help="mean hours that a device is there, with --device-down")
    add("--device-down", type=float, help="mean hours that it is away")
    add("--hours", type=float, help="that are simulated, in place of enough for 10,000 segments")
    add("--seed", type=int, default=0)
    add("--profile", type=Path, default=PROFILE, help="service times, as --measure writes them")
    for name in ("measure", "check", "table", "page"):
        add(f"--{name}", action="store_true")
    return parser.parse_args()


def _pairs(texts: Sequence[str]) -> dict[str, float]:
    return {name: float(value) for name, _, value in (text.partition("=") for text in texts)}


def _plan(chosen: argparse.Namespace, per_day: float) -> int:
    profile: Profile = read_profile(chosen.profile)
    rates = {Stage(name): rate for name, rate in _pairs(chosen.frames_per_second).items()}
    profile = profile.at_rates(rates)
    if chosen.pictures_per_second:
        profile = profile.on_store(chosen.pictures_per_second)
    work = Work(profile, per_day, (), chosen.video_seconds, chosen.megabits, chosen.failed)
    site = Site(chosen.identities, chosen.videos_per_hour, chosen.burst, bot_checks=chosen.bot_checks)
    site = replace(site, transfers=site.transfers * chosen.download_workers)
    outages = None
    if chosen.device_up and chosen.device_down:
        outages = Outages(chosen.device_up * 3600, chosen.device_down * 3600)
    if chosen.workers:
        workers = {queue: int(count) for queue, count in _pairs(chosen.workers).items()}
        fleet = Fleet(workers, site, outages=outages)
        made = Plan(work, fleet, try_out(work, fleet, chosen.hours, chosen.seed))
    else:
        queues = [queue.strip() for queue in chosen.placement.split("|")]
        made = plan(work, site, queues, outages, chosen.hours, chosen.seed)
    print(plan_text(made))
    most = most_videos_per_day(work, made.fleet)
    print("at most, videos a day: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in most.items()))
    return 0 if made.keeps_up else 1


def _measure(path: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="hardpose-capacity-") as folder:
        profile = measure(Path(folder))
    write_profile(profile, path)
    print(
        ", ".join(
            f"{stage.value} {profile.mean_seconds(stage):.2f} s" for stage in profile.samples[0].seconds
        )
    )
    print(
        f"{profile.hop_seconds * 1000:.1f} ms a message, {profile.picture_seconds * 1000:.2f} ms a picture "
        f"that is read back; written to {path}"
    )
    return _disturbed(profile.others_cores)


def _check() -> int:
    numbers = check()
    CHECKED.write_text(json.dumps(numbers, indent=2) + "\n")
    for title, row in numbers["runs"].items():
        print(
            f"{title}: predicted {row['predicted_seconds']} s, measured {row['measured_seconds']} s "
            f"({row['error']:+.1%}; from what was measured before it alone "
            f"{row['error_from_before_alone']:+.1%})"
        )
    print(f"the machine's drift between the measurements: {numbers['drift']:.3f}; written to {CHECKED}")
    missed = numbers["worst"] > BOUND
    if missed:
        print(f"missed: an error of {numbers['worst']:.1%} is more than {BOUND:.0%}")
    _disturbed(numbers["others_cores"])
    return int(missed)


def _disturbed(others: float) -> int:
    if others <= QUIET:
        return 0
    print(f"other programs took {others:.2f} processors meanwhile: repeat it on a quiet machine")
    return 1


if __name__ == "__main__":
    sys.exit(main())
