"""How far a job is, and how long the rest may take."""

import time
from dataclasses import dataclass, field

from api.device_wait import DeviceWait
from api.printable import span
from api.waiting import Fetching, Wait
from broker.messages import Verdict
from broker.recipe import CHAIN, Stage
from broker.views import JobView, State

KEPT = (Verdict.EASY, Verdict.HARD)


def left_behind(by_stage: dict[Stage, int], settled: int, total: int) -> dict[str, int]:
    """Segments of ``total`` that are through with each stage.

    One that is settled has left all stages, also when an earlier run did the work. One that came again long
    after it was settled was counted twice.
    """
    return {stage.value: min(total, max(settled, by_stage.get(stage, 0))) for stage in CHAIN}


@dataclass(frozen=True)
class Snapshot:
    """How far a job is. Playlists and channels are not counted, only what they name."""

    videos: int
    videos_done: int
    videos_failed: int
    videos_waiting: int
    """Not fetched yet: how many segments they have is not known."""
    segments: int
    segments_by_stage: dict[str, int] = field(default_factory=dict)
    examined: int = 0
    kept: int = 0
    hard: int = 0
    transfers: tuple[Fetching, ...] = ()
    """Under way now."""
    waits: tuple[Wait, ...] = ()
    """What links wait for outside the queue."""
    device: DeviceWait | None = None
    """What waits for the device."""

    @classmethod
    def of(
        cls,
        job: JobView,
        by_stage: dict[Stage, int],
        transfers: tuple[Fetching, ...] = (),
        waits: tuple[Wait, ...] = (),
        device: DeviceWait | None = None,
    ) -> "Snapshot":
        """From the catalog's light view, the stages' own counts, and what is under way or waits."""
        segments = [segment for link in job.links for segment in link.segments]
        settled = sum(segment.state.final for segment in segments)
        funnel = job.funnel()
        return cls(
            videos=len(job.videos),
            videos_done=sum(link.state in (State.DONE, State.PARTIAL) for link in job.videos),
            videos_failed=sum(link.state == State.FAILED for link in job.videos),
            videos_waiting=sum(not link.state.final and not link.segments for link in job.videos),
            segments=len(segments),
            segments_by_stage=left_behind(by_stage, settled, len(segments)),
            examined=funnel.examined,
            kept=funnel.of(*KEPT),
            hard=funnel.of(Verdict.HARD),
            transfers=transfers,
            waits=waits,
            device=device,
        )

    @property
    def fraction(self) -> float:
        """Share of the work that is done, in [0, 1]; videos not yet fetched count like an average one."""
        steps = self.segments * len(CHAIN)
        share = sum(self.segments_by_stage.values()) / steps if steps else 0.0
        planned = self.videos - self.videos_waiting - self.videos_failed
        return (planned * share + self.videos_failed) / self.videos if self.videos else 1.0

    @property
    def only_waits(self) -> bool:
        """Whether all that is open is parked: nothing moves, and nothing has to."""
        parked = sum(wait.links for wait in self.waits)
        return parked > 0 and self.videos_done + self.videos_failed + parked >= self.videos

    @property
    def device_away(self) -> bool:
        """Whether something waits for a device that nobody can say the return of."""
        return self.device is not None and self.device.away


class Eta:
    """Estimates the seconds left from the pace so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._changed = self._started
        self._last: Snapshot | None = None
        self._first = 0.0

    def note(self, snapshot: Snapshot) -> None:
        """Takes in a snapshot."""
        if self._last is None:
            self._first = snapshot.fraction  # an earlier run's work tells nothing of this one's pace
        if snapshot != self._last or snapshot.only_waits or snapshot.device_away:
            self._last, self._changed = snapshot, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the job was sent."""
        return time.monotonic() - self._started

    @property
    def quiet(self) -> float:
        """Seconds since anything moved, while something should: the sign of a hang."""
        return time.monotonic() - self._changed

    def left(self) -> float | None:
        """Seconds left, or None while there is nothing to estimate from, such as when a device is away.

        No less than the longest wait: the pace of what was let through at once says nothing of what waits.
        """
        if self._last is None or self._last.device_away:
            return None
        waits = max((max(w.seconds, w.last_seconds) for w in self._last.waits), default=None)
        done = self._last.fraction - self._first
        if done <= 0.02:
            return waits
        pace = self.elapsed * (1 - self._last.fraction) / done
        return max(pace, waits or 0.0)

    def __str__(self) -> str:
        """``ETA 58 min``, ``ETA > 58 min`` where a site decides; empty without an estimate."""
        left = self.left()
        if self._last is None or left is None:
            return ""
        held = any(wait.reason in ("breaker", "probe") for wait in self._last.waits)
        return f"ETA {'> ' if held else ''}{span(left)}"
