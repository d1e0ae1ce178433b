"""The self-test: a right description passes, a wrong one is told by the line that is wrong and what is right.

On the embedded student, on small ONNX networks that draw the known picture's person by heart, and on real
programs that answer with pictures.
"""

import socket
import sys
import time

import device_server
import numpy as np
import pytest
from PIL import Image as Pillow

from workers.devices import known_picture
from workers.devices.description import load_description, open_described
from workers.devices.errors import DeviceAway, DeviceMisdescribed, TooLate
from workers.devices.self_test import self_test
from workers.embedded_weights import SELFIE
from workers.onnx_graph import GraphWriter

TOP = 'name = "me-2"\nfirmware = "2.1.0"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("devices")
    (folder / "student.tflite").symlink_to(weights.path(SELFIE))
    person = known_picture.embedded().truth[::16, ::16].astype(np.float32)  # 40 x 30
    by_heart(folder / "softmax.onnx", np.stack([2 - 4 * person, 4 * person - 2]))
    by_heart(folder / "upside_down.onnx", 1 - person[None])
    by_heart(folder / "unlikely.onnx", 2 - 4 * person[None])
    by_heart(folder / "constant.onnx", np.full((1, 40, 30), 0.25, np.float32))
    by_heart(folder / "one_mask.onnx", person[None], batch="n")
    by_heart(folder / "far_off.onnx", 0.4 * np.roll(person, 15, axis=1)[None])
    return folder


def by_heart(path, answer, batch=1):
    """An ONNX network that takes pictures of 64 x 64 and puts ``answer`` (channels x h x w) out, once."""
    graph = GraphWriter()
    nothing = graph.op("Mul", graph.op("ReduceMean", "image", keepdims=0), graph.floats(0))
    graph.rename(graph.op("Add", graph.weights(answer[None]), nothing), "mask")
    ports = {"image": (np.float32, [batch, 3, 64, 64])}, {"mask": (np.float32, [batch, *answer.shape])}
    graph.save(path, "by-heart", *ports, {})


def shown(folder, text):
    path = folder / "me.toml"
    path.write_text(TOP + text)
    description = load_description(path)
    return self_test(open_described(description), description)


def network(model, *lines, top=""):
    """Lines of ``[network]`` begin on line 6, or behind those of ``top``."""
    driver = "litert" if model.endswith("tflite") else "onnx"
    return f'driver = "{driver}"\n{top}[network]\nmodel = "{model}"\n' + "".join(
        f"{line}\n" for line in lines
    )


def test_the_known_picture_shows_one_person_and_is_small():
    assert known_picture.embedded().picture.shape == (640, 480, 3)
    assert known_picture.embedded().truth.shape == (640, 480)
    assert 0.08 < known_picture.embedded().truth.mean() < 0.12
    everything, nothing = np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8)
    assert known_picture.embedded().iou(everything, 0.5) < 0.2  # a whole picture of person is not good enough
    assert known_picture.embedded().iou(nothing, 0.5) == 0
    with pytest.raises(ValueError, match="read-only"):
        known_picture.embedded().picture[0, 0] = 0


def test_the_embedded_student_passes_as_it_is_described(folder):
    began = time.perf_counter()
    found = shown(folder, network("student.tflite"))
    spent = time.perf_counter() - began
    assert found.iou > 0.9
    assert found.warnings == ()
    assert (found.name, found.firmware, found.driver, found.batch) == ("me-2", "2.1.0", "litert", 1)
    assert (found.answer_width, found.answer_height) == (256, 256)
    assert 0.08 < found.share < 0.13
    assert 0 < found.milliseconds <= 1000 * spent


