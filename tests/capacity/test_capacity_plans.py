"""What the capacity model's command line finds, shows and writes."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_work import measured

from benchmarks.capacity.check import SEGMENT_SECONDS, compared, predict
from benchmarks.capacity.demand import Bytes, Profile, Sample, Work
from benchmarks.capacity.fleet import Fleet, Outages, Site
from benchmarks.capacity.flows import flows_of
from benchmarks.capacity.measuring import profile_of, read_profile, write_profile
from benchmarks.capacity.real import RealRun
from benchmarks.capacity.showing import amount, lasting
from benchmarks.capacity.sizing import AIM, fullness, most_videos_per_day, plan, seconds_of, try_out
from benchmarks.capacity.table import PAGE, RATES, write_page
from benchmarks.capacity.transfer import picture_seconds, seconds_a_message
from broker.recipe import CHAIN, Stage

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = Bytes(1e6, 4e5, 1e4, 2e4, 5e4, 1e4)
PROFILE = Profile(
    20.0,
    tuple(
        Sample(dict(zip(CHAIN, row, strict=True)), 160, 110, kept)
        for row, kept in (((10.0, 6.0, 0.5, 0.1), 20), ((12.0, 8.0, 0.6, 0.1), 30))
    ),
    fetch_seconds=(1.0,),
    hop_seconds=0.01,
    picture_seconds=0.0002,
    sizes=SIZES,
)


@pytest.mark.parametrize("rate", [10, 1000, 10_000])
def test_a_plan_has_just_enough_workers_and_keeps_up(rate: int) -> None:
    work = Work(PROFILE, rate, fetch_megabits=20)
    found = plan(work, hours=1 if rate > 1000 else None)
    assert found.keeps_up
    most = most_videos_per_day(work, found.fleet)
    assert all(rate <= videos * AIM * 1.001 for videos in most.values())
    for queue, workers in found.fleet.workers.items():  # one less would be too few, or none
        assert workers == 1 or most[queue] * (workers - 1) / workers * AIM < rate
    turns = found.fleet.site.identities * found.fleet.site.videos_per_hour * 24
    assert found.fleet.site.identities == 1 or turns * AIM - 300 * 24 * AIM < rate


def test_a_fleet_that_is_too_small_is_found_out() -> None:
    work = Work(PROFILE, 5000)
    fleet = Fleet({"pose": 4, "mask": 20, "me": 2, "compare": 2})
    outcome = try_out(work, fleet, hours=3)
    assert outcome.bottleneck.name == "pose"
    assert fullness(outcome.bottleneck) > 0.98
    # It does what its bottleneck can.
    assert outcome.videos_per_day == pytest.approx(most_videos_per_day(work, fleet)["pose"], rel=0.1)


def test_a_device_that_is_off_for_half_the_day_needs_a_second_one() -> None:
    slow = Work(measured((1.0, 1.0, 110.0, 0.1)), 40)
    always = plan(slow, hours=100).fleet.workers["me"]
    half = plan(slow, outages=Outages(6 * 3600, 6 * 3600), hours=100).fleet.workers["me"]
    assert half >= 2 * always


def test_more_bot_checks_need_more_identities() -> None:
    work = Work(PROFILE, 600, video_seconds=10.0)
    calm = plan(work, Site(), hours=48).fleet.site.identities
    refused = plan(work, Site(bot_checks=0.1), hours=48).fleet.site.identities
    assert refused > calm


def test_fused_stages_are_one_queue_with_the_sum_of_their_work() -> None:
    work = Work(PROFILE, 2000)
    apart = plan(work, hours=1)
    fused = plan(work, queues=("pose+mask", "me", "compare"), hours=1)
    assert list(fused.fleet.workers) == ["pose+mask", "me", "compare"]
    together = apart.fleet.workers["pose"] + apart.fleet.workers["mask"]
    assert abs(fused.fleet.workers["pose+mask"] - together) <= 1


def test_rates_of_other_hardware_change_only_their_stages() -> None:
    other = PROFILE.at_rates({Stage.POSE: 20.0, Stage.MASK: 5.0})
    assert other.mean_seconds(Stage.POSE) == pytest.approx(110 / 20)
    assert other.mean_seconds(Stage.MASK) == pytest.approx(25 / 5)
    assert other.mean_seconds(Stage.ME) == PROFILE.mean_seconds(Stage.ME)


def test_bytes_of_a_day_add_up() -> None:
    work = Work(PROFILE, 1000)
    segments = 1000 / (1 - math.exp(-20 / 240))
    flows = flows_of(work, {"pose": 2, "mask": 1, "me": 1, "compare": 1})
    assert flows.videos == pytest.approx(segments * 20 * 1e6)
    assert flows.frames == pytest.approx(segments * 25 * 4e5)
    # The video twice, for two pose workers; frames twice; each mask once.
    assert flows.read == pytest.approx(2 * flows.videos + 2 * flows.frames + segments * 25 * 3e4)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_profile(PROFILE, tmp_path / "profile.json")
    assert read_profile(tmp_path / "profile.json") == PROFILE


def run_of(seconds: float, count: int, wall: float, cpu: float) -> RealRun:
    sample = Sample({Stage.POSE: seconds, Stage.MASK: 0.0, Stage.ME: 0.0, Stage.COMPARE: 0.0})
    return RealRun(wall, (sample,) * count, (count,), (0.5,), cpu, 0.0, SIZES)


def test_times_beside_other_programs_are_cut_to_the_processor_time_that_was_had() -> None:
    """8 segments of 4 s by the clock, for which the system had 16.8 s of CPU time: 2 s and a message each."""
    disturbed = profile_of([run_of(4.0, 8, 16.0, 16.8)], SEGMENT_SECONDS, 0.1)
    assert disturbed.mean_seconds(Stage.POSE) == pytest.approx(2.0)
    quiet = profile_of([run_of(2.0, 8, 8.0, 17.0)], SEGMENT_SECONDS, 0.1)
    assert quiet.mean_seconds(Stage.POSE) == pytest.approx(2.0)
    assert disturbed.hop_seconds == quiet.hop_seconds == 0.1


def test_a_message_is_what_the_processes_of_the_chain_and_the_broker_spend_on_it() -> None:
    """0.8 s on ten segments of four messages each; a download is no message between two queues."""
    spent = {
        "download (main)": 5.0,
        "pose (main)": 0.1,
        "pose (pool)": 0.3,
        "compare (pool)": 0.3,
        "valkey": 0.1,
    }
    assert seconds_a_message({"cpu_seconds": spent, "segments": 10}) == pytest.approx(0.02)


def test_pictures_are_read_back_from_where_a_run_has_left_them(tmp_path: Path) -> None:
    assert picture_seconds(tmp_path) == 0.0
    for kind in ("frames", "masks", "device"):
        (tmp_path / kind / "ab").mkdir(parents=True)
        (tmp_path / kind / "ab" / "1.jpg").write_bytes(bytes(100_000))
    assert picture_seconds(tmp_path) > 0.0


def test_a_slow_store_is_felt_where_pictures_are_read() -> None:
    slow, fast = (Work(PROFILE.on_store(rate), 1000) for rate in (50, 1e9))
    kept = PROFILE.mean("kept")
    more = [seconds_of(slow, queue) - seconds_of(fast, queue) for queue in ("pose", "mask", "me", "compare")]
    assert more == pytest.approx([0.0, kept / 50, kept / 50, 2 * kept / 50])


def test_the_check_foretells_from_other_runs_alone() -> None:
    """What the foretold run took changes its error and nothing else."""
    before, behind = run_of(2.0, 8, 8.0, 16.0), run_of(2.2, 8, 8.8, 17.6)
    title = "one worker for each queue"
    rows = [
        compared(before, behind, {title: run_of(seconds, 10, wall, 20.0)}, 0.0)["runs"][title]
        for seconds, wall in ((2.0, 20.0), (9.0, 100.0))
    ]
    assert rows[0]["predicted_seconds"] == rows[1]["predicted_seconds"] == pytest.approx(21.5, abs=0.4)
    assert rows[0]["error"] == pytest.approx(rows[0]["predicted_seconds"] / 20 - 1, abs=1e-3)
    assert rows[1]["error"] < -0.7


def test_a_prediction_shares_the_cores_that_there_are() -> None:
    profile = measured((2.0, 2.0, 0.0, 0.0))
    workers = {"pose": 4, "mask": 4, "me": 1, "compare": 1}
    one, two = (predict(profile, workers, [10, 10], left)["seconds"] for left in (1, 2))
    assert one == pytest.approx(80.0, rel=0.01)  # all of the work, on one core
    assert two == pytest.approx(40.0, rel=0.05)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (999.7, "1 kB"),  # never 1e+03 B
        (12_345, "12.3 kB"),
        (2.5e15, "2.5 PB"),
    ],
)
def test_bytes_are_readable(number: float, shown: str) -> None:
    assert amount(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.25, "0.25 s"), (80, "80 s"), (600, "10 min"), (7200, "2 h"), (864_000, "10 d")]
)
def test_times_are_readable(seconds: float, shown: str) -> None:
    assert lasting(seconds) == shown


def test_the_command_plans_and_says_when_a_fleet_is_too_small(tmp_path: Path) -> None:
    write_profile(PROFILE, tmp_path / "profile.json")
    command = [sys.executable, "-m", "benchmarks.capacity", "--profile", str(tmp_path / "profile.json")]

    def said(*more: str) -> tuple[int, str]:
        done = subprocess.run([*command, *more], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    status, text = said("--per-day", "300", "--hours", "5")
    assert status == 0, text
    assert "bottleneck: " in text
    status, text = said(
        "--per-day", "3000", "--hours", "3", "--workers", "pose=1", "mask=4", "me=1", "compare=1"
    )
    assert status == 1
    assert "bottleneck: pose" in text
    assert "DOES NOT KEEP UP" in text


def test_the_page_has_the_tables_of_the_results(tmp_path: Path) -> None:
    """Nobody edits the numbers by hand: written anew, the page stays as it is."""
    results = REPOSITORY / "benchmarks" / "results" / "capacity.json"
    found = json.loads(results.read_text())
    rates = [[row["videos_per_day"] for row in rows] for rows in found.values()]
    assert rates
    assert all(row == list(RATES) for row in rates)
    copy = tmp_path / "capacity.md"
    copy.write_text(PAGE.read_text())
    write_page(read_profile(), found, copy)
    assert copy.read_text() == PAGE.read_text(), "run `python -m benchmarks.capacity --page`"


def test_a_page_that_has_lost_its_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# no marks\n")
    with pytest.raises(ValueError, match="tables: begin"):
        write_page(PROFILE, {}, page)
    assert page.read_text() == "# no marks\n"


def test_every_number_of_a_profile_has_a_place() -> None:
    """A new field that the reader forgot would be lost on the way."""
    assert {field.name for field in dataclasses.fields(Profile)} == {
        "segment_seconds", "samples", "fetch_seconds", "hop_seconds", "picture_seconds", "sizes", "machine",
        "others_cores", "content",
    }  # fmt: skip
