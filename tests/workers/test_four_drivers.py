"""The same frames through four drivers: what a device sees does not depend on how it is reached."""

import sys
import tomllib
from itertools import islice

import numpy as np
import pytest
from device_pages import opened, reference_server, write_page
from tiny_onnx import Red

from tasks.device_pictures import as_seen, as_sent
from workers.devices.answers import mask_of
from workers.devices.description import load_description, open_described
from workers.embedded_weights import SELFIE
from workers.pictures import decode_rgb, resized
from workers.video import read_candidates

FRAMES = 50
SIZE = [256, 256]
"""Of the embedded student's input and of its mask, pixels."""


@pytest.fixture(scope="module")
def frames(clips):
    """Frames of sample clips with one person, and with several, of two sizes."""
    names = ("SinglePerson_cam01", "MultiPerson_cam01")
    found = [
        each for name in names for each in islice(read_candidates(clips[name], 0, 5000, 60), FRAMES // 2)
    ]
    assert len(found) == FRAMES
    return [candidate.image() for candidate in found]


@pytest.fixture(scope="module")
def student(weights, tmp_path_factory):
    """The page of a device that runs the embedded student in this process."""
    folder = tmp_path_factory.mktemp("student")
    return write_page(folder / "me.toml", "litert", {"model": str(weights.path(SELFIE))})


@pytest.fixture(scope="module")
def in_process(student, frames):
    return open_described(load_description(student)).maps(frames)


@pytest.fixture(scope="module")
def url(student):
    with reference_server(student) as address:
        yield address


def same(maps, others):
    assert len(maps) == len(others) == FRAMES
    return sum(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(maps, others, strict=True))


def test_the_student_draws_people(in_process, frames):
    shares = [mask_of(m, f.shape[1], f.shape[0], 0.5).mean() for m, f in zip(in_process, frames, strict=True)]
    assert in_process[0].shape == (256, 256)
    assert sum(0.005 < share < 0.9 for share in shares) > FRAMES / 2


def test_a_server_gives_the_same_maps(url, frames, in_process, tmp_path):
    device = opened(tmp_path / "me.toml", "http", {"url": url}, input=SIZE, batch=5, time_limit=240.0)
    assert same(device.maps(frames), in_process) == FRAMES


def test_frames_go_through_one_jpeg_whichever_driver_draws(url, student, frames, tmp_path):
    model = {"model": tomllib.loads(student.read_text())["network"]["model"]}
    drivers = (("litert", model), ("http", {"url": url}))
    pages = [
        write_page(tmp_path / f"{driver}.toml", driver, section, input=SIZE, frames="jpeg", time_limit=240.0)
        for driver, section in drivers
    ]
    drawn = []
    for description in map(load_description, pages):
        device, spec = open_described(description), description.spec
        from_store = [as_seen(frame, spec) for frame in frames[::10]]
        inline = [decode_rgb(as_sent(frame, spec)) for frame in frames[::10]]
        drawn += [[m.tobytes() for m in device.maps(images)] for images in (from_store, inline)]
    assert len(drawn[0]) == FRAMES // 10
    assert all(maps == drawn[0] for maps in drawn[1:])


def test_a_server_that_resizes_itself_gives_the_same_maps(url, frames, in_process, tmp_path):
    device = opened(
        tmp_path / "me.toml", "http", {"url": url, "answer_size": SIZE}, batch=2, time_limit=240.0
    )
    maps = device.maps(frames[::10])
    assert [m.tobytes() for m in maps] == [m.tobytes() for m in in_process[::10]] != []


def test_a_command_gives_the_same_maps(student, frames, in_process, tmp_path):
    line = f"{sys.executable} -m workers.devices.reference_command {student} {{input_dir}} {{output_dir}}"
    device = opened(tmp_path / "me.toml", "command", {"run": line}, input=SIZE, batch=25, time_limit=240.0)
    assert same(device.maps(frames), in_process) == FRAMES


def test_an_onnx_network_of_its_own_gives_what_numpy_says(frames, tmp_path):
    Red(height=72, width=128).write(tmp_path / "red.onnx")
    maps = opened(tmp_path / "me.toml", "onnx", {"model": "red.onnx"}, batch=1).maps(frames)
    reds = [resized(frame, 128, 72)[:, :, 0] for frame in frames]
    assert same(maps, reds) == FRAMES
    assert np.std([red.mean() for red in reds]) > 0
