"""What publishing refuses, and that the data set that is there stays as it was."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_jobs import (
    HEIGHT,
    WIDTH,
    contents,
    job_view,
    keeper,
    link_view,
    png,
    read_csv,
    segment_view,
    two_videos,
    video,
)

from broker.artifacts import Artifacts
from broker.errors import ArtifactMissing, FunnelMismatch
from broker.messages import Funnel, Verdict
from broker.views import JobView
from tasks.dataset.folder import ForeignFolder, OutputUnusable
from tasks.dataset.pictures import PictureUnusable
from tasks.publish import publish


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


@pytest.mark.parametrize(
    "segment",
    [
        segment_view(funnel=Funnel(examined=2, verdicts={Verdict.EASY: 1})),  # a frame without a verdict
        segment_view(funnel=Funnel(examined=1, verdicts={Verdict.EASY: 1})),  # a verdict without its record
    ],
)
def test_counts_that_do_not_add_up_are_refused(segment: object, store: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(FunnelMismatch):
        publish(job_view(link_view(0, video("a"), segment)), store, tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "dataset").exists()


def one_frame(store: Artifacts, **changes: object) -> JobView:
    clip = video("aaa")
    return job_view(link_view(0, clip, segment_view([keeper(store, clip, 500, Verdict.HARD, 1, **changes)])))


def key_of(job: JobView, name: str) -> str:
    return str(getattr(job.links[0].segments[0].keepers[0], name))


@pytest.mark.parametrize("name", ["frame_key", "mask_key", "device_key"])
def test_a_missing_picture_names_its_frame_and_leaves_the_old_data_set(
    name: str, store: Artifacts, tmp_path: Path
) -> None:
    job = one_frame(store)
    before = contents(publish(job, store, tmp_path).folder)
    store.delete(key_of(job, name))
    with pytest.raises(ArtifactMissing, match="500 ms of youtube:aaa") as caught:
        publish(job, store, tmp_path)
    assert caught.value.remedy == "Remove the job with `hardpose delete JOB` and run it again."
    assert contents(tmp_path / "dataset") == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "cannot be decoded"),  # an empty file
        (b"no png", "cannot be decoded"),  # not a picture
        (png(np.ones((HEIGHT, WIDTH - 1))), "the frame 96x128"),  # one column short
        (
            cv2.imencode(".png", np.full((HEIGHT, WIDTH), 7, np.uint8))[1].tobytes(),
            "other than 0 and 255",
        ),  # grey
        (cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes(), "96x128x3"),  # coloured
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    data: bytes, fault: str, store: Artifacts, tmp_path: Path
) -> None:
    job = one_frame(store)
    store.put(key_of(job, "mask_key"), data)
    with pytest.raises(PictureUnusable, match=fault):
        publish(job, store, tmp_path)


def test_a_hard_frame_without_a_device_mask_is_refused(store: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="no device's mask"):
        publish(one_frame(store, device_key=None), store, tmp_path)


def test_a_new_data_set_replaces_the_old_one_whole(store: Artifacts, tmp_path: Path) -> None:
    publish(two_videos(store), store, tmp_path)
    publish(one_frame(store), store, tmp_path)
    assert [p.name for p in (tmp_path / "dataset" / "images").iterdir()] == ["youtube-aaa_500.jpg"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["artifacts", "dataset"]


def test_a_strangers_folder_is_left_alone(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "thesis.txt").write_text("mine")
    with pytest.raises(ForeignFolder, match="dataset"):
        publish(one_frame(store), store, tmp_path)
    assert (tmp_path / "dataset" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_in_its_place_is_refused(kind: str, store: Artifacts, tmp_path: Path) -> None:
    place = tmp_path / "dataset"
    (tmp_path / "elsewhere").mkdir()
    place.write_text("x") if kind == "file" else place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFolder):
        publish(one_frame(store), store, tmp_path)


def test_an_empty_folder_is_taken(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    assert publish(one_frame(store), store, tmp_path).images == 1


def test_an_output_that_is_a_file_is_explained(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputUnusable, match="out"):
        publish(one_frame(store), store, tmp_path / "out")


def test_a_hostile_title_stays_text_in_every_table(store: Artifacts, tmp_path: Path) -> None:
    clip = video("aaa", title="=cmd|' /C calc'!A0", uploader='@me,\n"x"')
    job = job_view(link_view(0, clip, segment_view([keeper(store, clip, 500, Verdict.HARD, 1)])))
    row = read_csv(publish(job, store, tmp_path).folder / "frames.csv")[0]
    assert row["title"] == "'=cmd|' /C calc'!A0"
    assert row["uploader"] == '\'@me,\n"x"'
