"""A real worker behind a cable that is torn or frozen: no message is lost, none is held for ever."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slow_worker
from cut_link import Link

from broker.app import create_app
from broker.connection import key_prefix
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.settings import load_settings

SILENCE = 2.0
"""Seconds after which the worker of these tests takes a link for broken."""
LEASE = 4
QUEUE = slow_worker.QUEUE
FOREIGN = '"]],"properties":{"delivery_tag": 人%s\\'
"""A name that is well kept only by who does not read the message, or reads all of it."""


class Rig:
    """A broker, a cable, and the worker at its end."""

    def __init__(self, folder: Path, url: str, link: Link, kind: str, lease: int) -> None:
        self.folder, self.link, self.kind = folder, link, kind
        self.settings = load_settings(broker_url=url, visibility_timeout=lease, namespace="own")
        self.notes = folder / "notes"
        self.notes.touch()

    def start(self) -> "subprocess.Popen[bytes]":
        port = self.settings.broker.rsplit(":", 1)[1].split("/")[0]
        url = self.settings.broker.replace(f":{port}/", f":{self.link.port}/")
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, slow_worker.__file__, str(self.notes), self.kind],
                stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | self.settings.environment() | {"HARDPOSE_BROKER_URL": url},
            )  # fmt: skip

    def send(self, name: str, seconds: float, back: bool = False) -> None:
        with create_app(self.settings) as app:
            app.send_task("slow", args=(name, seconds, back), queue=QUEUE)

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines()

    def wait(self, condition: Callable[[], bool], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.noted(), (self.folder / "log").read_text()[-6000:])
            time.sleep(0.05)

    def wait_for(self, note: str, seconds: float = 180) -> None:
        self.wait(lambda: note in self.noted(), seconds)

    def waiting(self) -> int:
        """In the queue, and held by nobody."""
        with Control.of(self.settings).server() as server:
            return int(server.llen(key_prefix(self.settings) + QUEUE))

    def messages(self) -> int:
        return Control.of(self.settings).messages([QUEUE])


@pytest.fixture(params=[("plain", LEASE), ("device", LEASE)], ids=["plain", "device"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        port = int(broker.url.rsplit(":", 1)[1].split("/")[0])
        with Link(port) as link:
            made = Rig(tmp_path, broker.url, link, *request.param)
            worker = made.start()
            try:
                yield made
            finally:
                link.frozen.clear()
                worker.kill()
                worker.wait()


@pytest.mark.parametrize("rig", [("plain", 300), ("device", 300)], ids=["plain", "device"], indirect=True)
def test_what_is_at_work_when_the_link_is_torn_runs_once(rig: Rig) -> None:
    rig.send("a", 3)
    rig.wait_for("begin a")
    rig.link.tear()
    rig.send("b", 0)
    rig.wait_for("end b")
    rig.wait(lambda: rig.messages() == 0)
    assert rig.noted() == ["begin a", "end a", "begin b", "end b"]


def test_what_could_not_be_given_back_comes_again_and_others_are_taken(rig: Rig) -> None:
    rig.send(FOREIGN, 1, back=True)
    rig.wait_for(f"begin {FOREIGN}")
    rig.link.frozen.set()
    rig.wait_for(f"back {FOREIGN}")
    time.sleep(1.5 * SILENCE)
    rig.link.frozen.clear()
    rig.send("b", 0)
    rig.wait_for(f"end {FOREIGN}")
    rig.wait_for("end b")
    rig.wait(lambda: rig.messages() == 0)
    assert rig.noted().count(f"begin {FOREIGN}") >= 2  # more where the machine stood still for a lease


def test_what_was_sent_into_a_dead_link_comes_again(rig: Rig) -> None:
    rig.send("a", 0)
    rig.wait_for("end a")
    rig.link.deafening = b"unheard"
    rig.send("unheard", 0)
    rig.wait(rig.link.deaf.is_set)
    assert rig.waiting() == 0  # the server believes that the worker has it
    rig.link.deafening = b""
    rig.link.tear()
    rig.link.deaf.clear()
    rig.wait_for("end unheard")
    rig.wait(lambda: rig.messages() == 0)
    assert list(dict.fromkeys(rig.noted())) == ["begin a", "end a", "begin unheard", "end unheard"]
