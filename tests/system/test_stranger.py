"""All three models from a stranger's package, of which hardpose knows nothing: a run on real workers."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import stranger_package
from hardpose_process import Ended, hardpose, only_job
from make_video import write_steady

from api.exit_codes import ExitCode
from broker.messages import Verdict

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
WEIGHTS = stranger_package.weights_bytes()
MODELS = {
    "pose": ("tiny-pose", "tiny_v1", WEIGHTS, "Stranger-1.0"),
    "mask": ("tiny-teacher", "7.1", b"teacher", "BSD-3-Clause"),
    "device": ("tiny-device", "0.3", b"device", "CC0-1.0"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """A run with the three of them, in a folder that no model may name afterwards."""
    folder = tmp_path_factory.mktemp("secret-folder")
    env = {
        **stranger_package.install(folder / "package"),
        "HARDPOSE_WEIGHTS_DIR": str(folder / "weights"),
        "HARDPOSE_POSE_MODEL": "tiny-pose",
        "HARDPOSE_MASK_MODEL": "tiny-teacher",
        "HARDPOSE_DEVICE_MODEL": "tiny-device",
    }
    (folder / "mine.tiny").write_bytes(WEIGHTS)
    added = hardpose(
        "models", "add", "tiny-pose", "--from", folder / "mine.tiny", "--accept-licence", env=env
    )
    assert added.code == ExitCode.OK, added.stderr
    clip = write_steady(folder / "clip.mp4", 20, 10, size=(160, 120))
    return hardpose("run", clip, "--out", folder / "out", env=env), folder


def test_the_run_ends_well_with_a_hard_frame(run: tuple[Ended, Path]) -> None:
    ended, folder = run
    assert ended.code == ExitCode.OK, ended.stderr
    funnel = only_job(folder / "out" / "state").funnel().check()
    assert funnel.examined == 16
    assert funnel.of(Verdict.HARD) >= 1
    assert funnel.of(Verdict.EASY) == 0


def test_every_frame_names_the_strangers_models(run: tuple[Ended, Path]) -> None:
    with (run[1] / "out" / "dataset" / "frames.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 1
    for row in rows:
        for part, (name, version, data, licence) in MODELS.items():
            said = [row[f"{part}_{what}"] for what in ("model", "version", "sha256", "licence")]
            assert said == [name, version, hashlib.sha256(data).hexdigest(), licence]


def test_the_annotations_and_the_report_name_them(run: tuple[Ended, Path]) -> None:
    dataset = run[1] / "out" / "dataset"
    told = json.loads((dataset / "annotations.json").read_text())
    assert len(told["images"]) == len(told["annotations"]) >= 1
    assert "tiny-teacher 7.1" in told["info"]["description"]
    assert "tiny-device 0.3" in told["info"]["description"]
    said = [(m["name"], m["version"], m["sha256"], m["licence"]) for m in told["info"]["models"]]
    assert said == [
        (name, v, hashlib.sha256(data).hexdigest(), lic) for name, v, data, lic in MODELS.values()
    ]
    assert [m["citation"] for m in told["info"]["models"]] == ["A. Stranger, TinyPose, 2026.", "", ""]
    report = (dataset / "report.html").read_text()
    assert "A. Stranger, TinyPose, 2026." in report
    for name, version, data, licence in MODELS.values():
        for part in (name, version, licence, hashlib.sha256(data).hexdigest()[:16]):
            assert part in report


def test_no_folder_of_this_machine_is_in_the_data_set(run: tuple[Ended, Path]) -> None:
    texts = [p for p in (run[1] / "out" / "dataset").rglob("*") if p.suffix in (".json", ".csv", ".html")]
    assert len(texts) >= 4
    assert [p.name for p in texts if "secret-folder" in p.read_text(encoding="utf-8-sig")] == []


def test_nothing_in_hardpose_names_the_stranger() -> None:
    rooms = [path for room in ("api", "tasks", "workers", "broker") for path in (ROOT / room).rglob("*.py")]
    assert len(rooms) > 100
    assert [path for path in rooms if "tiny-" in path.read_text(encoding="utf-8")] == []
