"""Progress of a job: one snapshot, shown as bars in a terminal, as lines in a log, or as JSON lines."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from broker.messages import Verdict
from broker.recipe import CHAIN, Stage
from broker.views import JobView, State

HEARTBEAT_SECONDS = 30
"""A line at least this often: silence looks like a hang."""

KEPT = (Verdict.EASY, Verdict.HARD)


@dataclass(frozen=True)
class Snapshot:
    """How far a job is."""

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

    @classmethod
    def of(cls, job: JobView, by_stage: dict[Stage, int]) -> "Snapshot":
        """From the catalog's light view and the stages' own counts."""
        segments = [segment for link in job.links for segment in link.segments]
        settled = sum(segment.state.final for segment in segments)
        funnel = job.funnel()
        return cls(
            videos=len(job.links),
            videos_done=sum(link.state in (State.DONE, State.PARTIAL) for link in job.links),
            videos_failed=sum(link.state == State.FAILED for link in job.links),
            videos_waiting=sum(not link.state.final and not link.segments for link in job.links),
            segments=len(segments),
            # A segment that is settled has left all stages, also when an earlier run did the work.
            segments_by_stage={s.value: max(settled, by_stage.get(s, 0)) for s in CHAIN},
            examined=funnel.examined,
            kept=funnel.of(*KEPT),
            hard=funnel.of(Verdict.HARD),
        )

    @property
    def fraction(self) -> float:
        """Share of the work that is done, in [0, 1]; videos not yet fetched count like an average one."""
        steps = self.segments * len(CHAIN)
        share = sum(self.segments_by_stage.values()) / steps if steps else 0.0
        planned = self.videos - self.videos_waiting - self.videos_failed
        return (planned * share + self.videos_failed) / self.videos if self.videos else 1.0


class Eta:
    """Estimates the seconds left from the pace so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._changed = self._started
        self._last: Snapshot | None = None

    def note(self, snapshot: Snapshot) -> None:
        """Takes in a snapshot."""
        if snapshot != self._last:
            self._last, self._changed = snapshot, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the job was sent."""
        return time.monotonic() - self._started

    @property
    def quiet(self) -> float:
        """Seconds since anything moved: the sign of a hang."""
        return time.monotonic() - self._changed

    def left(self) -> float | None:
        """Seconds left, or None while there is nothing to estimate from."""
        if self._last is None or self._last.fraction <= 0.02:
            return None
        return self.elapsed * (1 - self._last.fraction) / self._last.fraction


class View(Protocol):
    """A way of showing progress."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def say(self, text: str) -> None:
        """A line of news."""

    def show(self, snapshot: Snapshot) -> None:
        """The state now."""


class Lines:
    """A line when something moved, at most every ``every`` seconds: for logs and pipes."""

    def __init__(self, out: TextIO | None = None, every: float = 2.0) -> None:
        self._out = out or sys.stderr
        self._every = every
        self._eta = Eta()
        self._shown: Snapshot | None = None
        self._last_text = ""
        self._last_time = -1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None and describe(self._shown) != self._last_text:
            self._last_time = -1e9  # the last state is always shown, however short the run
            self.show(self._shown)

    def say(self, text: str) -> None:
        """Prints a line of news."""
        print(text, file=self._out, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        """Prints the state if it moved, or every half minute with its age."""
        self._shown = snapshot
        self._eta.note(snapshot)
        text = describe(snapshot)
        now = time.monotonic()
        moved = text != self._last_text and now - self._last_time >= self._every
        if moved or now - self._last_time >= HEARTBEAT_SECONDS:
            left = self._eta.left()
            eta = f"  ETA {left:.0f} s" if left is not None else ""
            quiet = f"  (no progress for {self._eta.quiet:.0f} s)" if self._eta.quiet > 30 else ""
            self.say(f"[{self._eta.elapsed:5.0f} s] {text}{eta}{quiet}")
            self._last_text, self._last_time = text, now


class JsonLines(Lines):
    """One JSON object a line on standard output: for programs."""

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__(out or sys.stdout, every=1.0)
        self._seen: Snapshot | None = None

    def say(self, text: str) -> None:
        """A message event."""
        self.event("message", text=text)

    def event(self, event: str, **values: object) -> None:
        """Any event."""
        print(json.dumps({"event": event, **values}), file=self._out, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        """A progress event for each change."""
        self._eta.note(snapshot)
        if snapshot != self._seen:
            left = self._eta.left()
            eta = None if left is None else round(left, 1)
            self.event("progress", elapsed_s=round(self._eta.elapsed, 1), eta_s=eta, **asdict(snapshot))
            self._seen = snapshot


class Bars:
    """Bars for videos and for every stage, with counts and an ETA: for a terminal."""

    def __init__(self, console: Console) -> None:
        self._eta = Eta()
        self._progress = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)

    def show(self, snapshot: Snapshot) -> None:
        """Moves the bars."""
        self._eta.note(snapshot)
        left = self._eta.left()
        note = f"ETA {left:.0f} s" if left is not None else ""
        if self._eta.quiet > 30:
            note += f"  no progress for {self._eta.quiet:.0f} s"
        failed = f"{snapshot.videos_failed} failed" if snapshot.videos_failed else ""
        self._bar("videos", snapshot.videos_done + snapshot.videos_failed, snapshot.videos, failed)
        for stage, done in snapshot.segments_by_stage.items():
            last = stage == Stage.COMPARE
            funnel = f"examined {snapshot.examined}, kept {snapshot.kept}, hard {snapshot.hard}  {note}"
            self._bar(stage, done, snapshot.segments, funnel if last else "")

    def _bar(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=None, note="")
        self._progress.update(self._bars[name], completed=done, total=total or None, note=note)


def describe(snapshot: Snapshot) -> str:
    """One line of counts."""
    stages = "  ".join(f"{s} {n}/{snapshot.segments}" for s, n in snapshot.segments_by_stage.items())
    failed = f" ({snapshot.videos_failed} failed)" if snapshot.videos_failed else ""
    videos = f"videos {snapshot.videos_done + snapshot.videos_failed}/{snapshot.videos}{failed}"
    frames = f"examined {snapshot.examined}  kept {snapshot.kept}  hard {snapshot.hard}"
    return f"{videos}  {stages}  {frames}"


def choose_view(as_json: bool) -> View:
    """Bars in a terminal, else lines; JSON lines when asked for."""
    if as_json:
        return JsonLines()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines()
