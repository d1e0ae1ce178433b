"""One link's way through the downloaders: the claim on its video, its turn at the site, its progress."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.control import Control
from broker.egress import Egress
from broker.errors import Action, HardposeError
from broker.messages import Video
from broker.settings import Settings
from broker.views import LinkOrder
from tasks.attempts import bot_checks_of_link
from tasks.runtime import Runtime
from workers.downloads import gates, limits
from workers.downloads.contracts import Metadata
from workers.downloads.errors import DownloadError
from workers.downloads.local import TOOL as LOCAL

log = logging.getLogger(__name__)

CLAIM_SECONDS = 60.0
"""A claim that is not renewed for so long is void: its worker is gone."""
RENEW_SECONDS = 5.0
SILENT_SECONDS = 15.0
"""A claim by an earlier message about the same link is void after so long without renewal: its worker was
stopped, and whoever runs the job again should not wait for the claim to run out."""
CLAIMED_PAUSE = 5.0
"""Until a link whose video another worker is fetching is looked at again."""
SHORT_WAIT = 1.5
"""Seconds that are waited out in place; a longer wait gives the worker to another link."""
MOVED_SECONDS = 1.0
"""Between two reports of a transfer's progress."""
AWAY_SECONDS = 15.0
"""Until progress is reported again after the broker could not be told: a call may take seconds to fail."""


@dataclass(frozen=True)
class Errand:
    """A message of the download queue: one link of a job.

    ``ticket`` changes whenever the link is sent anew; only the newest message counts.
    """

    job_id: str
    position: int
    link: str
    ticket: str = ""

    @property
    def who(self) -> str:
        """Name of the link over all jobs, the same for every message about it."""
        return f"{self.job_id}:{self.position}"

    @property
    def owner(self) -> str:
        """Name under which this message, also when delivered again, claims a video."""
        return f"{self.who}:{self.ticket}"


