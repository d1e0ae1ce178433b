"""``hardpose models`` as a user types it, with everything that one gives by mistake. Real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import http_server
import numpy as np
import pytest
import stranger_package
from hardpose_process import Ended, environment, hardpose
from typer.testing import CliRunner

from api.cli import cli
from api.exit_codes import ExitCode

pytestmark = pytest.mark.system

ADD = ("models", "add", "tiny-pose", "--accept-licence", "--from")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return stranger_package.install(tmp_path_factory.mktemp("package") / "tiny")


@pytest.fixture
def env(package: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The stranger's package, and a weights folder of its own."""
    return {**package, "HARDPOSE_WEIGHTS_DIR": str(tmp_path / "weights")}


Typed = Callable[..., Ended]


@pytest.fixture
def typed(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """The command within this process: the same words and the same answers, a second sooner."""
    monkeypatch.syspath_prepend(env["PYTHONPATH"].split(os.pathsep)[0])
    for name in filter(lambda name: name.startswith("HARDPOSE_"), env):
        monkeypatch.setenv(name, env[name])

    def run(*arguments: str | Path) -> Ended:
        ended = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    yield run
    for name in ("tiny_models", "tiny_lacking", "tiny_crooked"):
        sys.modules.pop(name, None)


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_v1.tiny"
    path.write_bytes(stranger_package.weights_bytes())
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[http_server.Server]:
    with http_server.running() as running:
        yield running


def kept(env: dict[str, str]) -> list[str]:
    folder = Path(env["HARDPOSE_WEIGHTS_DIR"])
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def refused(ended: Ended, env: dict[str, str], code: str, status: ExitCode) -> None:
    """It ended with a typed error, a remedy and no traceback, and nothing was kept."""
    assert ended.code == status, ended.stderr
    assert f"{code}: " in ended.stderr
    assert "  -> " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert kept(env) == []


def test_from_the_licence_to_the_exported_file(
    env: dict[str, str], weights_file: Path, tmp_path: Path
) -> None:
    first = hardpose("models", "add", "tiny-pose", "--from", weights_file, env=env)
    refused(first, env, "licence_not_accepted", ExitCode.USAGE)
    (again,) = [line for line in first.stderr.splitlines() if "hardpose models add" in line]
    words = again.split("hardpose ", 1)[1].split()
    added = hardpose(*words, env=env)  # the very command that was named
    assert added.code == ExitCode.OK, added.stderr
    assert "the official file" in added.stdout
    assert "HARDPOSE_POSE_MODEL=tiny-pose" in added.stdout
    assert hardpose("models", "verify", "tiny-pose", env=env).code == ExitCode.OK
    to = tmp_path / "tiny.onnx"
    exported = hardpose("models", "export", "tiny-pose", "--to", to, "--json", env=env)
    told = json.loads(exported.stdout)
    assert (told["file"], told["size"], told["licence"]) == (str(to), to.stat().st_size, "Stranger-1.0")
    again_export = hardpose("models", "export", "tiny-pose", "--to", to, env=env)
    assert (again_export.code, "file_there" in again_export.stderr) == (ExitCode.USAGE, True)


WHOLE = stranger_package.weights_bytes()


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(500), "weights_damaged"),  # a picture
        ("page.tiny", b"<html><body>log in</body></html>", "weights_damaged"),  # a page saved by mistake
        ("notes.txt", b"the weights are on the other disk\n", "weights_damaged"),
        ("empty.tiny", b"", "weights_damaged"),
        ("cut.tiny", WHOLE[: len(WHOLE) // 2], "weights_damaged"),
        ("other.tiny", stranger_package.weights_bytes(points=18), "model_mismatch"),  # another network's
        ("nan.tiny", stranger_package.weights_bytes(changed=float("nan")), "model_mismatch"),  # at loading
    ],
)
def test_a_wrong_file_is_refused_and_not_kept(
    name: str, data: bytes, code: str, env: dict[str, str], typed: Typed, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    refused(typed(*ADD, tmp_path / name), env, code, ExitCode.ENVIRONMENT)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*ADD, "nowhere.tiny"), "not_found", "nowhere.tiny"),
        ((*ADD, "/"), "not_found", "is a folder"),
        (("models", "add", "tinypose", "--from", "x"), "not_found", "Installed: tiny-pose,"),
        (("models", "add", "lacking", "--from", "x"), "missing_dependency", "no_such_package_anywhere"),
        (("models", "add", "crooked", "--from", "x"), "model_broken", "written in a hurry"),
        (("models", "add", "blazepose", "--from", "x"), "bad_setting", "fetches its own"),
        ((*ADD, "https://ann:sesame@weights.example/x.tiny"), "bad_link", "password"),
    ],
)
def test_a_mistake_in_the_command_is_named(
    arguments: tuple[str, ...], code: str, said: str, env: dict[str, str], typed: Typed
) -> None:
    ended = typed(*arguments)
    here = code in ("missing_dependency", "model_broken")
    refused(ended, env, code, ExitCode.ENVIRONMENT if here else ExitCode.USAGE)
    assert said in ended.stderr
    assert "sesame" not in ended.stderr


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing.tiny", "http_404"),
        ("html.mp4", "weights"),  # a page in place of the file
        ("slow.mp4", "download_timeout"),
        ("plain.mp4", "weights_damaged"),  # half a megabyte of something else
    ],
)
def test_a_bad_link_is_refused(
    path: str,
    code: str,
    env: dict[str, str],
    typed: Typed,
    server: http_server.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARDPOSE_ALLOW_NETWORKS", '["127.0.0.0/8"]')
    if code == "download_timeout":
        monkeypatch.setenv("HARDPOSE_DOWNLOAD_TIMEOUT_SECONDS", "1")
    refused(typed(*ADD, server.url(path)), env, code, ExitCode.ENVIRONMENT)


def test_a_private_network_is_not_reached_unasked(env: dict[str, str], server: http_server.Server) -> None:
    refused(hardpose(*ADD, server.url("range.mp4"), env=env), env, "private_address", ExitCode.ENVIRONMENT)
    assert server.count("range.mp4") == 0


def test_a_full_disk_is_named_and_nothing_is_kept(env: dict[str, str], tmp_path: Path) -> None:
    big = tmp_path / "big.tiny"
    big.write_bytes(bytes(1 << 17))
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from api.cli import main; main()\n"
    )
    line = [sys.executable, "-c", limited, *ADD, str(big)]
    done = subprocess.run(
        line, capture_output=True, text=True, env=environment(env), timeout=600, check=False
    )
    refused(Ended(done.returncode, done.stdout, done.stderr), env, "disk_full", ExitCode.ENVIRONMENT)


