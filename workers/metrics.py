"""What a worker counts, for Prometheus (https://prometheus.io/docs/practices/naming/).

The processes of a pool count in files of their own and the main process adds them up (prometheus_client's
multiprocess mode); a worker that serves no metrics counts in memory, where nobody looks.
"""

from functools import cache
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from broker.errors import FunnelMismatch
from broker.messages import SegmentResult
from broker.recipe import ModelSpec, Stage

Outcome = Literal["done", "failed", "retried", "void"]

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)
"""Upper bounds of the histogram of a stage: from a stored result to the soft time limit."""


class WorkerMetrics:
    """Made once in a process, see ``worker_metrics``: Prometheus takes a name only once."""

    def __init__(self) -> None:
        self._segments = Counter(
            "hardpose_segments_total",
            "Segments that a stage was asked for, by what came of it: done, failed, retried, or void.",
            ["stage", "outcome"],
        )
        self._seconds = Histogram(
            "hardpose_stage_seconds",
            "Wall-clock seconds of a stage on a segment.",
            ["stage"],
            buckets=SECONDS,
        )
        self._frames = Counter(
            "hardpose_frames_total", "Examined frames that came to a verdict in this worker.", ["verdict"]
        )
        self._stage_frames = Counter(
            "hardpose_stage_frames_total", "Frames that a stage has looked at.", ["stage"]
        )
        self._links = Counter(
            "hardpose_links_total", "Links that were taken up, by what came of it.", ["outcome"]
        )
        self._bytes = Counter("hardpose_download_bytes_total", "Bytes of videos that were fetched.", ["tool"])
        self._retries = Counter(
            "hardpose_retries_total", "Tasks that are run again, by the code of their error.", ["code"]
        )
        self._failures = Counter(
            "hardpose_failures_total",
            "Segments and links that have failed, by the code of their error.",
            ["code"],
        )
        # A series that begins with its first failure has never risen: no alert would see it.
        self._failures.labels(FunnelMismatch.code)
        self._models = Gauge(
            "hardpose_model_info",
            "The models that this worker has loaded; always 1.",
            ["stage", "model", "version"],
            multiprocess_mode="livemax",
        )

        self._unfit = Gauge(
            "hardpose_worker_unfit",
            "1: this worker cannot load what its queues need, by the code of the error.",
            ["code"],
            multiprocess_mode="livemax",
        )
        self._unfit_code = ""

    def found_unfit(self, code: str) -> None:
        """An error of this code makes the process unfit for work; empty: it is fit (again)."""
        if self._unfit_code:
            self._unfit.labels(self._unfit_code).set(0)
        if code:
            self._unfit.labels(code).set(1)
        self._unfit_code = code

    def loaded(self, models: dict[Stage, ModelSpec]) -> None:
        """The models of this process are ready."""
        for stage, spec in models.items():
            self._models.labels(stage, spec.name, spec.version).set(1)

    def segment(self, stages: tuple[Stage, ...], outcome: Outcome) -> None:
        """A segment's task of these stages has ended."""
        for stage in stages:
            self._segments.labels(stage, outcome).inc()

    def worked(self, stage: Stage, before: SegmentResult, after: SegmentResult) -> None:
        """A stage has run on a segment; a stored result is none of its work and is not told here."""
        self._seconds.labels(stage).observe(after.seconds.get(stage, 0.0))
        self._stage_frames.labels(stage).inc(after.examined if stage == Stage.POSE else len(before.open))
        decided = {keeper.time_ms for keeper in before.keepers if keeper.verdict is not None}
        for keeper in after.keepers:
            if keeper.verdict is not None and keeper.time_ms not in decided:
                self._frames.labels(keeper.verdict).inc()
        for drop in after.drops[len(before.drops) :]:
            self._frames.labels(drop.verdict).inc()

    def link(self, outcome: Literal["done", "failed", "retried", "parked", "void"]) -> None:
        """A link's task has ended."""
        self._links.labels(outcome).inc()

    def fetched(self, tool: str, size_bytes: int) -> None:
        """A video is here; ``tool`` has brought it."""
        self._bytes.labels(tool or "none").inc(size_bytes)

    def retried(self, code: str) -> None:
        """A task is run again later because of an error with this code."""
        self._retries.labels(code).inc()

    def failed(self, code: str) -> None:
        """A segment or a link has failed because of an error with this code."""
        self._failures.labels(code).inc()


@cache
def worker_metrics() -> WorkerMetrics:
    """The metrics of this process."""
    return WorkerMetrics()
