"""The review page as the tests of it use it: a server that can be stopped, and what a page is asked."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_ports import free_port
from hardpose_process import PATIENCE_SECONDS, start

from broker.catalog import Catalog
from broker.frame_views import FrameFilter, Order, ReviewEvent
from broker.messages import Verdict

FRAMES = 5000
SAVED = "All saved"
MOST_MILLISECONDS = 120_000
"""For whatever a page has to come to: it is a matter of milliseconds on a machine at rest."""

Opener = Callable[..., Any]


@dataclass
class Served:
    """``hardpose review`` on a home folder: it can be stopped and started at the same address."""

    home: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        self.process = start("review", "--home", self.home, "--port", str(self.port), "--no-browser")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"review: http://127\.0\.0\.1:(\d+)/review/", line)
        assert found, line
        assert self.port == int(found[1])

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/review/"


def ready(page: Any) -> None:
    page.wait_for_selector(".card[data-id]:not([data-id=''])")


def heading(page: Any, count: int) -> None:
    page.wait_for_function(
        "text => document.querySelector('#count').textContent === text",
        arg=f"{count:,} frame{'' if count == 1 else 's'}",
    )


def saved(page: Any) -> None:
    page.wait_for_function("text => document.querySelector('#save-state').textContent === text", arg=SAVED)


def shows(page: Any, element: str, text: str) -> None:
    """Waits until the element has exactly this text."""
    script = "([at, text]) => document.querySelector(at)?.textContent === text"
    page.wait_for_function(script, arg=[element, text])


def focused(page: Any, index: int) -> None:
    """Waits until the card of that place has the focus."""
    page.wait_for_function("index => document.activeElement.dataset.index === index", arg=str(index))


def settled(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What ``look`` gives once it is good, or after a long while what it gives then."""
    deadline = time.monotonic() + MOST_MILLISECONDS / 1000
    while not good(found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


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
