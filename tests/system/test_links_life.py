"""Deaths, stops and second thoughts while links are fetched, wait, or are lists: nothing is lost or twice.

The true yt-dlp asks a site on 127.0.0.1; broker, workers and command line are those of production.
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ended import ended
from fake_site import FakeSite, serving, video_id, watch
from hardpose_process import (
    PATIENCE_SECONDS,
    broker_time,
    command,
    environment,
    hardpose,
    only_job,
    start,
    wait_for,
)
from make_video import write_steady
from test_life import server_on_port

from api.exit_codes import ExitCode
from broker.catalog import Catalog
from broker.control import PARKED, Control
from broker.embedded import EmbeddedBroker
from broker.parking import Parking
from broker.presence import Presence
from broker.views import JobView, State
from workers.downloads.parts import FOLDER

pytestmark = pytest.mark.system

STAGES = "pose+mask+me+compare"
PAUSE = 3600
"""Of the breaker, seconds: it ends when a test says so (``end_pause``)."""


@dataclass
class System:
    """A site, a broker and a catalog; workers are each test's own."""

    folder: Path
    site: FakeSite
    broker: EmbeddedBroker
    downloads: dict[str, object] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PYTHONPATH": self.site.pythonpath(self.folder / "plugin"),
            "HARDPOSE_BROKER_URL": self.broker.url,
            "HARDPOSE_HOME": str(self.folder / "home"),
            "HARDPOSE_TEMP_DIR": str(self.folder / "temp"),
            **site_settings(**self.downloads),
        }

    @property
    def catalog(self) -> Catalog:
        return Catalog(f"sqlite:///{self.folder / 'home' / 'catalog.sqlite'}")

    @property
    def parking(self) -> Parking:
        return Parking(Control(self.broker.url))

    def enqueue(self, *links: str | Path) -> str:
        done = hardpose("enqueue", *links, env=self.env)
        assert done.code == ExitCode.OK, done.stderr
        return done.stdout.strip()

    def ended(self, job_id: str) -> JobView:
        """The job when it has ended; a breaker that it waits for has paused long enough."""

        def final() -> bool:
            if "breaker" in self.reasons(job_id):
                end_pause(self.broker.url)
            return self.catalog.job_light(job_id).final

        wait_for(final)
        return self.catalog.job(job_id)

    def reasons(self, job_id: str) -> list[str]:
        """Why each link of the job that is parked is."""
        return [reason for reason, _ in self.parking.of_job(job_id).values()]

    @contextmanager
    def worker(self, name: str, queue: str = "download") -> Iterator["subprocess.Popen[bytes]"]:
        with (self.folder / f"{name}.log").open("ab") as log:
            line = command("worker", queue, "--name", name)
            process = subprocess.Popen(line, stdout=log, stderr=log, env=environment(self.env))
        with ended(process):
            yield process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def site_settings(**changed: object) -> dict[str, str]:
    downloads = {"tools": ["ytdlp"], "videos_per_hour": 36000, "burst": 10, "breaker_pause_seconds": PAUSE}
    return {
        "HARDPOSE_PLACEMENT": STAGES,
        "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "1",
        "HARDPOSE_DOWNLOADS": json.dumps(downloads | {"max_bot_checks": 1} | changed),
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSite]:
    clip = write_steady(tmp_path_factory.mktemp("clip") / "clip.mp4", 10, 10, size=(160, 120))
    media = clip.read_bytes() + bytes(range(256)) * 200
    with serving(lambda name: media + name.encode()) as site:
        yield site


