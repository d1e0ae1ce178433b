"""``hardpose models`` on a stranger's package, within this process."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import stranger_package
from typer.testing import CliRunner

from api import models_meter
from api.cli import cli
from api.exit_codes import ExitCode
from api.models_add import add_weights
from api.models_export import export_model
from api.models_find import models_named, option_variables
from api.models_list import model_rows
from api.models_verify import check_stored
from api.options import FileThere
from broker.errors import NotFound, SettingsError, WeightsError
from broker.settings import Settings, load_settings
from workers.compute import Compute
from workers.downloads.errors import BadLink
from workers.embedded_weights import SELFIE
from workers.errors import LicenceNotAccepted, ModelMismatch
from workers.models import pose_spec
from workers.onnx_runtime import OnnxModel
from workers.weights import WeightsRecord


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with a weights folder of their own, the stranger's package installed."""
    stranger_package.install(tmp_path / "package")
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    monkeypatch.setenv("HARDPOSE_WEIGHTS_DIR", str(tmp_path / "weights"))
    yield load_settings(home=tmp_path / "state")
    for name in ("tiny_models", "tiny_lacking", "tiny_crooked"):
        sys.modules.pop(name, None)


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "given.tiny"
    path.write_bytes(stranger_package.weights_bytes())
    return path


def cases(settings: Settings) -> dict[tuple[str, str], tuple[str, bool]]:
    return {(row.stage, row.name): (row.state, row.in_use) for row in model_rows(settings)}


# --- list --------------------------------------------------------------------------------------------


def test_every_installed_model_is_listed_also_those_that_cannot_be_used(here: Settings) -> None:
    found = cases(here)
    assert found[("pose", "tiny-pose")] == ("to_bring", False)
    assert found[("mask", "tiny-teacher")] == ("to_fetch", False)
    assert found[("me", "tiny-device")] == ("to_fetch", False)
    assert found[("pose", "blazepose")] == ("to_fetch", True)
    untried = {row.name for row in model_rows(here) if row.untried}
    assert {"openpose-body25", "openpose-coco18", "pyopenpose", "matterport", "rfdetr-seg"} <= untried
    assert found[("pose", "lacking")] == ("unusable", False)
    assert found[("pose", "crooked")] == ("unusable", False)
    rows = {row.name: row for row in model_rows(here)}
    assert "no_such_package_anywhere" in rows["lacking"].detail
    assert "Install" in rows["lacking"].remedy
    assert "written in a hurry" in rows["crooked"].detail
    assert rows["tiny-pose"].remedy == "hardpose models add tiny-pose --from FILE --accept-licence"
    assert rows["tiny-pose"].untried


def test_a_device_given_as_a_file_is_litert_in_use(here: Settings) -> None:
    settings = here.model_copy(update={"device_model": "folder/me.tflite"})
    assert cases(settings)[("me", "litert")][1]


def test_the_command_prints_them_all_and_json_for_programs(here: Settings) -> None:
    plain, as_json = (CliRunner().invoke(cli, ["models", "list", *more]) for more in ([], ["--json"]))
    assert (plain.exit_code, as_json.exit_code) == (ExitCode.OK, ExitCode.OK), plain.stderr
    rows = json.loads(as_json.stdout)
    assert {row["stage"] for row in rows} == {"pose", "mask", "me"}
    assert [row["name"] for row in rows if row["name"] not in plain.stdout] == []


# --- names -------------------------------------------------------------------------------------------


def test_an_unknown_model_is_answered_with_the_nearest_first(here: Settings) -> None:
    with pytest.raises(NotFound) as caught:
        models_named(here, "tinypose")
    assert caught.value.remedy.startswith("Installed: tiny-pose, ")
    assert "tiny-device" in caught.value.remedy


