import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_jobs import HEIGHT, WIDTH, job_view, keeper, link_view, mask, segment_view, video
from hypothesis import given
from hypothesis import strategies as st

from broker.artifacts import Artifacts
from broker.errors import Action
from broker.messages import Drop, Failure, Verdict
from broker.views import JobView, LinkView, State
from tasks.dataset import contact_sheet
from tasks.dataset.contact_sheet import DEVICE_BGR, TEACHER_BGR, compose, spread
from tasks.dataset.histogram import Histogram
from tasks.dataset.report import clock, safe_href
from tasks.publish import publish


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


class Page(HTMLParser):
    """What a browser sees: tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page_of(job: JobView, store: Artifacts, out: Path) -> Page:
    return Page(publish(job, store, out).report)


def one_video(store: Artifacts, verdicts: list[Verdict], **changes: object) -> JobView:
    clip = video("aaa", **changes)
    keepers = [keeper(store, clip, 500 * i, verdict, i + 1) for i, verdict in enumerate(verdicts)]
    drops = [Drop(time_ms=19_000 + i, verdict=Verdict.NO_FEET, value=0.1) for i in range(3)]
    return job_view(link_view(0, clip, segment_view(keepers, drops)))


def test_every_frame_has_its_picture_and_words(store: Artifacts, tmp_path: Path) -> None:
    page = page_of(one_video(store, [Verdict.HARD, Verdict.HARD, Verdict.TEACHER_DOUBT]), store, tmp_path)
    images = page.all("img")
    assert len(images) == 3
    assert all(i["src"].startswith("data:image/jpeg;base64,") and i["alt"] for i in images)
    pixels = cv2.imdecode(
        np.frombuffer(base64.b64decode(images[0]["src"].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR
    )
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert "IoU 0.110" in page.words
    assert "keypoints outside 0.30" in page.words
    assert "All 2 are shown" in page.words
    assert "No person has drawn or checked them" in page.words
    assert "CC BY 4.0" in page.words
    linked = [a["href"] for a in page.all("a") if a["href"].startswith("images/")]
    assert all((tmp_path / "dataset" / href).is_file() for href in linked)
    assert len(linked) == 2


def test_nothing_is_loaded_from_elsewhere(store: Artifacts, tmp_path: Path) -> None:
    page = page_of(one_video(store, [Verdict.HARD]), store, tmp_path)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {
        name for name, _ in page.tags
    }
    assert not any("style" in attributes for _, attributes in page.tags)  # the policy would block it
    assert "url(" not in style[1]
    assert "@import" not in style[1]


HOSTILE = "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{7*7}}"


def test_hostile_text_stays_text(store: Artifacts, tmp_path: Path) -> None:
    clip = video("aaa", title=HOSTILE, uploader=HOSTILE, licence=HOSTILE, source="javascript:alert(1)")
    segment = segment_view(
        [keeper(store, clip, 0, Verdict.HARD, 1), keeper(store, clip, 500, Verdict.TEACHER_DOUBT, 2)]
    )
    failure = Failure(code="x", cause=HOSTILE, remedy=HOSTILE)
    bad = LinkView(position=1, link=f"https://example.org/{HOSTILE}", state=State.FAILED, failure=failure)
    page = page_of(job_view(link_view(0, clip, segment), bad), store, tmp_path)
    assert page.all("script") == []
    assert len(page.all("img")) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not any(a.get("href", "").startswith("javascript") for a in page.all("a"))
    assert page.text.count(HOSTILE) >= 5
    assert "49" not in page.all("img")[0]["alt"]


def test_an_empty_page_says_why_the_most_frequent_reason_first(store: Artifacts, tmp_path: Path) -> None:
    job = one_video(store, [Verdict.EASY])
    words = page_of(job, store, tmp_path).words
    assert "Nothing was kept" in words
    reasons = words[words.index("Why nothing was kept") : words.index("The funnel")]
    assert 0 < reasons.index("no_feet 3 75.0 %") < reasons.index("easy 1 25.0 %")
    assert "HARDPOSE_RULE__MIN_CONFIDENCE" in reasons


def test_failed_links_say_what_to_do(store: Artifacts, tmp_path: Path) -> None:
    failure = Failure(code="video_private", cause="The video is private.", remedy="Ask its owner.")
    link = LinkView(position=0, link="https://example.org/v", state=State.FAILED, failure=failure)
    words = page_of(job_view(link), store, tmp_path).words
    assert "No frame was examined. The reasons stand under Failures" in words
    assert "1. https://example.org/v video_private permanent The video is private. Ask its owner." in words


def test_many_links_of_one_reason_are_told_once_with_the_tool(store: Artifacts, tmp_path: Path) -> None:
    private = Failure(code="video_private", cause=HOSTILE, remedy="Ask.", tool="yt-dlp", tool_version="1.2")
    busy = Failure(code="server_busy", cause="HTTP 503.", action=Action.TRANSIENT)
    failures = [busy, *[private] * 37]
    links = [
        LinkView(position=n, link=f"https://example.org/{n}", state=State.FAILED, failure=failure)
        for n, failure in enumerate(failures)
    ]
    page = page_of(job_view(*links), store, tmp_path)
    assert "37 links video_private permanent; yt-dlp 1.2 For example:" in page.words
    assert page.words.count("Ask.") == 1
    assert page.text.count(HOSTILE) == 38  # each has its own cause, folded away
    assert "All 37 2. https://example.org/1 " in page.words
    assert "1. https://example.org/0 server_busy transient HTTP 503." in page.words
    assert page.all("script") == []


def test_failed_segments_of_one_reason_stand_together(store: Artifacts, tmp_path: Path) -> None:
    failure = Failure(code="poison_segment", cause="It ended its worker.", remedy="See the log.")
    lost = [
        segment_view(
            index=i, start_ms=i * 20_000, end_ms=(i + 1) * 20_000, state=State.FAILED, failure=failure
        )
        for i in range(8)
    ]
    words = page_of(job_view(link_view(0, video("aaa"), *lost, state=State.FAILED)), store, tmp_path).words
    assert words.count("1:20 to 1:40 and 3 more segments poison_segment permanent") == 1
    assert "1. https://example.org/watch?v=aaa poison_segment permanent It ended its worker." in words


@pytest.mark.parametrize(
    ("listed", "complete", "said"),
    [
        (12, True, "a list of 12 videos"),  # all of it
        (1, True, "a list of 1 video"),  # singular
        (5000, False, "the first 5,000 videos of a longer list"),  # cut off
        (0, True, "a list of 0 videos"),  # a list still, not a video
    ],
)
def test_a_list_is_shown_as_what_it_is(
    store: Artifacts, tmp_path: Path, listed: int, complete: bool, said: str
) -> None:
    link = LinkView(
        position=0,
        link="https://example.org/list",
        state=State.DONE,
        listed=listed,
        list_title=HOSTILE,
        list_complete=complete,
    )
    clip = video("aaa")
    child = link_view(1, clip).model_copy(update={"parent": 0})
    page = page_of(job_view(link, child), store, tmp_path)
    assert f" {said} " in page.words
    assert HOSTILE in page.text
    assert page.all("script") == []
    assert page.words.count("of list 1") == 1


def test_an_empty_job_has_a_page_too(store: Artifacts, tmp_path: Path) -> None:
    assert "No frame was examined: the job has no links." in page_of(job_view(), store, tmp_path).words


def test_a_job_under_way_says_so(store: Artifacts, tmp_path: Path) -> None:
    link = LinkView(position=0, link="https://example.org/v", state=State.RUNNING)
    assert "still running" in page_of(job_view(link), store, tmp_path).words


def test_only_so_many_pictures_are_shown_and_the_page_says_so(
    store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MAX_HARD", 3)
    page = page_of(one_video(store, [Verdict.HARD] * 8), store, tmp_path)
    assert len(page.all("img")) == 3
    assert "3 of 8 are shown" in page.words
    shown = re.findall(r"IoU (\d\.\d{3}) 0:", page.words)
    assert shown == ["0.110", "0.150", "0.180"]  # the worst, one between, the least bad


@given(st.integers(0, 500), st.integers(2, 200))
def test_a_spread_keeps_order_and_ends(count: int, most: int) -> None:
    chosen = spread(range(count), most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    if count:
        assert (chosen[0], chosen[-1]) == (0, count - 1)


@pytest.mark.parametrize("size", [(480, 640), (640, 270), (40, 30)])  # wide, tall, smaller than a thumbnail
def test_teacher_left_device_right(size: tuple[int, int]) -> None:
    everything, nothing = np.ones(size, bool), np.zeros(size, bool)
    picture = compose(np.full((*size, 3), 99, np.uint8), everything, nothing)
    height, width = picture.shape[:2]
    assert max(height, width) == min(320, max(size))
    assert tuple(picture[-1, 0]) == TEACHER_BGR
    assert tuple(picture[-1, -1]) == DEVICE_BGR
    inside = round(height * 0.3) // 2
    assert tuple(picture[-inside, round(width * 0.15)]) == (255, 255, 255)
    assert tuple(picture[-inside, -round(width * 0.15)]) == (0, 0, 0)
    assert tuple(picture[0, 0]) == (99, 99, 99)


def test_a_doubtful_frame_has_no_device_inset() -> None:
    picture = compose(np.full((96, 128, 3), 99, np.uint8), mask(1), None)
    assert tuple(picture[-1, -1]) == (99, 99, 99)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_a_histogram_counts_every_frame_inside_its_chart(ious: list[float], threshold: float) -> None:
    chart = Histogram.of(ious, threshold)
    assert sum(bar.count for bar in chart.bars) == chart.total == len(ious)
    assert chart.below == sum(iou < threshold for iou in ious)
    assert all(chart.top <= bar.y <= chart.base for bar in chart.bars)
    assert all(abs(bar.y + bar.height - chart.base) < 0.02 for bar in chart.bars)
    assert chart.left <= chart.threshold_x <= chart.right


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "0:00"),  # the start
        (500, "0:00.5"),  # no zeros behind the last digit
        (62_125, "1:02.125"),  # to the millisecond
        (10_000, "0:10"),  # a zero before the point stays
        (3_600_000, "60:00"),  # hours are minutes
    ],
)
def test_clock(time_ms: int, text: str) -> None:
    assert clock(time_ms) == text


@pytest.mark.parametrize(
    ("source", "href"),
    [
        ("https://example.org/v", "https://example.org/v"),  # a web address
        ("https://me:pass@example.org/v", "https://example.org/v"),  # without its password
        ("javascript:alert(1)", None),  # runs in the reader's page
        ("data:text/html,x", None),  # the same
        ("file:///etc/passwd", None),  # the reader's own files
        ("jump.mp4", None),  # a file name
    ],
)
def test_only_web_addresses_become_links(source: str, href: str | None) -> None:
    assert safe_href(source) == href