@pytest.fixture(scope="module")
def system(site: FakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("life")
    with EmbeddedBroker(folder / "broker") as broker:
        system = System(folder, site, broker)
        with system.worker("stages", STAGES):
            yield system


def end_pause(url: str) -> None:
    """For the breaker of the broker at ``url``, and for those who wait for it, the time has passed."""
    control = Control(url)
    with control.server() as server:
        server.hset(control.key("egress:default:state"), "until", "0")
        for name in server.zrange(control.key(PARKED), 0, -1):
            server.zadd(control.key(PARKED), {name: 0}, xx=True)


def end_leases(url: str) -> None:
    """What a dead worker has held is free, as if its lease had run out."""
    with Control(url).server() as server:
        for key in [key for key in server.scan_iter(_type="zset") if str(key).endswith("unacked_index")]:
            for tag in server.zrange(key, 0, -1):
                server.zadd(key, {tag: 0}, xx=True)


def part_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "temp" / FOLDER).rglob("*.part"))


def test_killed_worker_transfer_goes_on_from_its_bytes(system: System) -> None:
    name = video_id("held", 1)
    with system.worker("killed") as worker:
        job_id = system.enqueue(watch("held", 1))
        wait_for(lambda: part_bytes(system.folder) > 0)
        worker.kill()  # as the kernel does when memory runs out
        worker.wait()
    end_leases(system.broker.url)
    claim = system.catalog.claimed(f"youtube:{name}")
    assert claim is not None and claim.startswith(f"{job_id}:0:")
    with system.worker("successor"):
        (link,) = system.ended(job_id).links
    assert link.state == State.DONE
    assert len(system.site.asked(f"/page/{name}")) == 2
    first, *later = [asked.range for asked in system.site.asked(f"/media/{name}")]
    assert first is None and later
    assert all(asked is not None and not asked.startswith("bytes=0") for asked in later)
    assert system.catalog.claimed(f"youtube:{name}") is None
    assert not list((system.folder / "temp" / FOLDER).iterdir())


def test_jobs_share_a_fetch_and_a_job_sent_twice_is_done_once(system: System) -> None:
    shared, again = watch("held", 2), watch("held", 3)
    dead = watch("good", 4)
    with system.worker("sharing"):
        one = system.enqueue(shared, again)
        wait_for(lambda: all(system.site.asked(f"/media/{video_id('held', n)}") for n in (2, 3)))
        system.catalog.claim(f"youtube:{video_id('good', 4)}", "somebody:0:1", 3600)
        two = system.enqueue(shared, dead)
        assert system.enqueue(shared, again) == one
        wait_for(lambda: system.reasons(two) == ["claimed", "claimed"])
        system.catalog.claim(f"youtube:{video_id('good', 4)}", "somebody:0:1", 0.1)  # and died
        for number in (2, 3):
            system.site.let_go(video_id("held", number))
        jobs = [system.ended(one), system.ended(two)]
    for link in (link for job in jobs for link in job.links):
        assert link.state == State.DONE and link.video is not None, link
        assert link.funnel().check().examined == len(link.segments) == 1
    for link in (shared, again, dead):
        name = link.rpartition("=")[2]
        assert len(system.site.asked(f"/page/{name}")) == 1, name
        assert len(system.site.asked(f"/media/{name}")) == 1, name
    log = system.log("sharing")
    assert "retry: put back (claimed) for 5 s" in log
    assert "ERROR" not in log and "Traceback" not in log


def test_what_a_site_refused_is_fetched_at_another_try(system: System) -> None:
    with system.worker("refused"):
        job_id = system.enqueue(watch("bot1", 5), watch("private", 6))
        refused = {link.failure.code for link in system.ended(job_id).links if link.failure}
        assert refused == {"bot_check", "video_private"}
        retried = hardpose("retry", job_id, "--reason", "bot_check", env=system.env)
        assert "1 link is tried again" in retried.stdout, retried.stderr
        system.ended(job_id)
        watched = hardpose("watch", job_id, "--json", env=system.env)
    assert watched.code == ExitCode.SOME_FAILED, watched.stderr
    assert "put back (breaker)" in system.log("refused")  # the second link, or the first one's other try
    states = [link.state for link in system.catalog.job(job_id).links]
    assert states == [State.DONE, State.FAILED]
    assert len(system.site.asked(f"/page/{video_id('private', 6)}")) == 1


