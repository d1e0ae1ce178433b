"""The review page in a browser, before a real API: 5,000 frames, several people, a server that goes away."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_server import served
from chromium import Watch, chromium
from hardpose_process import start
from many_frames import fill
from pydantic import SecretStr
from typer.testing import CliRunner

from api.cli import cli
from api.exit_codes import ExitCode
from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.frame_views import Decision, FrameFilter, Order, Review, ReviewEvent
from broker.messages import Verdict
from broker.settings import load_settings

pytestmark = pytest.mark.system

FRAMES = 5000
SAVED = "All saved"
COMPARED = (Verdict.HARD, Verdict.EASY)
TOKEN = "a-token-of-some-length"


@dataclass
class Served:
    """``hardpose review`` on a home folder: it can be stopped and started at the same address."""

    home: Path
    port: int = 0
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        self.process = start("review", "--home", self.home, "--port", str(self.port), "--no-browser")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"review: http://127\.0\.0\.1:(\d+)/review/", line)
        assert found, line
        self.port = int(found[1])

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/review/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def api(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("review") / "state"
    home.mkdir()
    settings = load_settings(home=home)
    fill(settings.catalog, frames=FRAMES, videos=50, jobs=4, artifacts=Artifacts(settings.artifacts))
    server = Served(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def catalog(api: Served) -> Iterator[Catalog]:
    catalog = Catalog(load_settings(home=api.home).catalog)
    yield catalog
    catalog.dispose()


@pytest.fixture
def watch() -> Watch:
    return Watch()


Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, api: Served, watch: Watch) -> Iterator[Opener]:
    """Opens the page as a reviewer in a browser of his own; in the end no page may have done wrong."""
    contexts = []

    def open_page(query: str = "", reviewer: str | None = None, url: str = api.url, **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        watch.on(context)
        if watch.script:
            context.add_init_script(watch.script)
        if reviewer:
            remember = f"localStorage.setItem('hardpose.reviewer', {reviewer!r})"
            context.add_init_script(f"if (location.protocol === 'http:') {remember}")
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.goto(url + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watch.errors == []
    hosts = {host for host in watch.hosts if host}
    assert len(hosts) >= 1
    assert all(host.startswith("127.0.0.1:") for host in hosts)


def ready(page: Any) -> None:
    page.wait_for_selector(".card[data-id]:not([data-id=''])")


def heading(page: Any, count: int) -> None:
    page.wait_for_function(
        "text => document.querySelector('#count').textContent === text",
        arg=f"{count:,} frame{'' if count == 1 else 's'}",
    )


def saved(page: Any) -> None:
    page.wait_for_function("text => document.querySelector('#save-state').textContent === text", arg=SAVED)


def events(catalog: Catalog, reviewer: str) -> list[ReviewEvent]:
    found: list[ReviewEvent] = []
    while page := catalog.reviews.page(reviewer, found[-1].number if found else 0, 500).items:
        found += page
    return found


def first_ids(catalog: Catalog, where: FrameFilter, count: int) -> list[str]:
    return [frame.id for frame in catalog.frames.page(where, Order.IOU, count).items]


def of_video(number: int, **more: Any) -> tuple[str, FrameFilter]:
    """A query and the same filter: each test decides on frames of a video of its own."""
    video = f"youtube:v{number:05}"
    return f"?video={video}", FrameFilter(videos=(video,), verdicts=(Verdict.HARD,), **more)


def test_five_thousand_frames_are_a_matter_of_fifty(opened: Opener) -> None:
    page = opened("?verdict=any")
    ready(page)
    heading(page, FRAMES)
    page.locator(".card").nth(2).focus()
    page.wait_for_function("() => [...document.images].filter(image => image.naturalWidth > 100).length > 5")
    gaps = page.evaluate(SCROLL_THROUGH)
    print(f"\nscrolling {FRAMES} frames: {len(gaps)} pictures of the screen, "
          f"median {sorted(gaps)[len(gaps) // 2]:.0f} ms, longest {max(gaps):.0f} ms")  # fmt: skip
    assert sorted(gaps)[len(gaps) // 2] < 60
    page.wait_for_selector(f".card[data-index='{FRAMES - 1}'][data-id*='youtube']")
    assert page.locator(".card").count() < 90
    # Keys go on from where the focus was, however far one has scrolled.
    assert page.evaluate("document.activeElement.dataset.index") == "2"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.index") == "3"
    assert page.locator(".card[data-index='3']").bounding_box()["y"] > 0
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.index") == str(FRAMES - 1)


SCROLL_THROUGH = """async () => {
  const gaps = [];
  let last = performance.now();
  for (let step = 0; step < 400; step += 1) {
    const before = document.documentElement.scrollHeight;
    scrollBy(0, before / 120);
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    if (scrollY + innerHeight >= document.documentElement.scrollHeight - 2) break;
  }
  return gaps;
}"""


def test_filters_are_in_the_address(opened: Opener, catalog: Catalog) -> None:
    page = opened()
    ready(page)
    hard = FrameFilter(verdicts=(Verdict.HARD,))
    heading(page, catalog.frames.count(hard))
    page.select_option("#job", "job-01")
    of_job = hard.model_copy(update={"jobs": ("job-01",)})
    heading(page, catalog.frames.count(of_job))
    page.click(".chip[data-value=easy]")
    page.click(".chip[data-value=hard]")
    easy = of_job.model_copy(update={"verdicts": (Verdict.EASY,)})
    heading(page, catalog.frames.count(easy))
    page.select_option("#order", "-iou")
    assert page.url.endswith("?job=job-01&verdict=easy&order=-iou")
    page.reload()
    heading(page, catalog.frames.count(easy))
    highest = catalog.frames.page(easy, Order.IOU_DOWN, 1).items[0].id
    page.wait_for_selector(f".card[data-index='0'][data-id='{highest}']")
    assert page.is_checked(".chip[data-value=easy] input")
    for _ in range(3):
        page.go_back()
    heading(page, catalog.frames.count(of_job))
    page.go_back()
    heading(page, catalog.frames.count(hard))
    page.click("#reviews .chip[data-value=disputed]")
    disputed = catalog.frames.count(hard.model_copy(update={"reviews": (Review.DISPUTED,)}))
    assert disputed > 0
    heading(page, disputed)
    assert page.locator(".card .badge").first.text_content() == "Disputed"


def test_the_slider_says_what_the_catalog_counts(opened: Opener, catalog: Catalog) -> None:
    page = opened("?job=job-02")
    ready(page)

    def count(threshold: float) -> int:
        return catalog.frames.count(
            FrameFilter(jobs=("job-02",), verdicts=COMPARED, below_iou=threshold)
        )  # fmt: skip

    assert count(0.9) > count(0.5) > 0
    for threshold in (0.0, 0.07, 0.29, 0.58, 0.62, 0.9, 1.0):
        page.locator("#threshold").fill(f"{threshold}")
        says = f"{count(threshold):,} frames would be saved at a threshold of {threshold:.2f} ({count(0.5):,} at today’s 0.50)."
        if count(threshold) == 1:
            says = says.replace("1 frames", "1 frame", 1)
        page.wait_for_function(
            "text => document.querySelector('#threshold-says').textContent === text", arg=says
        )
    page.locator("#threshold").fill("0.62")
    page.click("#threshold-apply")
    heading(page, count(0.62))
    assert "below_iou=0.62" in page.url


def test_decide_by_keyboard_and_take_back(opened: Opener, catalog: Catalog) -> None:
    query, where = of_video(1, reviews=(Review.OPEN,))
    ids = first_ids(catalog, where, 4)
    assert len(ids) == 4
    page = opened(f"{query}&review=open")
    ready(page)
    page.locator(".card").first.focus()
    page.keyboard.press("k")  # who decides is asked once
    page.fill("#name-field", "ana")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card[data-index='0'][data-review=kept]")
    page.keyboard.press("r")
    page.keyboard.press("k")
    page.wait_for_selector(".card[data-index='2'][data-review=kept]")
    # Cards that match the filter no more stay where they are: they are under one's hands.
    assert page.locator(".card").nth(1).get_attribute("data-review") == "rejected"
    assert page.evaluate("document.activeElement.dataset.index") == "3"
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    page.wait_for_selector(".card[data-index='1'][data-review=open]")
    saved(page)
    said = [(event.frame_id, event.decision) for event in events(catalog, "ana")]
    keep, reject, withdraw = Decision.KEEP, Decision.REJECT, Decision.WITHDRAW
    assert said == [(ids[0], keep), (ids[1], reject), (ids[2], keep), (ids[2], withdraw), (ids[1], withdraw)]

    # The other decision about the first frame, and back to the one before it, in another visit.
    page.goto(page.url.replace("review=open", "review=kept"))
    page.wait_for_selector(f".card[data-id='{ids[0]}']")
    page.locator(f".card[data-id='{ids[0]}']").focus()
    page.keyboard.press("r")
    page.wait_for_selector(f".card[data-id='{ids[0]}'][data-review=rejected]")
    page.keyboard.press("u")
    page.wait_for_selector(f".card[data-id='{ids[0]}'][data-review=kept]")
    saved(page)
    assert [event.decision for event in catalog.reviews.of(ids[0])] == [keep, reject, keep]


def test_two_reviewers_at_once(opened: Opener, catalog: Catalog) -> None:
    query, where = of_video(2, reviews=(Review.OPEN,))
    ids = first_ids(catalog, where, 24)
    assert len(ids) == 24
    pages = {name: opened(f"{query}&review=open", name) for name in ("ben", "cleo")}
    for page in pages.values():
        ready(page)
        page.locator(".card").first.focus()
    for index in range(24):
        pages["ben"].keyboard.press("k")
        pages["cleo"].keyboard.press("k" if index % 4 else "r")
    for name, page in pages.items():
        saved(page)
        assert [event.frame_id for event in events(catalog, name)] == ids
    disputed = catalog.frames.count(where.model_copy(update={"reviews": (Review.DISPUTED,)}))
    assert disputed == 6
    # Each sees on the cards what the other has decided.
    for name, page in pages.items():
        page.keyboard.press("Home")
        card = page.locator(".card[data-index='0']")
        page.wait_for_selector(".card[data-index='0'][data-review=disputed]")
        assert ({"ben": "cleo", "cleo": "ben"}[name]) in card.text_content()
        assert "Disputed" in card.get_attribute("aria-label")


def test_the_server_goes_away_and_comes_back(
    opened: Opener, api: Served, catalog: Catalog, watch: Watch
) -> None:
    query, where = of_video(3, reviews=(Review.OPEN,))
    ids = first_ids(catalog, where, 5)
    watch.expected = ("ERR_CONNECTION_REFUSED",)
    stays, leaves = opened(f"{query}&review=open", "dora"), opened(f"{query}&review=open", "dan")
    for page in (stays, leaves):
        ready(page)
        page.locator(".card").first.focus()
        page.keyboard.press("k")
        page.keyboard.press("k")
        saved(page)
    api.stop()
    try:
        for page in (stays, leaves):
            for key in "rkr":
                page.keyboard.press(key)
            page.wait_for_function(
                "() => document.querySelector('#save-state').textContent === '3 not saved yet'"
            )
        assert "does not answer" in stays.locator("#away").text_content()
        browser_of_dan = leaves.context
        leaves.close()
    finally:
        api.start()
    saved(stays)  # by itself
    assert stays.locator("#away").is_hidden()
    again = browser_of_dan.new_page()
    again.goto(api.url + query)
    saved(again)
    for name in ("dora", "dan"):
        said = [(event.frame_id, str(event.decision)[0]) for event in events(catalog, name)]
        assert said == list(zip(ids, "kkrkr", strict=True))


def test_one_refused_decision_loses_no_other(opened: Opener, catalog: Catalog, watch: Watch) -> None:
    _, where = of_video(4, reviews=(Review.OPEN,))
    ids = first_ids(catalog, where, 3)
    watch.expected = ("status of 4",)
    page = opened(reviewer="emil")
    ready(page)
    gone = ids[0].rpartition(".")[0] + ".999999998"
    for number, frame in enumerate((ids[0], gone, ids[1], ids[2])):
        item = f"{{id: 'refused-{number}', frame_id: '{frame}', decision: 'keep', note: '', reviewer: 'emil', at: {number}}}"
        page.evaluate(
            f"localStorage.setItem('hardpose.waiting.{number}.refused-{number}', JSON.stringify({item}))"
        )
    page.reload()
    page.wait_for_selector("#refused:not([hidden])")
    assert gone in page.locator("#refused").text_content()
    page.wait_for_function("() => document.querySelector('#save-state').textContent === 'All saved'")
    assert [event.frame_id for event in events(catalog, "emil")] == ids
    page.click("#refused button")
    assert page.locator("#refused").is_hidden()


def test_a_frame_opened(opened: Opener, catalog: Catalog) -> None:
    query, where = of_video(5)
    frame = catalog.frames.get(first_ids(catalog, where, 1)[0])
    page = opened(query, "fay", reduced_motion="reduce")
    ready(page)
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open] .story h3")
    assert frame.id in page.url.replace("%3A", ":")
    assert page.locator(".stage canvas").count() == 3
    link = page.locator(".story a").get_attribute("href")
    assert f"t={frame.time_ms // 1000}" in link
    assert frame.recipe.mask_model.name in page.locator(".story").text_content()
    for key, view in (("2", "overlay"), ("4", "difference"), ("3", "blink")):
        page.keyboard.press(key)
        assert page.get_attribute(".stage", "data-view") == view
        page.wait_for_function(COLOURED)
    # Whoever wants less motion is shown no blinking unasked, and swaps the masks by hand.
    caption = page.locator(".stage figcaption")
    assert caption.text_content() == "Teacher"
    page.keyboard.press("b")
    assert caption.text_content() == "Device"
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('.stage figcaption').textContent === 'Teacher'")
    page.keyboard.press("n")
    page.keyboard.type("kr: a leg is missing")  # letters of a note decide nothing
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    page.wait_for_function("() => document.querySelector('.place').textContent.startsWith('2 of')")
    saved(page)
    assert [(event.decision, event.note) for event in events(catalog, "fay")] == [
        ("reject", "kr: a leg is missing")
    ]
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail:not([open])", state="attached")
    assert page.evaluate("document.activeElement.dataset.index") == "1"
    page.wait_for_function("() => !location.search.includes('frame=')")


COLOURED = """() => {
  const canvas = document.querySelector(".stage canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let coloured = 0;
  for (let at = 0; at < data.length; at += 4) coloured += Math.abs(data[at] - data[at + 2]) > 60;
  return coloured > 500;
}"""


def test_a_phone(opened: Opener, catalog: Catalog, watch: Watch) -> None:
    query, _ = of_video(6)
    # As on a phone that is led to another machine's address: no secure context, no randomUUID.
    watch.script = "Crypto.prototype.randomUUID = undefined"
    page = opened(query, "gus", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("#filters-open")
    page.wait_for_selector("#threshold", state="visible")
    page.tap("#filters-open")
    page.locator(".card").first.tap()
    page.wait_for_selector("#detail[open] .story h3")
    assert page.evaluate("document.querySelector('#detail').scrollWidth") <= 390
    for button in ("keep", "reject"):
        box = page.locator(f"#detail .{button}").bounding_box()
        assert box["height"] >= 44
        assert box["width"] >= 80
        assert box["y"] + box["height"] <= 844
    page.tap("#detail .keep")
    page.wait_for_function("() => document.querySelector('.place').textContent.startsWith('2 of')")
    saved(page)
    assert len(events(catalog, "gus")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(opened: Opener, scheme: str) -> None:
    page = opened(of_video(7)[0], "hal", color_scheme=scheme)
    ready(page)
    page.wait_for_function("() => document.querySelector('#threshold-says').textContent.includes('today')")
    assert page.get_attribute("html", "lang") == "en"
    roles = named_controls(page)
    assert {"main", "banner", "complementary", "heading", "grid", "slider", "checkbox", "combobox"} <= roles
    assert page.evaluate(FAINT_TEXTS) == []
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open] .story h3")
    assert "dialog" in named_controls(page)
    assert page.evaluate(FAINT_TEXTS) == []


CONTROLS = {
    "button",
    "link",
    "checkbox",
    "combobox",
    "slider",
    "textbox",
    "gridcell",
    "grid",
    "dialog",
    "image",
}


def named_controls(page: Any) -> set[str]:
    """Every role in the accessibility tree; each control must have a name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node["ignored"]]
    assert len(shown) > 50
    nameless = [
        node
        for node in shown
        if node["role"]["value"] in CONTROLS and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    return {node["role"]["value"] for node in shown}


FAINT_TEXTS = """() => {
  const known = new Map();
  const channels = (colour) => known.get(colour) ?? known.set(colour, drawn(colour)).get(colour);
  const drawn = (colour) => {
    const pixel = new OffscreenCanvas(1, 1).getContext("2d");
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] > 200) return colour;
      if (colour[3] > 0) return null;
    }
    return channels(getComputedStyle(document.documentElement).backgroundColor);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("button:disabled, option, noscript, .skip")) continue;
    const ground = behind(element);
    if (!ground) continue;
    seen += 1;
    const [one, other] = [light(channels(getComputedStyle(element).color)), light(ground)].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) faint.push(`${node.data.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  if (seen < 20) faint.push(`only ${seen} texts were looked at`);
  return [...new Set(faint)];
}"""


def test_nothing_to_show(opened: Opener, tmp_path: Path) -> None:
    page = opened("?job=no-such-job")
    page.wait_for_selector("#empty:not([hidden])")
    assert "No frames match" in page.locator("#empty").text_content()
    page.click("#empty button")
    ready(page)
    settings = load_settings(home=tmp_path)
    Catalog(settings.catalog).migrate()
    with served(settings) as url:
        empty = opened(url=f"{url}/review/")
        empty.wait_for_selector("#empty:not([hidden])")
        assert "No jobs yet" in empty.locator("#empty").text_content()


def test_signing_in(opened: Opener, api: Served, catalog: Catalog, watch: Watch) -> None:
    query, where = of_video(8, reviews=(Review.OPEN,))
    watch.expected = ("status of 401",)
    tokens = SecretStr(f"iris:review:{TOKEN} jon:read:another-{TOKEN}")
    with served(load_settings(home=api.home, api_tokens=tokens)) as url:
        page = opened(query, url=f"{url}/review/")
        page.fill("#token-field", "not-a-token-at-all")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#signin-fault').textContent !== ''")
        page.fill("#token-field", TOKEN)
        page.keyboard.press("Enter")
        ready(page)
        assert page.locator("#who").text_content() == "iris"
        page.locator(".card").first.focus()
        page.keyboard.press("k")
        saved(page)
        kept = page.evaluate("JSON.stringify(localStorage) + location.href + document.cookie")
        assert TOKEN not in kept
        page.click("#who")
        page.wait_for_selector("#signin[open]")
    assert [event.frame_id for event in events(catalog, "iris")] == first_ids(
        catalog, where.model_copy(update={"reviews": ()}), 1
    )


def test_a_second_review_finds_the_first(api: Served, tmp_path: Path) -> None:
    second = CliRunner().invoke(cli, ["review", "--home", str(api.home), "--no-browser"])
    assert second.exit_code == ExitCode.OK
    assert api.url in second.output
    nothing = CliRunner().invoke(cli, ["review", "--home", str(tmp_path), "--no-browser"])
    assert nothing.exit_code == ExitCode.USAGE
    assert "--home" in nothing.output
    assert list(tmp_path.iterdir()) == []
