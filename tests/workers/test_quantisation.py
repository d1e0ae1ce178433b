"""The float file that is quantised is the embedded student; what quantisation costs is counted right."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from workers.embedded_weights import SELFIE
from workers.litert import LiteRT
from workers.pictures import encode_png

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)  # the benchmarks are not installed
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_the_plain_file_computes_what_the_embedded_one_does_with_standard_operations(
    tmp_path, weights, benchmark
):
    source, plain = weights.path(SELFIE), tmp_path / "plain.tflite"
    benchmark("plain_tflite").write_plain(source, plain)
    values = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    networks = [LiteRT(path) for path in (source, plain)]
    first, second = (network.run(values, *network.outputs)[0] for network in networks)
    assert first.std() > 0
    assert np.array_equal(first, second)
    # Its own operation would not even be allocated without XNNPACK, which no quantiser and few NPUs have.
    standard = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with pytest.raises(RuntimeError, match="Convolution2DTransposeBias"):
        Interpreter(str(source), experimental_op_resolver_type=standard).allocate_tensors()
    Interpreter(str(plain), experimental_op_resolver_type=standard).allocate_tensors()


def test_what_quantisation_costs_is_counted_on_the_same_frames(tmp_path, benchmark):
    quantisation = benchmark("quantisation")
    for folder in ("frames", "masks"):
        (tmp_path / folder).mkdir()
    truth = np.zeros((8, 10), bool)
    truth[:, :5] = True
    for name in ("a", "b", "c", "d"):
        (tmp_path / "frames" / f"{name}.png").write_bytes(encode_png(np.zeros((8, 10, 3), np.uint8)))
        (tmp_path / "masks" / f"{name}.png").write_bytes(encode_png(truth.astype(np.uint8) * 255))
    (tmp_path / "frames" / "lonely.png").write_bytes(encode_png(np.zeros((8, 10, 3), np.uint8)))
    pairs = quantisation.folder_pairs(tmp_path / "frames", tmp_path / "masks")
    assert [(pair.name, pair.calibrates) for pair in pairs] == [
        ("a", True),
        ("b", False),
        ("c", True),
        ("d", False),
    ]
    some = truth.copy()
    some[:, 2:] = False
    found = quantisation.compare(
        pairs, {"float": [truth, truth, some, some], "int8": [truth, some, truth, some]}
    )
    assert found["float"]["iou_with_teacher"] == {"mean": 0.7, "median": 0.7, "worst": 0.4}
    counts = {key: found["int8"][key] for key in ("hard", "newly_hard", "no_longer_hard")}
    assert counts == {"hard": 2, "newly_hard": 1, "no_longer_hard": 1}
    assert found["int8"]["iou_with_float"]["worst"] == 0.4