def test_links_of_a_list_are_sent_though_its_worker_died(system: System) -> None:
    job_id = system.enqueue("https://www.youtube.com/playlist?list=PL-2")
    links = [watch("good", 20), watch("good", 21)]
    system.catalog.start_link(job_id, 0)
    system.catalog.list_link(job_id, 0, links, "A list", True)  # booked, and then the worker is gone
    with system.worker("listing"):
        job = system.ended(job_id)
    assert [(link.state, link.listed, link.parent) for link in job.links] == [
        (State.DONE, 2, None),
        (State.DONE, None, 0),
        (State.DONE, None, 0),
    ]
    assert not system.site.asked("/list/PL-2")


def test_parked_links_outlive_a_restart_of_the_broker(site: FakeSite, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker").start()
    url, port = broker.url, int(broker.url.rsplit(":", 1)[1].split("/")[0])
    before = len(site.asked("/page/"))
    with ExitStack() as stack:
        system = System(tmp_path, site, broker, {"max_bot_checks": 3})
        stack.enter_context(system.worker("parking"))
        job_id = system.enqueue(watch("bot1", 30))
        wait_for(lambda: system.reasons(job_id) == ["breaker"])
        later = system.enqueue(watch("good", 31))
        wait_for(lambda: system.reasons(later) == ["breaker"])
        broker.stop()
        server = server_on_port(tmp_path / "broker", port, url)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        again, presence = broker_time(Control(url)), Presence(Control(url))
        wait_for(
            lambda: [card for card in presence.alive() if card.seen > again]
        )  # the worker is there again
        assert system.reasons(job_id) == system.reasons(later) == ["breaker"]
        assert len(site.asked("/page/")) == before + 1  # the breaker was remembered, and nobody asked
        end_pause(url)
        wait_for(lambda: all(system.catalog.job(job).links[0].video for job in (job_id, later)))
    assert len(site.asked("/page/")) == before + 3


def test_run_that_is_interrupted_while_links_wait_goes_on(site: FakeSite, tmp_path: Path) -> None:
    links, names = [watch("held", 40), watch("bot1", 41)], [video_id("held", 40), video_id("bot1", 41)]
    env = {
        "PYTHONPATH": site.pythonpath(tmp_path / "plugin"),
        "HARDPOSE_TEMP_DIR": str(tmp_path / "temp"),
        **site_settings(max_bot_checks=3),
    }
    arguments = ["run", *links, "--out", tmp_path / "out", "--json"]
    process = start(*arguments, env=env)
    until_breaker(process)
    wait_for(lambda: part_bytes(tmp_path) > 0)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.INTERRUPTED, output
    home = tmp_path / "out" / "state"
    (home / "logs" / "download.log").unlink()

    process = start(*arguments, env=env)
    told = until_breaker(process)
    assert [len(site.asked(f"/page/{name}")) for name in names] == [1, 1]  # the breaker was remembered
    broker = EmbeddedBroker.running_url(home / "broker")
    assert broker is not None
    end_pause(broker)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.OK, output
    waits = [wait for wait in told["waits"] if wait["reason"] == "breaker"]
    assert any("not a bot" in wait["cause"] for wait in waits)
    assert [link.state for link in only_job(home).links] == [State.DONE] * 2
    assert [len(site.asked(f"/page/{name}")) for name in names] == [2, 2]
    # Looked at every five seconds: the first run's claim was void after fifteen, not after its sixty.
    assert (home / "logs" / "download.log").read_text().count("put back (claimed)") <= 4
    ranges = [asked.range for asked in site.asked(f"/media/{video_id('held', 40)}")]
    assert ranges[0] is None and len(ranges) == 2 and ranges[1] is not None


def until_breaker(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The first event of the run that tells of a link that waits for the breaker."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if any(wait["reason"] == "breaker" for wait in event.get("waits", [])):
            return dict(event)
    raise AssertionError("".join(said))
