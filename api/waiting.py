"""What a job waits for outside the queue, and what is on its way: the reasons for silence."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.printable import counted, megabytes, printable, span
from broker.errors import BrokerUnavailable
from broker.settings import Settings

if TYPE_CHECKING:
    from broker.control import Control

Parked = Mapping[int, tuple[str, float]]
"""Position of a link -> why it waits, and for how many seconds yet; see ``broker.parking.Parking.of_job``."""

REASONS = {
    "rate": "for the rate limit",
    "breaker": "for the breaker",
    "probe": "for the first video after a pause",
    "claimed": "for another worker that fetches the same video",
    "retry": "for another try",
}
"""Reason of a parked link -> what it waits for."""

LONG_SECONDS = 15.0
"""A wait that is worth an explanation. That something has failed always is."""
SOONER = (
    "to go on sooner, use another address (HARDPOSE_DOWNLOAD_PROXY, with a name for it in "
    "HARDPOSE_DOWNLOADS__EGRESS) or an account's cookies (HARDPOSE_DOWNLOAD_COOKIES), at its risk"
)
"""What can be done about a site that has flagged this address."""
EXPLANATIONS = {
    "rate": "Sites bear only so many videos an hour from one address, so links take turns "
    "(HARDPOSE_DOWNLOADS__VIDEOS_PER_HOUR).",
    "breaker": "A site wants no more requests of this address for now: {cause}\n"
    "  -> Nothing is broken and no link is lost. The site is asked again in {pause}, for one video first; "
    f"you may stop and come back. Or, {SOONER}.",
    "retry": "Something failed that may pass, and is tried again, a few times: {cause}",
}
"""Reason of a long wait -> why it is, and what can be done."""


@dataclass(frozen=True)
class Wait:
    """Links of a job that wait for one thing. Equal while only the clock runs."""

    reason: str
    links: int
    seconds: float = field(compare=False)
    """Until the first of them asks again."""
    cause: str = ""
    """Why the breaker is open, or what failed."""
    last_seconds: float = field(default=0.0, compare=False)
    """Until the last of them asks again."""

    def __str__(self) -> str:
        cause = f": {self.cause}" if self.cause and self.reason == "breaker" else ""
        links = f"{counted(self.links, 'link')} {'waits' if self.links == 1 else 'wait'}"
        return f"{links} {self._what}{cause}"

    @property
    def brief(self) -> str:
        """For where there is little room: the cause is said elsewhere, once."""
        return f"{self.links:,} {self._what}"

    @property
    def _what(self) -> str:
        what = REASONS.get(self.reason, f"({self.reason})")
        return f"{what}, {'open for' if self.reason == 'breaker' else 'next in'} {span(self.seconds)}"


@dataclass(frozen=True)
class Fetching:
    """A link whose bytes are on their way."""

    link: int
    """Its number in the job, from 1."""
    tool: str
    received: int
    """Bytes."""
    total: int | None
    """Bytes, if known."""
    bytes_per_second: float = field(compare=False)


class Explainer:
    """Says once why links wait and what can be done: who has waited long for nothing has a right to know."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def news(self, waits: tuple[Wait, ...]) -> list[str]:
        """What has not been said yet of ``waits``; nothing of short ones."""
        new = [w for w in waits if w.reason not in self._told and w.reason in EXPLANATIONS]
        long = [w for w in new if w.reason == "retry" or max(w.seconds, w.last_seconds) >= LONG_SECONDS]
        self._told.update(wait.reason for wait in long)
        return [EXPLANATIONS[w.reason].format(pause=span(w.seconds), cause=w.cause) for w in long]


def parked_of(control: "Control", job_id: str) -> dict[int, tuple[str, float]]:
    """The job's links that wait outside the queue.

    Raises:
        BrokerUnavailable: it cannot be asked.
    """
    from broker.parking import Parking

    return Parking(control).of_job(job_id)


def ask_parked(settings: Settings, job_id: str) -> tuple[dict[int, tuple[str, float]], str]:
    """The job's links that wait, or why that is not known: the catalog tells the rest without a broker."""
    from broker.control import Control

    try:
        return parked_of(Control.of(settings), job_id), ""
    except BrokerUnavailable as error:
        return {}, error.cause


def waits_of(control: "Control", job_id: str) -> tuple[Wait, ...]:
    """What the job's links wait for, one entry for each reason.

    Raises:
        BrokerUnavailable: it cannot be asked.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    for reason, left in parked_of(control, job_id).values():
        seconds[reason].append(left)
    causes = {"breaker": _cause(control)} if "breaker" in seconds else {}
    for left, cause in control.stumbles(job_id).values():
        seconds["retry"].append(left)
        causes.setdefault("retry", printable(cause))
    return tuple(
        Wait(reason, len(lefts), min(lefts), causes.get(reason, ""), max(lefts))
        for reason, lefts in sorted(seconds.items())
    )


def _cause(control: "Control") -> str:
    """Why breakers are open: the same for most of a job's links."""
    from broker.egress import egress_views

    causes = {view.cause: None for view in egress_views(control) if view.breaker != "closed" and view.cause}
    return printable("; ".join(causes))


def transfers_of(control: "Control", job_id: str) -> tuple[Fetching, ...]:
    """The job's transfers that are under way, by position.

    Raises:
        BrokerUnavailable: it cannot be asked.
    """
    return tuple(
        Fetching(t.position + 1, t.tool, t.received, t.total, t.bytes_per_second)
        for t in control.transfers(job_id)
    )


def fetching_text(transfers: tuple[Fetching, ...]) -> str:
    """``fetching 3: 45.2 of 120.3 MB, 2.1 MB/s``; the whole is left out where a size is not known."""
    received = sum(t.received for t in transfers)
    speed = sum(t.bytes_per_second for t in transfers)
    totals = [t.total for t in transfers if t.total is not None]
    known = len(totals) == len(transfers)
    of = f" of {megabytes(sum(totals))}" if known else ""
    return f"fetching {len(transfers)}: {megabytes(received)}{of} MB, {megabytes(speed)} MB/s"
