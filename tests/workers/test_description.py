"""``me.toml``: every fault is named by its line, and the meaning decides the identity, not the spelling."""

import os
import subprocess
import sys
from itertools import count

import me_toml
import numpy as np
import pytest
import stranger_package
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tflite import Tiny

from broker.errors import MissingDependency
from broker.recipe import ModelSpec
from workers.devices.answers import AnswerOptions
from workers.devices.description import load_description, open_described
from workers.devices.errors import DeviceMisdescribed
from workers.devices.network import NetworkOptions
from workers.devices.toml_lines import key_lines
from workers.onnx_graph import GraphWriter

LITERT = """name = "me-2"
firmware = "2.1.0"
driver = "litert"

[network]
model = "me.tflite"
"""
COMMAND = """name = "me-2"
firmware = "2.1.0"
driver = "command"

[command]
run = "tool {input_dir} {output_dir}"
"""
HTTP = COMMAND.replace("command", "http").replace("run = ", "url = ").replace("tool {", "http://me/{")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    Tiny(side=8).write(folder / "me.tflite")
    Tiny(side=8, batch=-1).write(folder / "many.tflite")
    Tiny(side=8, channels=2, batch=-1).write(folder / "other.tflite")
    (folder / "copy").mkdir()
    (folder / "copy" / "again.tflite").write_bytes((folder / "many.tflite").read_bytes())
    (folder / "empty.tflite").write_bytes(b"")
    return folder


_names = count()


def load(folder, text):
    path = folder / f"me{next(_names)}.toml"
    path.write_bytes(text.encode())
    return load_description(path)


def test_the_smallest_page_writes_every_default_out(folder):
    found = load(folder, LITERT)
    (ref,) = found.spec.weights
    assert (found.name, found.firmware, found.spec.name, found.spec.version) == (
        "me-2", "2.1.0", "litert", "me-2@2.1.0",
    )  # fmt: skip
    assert found.spec.options == {**vars(NetworkOptions()), "width": 8, "height": 8}
    assert (ref.source, ref.licence, ref.size) == (
        "device:me-2",
        "unknown",
        (folder / "me.tflite").stat().st_size,
    )
    assert (found.spec.route.queue, found.spec.route.pixels, found.spec.route.width) == ("me", "store", 8)
    assert (found.batch, found.time_limit, found.lines["network.model"]) == (1, 10.0, 6)
    assert load(folder, HTTP).spec.options == vars(AnswerOptions())
    npu = LITERT + 'delegate = "npu.so"\n'
    pages = (LITERT, npu, HTTP, COMMAND, "processes = 3\n" + npu)
    assert [load(folder, page).processes for page in pages] == [2, 1, 1, 1, 3]
    device = open_described(found)
    device.load()
    assert device.maps([np.zeros((9, 7, 3), np.uint8)])[0].shape == (8, 8)