def test_one_name_may_serve_two_stages(here: Settings) -> None:
    assert [model.stage.value for model in models_named(here, "blazepose")] == ["pose", "mask"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blazepose", "fetches its own weights"),  # pinned ones
        ("tiny-teacher", "fetches its own weights"),  # a stranger's pinned ones
    ],
)
def test_a_model_with_weights_of_its_own_takes_none(
    name: str, said: str, here: Settings, weights_file: Path
) -> None:
    with pytest.raises(SettingsError, match=said):
        add_weights(here, name, str(weights_file), True)


# --- add ---------------------------------------------------------------------------------------------


def test_the_licence_comes_first_and_the_command_to_repeat_is_exact(here: Settings, tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAccepted) as caught:
        add_weights(here, "tiny-pose", str(tmp_path / "not there.tiny"), False)
    for part in ("Stranger-1.0", "https://stranger.example/licence", "know the stranger"):
        assert part in caught.value.cause
    assert caught.value.remedy.endswith(
        f"hardpose models add tiny-pose --from '{tmp_path}/not there.tiny' --accept-licence"
    )
    assert not here.weights_dir.exists()


def test_a_password_is_never_repeated_not_even_in_the_command_that_accepts_the_licence(
    here: Settings,
) -> None:
    with pytest.raises(BadLink) as caught:
        add_weights(here, "tiny-pose", "https://ann:sesame@weights.example/x.tiny", False)
    assert "sesame" not in str(caught.value)


def test_what_was_added_is_what_a_new_recipe_uses(here: Settings, weights_file: Path) -> None:
    added = add_weights(here, "tiny-pose", str(weights_file), True)
    assert (added.official, added.version, added.loaded) == (True, "tiny_v1", True)
    assert added.use_with == "HARDPOSE_POSE_MODEL=tiny-pose"
    spec = pose_spec(here.model_copy(update={"pose_model": "tiny-pose"}))
    assert (spec.version, spec.sha256, spec.licence) == ("tiny_v1", added.sha256, "Stranger-1.0")
    assert str(weights_file.parent) not in spec.model_dump_json()
    assert cases(here)[("pose", "tiny-pose")] == ("here", False)


def test_the_same_file_twice_is_fine_and_another_one_takes_its_place(
    here: Settings, weights_file: Path
) -> None:
    first = add_weights(here, "tiny-pose", str(weights_file), True)
    assert add_weights(here, "tiny-pose", str(weights_file), True) == first
    (model,) = models_named(here, "tiny-pose")
    assert len(model.history) == 1
    weights_file.write_bytes(stranger_package.weights_bytes(changed=0.01))
    second = add_weights(here, "tiny-pose", str(weights_file), True)
    assert (second.official, second.version) == (False, f"custom-{second.sha256[:8]}")
    assert [entry.ref.sha256 for entry in model.history] == [first.sha256, second.sha256]
    assert [entry.accepted_at != "" for entry in model.history] == [True, True]


def test_the_precision_that_is_configured_is_the_one_that_is_converted(
    here: Settings, weights_file: Path
) -> None:
    settings = here.model_copy(update={"pose_model": "tiny-pose", "pose_options": {"precision": "fp16"}})
    add_weights(settings, "tiny-pose", str(weights_file), True)
    assert [check.file for check in check_stored(here, "tiny-pose")] == ["given.tiny", "tiny-fp16-1.onnx"]


def test_a_wrong_option_is_met_before_the_file_is_touched(here: Settings) -> None:
    settings = here.model_copy(update={"pose_model": "tiny-pose", "pose_options": {"precisoin": "fp16"}})
    with pytest.raises(SettingsError, match="precisoin"):
        add_weights(settings, "tiny-pose", "nowhere.tiny", True)


