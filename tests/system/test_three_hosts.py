"""A job over three hosts, with the device's cable cut in the middle of a segment."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from device_pages import write_page
from hardpose_process import command, only_job
from namespaces import NotPermitted, require_programs
from three_hosts import PASSWORD, System, gated_device, start_workers, three_hosts

from broker.device_register import DeviceRegister
from broker.settings import load_settings
from broker.views import JobView, State
from tasks.devices_here import described_with_file
from tasks.pipeline import run_plainly, segments_of
from tasks.runtime import Runtime
from workers.devices.litert import LiteRTDevice
from workers.weights import WeightsStore

pytestmark = pytest.mark.system

QUEUE = "me.slow"
SAMPLING = {"candidates_per_second": 8.0, "keeps_per_second": 8.0}
NO_DUPLICATES = {"pose_distance": 0.0, "hash_distance": 0}
CLIPS = ("SinglePerson_cam03", "SinglePerson_cam04")
"""Each of two seconds, one segment."""
SHORT_CUT_SECONDS = 1.5


def test_a_device_s_cable_is_cut_and_nothing_is_lost_or_doubled(
    tmp_path: Path, clips: dict[str, Path], weights: WeightsStore
) -> None:
    require_programs("ip", "redis-server")
    chosen = [clips[name] for name in CLIPS]
    model = weights.path(LiteRTDevice.default_spec().weights[0])
    inner = write_page(tmp_path / "inner.toml", "litert", {"model": str(model)}, name="slow")
    try:
        with three_hosts(tmp_path) as system:
            start_workers(system, gated_device(system, inner))
            register = DeviceRegister(system.control())
            system.wait(lambda: register.names() == ["slow"], "the device")
            before = pictures(system)  # the self-test's
            system.gate.let(before + 1)
            run = start_run(system, chosen)
            cut_in_the_middle(system, before)
            system.wait(lambda: run.poll() is not None, "the job")
            assert run.returncode == 0, system.log("run")
            system.wait(lambda: messages(system) == 0, "the last acknowledgement")
            assert_no_password(system)
    except NotPermitted as error:
        pytest.skip(f"no hosts of our own: {error}")
    job = only_job(tmp_path / "state")
    assert [segment.state for link in job.links for segment in link.segments] == [State.DONE] * 2
    assert job.funnel().check().examined == sum(job.funnel().verdicts.values())
    assert frames_of(job) == undisturbed(job, inner, tmp_path / "plain")
    assert not list((tmp_path / "device-home").rglob("*.png")), "the device has a store of its own"


def start_run(system: System, clips: list[Path]) -> "subprocess.Popen[bytes]":
    home = {
        "HARDPOSE_HOME": str(system.folder / "state"),
        "HARDPOSE_SAMPLING": json.dumps(SAMPLING),
        "HARDPOSE_DUPLICATES": json.dumps(NO_DUPLICATES),
    }
    line = command(
        "run", *clips, "--out", system.folder / "out", "--no-workers", "--device", "slow", "--json"
    )
    return system.start("coordinator", "run", line, system.broker | system.store | home)


def cut_in_the_middle(system: System, before: int) -> None:
    """Once for longer than the lease, so that the segment goes back to its queue, and once shortly."""
    system.wait(lambda: pictures(system) == before + 2, "the device's first segment")
    system.net.cut("device")
    system.wait(lambda: held(system) == 0 and waiting(system) >= 1, "the segment to go back")
    system.net.mend("device")
    shown = pictures(system)
    system.gate.let(shown)
    system.wait(lambda: held(system) >= 1 and pictures(system) == shown + 1, "the device to go on")
    system.net.cut("device")
    system.gate.open()
    time.sleep(SHORT_CUT_SECONDS)
    system.net.mend("device")


def pictures(system: System) -> int:
    """That the device was shown."""
    return len(system.gate.lines)


def waiting(system: System) -> int:
    """Segments that nobody holds."""
    with system.control().server() as server:
        names = [str(name) for name in server.scan_iter(match=f"*{QUEUE}*", _type="list")]
        return sum(int(server.llen(name)) for name in names)


def held(system: System) -> int:
    """Segments that the device's worker has, as far as the broker knows."""
    with system.control().server() as server:
        return sum(QUEUE in str(body) for body in server.hvals("unacked"))


def messages(system: System) -> int:
    """Of all queues, waiting or held."""
    with system.control().server() as server:
        lists = [str(name) for name in server.scan_iter(_type="list")]
        return int(server.hlen("unacked")) + sum(int(server.llen(name)) for name in lists)


def frames_of(job: JobView) -> dict[tuple[str, int], tuple[str, float]]:
    """Verdict and IoU of each frame; no frame is there twice."""
    rows = [(link.link, k) for link in job.links for segment in link.segments for k in segment.keepers]
    found = {(link, k.time_ms): (str(k.verdict), k.iou or -1.0) for link, k in rows}
    assert len(found) == len(rows) >= 8
    return found


def undisturbed(job: JobView, inner: Path, home: Path) -> dict[tuple[str, int], tuple[str, float]]:
    """The same frames judged in this process: the device's network itself, pixels from a store of our own."""
    here = Runtime(load_settings(home=home))
    recipe = job.recipe.model_copy(update={"device_model": described_with_file(inner)})
    found = {}
    for link in job.links:
        assert link.video is not None
        here.artifacts.put(link.video.artifact, Path(link.link).read_bytes())
        for result in run_plainly(here, segments_of("plain", link.video, recipe)):
            found |= {(link.link, k.time_ms): (str(k.verdict), k.iou or -1.0) for k in result.keepers}
    return found


def assert_no_password(system: System) -> None:
    logs = list(system.folder.glob("*.log"))
    assert len(logs) >= 7
    assert not [log.name for log in logs if PASSWORD in log.read_text(errors="replace")]
