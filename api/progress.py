"""Progress of a job, shown as bars in a terminal, as lines in a log, or as JSON lines."""

import json
import sys
import time
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from api.snapshot import Eta, Snapshot
from api.waiting import Explainer, fetching_text
from broker.recipe import Stage

HEARTBEAT_SECONDS = 30
"""A line at least this often: silence looks like a hang."""

BAR_WIDTH = 20
"""Cells; what is left of 80 holds the counts of frames and an estimate."""

TRANSFER_SECONDS = 10
"""A line at most this often where nothing but bytes has moved."""


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
        self._explainer = Explainer()
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
        """Prints the state if it moved, now and then while bytes do, or every half minute with its age."""
        moving = snapshot.transfers != (self._shown.transfers if self._shown else ())
        self._shown = snapshot
        self._eta.note(snapshot)
        text = describe(snapshot)
        since = time.monotonic() - self._last_time
        moved = text != self._last_text and since >= self._every
        if moved or since >= (TRANSFER_SECONDS if moving else HEARTBEAT_SECONDS):
            self.say(f"[{self._eta.elapsed:5.0f} s] {text}{_now(snapshot)}{self._when()}")
            self._last_text, self._last_time = text, time.monotonic()
        for news in self._explainer.news(snapshot.waits):
            self.say(news)

    def _when(self) -> str:
        eta = f"  {self._eta}" if str(self._eta) else ""
        return eta + (f"  (no progress for {self._eta.quiet:.0f} s)" if self._eta.quiet > 30 else "")


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
        for news in self._explainer.news(snapshot.waits):
            self.say(news)
        if snapshot != self._seen:
            left = self._eta.left()
            eta = None if left is None else round(left, 1)
            self.event("progress", elapsed_s=round(self._eta.elapsed, 1), eta_s=eta, **asdict(snapshot))
            self._seen = snapshot


class Bars:
    """Bars for videos and for every stage, with counts and an ETA: for a terminal."""

    def __init__(self, console: Console) -> None:
        self._eta = Eta()
        self._explainer = Explainer()
        # Only the note may be wrapped: in a narrow terminal it would squeeze the others out.
        self._progress = Progress(
            TextColumn("{task.description:>9}", table_column=Column(no_wrap=True)),
            BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column()),
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
        for text in self._explainer.news(snapshot.waits):
            self.say(text)
        note = str(self._eta)
        if self._eta.quiet > 30:
            note += f"  no progress for {self._eta.quiet:.0f} s"
        failed = f"{snapshot.videos_failed} failed" if snapshot.videos_failed else ""
        over, notes = snapshot.videos_done + snapshot.videos_failed, [failed, note]
        self._bar("videos", over, snapshot.videos, "  ".join(filter(None, notes)))
        self._transfers(snapshot)
        self._device(snapshot)
        for stage, done in snapshot.segments_by_stage.items():
            last = stage == Stage.COMPARE
            funnel = f"examined {snapshot.examined}, kept {snapshot.kept}, hard {snapshot.hard}"
            self._bar(stage, done, snapshot.segments, funnel if last else "")

    def _transfers(self, snapshot: Snapshot) -> None:
        """A bar in megabytes while something is fetched, and a line for each reason to wait."""
        totals = [t.total or t.received for t in snapshot.transfers]
        received = sum(t.received for t in snapshot.transfers)
        if snapshot.transfers or "transfer" in self._bars:
            note = fetching_text(snapshot.transfers) if snapshot.transfers else ""
            self._bar("transfer", received // 10**6, -(-sum(totals) // 10**6), note)
        if snapshot.waits or "waiting" in self._bars:
            self._bar(
                "waiting", 0, sum(w.links for w in snapshot.waits), "; ".join(w.brief for w in snapshot.waits)
            )
        for name, shown in (("transfer", snapshot.transfers), ("waiting", snapshot.waits)):
            if name in self._bars:
                self._progress.update(self._bars[name], visible=bool(shown))

    def _device(self, snapshot: Snapshot) -> None:
        """A line while segments wait for their device."""
        waiting = snapshot.device
        if waiting is not None:
            self._bar("device", 0, waiting.segments, waiting.brief)
        if "device" in self._bars:
            self._progress.update(self._bars["device"], visible=waiting is not None)

    def _bar(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=None, note="")
        self._progress.update(self._bars[name], completed=done, total=total or None, note=note)


def _now(snapshot: Snapshot) -> str:
    """What is under way and what is waited for: it changes with the clock."""
    parts = [fetching_text(snapshot.transfers)] if snapshot.transfers else []
    device = (snapshot.device,) if snapshot.device is not None else ()
    return "".join(f"  {part}" for part in (*parts, *snapshot.waits, *device))


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