FAULTS = [
    # text, the line and key that the cause names, what the cause or the remedy say besides
    (LITERT + 'colors = "rgb"', "line 7 (network.colors)", "colours"),  # a misspelt key
    ('colours = "rgb"\n' + LITERT, "line 1 (colours)", "network.colours"),  # in the wrong table
    (LITERT + 'scale = "1/255"', "line 7 (network.scale)", "'1/255'"),  # a text for a number
    (LITERT + "scale = nan", "line 7 (network.scale)", "nan"),  # no number
    (LITERT + "scale = true", "line 7 (network.scale)", "True"),  # a truth value for a number
    (LITERT + 'output = "sigmoid"', "line 7 (network.output)", "softmax"),  # lists what may stand
    (LITERT + "person_channel = 1.0", "line 7 (network.person_channel)", "whole number"),
    (LITERT + "mean = [1, 2]", "line 7 (network.mean)", "three numbers"),
    (LITERT + "std = [1,\n 0, 1]", "line 7 (network.std)", "above 0"),  # within an array of two lines
    (LITERT.replace('"2.1.0"', "2.1"), "line 2 (firmware)", "in quotes"),
    (LITERT.replace('"me-2"', '"ME 2"'), "line 1 (name)", "small letters"),
    (LITERT.replace("litert", "tflite"), "line 3 (driver)", "litert"),  # lists the installed
    (LITERT.replace("firmware", "# firmware"), "firmware", "top of the file"),  # missing
    (LITERT.replace("model", "# model"), "network.model", "[network]"),
    (LITERT.replace("me.tflite", "nowhere.tflite"), "line 6 (network.model)", "nowhere.tflite"),
    (LITERT.replace("me.tflite", "empty.tflite"), "line 6 (network.model)", "empty"),
    (LITERT.replace("me.tflite", "me0.toml"), "line 6 (network.model)", "LiteRT"),  # no network at all
    (LITERT.replace("litert", "onnx"), "line 6 (network.model)", "an .onnx file"),  # another driver's
    ("input = [16, 8]\n" + LITERT, "line 1 (input)", "[8, 8]"),  # the file says otherwise
    ("batch = 4\n" + LITERT, "line 1 (batch)", "Leave the line out"),  # the file takes one in each call
    (LITERT + "output = logit", "line 7", "TOML"),  # no TOML
    (LITERT + 'model = "a"', "line 7", "TOML"),  # a key twice
    (LITERT.replace("litert", "http"), "line 5 (network)", "[http]"),  # another driver's table
    (LITERT.split("[network]")[0], "[network]", "litert"),  # no table
    ("threshold = 1\n" + LITERT, "line 1 (threshold)", "between 0 and 1"),
    ("time_limit = 0\n" + LITERT, "line 1 (time_limit)", "seconds"),
    ("processes = 5\n" + LITERT, "line 1 (processes)", "from 1 to 4"),
    ('pixels = "inline"\n' + COMMAND, "inline", "input = "),  # how large are the pictures to be?
    (COMMAND.replace("{output_dir}", "out"), "line 6 (command.run)", "{output_dir}"),
    (HTTP.replace("http://", "ftp://"), "line 6 (http.url)", "https://"),
]


@pytest.mark.parametrize(("text", "where", "says"), FAULTS)
def test_a_fault_is_named_by_its_line(folder, text, where, says):
    with pytest.raises(DeviceMisdescribed) as refused:
        load(folder, text)
    assert where in refused.value.cause
    assert says in str(refused.value)


def test_what_may_be_secret_is_in_no_error(folder):
    for text in (HTTP.replace("http://", "http://user:hunter2@"), COMMAND.replace("{output_dir}", "hunter2")):
        assert "hunter2" in text
        with pytest.raises(DeviceMisdescribed) as refused:
            load(folder, text)
        assert "hunter2" not in str(refused.value) + str(refused.value.__cause__)


def test_a_network_whose_size_is_open_is_described_by_its_size(folder):
    graph = GraphWriter()
    graph.rename(graph.op("Identity", "image"), "mask")
    ports = {"image": (np.float32, [1, 3, None, None])}, {"mask": (np.float32, [1, 3, None, None])}
    graph.save(folder / "open.onnx", "open", *ports, {})
    text = LITERT.replace("litert", "onnx").replace("me.tflite", "open.onnx")
    with pytest.raises(DeviceMisdescribed, match=r"line 6 .*leaves its input's size open"):
        load(folder, text)
    found = load(folder, "input = [24, 16]\n" + text)
    assert (found.spec.options["width"], found.spec.route.height) == (24, 16)