def test_weights_that_cannot_be_loaded_are_not_kept(here: Settings, weights_file: Path) -> None:
    weights_file.write_bytes(stranger_package.weights_bytes(changed=float("nan")))
    with pytest.raises(ModelMismatch, match="not a number") as caught:
        add_weights(here, "tiny-pose", str(weights_file), True)
    assert "not added" in caught.value.remedy
    assert [p for p in here.weights_dir.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    assert models_named(here, "tiny-pose")[0].history == []


def test_a_recipe_without_its_weights_names_the_command(here: Settings) -> None:
    with pytest.raises(WeightsError, match="tiny-pose") as caught:
        pose_spec(here.model_copy(update={"pose_model": "tiny-pose"}))
    assert "hardpose models add tiny-pose --from FILE" in caught.value.remedy


@pytest.mark.parametrize(
    ("md5", "changed", "said"),
    [
        (True, 0.0, "the official file"),  # by its checksum
        (True, 0.01, "none of those that its authors publish"),
        (False, 0.0, "publish no checksum"),  # nobody can tell
    ],
)
def test_it_is_said_whether_a_file_is_the_authors_own(
    md5: bool, changed: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger_package.install(tmp_path / "package", md5=md5)
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    monkeypatch.delitem(sys.modules, "tiny_models", raising=False)
    given = tmp_path / "given.tiny"
    given.write_bytes(stranger_package.weights_bytes(changed=changed))
    settings = load_settings(home=tmp_path / "state", weights_dir=tmp_path / "weights")
    added = add_weights(settings, "tiny-pose", str(given), True)
    assert said in added.origin
    sys.modules.pop("tiny_models")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_in_a_terminal_and_lines_in_a_log(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models_meter, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with models_meter.meter("net: reading") as moved:
        moved(1000, 5000)
        moved(2000, None)
    printed = capsys.readouterr().err
    assert ("net: reading: 1,000 of 5,000 bytes" in printed) == (not terminal)
    assert ("net: reading: 2,000 of ? bytes" in printed) == (not terminal)


# --- show --------------------------------------------------------------------------------------------


def test_show_says_all_that_the_card_knows(here: Settings, weights_file: Path) -> None:
    add_weights(here, "tiny-pose", str(weights_file), True)
    shown = CliRunner().invoke(cli, ["models", "show", "tiny-pose"])
    assert shown.exit_code == ExitCode.OK, shown.stderr
    for part in (
        "https://stranger.example/licence",
        "A. Stranger, TinyPose, 2026.",
        "Ask the stranger",
        'precision (default "fp32")  HARDPOSE_POSE_OPTIONS__PRECISION',
        "tiny_v1 (official) from given.tiny, licence accepted",
        "Only the made weights",
        "sha256     ",
    ):
        assert part in shown.stdout
    (told,) = json.loads(CliRunner().invoke(cli, ["models", "show", "tiny-pose", "--json"]).stdout)
    assert told["card"]["citation"] == "A. Stranger, TinyPose, 2026."
    assert [option["name"] for option in told["options"]] == ["precision", "confidence"]
    assert len(told["history"]) == 1


def test_the_variables_that_are_named_set_the_options(
    here: Settings, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_weights(here, "tiny-pose", str(weights_file), True)
    (model,) = models_named(here, "tiny-pose")
    monkeypatch.setenv("HARDPOSE_POSE_MODEL", "tiny-pose")
    monkeypatch.setenv(option_variables(model)["confidence"], "0.25")
    assert pose_spec(load_settings()).options == {"precision": "fp32", "confidence": 0.25}


# --- verify and export -------------------------------------------------------------------------------


def test_verify_names_what_is_damaged_and_what_to_do(here: Settings, weights_file: Path) -> None:
    assert check_stored(here, None) == []
    add_weights(here, "tiny-pose", str(weights_file), True)
    given, made = check_stored(here, None)
    assert (given.ok, made.ok) == (True, True)
    Path(made.path).write_bytes(b"changed")
    Path(given.path).unlink()
    ended = CliRunner().invoke(cli, ["models", "verify", "tiny-pose"])
    assert ended.exit_code == ExitCode.ENVIRONMENT
    assert "MISSING given.tiny" in ended.stdout
    assert "hardpose models add tiny-pose --from FILE" in ended.stdout
    assert "DAMAGED tiny-fp32-1.onnx" in ended.stdout
    assert "made anew" in ended.stdout
    told = json.loads(CliRunner().invoke(cli, ["models", "verify", "--json"]).stdout)
    assert [row["ok"] for row in told] == [False, False]
    assert check_stored(here, "blazepose") == []


def test_what_was_fetched_and_is_gone_is_fetched_again(here: Settings) -> None:
    ref = SELFIE
    record = WeightsRecord(ref.file, ref.source, ref.sha256, ref.size, ref.licence, "2026-01-01")
    here.weights_dir.mkdir()
    (here.weights_dir / f"{ref.sha256}.json").write_text(json.dumps(asdict(record)))
    (check,) = check_stored(here, None)
    assert (check.actual, "Delete" in check.remedy, "fetched" in check.remedy) == ("missing", False, True)


def test_a_damaged_conversion_is_made_anew_by_adding_or_using(here: Settings, weights_file: Path) -> None:
    add_weights(here, "tiny-pose", str(weights_file), True)
    _, made = check_stored(here, None)
    Path(made.path).write_bytes(b"changed")
    add_weights(here, "tiny-pose", str(weights_file), True)
    assert [check.ok for check in check_stored(here, None)] == [True, True]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_exported_file_runs_alone(
    precision: str, here: Settings, weights_file: Path, tmp_path: Path
) -> None:
    add_weights(here, "tiny-pose", str(weights_file), True)
    path = Path(export_model(here, "tiny-pose", tmp_path / "out.onnx", precision, force=False).file)
    size = np.array([[200.0, 100.0]], np.float32)
    (points,) = OnnxModel(path, Compute(providers=("cpu",))).run({"size": size})
    expected = np.array(stranger_package.POINTS) * size
    np.testing.assert_allclose(points, expected, atol=0.05 if precision == "fp16" else 1e-4)
    assert [p.name for p in tmp_path.glob("*.onnx*")] == ["out.onnx"]


def test_an_export_replaces_nothing_unasked(here: Settings, weights_file: Path, tmp_path: Path) -> None:
    add_weights(here, "tiny-pose", str(weights_file), True)
    to = tmp_path / "out.onnx"
    to.write_text("precious")
    with pytest.raises(FileThere, match=r"out\.onnx"):
        export_model(here, "tiny-pose", to, None, force=False)
    assert to.read_text() == "precious"
    export_model(here, "tiny-pose", to, None, force=True)
    assert to.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("name", "to", "precision", "said"),
    [
        ("blazepose", "out.onnx", None, "fetches its own"),  # nothing that it could export
        ("tiny-pose", "out.txt", None, "does not end in .onnx"),
        ("tiny-pose", "no/folder/out.onnx", None, "cannot be written"),
        ("tiny-pose", "out.onnx", "fp16", "has no weights on this machine"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    name: str, to: str, precision: str | None, said: str, here: Settings, tmp_path: Path
) -> None:
    with pytest.raises((SettingsError, WeightsError), match=said):
        export_model(here, name, tmp_path / to, precision, force=False)


# --- the command alone -------------------------------------------------------------------------------


def test_options_before_the_word_are_not_lost_in_silence(here: Settings) -> None:
    ended = CliRunner().invoke(cli, ["models", "--json", "list"])
    assert ended.exit_code == ExitCode.USAGE
    assert "hardpose models list ... --json" in ended.stderr


def test_models_alone_lists_the_recipe_in_use(
    here: Settings, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOSE_POSE_MODEL", "tiny-pose")
    without = CliRunner().invoke(cli, ["models"])
    assert without.exit_code == ExitCode.ENVIRONMENT
    assert "hardpose models add tiny-pose" in without.stderr
    add_weights(here, "tiny-pose", str(weights_file), True)
    told = json.loads(CliRunner().invoke(cli, ["models", "--json"]).stdout)
    assert {stage: model["name"] for stage, model in told.items()} == {
        "pose": "tiny-pose",
        "mask": "blazepose",
        "me": "litert",
    }
    Path(told["pose"]["weights"][0]["here"]).unlink()
    gone = CliRunner().invoke(cli, ["models"])
    assert gone.exit_code == ExitCode.OK
    assert "not here (hardpose models add tiny-pose --from FILE)" in gone.stdout
