"""Two hundred links, good and bad, through four download workers: what the whole keeps, and what it costs.

The true yt-dlp and the true pytubefix ask two sites on 127.0.0.1; broker, workers and command line are those
of production.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from egress_watch import EgressWatch, watched_egress
from fake_site import FakeSite, serving, video_id, watch
from fake_youtube import FakeYouTube, Video
from hardpose_process import command, environment, hardpose, wait_for
from make_video import write_steady

from broker.catalog import Catalog
from broker.embedded import EmbeddedBroker
from broker.errors import Action
from broker.recipe import canonical_hash
from broker.views import JobView, LinkView, State
from workers.downloads.parts import FOLDER

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

VIDEOS_PER_HOUR = 5400.0
BURST = 5
WORKERS = 4
MAX_BYTES = 400_000

GOOD = {"good": 49, "cc": 4, "std": 4, "vp9": 3, "av1": 2, "both": 3, "cut": 8, "norange": 4, "nolen": 5} | {
    "busy2": 6,
    "page503": 5,
}
"""How many links of each kind end as a video of yt-dlp (see ``fake_site``)."""
BAD = {
    "private": (9, "video_private"), "removed": (6, "video_removed"), "members": (4, "members_only"),
    "age": (3, "age_restricted"), "region": (3, "region_blocked"), "soon": (2, "live_stream"),
    "live": (4, "live_stream"), "drm": (2, "drm_protected"), "odd": (2, "http_refused"),
    "long": (3, "video_too_long"), "tall": (2, "no_suitable_format"), "big": (2, "video_too_large"),
    "endless": (2, "video_too_large"), "html": (4, "not_a_video"), "empty": (2, "empty_file"),
    "inside": (4, "private_address"), "page404": (2, "http_404"), "short": (2, "transfer_cut"),
    "page5xx": (2, "server_busy"),
}  # fmt: skip
"""How many, and under which code they fail."""
FALLEN_BACK = {"broken": 5, "crash": 3, "m403": 2}
"""What yt-dlp no longer understands, and pytubefix does."""
LOST = {"broken": 2}
"""What neither understands."""
FLAGGED = {"bot1": 3, "bot": 1}
"""Last in the list: they open the breaker."""
DIRECT = 6
FILES = 6
SPELLED_AGAIN = 18


@dataclass(frozen=True)
class Outcome:
    """What is left when all is done."""

    site: FakeSite
    youtube: FakeYouTube
    first: JobView
    second: JobView
    given: int
    parts: Path
    egress: EgressWatch


def ids(kinds: dict[str, int], start: int = 0) -> list[str]:
    return [video_id(kind, start + number) for kind, count in kinds.items() for number in range(count)]


def the_links(site: FakeSite, clip: Path, folder: Path) -> list[str]:
    """Two hundred; the kinds are mixed, but those that open the breaker come last."""
    names = ids(GOOD) + ids({k: n for k, (n, _) in BAD.items()}) + ids(FALLEN_BACK) + ids(LOST, start=500)
    names = [names[i * 37 % len(names)] for i in range(len(names))]
    assert len(set(names)) == len(names), "37 must not divide the number of links"
    links = [f"https://www.youtube.com/watch?v={name}" for name in names]
    again = [f"https://youtu.be/{name}?t=3" for name in ids(GOOD)[:SPELLED_AGAIN]]
    direct = [f"{site.base}/media/{video_id('good', 900 + n)}/clip.mp4" for n in range(DIRECT)]
    files = []
    for number in range(FILES):
        files.append(folder / f"own-{number}.mp4")
        files[-1].write_bytes(clip.read_bytes() + bytes([number]))
    flagged = [f"https://www.youtube.com/watch?v={name}" for name in ids(FLAGGED)]
    rest = ["https://www.youtube.com/playlist?list=PL-5", "https://www.youtube.com/@none"]
    return [*direct, *map(str, files), *rest, *links, *again, *flagged]


def unlike(media: bytes, name: str) -> bytes:
    """The same film, other bytes: what is behind the last box is no part of it."""
    return media + name.encode()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("links")
    clip = write_steady(folder / "clip.mp4", 10, 10, size=(160, 120))
    media = clip.read_bytes() + bytes(range(256)) * 100
    with ExitStack() as stack:
        site = stack.enter_context(serving(lambda name: unlike(media, name)))
        youtube = stack.enter_context(FakeYouTube(folder))
        for name in ids(FALLEN_BACK):
            youtube.add(Video(name, body=unlike(media, name)))
        for name in ids(LOST, start=500):
            youtube.add(Video(name, garbage=True))
        broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
        env = environment(
            {
                **youtube.environment(),
                "PYTHONPATH": site.pythonpath(folder / "plugin") + f":{youtube.environment()['PYTHONPATH']}",
                "HARDPOSE_BROKER_URL": broker.url,
                "HARDPOSE_HOME": str(folder / "home"),
                "HARDPOSE_TEMP_DIR": str(folder / "temp"),
                "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.0/8"]',
                "HARDPOSE_MAX_VIDEO_BYTES": str(MAX_BYTES),
                "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
                "HARDPOSE_DOWNLOADS": f'{{"videos_per_hour": {VIDEOS_PER_HOUR}, "burst": {BURST},'
                ' "breaker_pause_seconds": 9, "breaker_max_pause_seconds": 9}',
            }
        )
        egress = stack.enter_context(watched_egress(broker.url))
        for number in range(WORKERS):
            stack.enter_context(worker(folder, env, f"download{number}", "download"))
        stack.enter_context(worker(folder, env, "stages", "pose+mask+me+compare"))
        env["HARDPOSE_PLACEMENT"] = "pose+mask+me+compare"
        links = the_links(site, clip, folder)
        first = enqueue(folder / "first.txt", links, env)
        # Another job, with rules of its own, wants some of the same videos at the same time.
        second = enqueue(folder / "second.txt", [watch("good", n) for n in range(12)], env, "--licence", "any", "--max-duration", "1h")  # fmt: skip  # noqa: E501
        catalog = Catalog(f"sqlite:///{folder / 'home' / 'catalog.sqlite'}")
        wait_for(lambda: catalog.job_light(first).final and catalog.job_light(second).final, 1500)
        parts = folder / "temp" / FOLDER
        yield Outcome(site, youtube, catalog.job(first), catalog.job(second), len(links), parts, egress)


def worker(folder: Path, env: dict[str, str], name: str, queue: str) -> "Running":
    return Running(command("worker", queue, "--name", name), folder / f"{name}.log", env)


class Running:
    """A process that is asked to end on the way out."""

    def __init__(self, line: list[str], log: Path, env: dict[str, str]) -> None:
        self._line, self._log, self._env = line, log, env

    def __enter__(self) -> None:
        placed = {**self._env, "HARDPOSE_PLACEMENT": "pose+mask+me+compare"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._line, stdout=log, stderr=log, env=placed)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def enqueue(file: Path, links: list[str], env: dict[str, str], *options: str) -> str:
    file.write_text("\n".join(["# links of a test", *links, ""]))
    kept = {k: v for k, v in env.items() if k not in os.environ or os.environ[k] != v}
    done = hardpose("enqueue", "--list", file, *options, env=kept)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def by_id(job: JobView) -> dict[str, LinkView]:
    return {link.link.rpartition("=")[2]: link for link in job.links}


def test_two_hundred_links_are_given_and_each_video_is_one_link(outcome: Outcome) -> None:
    assert outcome.given >= 200
    listed = [link for link in outcome.first.links if link.parent is not None]
    assert outcome.first.links and len(outcome.first.links) == outcome.given - SPELLED_AGAIN + len(listed)
    assert len({link.link for link in outcome.first.links}) == len(outcome.first.links)


def test_every_link_ends_in_exactly_one_state(outcome: Outcome) -> None:
    for link in outcome.first.links:
        assert link.state in (State.DONE, State.FAILED), link
        assert (link.failure is not None) == (link.state == State.FAILED), link
        if link.state == State.DONE and link.listed is None:
            assert link.video is not None and all(s.state == State.DONE for s in link.segments), link
            link.funnel().check()


def test_good_links_are_videos_and_bad_ones_have_their_reason(outcome: Outcome) -> None:
    links = by_id(outcome.first)
    for name in ids(GOOD):
        video = links[name].video
        assert video is not None, links[name]
        assert (video.id, video.tool) == (f"youtube:{name}", "yt-dlp")
    expected = {name: code for kind, (n, code) in BAD.items() for name in ids({kind: n})}
    found = {name: failure.code for name in expected if (failure := links[name].failure)}
    assert found == expected
    assert all(links[name].failure.tool == "yt-dlp" for name in expected)  # type: ignore[union-attr]


def test_second_tool_gets_what_the_first_no_longer_understands(outcome: Outcome) -> None:
    links = by_id(outcome.first)
    for name in ids(FALLEN_BACK):
        video = links[name].video
        assert video is not None and video.tool == "pytubefix", links[name]
    for name in ids(LOST, start=500):
        failure = links[name].failure
        assert failure is not None and (failure.code, failure.tool) == ("extraction_failed", "yt-dlp")
    # And it was asked for nothing else: not for what is private, not while the breaker was open.
    assert set(outcome.youtube.players) == {*ids(FALLEN_BACK), *ids(LOST, start=500)}


def test_breaker_puts_back_and_only_who_sets_it_off_fails(outcome: Outcome) -> None:
    links = by_id(outcome.first)
    for name in ids({"bot1": FLAGGED["bot1"]}):
        assert links[name].state == State.DONE
    failure = links[video_id("bot", 0)].failure
    assert failure is not None and (failure.code, failure.tool) == ("bot_check", "yt-dlp")
    assert len(outcome.site.asked(f"/page/{video_id('bot', 0)}")) == 3


def test_nobody_may_ask_while_the_breaker_is_open(outcome: Outcome) -> None:
    grants, openings = outcome.egress.grants("default"), outcome.egress.openings("default")
    pages = outcome.site.asked("/page/")
    # Whoever has asked the site was granted it: each video once, and those that it had flagged again.
    again = 2 * FLAGGED["bot"] + FLAGGED["bot1"]
    assert len(grants) >= len({asked.video for asked in pages}) + again
    assert len(openings) >= 2  # by "bot" twice at least: the third time it is given up
    for opening in openings:
        assert 8.9 < opening.until - opening.time < 9.1
        assert [time for time in grants if opening.time < time < opening.until] == []


def test_rate_is_held_over_all_workers_together(outcome: Outcome) -> None:
    grants, interval = outcome.egress.grants("default"), 3600 / VIDEOS_PER_HOUR
    assert len(grants) > 150
    # Over any stretch of time: a burst, and what the rate gives in it.
    due = [time - number * interval for number, time in enumerate(grants)]
    for number in range(len(due)):
        assert due[number] >= max(due[: number + 1]) - (BURST - 1) * interval - 0.01
    pages = outcome.site.asked("/page/")
    flagged = next(i for i, asked in enumerate(pages) if asked.video.startswith(("bot-", "bot1-")))
    calm = [asked.time for asked in pages[:flagged]]
    calm = calm[BURST:]  # what may be asked for at once at the start is not the rate
    rate = (len(calm) - 1) / (calm[-1] - calm[0]) * 3600
    sys.stderr.write(f"{len(calm)} videos asked for, {rate:.0f} an hour of {VIDEOS_PER_HOUR:.0f}\n")


def test_nothing_is_fetched_twice(outcome: Outcome) -> None:
    pages = Counter(asked.video for asked in outcome.site.asked("/page/"))
    once = [name for kind in ("good", "cc", "std", "vp9", "cut", "norange", "nolen", "busy2") for name in ids({kind: GOOD[kind]})]  # fmt: skip  # noqa: E501
    assert {name: pages[name] for name in once} == dict.fromkeys(once, 1)
    whole = Counter(a.video for a in outcome.site.asked("/media/") if a.range is None)
    plain = [name for kind in ("good", "cc", "std", "nolen") for name in ids({kind: GOOD[kind]})]
    assert {name: whole[name] for name in plain} == dict.fromkeys(plain, 1)
    for link in outcome.second.links:
        assert link.state == State.DONE and link.video is not None


def test_list_became_its_videos(outcome: Outcome) -> None:
    (listed,) = [link for link in outcome.first.links if "list=PL-5" in link.link]
    assert (listed.state, listed.listed) == (State.DONE, 5)  # all of them were given as links already
    (empty,) = [link for link in outcome.first.links if "@none" in link.link]
    assert empty.failure is not None and empty.failure.code == "empty_list"


def test_only_what_may_be_taken_up_again_is_left_behind(outcome: Outcome) -> None:
    left = {folder.name for folder in outcome.parts.iterdir()}
    again = [link for link in outcome.first.links if link.failure and link.failure.action != Action.PERMANENT]
    assert left <= {canonical_hash([outcome.first.id, link.position]) for link in again}