def test_a_machine_without_the_runtime_reads_a_page_that_says_the_size(folder, monkeypatch):
    """Such as the one that takes links in: it makes recipes, and runs no network."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)  # as if it were not installed
    with pytest.raises(MissingDependency, match=r"input = \[256, 256\]"):
        load(folder, LITERT)
    found = load(folder, "input = [8, 8]\n" + LITERT)
    monkeypatch.undo()
    assert found.spec.identity() == load(folder, LITERT).spec.identity()


def test_a_network_that_changes_under_a_running_worker_is_not_loaded(folder):
    (folder / "soon.tflite").write_bytes((folder / "me.tflite").read_bytes())
    device = open_described(load(folder, LITERT.replace("me.tflite", "soon.tflite")))
    (folder / "soon.tflite").write_bytes((folder / "other.tflite").read_bytes())
    with pytest.raises(DeviceMisdescribed, match=r"line 6 \(network.model\).*has changed"):
        device.load()


def test_a_strangers_driver_is_described_by_its_own_options(tmp_path):
    text = 'name = "theirs"\nfirmware = "9"\ndriver = "tiny-device"\n'
    (tmp_path / "right.toml").write_text(text)
    (tmp_path / "wrong.toml").write_text(text + "[options]\nspeed = 3\n")
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from workers.devices.description import load_description, open_described\n"
        "from workers.weights import WeightsStore\n"
        "found = load_description(Path(sys.argv[1]))\n"
        "device = open_described(found, None, WeightsStore(Path(sys.argv[2])))\n"
        "device.load()\n"
        "print(found.spec.version, found.spec.licence, device.maps([np.zeros((8, 8, 3), np.uint8)])[0].sum())"
    )
    environment = {**os.environ, **stranger_package.install(tmp_path / "package")}

    def run(page):
        command = [sys.executable, "-c", program, str(tmp_path / page), str(tmp_path / "weights")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)

    assert run("right.toml").stdout.split() == ["theirs@9", "CC0-1.0", str(255 * 4)]
    assert "wrong.toml, line 4 (options)" in run("wrong.toml").stderr


NETWORK = {
    "name": "me-2", "firmware": "2.1.0", "driver": "litert", "resize": "area", "frames": "png",
    "threshold": 0.5, "empty_masks": "verify", "input": [8, 8],
    "network": {
        "model": "many.tflite", "colours": "rgb", "scale": 1.0, "offset": 0.0, "mean": [0.0, 0.5, 1.0],
        "std": [1.0, 2.0, 0.25], "output": "logit", "person_channel": 1, "output_name": "",
        "delegate": "npu.so",
        "delegate_options": {"device": "0", "cache": "on"},
    },
}  # fmt: skip
OTHER = {
    "name": "me-3", "firmware": "2.1.1", "driver": "onnx", "resize": "linear", "frames": "jpeg",
    "threshold": 0.25, "empty_masks": "refuse",
    "network.model": "other.tflite", "network.colours": "bgr", "network.scale": 0.5, "network.offset": -1.0,
    "network.mean": [0.0, 0.5, 0.0], "network.std": [1.0, 2.0, 0.5], "network.output": "probability",
    "network.person_channel": 0, "network.output_name": "mask", "network.delegate": "other.so",
    "network.delegate_options": {"device": "1", "cache": "on"},
}  # fmt: skip
ANSWER = {
    **{key: NETWORK[key] for key in ("name", "firmware", "resize", "frames", "threshold", "empty_masks")},
    "driver": "command", "input": [64, 48],
    "command": {
        "run": "t {input_dir} {output_dir}", "answer": "label", "person_label": 3, "answer_size": [9, 9],
    },
}  # fmt: skip
HTTP_PAGE = {
    **{key: value for key, value in ANSWER.items() if key != "command"}, "driver": "http",
    "http": {"url": "http://me/mask", "token_file": "token", "ca": "ca.pem", "answer": "label"},
}  # fmt: skip
OTHER_ANSWER = {
    "name": "me-3", "firmware": "2.2", "resize": "linear", "frames": "jpeg", "threshold": 0.75,
    "empty_masks": "refuse", "input": [64, 64], "command.answer": "probability", "command.person_label": 1,
    "command.answer_size": [9, 8],
}  # fmt: skip
SAME = {
    "known_picture": {"image": "face.png", "mask": "mask.png"},
    "queue": "own", "pixels": "inline", "batch": 4, "processes": 3, "time_limit": 99.5,
    "licence": "Apache-2.0",
    "network.model": "copy/again.tflite", "network.delegate": "elsewhere/npu.so",
    "command.run": "ssh me {input_dir} x{output_dir}",
}  # fmt: skip


def changed(page, key, value):
    section, _, name = key.rpartition(".")
    return {**page, section: {**page[section], name: value}} if section else {**page, key: value}


def identity(folder, text):
    spec = load(folder, text).spec
    # As it arrives at a worker: through a message.
    return ModelSpec.model_validate_json(spec.model_dump_json()).identity()


ANY_VALUE = st.sampled_from([
    "-1", "1e400", "-inf", "nan", "true", "1979-05-27", "07:32:00", "[[1], [2]]", "[]", "{}",
    "{ a = { b = 1 } }", '""', '"\\u0000"', '"\\u202e"', str(10**30),
    '["a", 1, 2.5]', "0x10", "'../../etc'", "'{input_dir}'",
]) | st.text(max_size=20).map(me_toml.value)  # fmt: skip


@settings(max_examples=150)
@given(page=st.sampled_from([NETWORK, ANSWER, HTTP_PAGE]), data=st.data())
def test_any_value_of_any_key_is_taken_or_refused_by_its_line(folder, page, data):
    keys = [key for key, v in page.items() if not isinstance(v, dict)]
    keys += [f"{key}.{name}" for key, v in page.items() if isinstance(v, dict) for name in v]
    key = data.draw(st.sampled_from(keys))
    text = me_toml.page(changed(page, key, me_toml.Raw(data.draw(ANY_VALUE))))
    try:
        found = load(folder, text)
        ModelSpec.model_validate_json(found.spec.model_dump_json())
        open_described(found)
    except DeviceMisdescribed as error:
        assert ", line " in error.cause or " says " in error.cause


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), page=st.sampled_from([NETWORK, ANSWER]))
def test_another_order_or_spelling_is_the_same_device(folder, seed, page):
    text = me_toml.otherwise(page, seed)
    assert identity(folder, text) == identity(folder, me_toml.page(page))


@pytest.mark.parametrize(
    ("page", "changes"), [(NETWORK, OTHER), (ANSWER, OTHER_ANSWER)], ids=["network", "answer"]
)
def test_what_changes_a_mask_changes_the_identity_and_nothing_else_does(folder, page, changes):
    before = identity(folder, me_toml.page(page))
    for key, value in changes.items():
        if key != "driver":  # another driver cannot open the same file
            assert identity(folder, me_toml.page(changed(page, key, value))) != before, key
    # A name may hold hyphens and digits, and a firmware too: where one ends is part of the identity.
    named = [changed(changed(page, "name", n), "firmware", f) for n, f in (("me", "2-1"), ("me-2", "1"))]
    one, other = (identity(folder, me_toml.page(each)) for each in named)
    assert one != other
    same = {
        key: value for key, value in SAME.items() if key.split(".")[0] in {*page, *set(SAME) - {"network"}}
    }
    same = {key: value for key, value in same.items() if "." not in key or key.split(".")[0] in page}
    assert len(same) >= 6
    for key, value in same.items():
        assert identity(folder, me_toml.page(changed(page, key, value))) == before, key


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_every_key_stands_on_the_line_that_is_said(seed):
    """Found another way: the line's own text names the key, or the inline table that the key is in."""
    text = me_toml.otherwise(NETWORK, seed)
    rows, lines = text.split("\n"), key_lines(text)
    assert len(lines) == len(NETWORK) + len(NETWORK["network"]) + 2
    for key, line in lines.items():
        row, (*_, name) = rows[line - 1], key.split(".")
        assert name in row or (key.startswith("network.") and row.startswith("network = {")), (key, row)