# --- packages that are not there ---------------------------------------------------------------------

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def without(env: dict[str, str], folder: Path, *names: str) -> dict[str, str]:
    """``env`` for a Python in which these packages are not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK.format(names=names))
    return {**env, "PYTHONPATH": f"{folder}:{env['PYTHONPATH']}"}


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_packages_a_file_is_checked_and_kept_all_the_same(
    missing: str, env: dict[str, str], weights_file: Path, tmp_path: Path
) -> None:
    bare = without(env, tmp_path / "block", missing)
    added = hardpose(*ADD, weights_file, "--json", env=bare)
    assert added.code == ExitCode.OK, added.stderr
    told = json.loads(added.stdout)
    assert told["loaded"] is False
    assert missing in told["not_loaded_because"]
    assert "pip install 'hardpose[onnx]'" in told["not_loaded_because"]
    whole = json.loads(hardpose(*ADD, weights_file, "--json", env=env).stdout)  # once it is installed
    assert whole["loaded"] is True


def test_an_export_without_onnx_names_the_extra(
    env: dict[str, str], weights_file: Path, tmp_path: Path
) -> None:
    bare = without(env, tmp_path / "block", "onnx")
    assert hardpose(*ADD, weights_file, env=bare).code == ExitCode.OK
    ended = hardpose("models", "export", "tiny-pose", "--to", tmp_path / "out.onnx", env=bare)
    assert ended.code == ExitCode.ENVIRONMENT
    assert "pip install 'hardpose[onnx]'" in ended.stderr
    assert list(tmp_path.glob("out.onnx*")) == []


def test_the_list_needs_no_network_runtime(env: dict[str, str], tmp_path: Path) -> None:
    bare = without(env, tmp_path / "block", "onnx", "onnxruntime", "h5py", "tensorflow", "keras")
    ended = hardpose("models", "list", "--json", env=bare)
    assert ended.code == ExitCode.OK, ended.stderr
    rows = {row["name"]: row for row in json.loads(ended.stdout)}
    assert {"blazepose", "litert", "tiny-pose", "matterport", "openpose-body25"} <= set(rows)


# --- a recipe without its weights --------------------------------------------------------------------


def test_a_run_without_the_weights_names_the_command_and_starts_nothing(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").touch()
    env = {**env, "HARDPOSE_POSE_MODEL": "tiny-pose"}
    ended = hardpose("run", tmp_path / "clip.mp4", "--out", tmp_path / "out", env=env)
    refused(ended, env, "weights", ExitCode.ENVIRONMENT)
    assert "hardpose models add tiny-pose --from FILE" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_system_without_the_weights_does_not_come_up(env: dict[str, str], tmp_path: Path) -> None:
    env = {**env, "HARDPOSE_POSE_MODEL": "tiny-pose"}
    ended = hardpose("up", "--home", tmp_path / "state", "--flower-port", "0", env=env)
    refused(ended, env, "weights", ExitCode.ENVIRONMENT)
    assert not (tmp_path / "state").exists()


def test_a_run_with_damaged_weights_names_the_command_and_starts_no_worker(
    env: dict[str, str], weights_file: Path, tmp_path: Path
) -> None:
    assert hardpose(*ADD, weights_file, env=env).code == ExitCode.OK
    (stored,) = Path(env["HARDPOSE_WEIGHTS_DIR"]).glob("*.tiny")
    stored.write_bytes(bytes(stored.stat().st_size))
    (tmp_path / "clip.mp4").touch()
    env = {**env, "HARDPOSE_POSE_MODEL": "tiny-pose"}
    ended = hardpose("run", tmp_path / "clip.mp4", "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.ENVIRONMENT
    assert "hardpose models add tiny-pose --from FILE" in ended.stderr
    assert "Delete the file" not in ended.stderr


def test_a_gpu_that_is_not_here_ends_a_run_at_once(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    env = {**env, "HARDPOSE_GPU": "99"}
    ended = hardpose("run", tmp_path / "clip.mp4", "--out", tmp_path / "out", env=env)
    refused(ended, env, "no_provider", ExitCode.ENVIRONMENT)
    assert not (tmp_path / "out").exists()  # no worker was started to end over it, again and again


# --- hardpose's own models ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that people give for weights, by what they are."""
    folder = tmp_path_factory.mktemp("wrong")
    photo, page = folder / "photo.png", folder / "page.html"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3000))
    page.write_text("<!doctype html><html><body>log in</body></html>\n" * 20)
    other, half = folder / "other.h5", folder / "half.h5"
    with h5py.File(other, "w") as file:
        file["conv1/kernel"] = np.zeros((7, 7, 3, 64), np.float32)
    half.write_bytes(other.read_bytes()[: other.stat().st_size // 2])
    return {"photo": photo, "page": page, "other h5": other, "half an h5": half}


@pytest.mark.parametrize(
    ("model", "given", "code"),
    [
        ("openpose-body25", "photo", "weights_damaged"),
        ("openpose-body25", "page", "weights_damaged"),
        ("openpose-coco18", "other h5", "weights_damaged"),  # Mask R-CNN's format
        ("matterport", "photo", "weights_damaged"),
        ("matterport", "half an h5", "weights_damaged"),  # a transfer that was cut
        ("matterport", "other h5", "model_mismatch"),  # another network's
        ("rfdetr-seg", "page", "weights_damaged"),
    ],
)
def test_a_wrong_file_for_one_of_our_models_is_refused(
    model: str, given: str, code: str, wrong_files: dict[str, Path], env: dict[str, str], typed: Typed
) -> None:
    ended = typed("models", "add", model, "--accept-licence", "--from", wrong_files[given])
    refused(ended, env, code, ExitCode.ENVIRONMENT)
    assert wrong_files[given].name in ended.stderr


def test_without_h5py_the_extra_is_named(
    wrong_files: dict[str, Path], env: dict[str, str], tmp_path: Path
) -> None:
    bare = without(env, tmp_path / "block", "h5py")
    ended = hardpose("models", "add", "matterport", "--from", wrong_files["other h5"], env=bare)
    refused(ended, env, "missing_dependency", ExitCode.ENVIRONMENT)
    assert "pip install 'hardpose[" in ended.stderr
