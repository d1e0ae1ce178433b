import base64
import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_jobs import jpeg, keeper, png, recipe, video
from skeletons import figure, keypoints
from typer.testing import CliRunner

from api.cli import cli
from broker.errors import NotFound
from broker.frame_views import Decision, FrameFilter, PoseClass, ReviewDecision
from broker.messages import Drop, Keeper, Segment, SegmentResult, Verdict, Video
from broker.recipe import Comparison, Recipe, Stage
from broker.settings import Settings
from tasks import mask_colours
from tasks.dataset.folder import OutputUnusable
from tasks.failure_report.scope import MixedDevices
from tasks.failure_report.write import ForeignFile, Report, write_report
from tasks.frame_facts import facts_by_time
from tasks.runtime import Runtime

STANDING = keypoints(figure(), 60, 64, 48)
BOWING = keypoints(figure(trunk=70, turn=90), 60, 64, 48)
RECIPE = recipe()


class Page(HTMLParser):
    """What a browser sees: tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source.partition("</style>")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " " if tag not in ("b", "sup", "a") else ""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    settings.home.mkdir()
    runtime = Runtime(settings)
    yield runtime
    runtime.catalog.dispose()


Frame = tuple[int, float, tuple]
"""Time in ms, IoU, keypoints."""


def shot(runtime: Runtime, clip: Video, frame: Frame, threshold: float) -> Keeper:
    time_ms, iou, points = frame
    verdict = Verdict.HARD if iou < threshold else Verdict.EASY
    changes = {"keypoints": points, "iou": iou, "value": iou}
    return keeper(runtime.artifacts, clip, time_ms, verdict, time_ms, **changes)


def book(
    runtime: Runtime, job: str, clip: Video, frames: Sequence[Frame], under: Recipe = RECIPE, drops: int = 0
) -> None:
    """Books a job of one video that is done, with pictures of every frame."""
    catalog = runtime.catalog
    catalog.create_job(job, under, [clip.source])
    catalog.start_link(job, 0)
    plan = [Segment(job_id=job, video=clip, recipe=under, index=0, start_ms=0, end_ms=20_000)]
    segments = catalog.plan_video(job, 0, clip, plan)
    assert len(segments) == 1
    result = SegmentResult(
        segment=segments[0],
        examined=len(frames) + drops,
        keepers=tuple(shot(runtime, clip, frame, under.comparison.iou_threshold) for frame in frames),
        drops=tuple(Drop(time_ms=15_000 + n, verdict=Verdict.NO_FEET, value=0.1) for n in range(drops)),
        seconds={Stage.POSE: 3.0, Stage.ME: 1.0},
    )
    assert catalog.settle_segment(result, facts_by_time(result))


def some(ious: Sequence[float], points: tuple, start: int = 0) -> list[Frame]:
    return [(start + 500 * n, iou, points) for n, iou in enumerate(ious)]


def report(runtime: Runtime, tmp_path: Path, *jobs: str) -> tuple[Report, Page]:
    written = write_report(runtime, jobs, tmp_path / "report.html")
    return written, Page(written.path)


def test_the_page_says_where_the_device_fails(runtime, tmp_path):
    frames = some([0.9, 0.8, 0.85, 0.95, 0.9, 0.3], STANDING) + some([0.1, 0.2, 0.3, 0.6, 0.2], BOWING, 5000)
    book(runtime, "job", video("aaa"), frames, drops=9)
    written, page = report(runtime, tmp_path)
    assert (written.compared, written.hard) == (11, 5)
    assert [(row.pose, row.frames, row.hard) for row in written.rows] == [
        (PoseClass.BENT, 5, 4),
        (PoseClass.UPRIGHT_FRONT, 6, 1),
    ]
    assert "The device fails on 5 of 11 frames" in page.words
    assert "It fails most on people who are bent (80 % of 5 frames); of those who stand" in page.words
    assert "Every one of the 20 has exactly one verdict" in page.words
    assert "no feet 9 45.0 %" in page.words
    # The threshold in use, and what others would save of the eleven.
    rows = re.findall(r"<th scope=\"row\">(0\.\d)[^<]*</th><td class=\"n\">(\d+)</td>", page.source)
    assert rows == [("0.4", "5"), ("0.5", "5"), ("0.6", "5"), ("0.7", "6")]
    assert "20 s of video took 4.0 s of computing" in page.words
    assert "4.0 s of video and 0.8 s of computing for each hard frame" in page.words
    bent, front = written.rows
    assert bent.mean.value == pytest.approx(0.28)
    assert bent.versus is not None
    assert bent.versus.value == pytest.approx(0.28 - 4.7 / 6)
    assert bent.clearly_worse
    assert front.versus is None
    assert not bent.by_video  # one video: its frames are alike, and the page says so
    assert "†" in page.text


def test_the_page_stands_alone(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1] * 12, STANDING))
    _, page = report(runtime, tmp_path)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    images = [image["src"] for image in page.all("img")]
    assert len(images) == 8  # of a class, whatever it has
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    assert all(len(source) < 60_000 for source in images)
    assert "default-src 'none'" in page.source
    assert all(image["alt"] for image in page.all("img"))
    columns = [cell.get("scope") for cell in page.all("th")]
    assert columns
    assert set(columns) == {"col", "row"}
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    asked = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    assert asked
    assert asked <= anchors


def test_text_of_strangers_stays_text(runtime, tmp_path):
    wild = "<script>alert(1)</script>\"'&"
    clip = video("aaa", title=wild, licence=wild, source="https://u:secret@example.org/v?token=unsaid&v=1")
    book(runtime, "job", clip, some([0.1], STANDING))
    _, page = report(runtime, tmp_path)
    assert "<script" not in page.source
    assert wild in page.text
    assert "secret" not in page.source
    assert "unsaid" not in page.source


def test_a_script_in_the_place_of_a_link_is_no_link(runtime, tmp_path):
    book(runtime, "job", video("aaa", source="javascript:alert(1)"), some([0.1], STANDING))
    _, page = report(runtime, tmp_path)
    assert not [link for link in page.all("a") if "javascript" in link["href"]]


def test_the_worst_frames_show_both_outlines(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1], STANDING))
    picture = keeper(runtime.artifacts, video("aaa"), 0, Verdict.HARD, 0)
    left, right = np.zeros((96, 128), bool), np.zeros((96, 128), bool)
    left[20:80, 20:60], right[20:80, 70:110] = True, True
    runtime.artifacts.put(
        picture.frame_key, cv2.imencode(".jpg", np.full((96, 128, 3), 128, np.uint8))[1].tobytes()
    )
    runtime.artifacts.put(str(picture.mask_key), png(left))
    runtime.artifacts.put(str(picture.device_key), png(right))
    _, page = report(runtime, tmp_path)
    (image,) = page.all("img")
    data = np.frombuffer(base64.b64decode(image["src"].partition(",")[2]), np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int)
    half = bgr.shape[1] // 2
    orange = bgr[..., 2] - bgr[..., 0] > 90
    blue = bgr[..., 0] - bgr[..., 2] > 90
    assert orange[:, :half].sum() > 50
    assert not orange[:, half:].any()
    assert blue[:, half:].sum() > 50
    assert not blue[:, :half].any()
    assert all(mask_colours.css(each) in page.source for each in (mask_colours.TEACHER, mask_colours.DEVICE))


def test_a_picture_that_is_gone_or_damaged_is_said_to_be(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1, 0.2, 0.3], STANDING))
    frames = runtime.catalog.frames
    first, second, _ = (frames.get(each.id).keeper for each in frames.page(FrameFilter()).items)
    runtime.artifacts.delete(first.frame_key)
    runtime.artifacts.put(str(second.mask_key), jpeg(1)[:50])
    _, page = report(runtime, tmp_path)
    assert len(page.all("img")) == 1
    assert "is gone" in page.text
    assert "cannot be decoded" in page.text


def test_without_frames_it_says_why(runtime, tmp_path):
    book(runtime, "job", video("aaa"), [], drops=3)
    written, page = report(runtime, tmp_path)
    assert written.compared == 0
    assert "No frame was compared" in page.words
    assert "None of the 3 examined frames" in page.words
    assert not page.all("img")


def test_before_anything_is_examined(runtime, tmp_path):
    runtime.catalog.create_job("job", RECIPE, ["clip.mp4"])
    _, page = report(runtime, tmp_path)
    assert "No frame was examined yet." in page.words
    assert "still running" in page.words
    assert "No video was fetched." in page.words


def test_without_hard_frames(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.9] * 6, STANDING))
    written, page = report(runtime, tmp_path)
    assert written.hard == 0
    assert "No frame has an IoU below 0.5." in page.words


def test_a_class_with_few_frames_has_no_interval(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1] * 4, STANDING))
    written, page = report(runtime, tmp_path)
    (row,) = written.rows
    assert row.few
    assert not row.share.bounded
    assert not row.mean.bounded
    assert "4 frames, 1 video: too few" in page.words
    assert "too little to say where it fails" in page.words


def test_with_five_videos_whole_videos_are_drawn(runtime, tmp_path):
    for number in range(6):
        # All frames of a video are alike: fifty frames tell no more than six.
        book(runtime, f"job{number}", video(f"v{number}"), some([0.1 if number % 2 else 0.9] * 8, STANDING))
    written, page = report(runtime, tmp_path)
    (row,) = written.rows
    assert row.by_video
    assert row.share.low is not None
    assert row.share.high is not None
    assert row.share.high - row.share.low > 0.6  # Wilson's of 48 frames would be 0.27
    assert row.mean.low is not None
    assert row.mean.low < 0.3
    assert write_report(runtime, (), tmp_path / "again.html").rows == written.rows
    assert (tmp_path / "again.html").read_bytes() == written.path.read_bytes()
    assert "6 jobs, asked for from" in page.words


def test_only_the_named_jobs(runtime, tmp_path):
    book(runtime, "one", video("aaa", title="First"), some([0.1], STANDING))
    book(runtime, "two", video("bbb", title="Second"), some([0.2, 0.3], STANDING))
    assert report(runtime, tmp_path)[0].compared == 3
    written, page = report(runtime, tmp_path, "two")
    assert written.compared == 2
    assert "Second" in page.text
    assert "First" not in page.text


def test_frames_that_reviewers_reject_do_not_count(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1, 0.2, 0.9], STANDING))
    frame = runtime.catalog.frames.page(FrameFilter()).items[0]
    reject = ReviewDecision(id="decision-1", frame_id=frame.id, decision=Decision.REJECT)
    runtime.catalog.reviews.decide("ann", [reject])
    written, page = report(runtime, tmp_path)
    assert (written.compared, written.hard) == (2, 1)
    assert "1 frame that reviewers have rejected is left out" in page.words


def test_a_frame_under_two_recipes_counts_once_by_the_newest(runtime, tmp_path):
    loose = RECIPE.model_copy(update={"comparison": Comparison(iou_threshold=0.95)})
    book(runtime, "old", video("aaa"), some([0.1, 0.2], STANDING))
    book(runtime, "new", video("aaa"), some([0.9, 0.9], STANDING), loose)
    written, page = report(runtime, tmp_path)
    assert (written.compared, written.hard) == (2, 2)  # by the newest threshold
    assert written.rows[0].mean.value == pytest.approx(0.9)
    assert "2 frames had been examined under several recipes" in page.words
    assert "different thresholds (0.5, 0.95)" in page.words


@pytest.mark.parametrize(("part", "what"), [("device_model", "devices"), ("mask_model", "teachers")])
def test_different_devices_or_teachers_are_refused(runtime, tmp_path, part, what):
    other = getattr(RECIPE, part).model_copy(update={"version": "2.0"})
    book(runtime, "one", video("aaa"), some([0.1], STANDING))
    book(runtime, "two", video("aaa"), some([0.1], STANDING), RECIPE.model_copy(update={part: other}))
    with pytest.raises(MixedDevices, match=f"2 different {what} .one; two"):
        write_report(runtime, (), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    assert report(runtime, tmp_path, "two")[0].compared == 1


def test_jobs_that_are_not_there(runtime, tmp_path):
    with pytest.raises(NotFound):
        write_report(runtime, (), tmp_path / "report.html")
    with pytest.raises(NotFound):
        write_report(runtime, ["none"], tmp_path / "report.html")


def test_only_a_report_is_replaced(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1], STANDING))
    place = tmp_path / "report.html"
    place.write_text("<html>my own</html>")
    with pytest.raises(ForeignFile):
        write_report(runtime, (), place)
    assert place.read_text() == "<html>my own</html>"
    place.unlink()
    write_report(runtime, (), place)
    write_report(runtime, (), place)
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["report.html"]
    with pytest.raises(OutputUnusable):
        write_report(runtime, (), place / "under-a-file.html")
    with pytest.raises(OutputUnusable):
        write_report(runtime, (), tmp_path)


def test_the_command(runtime, tmp_path):
    book(runtime, "job", video("aaa"), some([0.1, 0.9], STANDING))
    out, home = tmp_path / "deep" / "r.html", str(runtime.settings.home)
    found = CliRunner().invoke(cli, ["report", "job", "--out", str(out), "--home", home, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["poses"] == {"upright_front": {"frames": 2, "hard": 1, "mean_iou": 0.5}}
    assert Page(out).all("img")
    plain = CliRunner().invoke(cli, ["report", "--out", str(out), "--home", home])
    assert "1 of 2 compared frames are hard" in plain.stdout
    empty = CliRunner().invoke(cli, ["report", "--home", str(tmp_path / "nothing")])
    assert empty.exit_code == 2
    assert not (tmp_path / "nothing").exists()