@pytest.mark.parametrize(
    ("text", "where", "right"),
    [
        (network("student.tflite", 'output = "logit"'), "line 6 (network.output)", 'output = "probability"'),
        (network("student.tflite", "scale = 1"), "line 6 (network.scale)", "scale = 0.00392"),
        (network("student.tflite", "scale = 1e30"), "line 6 (network.scale)", "scale = 0.00392"),  # NaN
        (
            network("student.tflite", 'output = "softmax"'),
            "line 6 (network.output)",
            'output = "probability"',
        ),
        (  # class numbers, of which the wrong one
            network("student.tflite", 'output = "argmax"', "person_channel = 15"),
            "network.output",
            "person_channel = 1 ",
        ),
        (  # two faults at once
            network("student.tflite", 'output = "logit"', "mean = [123, 116, 103]", "scale = 1"),
            "line 6 (network.output) and line 8 (network.scale) and line 7 (network.mean)",
            'output = "probability", scale = 0.00392',
        ),
        (  # logits, called probabilities: by default
            network("softmax.onnx"),
            '(network.output is not given): the default is output = "probability", and the network\'s output',
            'output = "softmax"',
        ),
        (
            network("softmax.onnx", 'output = "softmax"', "person_channel = 0"),
            "line 7 (network.person_channel)",
            "person_channel = 1 ",
        ),
        (network("far_off.onnx"), "network.model", "Look at the network"),  # nothing helps
        (  # the background's probability
            network("upside_down.onnx"),
            "network.output",
            'output = "argmax", person_channel = 0',
        ),
        (
            network("unlikely.onnx", 'output = "logit"'),
            "exchanged it is 0.7",
            "person's channel",
        ),  # its logit
        (network("student.tflite", top="time_limit = 0.0001\n"), "line 4 (time_limit)", "more time"),
        (
            network("one_mask.onnx", top="batch = 3\n"),
            "line 4 (batch)",
            "Give 1",
        ),  # it says that it takes more
    ],
)
def test_the_wrong_line_is_named_with_what_would_be_right(folder, text, where, right):
    with pytest.raises(DeviceMisdescribed) as refused:
        shown(folder, text)
    assert where in refused.value.cause
    assert right in refused.value.remedy


def test_an_answer_that_no_line_explains_is_described(folder):
    with pytest.raises(DeviceMisdescribed, match=r"IoU of 0\.00 .* constant: 0\.25 everywhere"):
        shown(folder, network("constant.onnx"))
    with pytest.raises(DeviceMisdescribed, match=r"0% is person .* from 0\.00 to 0\.40"):
        shown(folder, network("far_off.onnx"))


@pytest.mark.parametrize(
    ("lines", "where", "right"),
    [
        (['colours = "bgr"'], "line 6 (network.colours)", 'colours = "rgb"'),
        (["scale = 0.00784", "offset = -1"], "line 6 (network.scale) and line 7", "scale = 0.00392"),
        (
            ["std = [0.229, 0.224, 0.225]", "mean = [0.485, 0.456, 0.406]"],
            "line 7 (network.mean) and line 6 (network.std)",
            "no mean, no std",
        ),
    ],
)
def test_a_good_mask_that_would_be_better_otherwise_is_a_warning(folder, lines, where, right):
    found = shown(folder, network("student.tflite", *lines))
    assert 0.5 < found.iou < 0.9
    (words,) = found.warnings
    assert where in words
    assert right in words.split("; with")[1]


OWN = '[known_picture]\nimage = "face.png"\nmask = "{}"\n'


def test_a_device_for_other_scenes_is_tried_on_a_picture_of_its_own(folder):
    known = known_picture.embedded()
    Pillow.fromarray(known.picture).save(folder / "face.png")
    person = np.roll(known.truth, 15 * 16, axis=1)
    Pillow.fromarray(person.astype(np.uint8) * 255).save(folder / "mask.png")
    Pillow.fromarray(person[1:]).save(folder / "cut.png")
    Pillow.fromarray(person.astype(np.uint8)).save(folder / "labels_as_mask.png")
    page = network("far_off.onnx", top="threshold = 0.3\n")
    with pytest.raises(DeviceMisdescribed):
        shown(folder, page)
    found = shown(folder, page + OWN.format("mask.png"))
    assert found.iou > 0.6
    for mask, said in (
        ("cut.png", "480 x 639, and the picture 480 x 640"),
        ("labels_as_mask.png", "background"),
        ("nowhere.png", "cannot be read"),
        ("me.toml", "no whole PNG"),
    ):
        with pytest.raises(DeviceMisdescribed, match=rf"line 9 \(known_picture\.mask\).*{said}"):
            shown(folder, page + OWN.format(mask))


PROGRAM = """import sys, shutil, pathlib
for picture in pathlib.Path(sys.argv[1]).iterdir():
    shutil.copy(pathlib.Path(__file__).with_suffix(".png"), pathlib.Path(sys.argv[2]) / f"{picture.stem}.png")
"""


