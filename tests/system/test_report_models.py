"""OpenPose and Mask R-CNN through the whole system: real workers, real files of the official formats.

The official weights cannot be had here. Weights made by hand in their place find a painted figure, so that
frames reach the end of the chain; random ones show that the books are kept whatever a network says.
"""

import json
from pathlib import Path

import cv2
import matterport_painted
import matterport_weights
import numpy as np
import openpose_weights
import painted_person
import pytest
from hardpose_process import hardpose, only_job
from make_video import write_pictures

from api.exit_codes import ExitCode
from broker.messages import Funnel, Verdict
from workers.embedded_weights import DETECTOR, LANDMARKER, SELFIE
from workers.weights import WeightsStore

pytestmark = pytest.mark.system

WIDTH, HEIGHT = 640, 368
MODELS = {"pose": "openpose-body25", "mask": "matterport"}
PLACEMENTS = [
    "pose | mask | me | compare",  # the default: OpenPose and Mask R-CNN on machines of their own
    "pose+mask | me | compare",  # both networks on one GPU
    "pose+mask+me+compare",  # everything in one process
]
"""The two networks apart, together, and with all the rest; ``test_run`` has those of the embedded ones."""
EXPECTED = [
    Verdict.NO_PERSON,  # nobody in the picture
    Verdict.HARD,  # the figure
    Verdict.NEAR_DUPLICATE,  # the figure once more
    Verdict.SEVERAL_PEOPLE,  # two figures
    Verdict.HARD,  # the figure with its arms up
    Verdict.CUT_BY_FRAME,  # its feet at the frame's edge
]
"""By time. Everything kept is hard at a threshold of 1."""


def pictures() -> list[np.ndarray]:
    """What the clip shows, half a second each."""
    figure = painted_person.draw
    one = figure(WIDTH, HEIGHT, (WIDTH * 0.27, HEIGHT / 2))
    return [
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        figure(WIDTH, HEIGHT),
        figure(WIDTH, HEIGHT),
        figure(WIDTH, HEIGHT, (WIDTH * 0.73, HEIGHT / 2), arms="up", onto=one),
        figure(WIDTH, HEIGHT, arms="up"),
        figure(WIDTH, HEIGHT, (WIDTH / 2, HEIGHT / 2 + 34)),
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("clip") / "figure.mp4", pictures(), 2)


def bring(folder: Path, store: WeightsStore, **files: Path) -> dict[str, str]:
    """A machine whose user has brought ``files``: the environment of everything that runs on it."""
    folder.mkdir()
    for ref in (SELFIE, DETECTOR, LANDMARKER):
        (folder / f"{ref.sha256}.tflite").symlink_to(store.path(ref))
    env = {
        "HARDPOSE_WEIGHTS_DIR": str(folder),
        # The smallest networks that still see the figure: these runs are about the system.
        "HARDPOSE_POSE_OPTIONS": json.dumps({"net_height": 256}),
        "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
        "HARDPOSE_THREADS": "2",
    }
    if "mask" in files:
        env["HARDPOSE_MASK_OPTIONS"] = json.dumps({"image_size": 512})
    for stage, file in files.items():
        env[f"HARDPOSE_{stage.upper()}_MODEL"] = MODELS[stage]
        added = hardpose("models", "add", MODELS[stage], "--from", file, "--accept-licence", env=env)
        assert added.code == ExitCode.OK, added.stderr
    return env


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, weights: WeightsStore) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("painted")
    caffemodel = openpose_weights.write_painted_body25(folder / "painted.caffemodel")
    h5 = matterport_painted.write_painted(folder / "painted.h5")
    return bring(folder / "weights", weights, pose=caffemodel, mask=h5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_painted_figure_goes_through_both_networks_in_every_placement(
    placement: str, painted: dict[str, str], clip: Path, tmp_path: Path
) -> None:
    ended = hardpose(
        "run", clip, "--out", tmp_path, "--placement", placement, "--threshold", "1.0", env=painted
    )
    assert ended.code == ExitCode.OK, ended.stderr
    job = only_job(tmp_path / "state")
    assert job.funnel().check().examined == len(EXPECTED)
    found = {
        row.time_ms: row.verdict
        for link in job.links
        for segment in link.segments
        for row in (*segment.keepers, *segment.drops)
    }
    assert [found[time] for time in sorted(found)] == EXPECTED
    see_data_set(tmp_path / "dataset")


def see_data_set(folder: Path) -> None:
    """The masks are the figure's, and every row names both models, their hashes and licences."""
    masks = sorted((folder / "masks").glob("*.png"))
    assert len(masks) == 2
    for path, picture in zip(masks, (pictures()[1], pictures()[4]), strict=True):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        truth = painted_person.silhouette(picture)
        assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.6  # 28 x 28 for the frame
    rows = (folder / "frames.csv").read_text()
    for word in ("openpose-body25", "matterport", "custom-", "OpenPose (academic, non-commercial)", "MIT"):
        assert word in rows, word


def test_random_networks_keep_the_books_too(weights: WeightsStore, clip: Path, tmp_path: Path) -> None:
    caffemodel = openpose_weights.write_body25(tmp_path / "random.caffemodel", seed=1)
    h5 = matterport_weights.write_random(tmp_path / "random.h5", seed=1)
    env = bring(tmp_path / "weights", weights, pose=caffemodel, mask=h5)
    env["HARDPOSE_PLACEMENT"] = "pose+mask+me+compare"  # one process that starts and loads, not four
    assert random_run(clip, tmp_path / "both", env).of(Verdict.NO_PERSON, Verdict.SEVERAL_PEOPLE) > 0
    # Random keypoints pass no rule. With OpenPose's weights by hand the random teacher gets to see frames,
    # and with a low bar it finds people in them.
    by_hand = openpose_weights.write_painted_body25(tmp_path / "painted.caffemodel")
    added = hardpose("models", "add", MODELS["pose"], "--from", by_hand, "--accept-licence", env=env)
    assert added.code == ExitCode.OK, added.stderr
    env["HARDPOSE_MASK_OPTIONS"] = json.dumps({"image_size": 512, "min_score": 0.05})
    funnel = random_run(clip, tmp_path / "teacher", env)
    assert funnel.of(Verdict.NEAR_DUPLICATE, Verdict.SEVERAL_PEOPLE, Verdict.NO_PERSON) == 3
    judged = (Verdict.TEACHER_SEVERAL, Verdict.TEACHER_DOUBT, Verdict.HARD, Verdict.EASY)
    assert funnel.of(*judged, Verdict.TEACHER_NONE, Verdict.CUT_BY_FRAME) == 3


def random_run(clip: Path, out: Path, env: dict[str, str]) -> Funnel:
    """The funnel of a run that came to its end; it adds up."""
    ended = hardpose("run", clip, "--out", out, env=env)
    assert ended.code == ExitCode.OK, ended.stderr
    funnel = only_job(out / "state").funnel().check()
    assert funnel.examined == len(EXPECTED)
    return funnel
