"""A worker that is up before its broker is shown as soon as that is there."""

import subprocess
import time
from pathlib import Path

import pytest
from free_ports import free_port
from patience import until

from broker.errors import BrokerUnavailable
from broker.presence import Presence, WorkerCard
from broker.settings import load_settings
from broker.valkey import server_binary
from tasks import worker_card
from tasks.runtime import Runtime


def test_a_worker_that_is_up_before_its_broker_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_card, "AGAIN_SECONDS", 0.1)
    port = free_port()
    here = Runtime(load_settings(home=tmp_path, broker_url=f"redis://127.0.0.1:{port}/0"))
    card = WorkerCard(name="w", host="h", pid=1, queues=("compare",), version="1", started=time.time())
    worker_card.announce_until_heard(here, card, {})
    line = [
        str(server_binary()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]

    def shown() -> bool:
        try:
            return Presence(here.control).card("h:1") is not None
        except BrokerUnavailable:
            assert server.poll() is None
            return False

    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        until(shown, "its card")
    finally:
        server.terminate()
        server.wait(60)
