import cProfile
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_jobs import (
    HEIGHT,
    RECIPE,
    WIDTH,
    contents,
    job_view,
    jpeg,
    keeper,
    keypoints,
    link_view,
    mask,
    png,
    read_csv,
    segment_view,
    two_videos,
    video,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from broker.artifacts import Artifacts
from broker.messages import Drop, Failure, Keeper, Verdict
from broker.views import JobView, LinkView, State
from tasks.dataset.coco import BODY_25_INDEX, KEYPOINT_NAMES, coco_keypoints
from tasks.dataset.selection import select
from tasks.publish import publish


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


def test_the_pictures_are_the_stored_bytes(store: Artifacts, tmp_path: Path) -> None:
    done = publish(two_videos(store), store, tmp_path / "out")
    assert (done.images, done.left_out, done.folder) == (4, 0, tmp_path / "out" / "dataset")
    names = ["youtube-aaa_2500", "youtube-aaa_500", "youtube-bbb_1000", "youtube-bbb_3000"]
    assert sorted(p.stem for p in (done.folder / "images").iterdir()) == names
    assert (done.folder / "images" / "youtube-aaa_500.jpg").read_bytes() == jpeg(1)
    assert (done.folder / "masks" / "youtube-aaa_500.png").read_bytes() == png(mask(1))
    assert (done.folder / "device" / "youtube-aaa_500.png").read_bytes() == png(mask(1001))
    assert sorted(p.name for p in done.folder.iterdir()) == [
        "annotations.json", "device", "frames.csv", "funnel.json", "images", "masks", "report.html",
        "verdicts.csv",
    ]  # fmt: skip


def test_pycocotools_gives_back_the_very_masks(store: Artifacts, tmp_path: Path) -> None:
    folder = publish(two_videos(store), store, tmp_path).folder
    coco = COCO(str(folder / "annotations.json"))
    assert len(coco.imgs) == len(coco.anns) == 4
    assert coco.cats[1]["name"] == "person"
    licences = {each["id"]: each["name"] for each in coco.dataset["licenses"]}
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        stored = cv2.imread(str(folder / image["mask_file"]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(coco.annToMask(annotation) * 255, stored)
        assert annotation["area"] == np.count_nonzero(stored)
        ys, xs = np.nonzero(stored)
        box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        assert annotation["bbox"] == box
        assert (folder / "images" / image["file_name"]).is_file()
        assert (image["height"], image["width"]) == (HEIGHT, WIDTH)
    assert {(i["video"], licences[i["license"]]) for i in coco.imgs.values()} == {
        ("youtube:aaa", "CC BY 4.0"),
        ("youtube:bbb", "CC BY-SA 3.0"),
    }


BODY_25_NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe",
    "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip


def test_keypoints_are_matched_by_name() -> None:
    assert tuple(BODY_25_NAMES[i] for i in BODY_25_INDEX) == KEYPOINT_NAMES


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((10.0, 20.0, 0.3), [10.0, 20.0, 2]),  # exactly confident enough: labelled
        ((10.0, 20.0, 0.29), [0, 0, 0]),  # a guess: not labelled
        ((-0.5, 20.0, 0.9), [0, 0, 0]),  # left of the frame
        ((10.0, float(HEIGHT), 0.9), [0, 0, 0]),  # just below the last row
        ((0.0, 0.0, 0.0), [0, 0, 0]),  # absent
    ],
)
def test_visibility(point: tuple[float, float, float], expected: list[float]) -> None:
    assert coco_keypoints((point,) * 25, (HEIGHT, WIDTH), 0.3)[:3] == expected


def test_an_absent_point_is_not_labelled_even_without_a_threshold() -> None:
    assert coco_keypoints(((0.0, 0.0, 0.0),) * 25, (HEIGHT, WIDTH), 0.0) == [0] * 51


def test_frames_csv_holds_the_provenance_of_each_frame(store: Artifacts, tmp_path: Path) -> None:
    rows = read_csv(publish(two_videos(store), store, tmp_path).folder / "frames.csv")
    assert [r["image"] for r in rows] == [
        "images/youtube-aaa_500.jpg",
        "images/youtube-aaa_2500.jpg",
        "images/youtube-bbb_1000.jpg",
        "images/youtube-bbb_3000.jpg",
    ]
    row = rows[0]
    assert row["mask_model"] == "teacher"
    assert (row["pose_sha256"], row["device_sha256"]) == ("a" * 64, "c" * 64)
    assert (row["source_licence"], row["mask_licence"]) == ("CC BY 4.0", "Apache-2.0")
    assert (row["recipe"], row["verdict"]) == (RECIPE.id, "hard")
    assert (float(row["iou"]), float(row["sharpness"])) == (0.11, 13.5)


def test_what_a_site_states_stands_behind_the_older_columns(store: Artifacts, tmp_path: Path) -> None:
    stated = {
        "uploader_id": "@ann",
        "channel_id": "UC1",
        "upload_date": "2026-05-04",
        "format_id": "136",
        "sha256": "d" * 64,
        "tool": "yt-dlp",
        "tool_version": "2026.10.26",
    }
    clip = video("aaa", **stated)
    job = job_view(link_view(0, clip, segment_view([keeper(store, clip, 500, Verdict.HARD, 1)])))
    folder = publish(job, store, tmp_path).folder
    row = read_csv(folder / "frames.csv")[0]
    expected = {"video_sha256" if name == "sha256" else name: text for name, text in stated.items()}
    in_a_cell = expected | {"uploader_id": "'@ann"}  # which is no formula
    assert {name: row[name] for name in expected} == in_a_cell
    columns = list(row)
    assert columns[columns.index("verdict") + 1 :][: len(expected)] == list(expected)
    (image,) = json.loads((folder / "annotations.json").read_text())["images"]
    assert {name: image[name] for name in expected} == expected
    (film,) = json.loads((folder / "funnel.json").read_text())["videos"]
    assert {name: film[name] for name in expected} == expected
    # What an attribution needs, wherever a video is named: its title, its maker, its page, its licence.
    owed = ("Dance aaa", "someone", "https://example.org/watch?v=aaa", "CC BY 4.0")
    assert (film["title"], film["uploader"], film["source"], film["licence"]) == owed
    assert (image["title"], image["uploader"], image["source"]) == owed[:3]
    assert (row["title"], row["uploader"], row["source"], row["source_licence"]) == owed


def test_verdicts_csv_holds_every_examined_frame(store: Artifacts, tmp_path: Path) -> None:
    job = two_videos(store)
    rows = read_csv(publish(job, store, tmp_path).folder / "verdicts.csv")
    assert len(rows) == job.funnel().examined == 11
    assert [int(r["time_ms"]) for r in rows[:6]] == [125, 250, 375, 500, 1500, 2500]
    by_place = {(r["video"], r["time_ms"]): r for r in rows}
    doubt = by_place["youtube:bbb", "2000"]  # decided by the second of the two measures that may decide it
    assert (doubt["verdict"], doubt["value"]) == ("teacher_doubt", "0.9")
    assert doubt["measure"] == "teacher_stability"
    assert {r["fault"] for r in rows} == {""}
    feet = by_place["youtube:aaa", "125"]
    assert (feet["verdict"], feet["measure"], feet["value"]) == ("no_feet", "feet_confidence", "0.1")


def test_a_repeated_frame_of_another_video_is_left_out_with_its_partner(
    store: Artifacts, tmp_path: Path
) -> None:
    a, b = video("aaa"), video("bbb")
    kept = keeper(store, a, 500, Verdict.HARD, 1)
    moved = tuple((x + 0.5, y, c) for x, y, c in kept.keypoints)
    same_picture = f"{int(kept.phash, 16) ^ 0b111:016x}"
    other_picture = f"{int(kept.phash, 16) ^ 0b1111111:016x}"
    repeats = keeper(store, b, 700, Verdict.HARD, 2, keypoints=moved, phash=same_picture)
    other_scene = keeper(store, b, 900, Verdict.HARD, 3, keypoints=moved, phash=other_picture)
    other_pose = keeper(store, b, 1100, Verdict.HARD, 4, phash=same_picture)
    job = job_view(
        link_view(0, a, segment_view([kept])),
        link_view(1, b, segment_view([repeats, other_scene, other_pose])),
    )
    done = publish(job, store, tmp_path)
    assert (done.images, done.left_out) == (3, 1)
    book = json.loads((done.folder / "funnel.json").read_text())
    assert book["verdicts"] == {"hard": 4}
    assert (book["written"], len(book["left_out"])) == (3, 1)
    left = book["left_out"][0]
    assert (left["video"], left["time_ms"], left["partner"]) == ("youtube:bbb", 700, "youtube-aaa_500")
    assert left["hash_distance"] == 3
    assert 0 < left["pose_distance"] <= RECIPE.duplicates.pose_distance
    assert not (done.folder / "images" / "youtube-bbb_700.jpg").exists()


def test_a_video_asked_for_twice_counts_once(store: Artifacts, tmp_path: Path) -> None:
    clip = video("aaa")
    segment = segment_view([keeper(store, clip, 500, Verdict.HARD, 1)])
    job = job_view(link_view(0, clip, segment), link_view(1, clip, segment))
    done = publish(job, store, tmp_path)
    book = json.loads((done.folder / "funnel.json").read_text())
    assert (done.images, done.left_out, book["examined"], len(book["videos"])) == (1, 0, 1, 1)
    assert len(read_csv(done.folder / "verdicts.csv")) == 1


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_counts_add_up_and_bytes_repeat(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("law")
    store = Artifacts((place / "artifacts").as_uri())
    job = data.draw(jobs(store))
    first = publish(job, store, place / "one")
    shuffled = job.model_copy(update={"links": tuple(reversed(job.links))})
    publish(shuffled, store, place / "two")
    assert contents(place / "one") == contents(place / "two")
    book = json.loads((first.folder / "funnel.json").read_text())
    assert book["examined"] == sum(book["verdicts"].values()) == job.funnel().examined
    assert book["examined"] == sum(v["examined"] for v in book["videos"])
    assert book["verdicts"].get("hard", 0) == first.images + first.left_out
    assert book["examined"] == len(read_csv(first.folder / "verdicts.csv"))
    assert first.images == len(list((first.folder / "images").iterdir()))


@st.composite
def jobs(draw: st.DrawFn, store: Artifacts) -> JobView:
    dropped = [v for v in Verdict if v not in (Verdict.HARD, Verdict.EASY, Verdict.TEACHER_DOUBT)]
    links: list[LinkView] = []
    for position in range(draw(st.integers(0, 3))):
        clip = video(f"v{position}")
        times = draw(st.lists(st.integers(0, 19_999), max_size=6, unique=True))
        keepers: list[Keeper] = []
        drops: list[Drop] = []
        for time_ms in times:
            verdict = draw(st.sampled_from([Verdict.HARD, Verdict.EASY, *dropped]))
            if verdict in dropped:
                drops.append(Drop(time_ms=time_ms, verdict=verdict, value=draw(st.floats(0, 9))))
            else:
                keepers.append(keeper(store, clip, time_ms, verdict, draw(st.integers(1, 5))))
        links.append(link_view(position, clip, segment_view(keepers, drops)))
    return job_view(*links)


def test_selection_of_two_thousand_frames_takes_few_steps(store: Artifacts) -> None:
    clip = video("long")
    one = keeper(store, clip, 0, Verdict.HARD, 1)
    draw = np.random.default_rng(0)
    keepers = [
        one.model_copy(
            update={"time_ms": t, "phash": f"{int(draw.integers(0, 2**63)):016x}", "keypoints": keypoints(t)}
        )
        for t in range(2000)
    ]
    job = job_view(link_view(0, clip, segment_view(keepers)))
    with cProfile.Profile() as profile:
        assert len(select(job).written) == 2000
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls / 2000 < 200  # 24; the 2 million pairs one by one would be 1,000 and more


def test_an_empty_job(store: Artifacts, tmp_path: Path) -> None:
    done = publish(job_view(), store, tmp_path)
    book = json.loads((done.folder / "funnel.json").read_text())
    assert (done.images, book["examined"], book["videos"], book["failed_links"]) == (0, 0, [], [])
    assert json.loads((done.folder / "annotations.json").read_text())["images"] == []
    assert read_csv(done.folder / "frames.csv") == []


def test_a_job_with_failed_links_only(store: Artifacts, tmp_path: Path) -> None:
    failure = Failure(
        code="video_private",
        cause="The video is private.",
        remedy="Ask its owner.",
        tool="yt-dlp",
        tool_version="2026.10.26",
    )
    link = LinkView(position=0, link="https://me:secret@example.org/v", state=State.FAILED, failure=failure)
    folder = publish(job_view(link), store, tmp_path).folder
    failed = json.loads((folder / "funnel.json").read_text())["failed_links"]
    assert failed == [
        {
            "position": 0,
            "link": "https://example.org/v",
            "code": "video_private",
            "cause": "The video is private.",
            "remedy": "Ask its owner.",
            "action": "permanent",
            "tool": "yt-dlp",
            "tool_version": "2026.10.26",
        }
    ]
    assert not any(b"secret" in data for data in contents(folder).values())


def test_a_link_that_is_no_address_is_published_too(store: Artifacts, tmp_path: Path) -> None:
    failure = Failure(code="bad_link", cause="The link is no address.", remedy="Check it.")
    link = LinkView(position=0, link="https://[a.org/v", state=State.FAILED, failure=failure)
    folder = publish(job_view(link), store, tmp_path).folder
    assert json.loads((folder / "funnel.json").read_text())["failed_links"][0]["link"] == "https://[a.org/v"


def test_no_reason_of_a_failure_names_folders_or_secrets(store: Artifacts, tmp_path: Path) -> None:
    path, signed = "/home/ann/films/jump.mp4", "https://example.org/v?v=1&X-Amz-Signature=deadbeef"
    missing = Failure(code="file_missing", cause=f"There is no file {path}.", remedy=f"Check {path}.")
    cut = Failure(code="cut", cause=f"{signed} broke off.", remedy=f"Open {signed} in a browser.")
    clip = video("aaa", source=signed)
    lost = segment_view(state=State.FAILED, failure=cut)
    bad = LinkView(position=0, link=Path(path).as_uri(), state=State.FAILED, failure=missing)
    job = job_view(bad, link_view(1, clip, lost, state=State.PARTIAL))
    folder = publish(job, store, tmp_path).folder
    book, page = ((folder / name).read_text() for name in ("funnel.json", "report.html"))
    for text in (book, page):
        assert "There is no file jump.mp4." in text
        assert "https://example.org/v?v=1 broke off." in text
    published = b"".join(contents(folder).values())
    assert b"/home/ann" not in published
    assert b"deadbeef" not in published


def test_a_list_is_named_and_counts_as_no_video(store: Artifacts, tmp_path: Path) -> None:
    clip = video("aaa")
    plain = job_view(link_view(0, clip, segment_view([keeper(store, clip, 500, Verdict.HARD, 1)])))
    found = {"listed": 3, "list_title": "Dances", "list_complete": False}
    listed = LinkView(position=1, link="https://me:secret@example.org/list", state=State.DONE, **found)
    child = plain.links[0].model_copy(update={"position": 2, "parent": 1})
    job = job_view(listed, child)
    assert (job.funnel(), job.videos) == (plain.funnel(), (child,))
    one, other = (
        publish(plain, store, tmp_path / "one").folder,
        publish(job, store, tmp_path / "other").folder,
    )
    for name in ("annotations.json", "frames.csv", "verdicts.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    book = json.loads((other / "funnel.json").read_text())
    assert (len(book["videos"]), book["failed_links"]) == (1, [])
    named = {"position": 1, "link": "https://example.org/list", "title": "Dances", "listed": 3}
    assert book["lists"] == [{**named, "complete": False}]
    assert json.loads((one / "funnel.json").read_text())["lists"] == []
