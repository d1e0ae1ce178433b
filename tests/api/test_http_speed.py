"""Every page of the API, over a real socket, with 50,000 frames in the books: 100 ms at the median.

What the database does for a page is counted, which is the same on any machine; seconds are judged where
nothing else runs (``alone.no_other_process``). ``pytest -s`` prints the table.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from alone import no_other_process
from api_server import PATIENCE, served
from database_work import database_work
from many_frames import fill
from postgres_server import a_database, a_server
from pydantic import SecretStr

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.embedded import EmbeddedBroker
from broker.exports import ExportSpec
from broker.frame_views import Order
from broker.settings import Settings, load_settings

pytestmark = pytest.mark.alone

FRAMES = 50_000
MEDIAN_SECONDS = 0.1
TIMES = 7
"""Requests of each page; the first is counted too, but the median does not see a cold cache."""

ROWS, ROWS_OF_FACETS = 1.6 * FRAMES, 6 * FRAMES
"""That a database may look at for one page; see ``tests/broker/test_books_speed.py``."""
ROUNDS = 6
"""A page that a busy machine has slowed is timed again so often; its best median counts."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('speed') / 'catalog.sqlite'}"
        return
    with a_server() as server_url, a_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def settings(database: str, tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker) -> Settings:
    home: Path = tmp_path_factory.mktemp("speed-home")
    settings = load_settings(
        home=home,
        broker_url=server.url,
        namespace=home.name,
        catalog_url=SecretStr(database),
        api_requests_per_minute=1_000_000,
    )
    fill(database, frames=FRAMES, artifacts=Artifacts(settings.artifacts))
    catalog = Catalog(database)
    for _ in range(200):
        catalog.exports.create(ExportSpec(), "test")
    catalog.dispose()
    return settings


def addresses(api: httpx.Client) -> dict[str, list[str]]:
    """The pages by name; where a page is of one thing, each address is of another one."""

    def ids(path: str, *names: str) -> list[str]:
        items = api.get(path, params={"limit": TIMES}).json()["items"]
        assert len(items) == TIMES, path
        for name in names:
            items = [item[name] for item in items]
        return [str(item) for item in items]

    frames, jobs, exports = ids("/frames", "id"), ids("/jobs", "id"), ids("/exports", "id")
    videos = ids("/videos", "video", "id")
    deep = api.get("/frames", params={"order": "time", "limit": 500}).json()["next"]
    pages = {f"frames by {order}": [f"/frames?order={order}&limit=50"] for order in Order}
    pages |= {
        f"frames by {order}, hard, 500": [f"/frames?order={order}&verdict=hard&limit=500"] for order in Order
    }
    filters = "verdict=hard&verdict=easy&pose=bent&review=open&min_iou=0.1&below_iou=0.6"
    pages |= {
        "frames of a job": [f"/frames?job={job}" for job in jobs],
        "frames of a video": [f"/frames?video={video}" for video in videos],
        "frames, many filters": [f"/frames?{filters}"],
        "frames, many filters, a job": [f"/frames?{filters}&job={job}" for job in jobs],
        "frames, next page": [f"/frames?order=time&cursor={deep}"],
        "facets": ["/frames/facets"],
        "facets, hard": ["/frames/facets?verdict=hard"],
        "facets of a job": [f"/frames/facets?job={job}" for job in jobs],
        "facets, many filters": [f"/frames/facets?{filters}"],
        "a frame": [f"/frames/{frame}" for frame in frames],
        "a frame's decisions": [f"/frames/{frame}/reviews" for frame in frames],
        "decisions": ["/reviews?limit=500"],
        "jobs": ["/jobs"],
        "a job": [f"/jobs/{job}" for job in jobs],
        "a job's links": [f"/jobs/{job}/links" for job in jobs],
        "videos": ["/videos"],
        "videos of a job": [f"/videos?job={job}" for job in jobs],
        "a video": [f"/videos/{video}" for video in videos],
        "segments": ["/segments"],
        "segments of a job": [f"/segments?job={job}&state=done" for job in jobs],
        "a video's segments": [f"/videos/{video}/segments" for video in videos],
        "exports": ["/exports"],
        "an export": [f"/exports/{export}" for export in exports],
        "devices": ["/devices"],
        "metrics": ["/metrics"],
        "readiness": ["/readyz"],
    }
    for view in ("frame", "teacher", "device", "overlay"):
        pages[f"image {view}"] = [f"/frames/{frame}/images/{view}" for frame in frames]
        pages[f"image {view}, small"] = [f"/frames/{frame}/images/{view}?width=240" for frame in frames]
    return pages


def timed(api: httpx.Client, paths: list[str]) -> list[float]:
    """Seconds that each request took."""
    took = []
    for turn in range(TIMES):
        began = time.perf_counter()
        answer = api.get(paths[turn % len(paths)])
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, f"{paths[turn % len(paths)]}: {answer.text[:500]}"
    return took


def looked_at(api: httpx.Client, pages: dict[str, list[str]]) -> dict[str, int]:
    """Rows that the database looks at for the first address of each page."""
    found = {}
    with database_work() as work:
        for name, paths in pages.items():
            work.taken()
            answer = api.get(paths[0])
            assert answer.status_code == 200, f"{paths[0]}: {answer.text[:500]}"
            found[name] = work.taken()
    assert found["facets"] >= FRAMES  # they do look at all
    return found


def most(name: str) -> float:
    return ROWS_OF_FACETS if name.startswith("facets") else ROWS


def test_every_page_is_there_in_a_tenth_of_a_second(settings: Settings) -> None:
    kind = settings.catalog.partition(":")[0]
    with served(settings) as url, httpx.Client(base_url=url, timeout=PATIENCE) as api:
        pages = addresses(api)
        assert len(pages) > 40
        assert api.get("/frames").json()["total"] == FRAMES
        assert {name: n for name, n in looked_at(api, pages).items() if n > most(name)} == {}
        if not no_other_process():
            return
        took = {name: timed(api, paths) for name, paths in pages.items()}
        for _ in range(ROUNDS):
            slow = [name for name, seconds in took.items() if statistics.median(seconds) >= MEDIAN_SECONDS]
            if slow:
                time.sleep(1)
            for name in slow:
                took[name] = min(took[name], timed(api, pages[name]), key=statistics.median)
    for name, seconds in sorted(took.items(), key=lambda item: -statistics.median(item[1])):
        median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
        # The table that is asked for with pytest -s.
        print(f"{kind:20} {name:32} {median:7.1f} ms median {worst:8.1f} ms worst")  # noqa: T201
    late = {name: round(statistics.median(took[name]) * 1000) for name in slow}
    assert all(median < MEDIAN_SECONDS * 1000 for median in late.values()), f"{kind}: in ms: {late}"