class PutBack(Exception):
    """The link has to wait, for its turn or for another worker. Not a failure and not an attempt."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(seconds, reason)
        self.seconds = seconds
        self.reason = reason


class LinkStopped(Exception):
    """The link was cancelled, or its video forgotten, and that is written down. Not a failure."""


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """For what only tells others, or lapses by itself: its failure is logged and changes no outcome."""
    try:
        yield
    except HardposeError as error:
        log.warning("%s: %s", what, error)


class AlreadyHere(Exception):
    """The site says which video it is, and that one was fetched before."""

    def __init__(self, video: Video) -> None:
        super().__init__(video.id)
        self.video = video


def video_here(runtime: Runtime, video_id: str | None) -> Video | None:
    """The video, if it was fetched before and its bytes are still in the store."""
    video = runtime.catalog.known_video(video_id) if video_id else None
    return video if video is not None and runtime.artifacts.exists(video.artifact) else None


class Transfer:
    """The watcher of one fetch: its gates, its claim, its turn at the site.

    Args:
        runtime: of this process.
        errand: which link.
        order: what the catalog knows of it.
    """

    def __init__(self, runtime: Runtime, errand: Errand, order: LinkOrder) -> None:
        self._runtime, self._errand, self._order = runtime, errand, order
        self._claimed: str | None = None
        self._turn: Egress | None = None
        self._tool = ""
        self._moved = float("-inf")
        self._shown = False
        self._heart: threading.Thread | None = None
        self._ended = threading.Event()

    # --- the watcher's side ---

    def asking(self, tool: str) -> None:
        """Waits for a turn at the site, or puts the link back. A video is one turn, whichever tools it takes.

        Raises:
            PutBack: the turn is not now.
        """
        self._tool = tool
        egress = egress_for(tool, self._errand.link, self._runtime)
        if self._turn is not None and self._turn.identity == egress.identity:
            return
        if self._turn is not None:
            self._note(None)  # the host has answered: it is a page
        self._take_turn(egress)

    def _take_turn(self, egress: Egress) -> None:
        while wait := egress.ask(self._errand.who):
            if wait.seconds > SHORT_WAIT:
                raise PutBack(wait.seconds, wait.reason)
            time.sleep(wait.seconds)
        self._turn = egress
        self._keep_alive()

    def outdated(self, error: DownloadError) -> None:
        """A tool no longer understands the site: whoever runs the cluster must hear of it."""
        site = _site(self._errand.link)
        log.error("%s %s no longer understands %s: %s", error.tool, error.tool_version, site, error.cause)
        with best_effort("no alert could be left"):
            self._runtime.control.outdated_tool(error.tool, error.tool_version, error.cause)

    def found(self, metadata: Metadata) -> None:
        """Lets through what the job takes in and nobody has fetched or is fetching.

        Raises:
            VideoForgotten: it was removed on request.
            DownloadError: by a gate.
            AlreadyHere: there is nothing to fetch.
            PutBack: another worker is at it.
        """
        self._runtime.catalog.erasing.check(metadata.video_id)
        gates.check(metadata, self._order.intake, self._runtime.settings)
        self._check_new(metadata.video_id)
        self.claim(metadata.video_id)
        self._check_new(metadata.video_id)  # whoever had the claim until now may have fetched it

    def _check_new(self, video_id: str) -> None:
        video = video_here(self._runtime, video_id)
        if video is not None:
            raise AlreadyHere(video)

    def moved(self, received: int, total: int | None) -> None:
        """Tells those who watch the job.

        Raises:
            LinkStopped: the rest of the file is not wanted any more.
        """
        now = time.monotonic()
        if now - self._moved < MOVED_SECONDS:
            return
        self._moved, self._shown = now + AWAY_SECONDS, True  # unless the broker can be told
        with best_effort("the progress of a transfer is not shown"):
            self._check_stopped()
            self._runtime.control.transfer(
                self._errand.job_id, self._errand.position, received, total, self._tool
            )
            self._moved = now

    def _check_stopped(self) -> None:
        errand = self._errand
        if self._runtime.control.link_stopped(errand.job_id, errand.position, errand.ticket):
            raise LinkStopped

    # --- the claim ---

    def claim(self, video_id: str) -> None:
        """Takes the video for this link alone.

        Raises:
            PutBack: another worker has it.
        """
        if self._claimed == video_id:
            return
        if not self._hold(video_id):
            raise PutBack(CLAIMED_PAUSE, "claimed")
        before, self._claimed = self._claimed, video_id
        self._keep_alive()
        if before is not None:
            self._release(before)

    def _hold(self, video_id: str) -> bool:
        family = f"{self._errand.who}:"
        return self._runtime.catalog.claim(
            video_id, self._errand.owner, CLAIM_SECONDS, family, SILENT_SECONDS
        )

    def _release(self, video_id: str) -> None:
        with best_effort(f"the claim on {video_id} is left to run out"):
            self._runtime.catalog.release(video_id, self._errand.owner)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, the claim and the turn are kept alive; afterwards the claim is given back.

        A local file takes neither, and needs no broker. What cannot be given back lapses: that is neither
        a failure of the link nor a reason to lose the error that ended it.
        """
        try:
            yield
        finally:
            self._ended.set()
            if self._heart is not None:
                self._heart.join()
            if self._claimed is not None:
                self._release(self._claimed)
            if self._shown:
                with best_effort("a transfer that has ended may still be shown"):
                    self._runtime.control.transfer_ended(self._errand.job_id, self._errand.position)

    def _keep_alive(self) -> None:
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, name="transfer-heart", daemon=True)
            self._heart.start()

    def _beat(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            claimed, turn = self._claimed, self._turn
            try:
                if claimed and not self._hold(claimed):
                    log.warning("the claim of %s on %s was lost", self._errand.owner, claimed)
                if turn:
                    turn.alive(self._errand.who)
            except HardposeError as error:
                log.warning("cannot renew what %s holds: %s", self._errand.who, error)

    # --- the end ---

    def ended(self, error: Exception | None) -> None:
        """Tells the site's breaker how it went.

        Raises:
            PutBack: the session is poisoned, and this link has not set that off too often yet.
            BrokerUnavailable: the session is poisoned, and the breaker cannot be told.
        """
        if self._turn is None:
            return
        if not isinstance(error, HardposeError) or error.action != Action.SESSION_POISONED:
            self._note(error)
            return
        seconds = limits.note(self._turn, self._errand.who, error)
        name = bot_checks_of_link(self._errand.job_id, self._errand.position)
        if self._runtime.control.begin(name) < self._runtime.settings.downloads.max_bot_checks:
            raise PutBack(seconds, "breaker") from error
        self._runtime.control.end(name)

    def _note(self, error: Exception | None) -> None:
        """A breaker that does not hear of a good end lets another link try, a little later."""
        if self._turn is not None:
            with best_effort("the breaker was not told how a fetch ended"):
                limits.note(self._turn, self._errand.who, error)


def egress_for(tool: str, link: str, runtime: Runtime) -> Egress:
    """Whose turn a fetch takes: sites share one egress, a file's own host has but a breaker."""
    settings: Settings = runtime.settings
    control: Control = runtime.control
    return limits.host_egress(control, _site(link)) if tool == LOCAL else limits.egress_of(settings, control)


def _site(link: str) -> str:
    return urlsplit(link).hostname or "unknown"