@pytest.fixture(scope="module")
def program(folder):
    """A real program that answers every picture with the class numbers 0 and 15, by heart."""
    Pillow.fromarray(known_picture.embedded().truth.astype(np.uint8) * 15).save(folder / "labels.png")
    (folder / "labels.py").write_text(PROGRAM)
    run = f"{sys.executable} {folder}/labels.py {{input_dir}} {{output_dir}}"
    return f'driver = "command"\n[command]\nrun = "{run}"\n'


@pytest.mark.parametrize(
    ("lines", "where", "right"),
    [
        ("", "(command.answer is not given)", 'answer = "label", person_label = 15'),
        ('answer = "label"\n', "(command.person_label is not given)", "person_label = 15"),
        ('answer = "label"\nperson_label = 15\nanswer_size = [64, 64]\n', "line 8 (command.answer_size)", ""),
    ],
)
def test_an_answer_that_is_read_wrongly_is_read_otherwise(folder, program, lines, where, right):
    with pytest.raises(DeviceMisdescribed) as refused:
        shown(folder, program + lines)
    assert where in refused.value.cause
    assert right in refused.value.remedy


@pytest.mark.parametrize(
    ("way", "turn"),
    [
        ("mirrored", np.fliplr),  # at an IoU of 0.55, good enough to the eye of a threshold
        ("upside down", np.flipud),
        ("turned by 180", lambda mask: mask[::-1, ::-1]),
        ("with rows and columns exchanged", np.transpose),
    ],
)
def test_a_mask_that_comes_back_turned_is_told(folder, way, turn):
    square = np.array(Pillow.fromarray(known_picture.embedded().truth).resize((64, 64))).astype(np.float32)
    by_heart(folder / "turned.onnx", np.ascontiguousarray(turn(square))[None])
    with pytest.raises(
        DeviceMisdescribed, match=rf"line 5 \(network\.model\): .* back {way}.*turned back 0\.9"
    ):
        shown(folder, network("turned.onnx"))


def test_class_numbers_of_a_program_are_a_mask(folder, program):
    found = shown(folder, "batch = 3\n" + program + 'answer = "label"\nperson_label = 15\n')
    assert (found.iou, found.driver, found.answer_height, found.batch) == (1.0, "command", 640, 3)


class Waking:
    """A device of a driver that answers late the first few times, as one that loads its network does."""

    batch_size = 1

    def __init__(self, late):
        self.late = late

    def load(self):
        pass

    def maps(self, images):
        self.late -= 1
        if self.late >= 0:
            raise TooLate("The device gave no whole answer within 0.2 s.", "Wait.")
        return [known_picture.embedded().truth.astype(np.uint8) * 255 for _ in images]


def test_a_device_behind_an_address_may_load_its_network_at_its_first_picture(folder, program, monkeypatch):
    (folder / "me.toml").write_text(TOP + program)
    reached = load_description(folder / "me.toml")
    assert self_test(Waking(late=9), reached).iou == 1
    monkeypatch.setattr("workers.devices.self_test.WARM_UP_SECONDS", 0.0)
    assert self_test(Waking(late=1), reached).iou == 1
    with pytest.raises(DeviceMisdescribed, match=r"time_limit is not given\).*no whole answer"):
        self_test(Waking(late=9), reached)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("forbidden", "http.token_file"),
        ("nothing_there", r"line 5 \(http.url"),
        ("moved", r"line 5 \(http.url"),
    ],
)
def test_what_a_server_refuses_is_a_wrong_line_and_not_waited_for(folder, path, where):
    with device_server.running() as server, pytest.raises(DeviceMisdescribed, match=where):
        shown(folder, f'driver = "http"\n[http]\nurl = "{server.url(path)}"\n')


def test_a_device_that_does_not_answer_is_away_and_not_misdescribed(folder, program):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mask"
        with pytest.raises(DeviceAway):
            shown(folder, f'driver = "http"\n[http]\nurl = "{url}"\n')
    with pytest.raises(DeviceAway, match="me-2 gives no usable answer to the known picture"):
        shown(folder, program.replace("labels.py", "nowhere.py"))
