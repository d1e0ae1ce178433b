"""A device's HTTP server that is up before what it serves: its worker waits while it may be booting."""

from pathlib import Path

import device_server
import numpy as np
import pytest
from device_pages import write_page
from PIL import Image

from broker.settings import Settings, load_settings
from workers import device_start
from workers.devices import known_picture
from workers.devices.description import load_description
from workers.devices.errors import NothingServed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a known picture that shows its mask in red, which is what the server answers with."""
    truth = known_picture.embedded().truth[::8, ::8]
    red = np.zeros((*truth.shape, 3), np.uint8)
    red[truth, 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(red[:, :, 0]).save(tmp_path / "mask.png")
    return tmp_path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(device_start, "ASK_SECONDS", 0.01)
    return load_settings(home=tmp_path / "home", broker_url="redis://127.0.0.1:1/0")


def page(folder: Path, url: str) -> Path:
    path = write_page(folder / "me.toml", "http", {"url": url})
    with path.open("a") as file:
        file.write('[known_picture]\nimage = "red.png"\nmask = "mask.png"\n')
    return path


def test_a_server_that_answers_404_while_it_boots_is_waited_for(folder: Path, settings: Settings) -> None:
    with device_server.running() as server:
        _, tested = device_start.tested_device(
            settings, load_description(page(folder, server.url("booting"))), "me"
        )
        assert tested["iou"] == 1
        assert len(server.seen) > device_server.BOOTING


def test_one_that_goes_on_with_it_is_a_wrong_address(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_start, "BOOT_SECONDS", 0.0)
    with device_server.running() as server:
        described = load_description(page(folder, server.url("nothing_there")))
        with pytest.raises(NothingServed, match=r"line 5 \(http\.url\).*404"):
            device_start.tested_device(settings, described, "me")
