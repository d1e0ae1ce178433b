"""How far a job is, as the API tells it, and one look at it for all who watch."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread

from api.device_wait import DeviceWait, device_wait
from api.http.shown import Shown
from api.snapshot import KEPT, Eta, Snapshot, left_behind
from api.waiting import transfers_of, waits_of
from broker.errors import Action, HardposeError
from broker.messages import Verdict
from broker.recipe import CHAIN, ModelSpec, Stage
from broker.views import State
from broker.work_views import JobSummary, SegmentCounts
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
SLOWEST_POLL_SECONDS = 10.0
SHARE = 20
"""Between two looks at a job passes this many times what a look takes: 5 % of one core at most."""
CLOCKS = {"eta_seconds", "seconds_since_progress"}
"""What changes while nothing happens."""


class TransferNow(Shown):
    """A link whose bytes are on their way."""

    link: int
    """Its number in the job, from 1."""
    tool: str
    received_bytes: int
    total_bytes: int | None
    bytes_per_second: float


class WaitNow(Shown):
    """Links that wait for one thing outside the queue."""

    reason: str
    """``rate``, ``breaker``, ``probe``, ``claimed`` or ``retry``."""
    links: int
    seconds: float
    """Until the first of them asks again."""
    cause: str


class DeviceNow(Shown):
    """Segments that wait for the job's device: it is away, or so many wait already that others are held."""

    device: str
    segments: int
    held: int
    """Of them before their first stage."""
    state: str
    """``at_work``, ``waiting_for_device``, ``silent``, ``gone`` or ``unknown`` (never heard of)."""
    silent_seconds: float | None
    """Since it was last heard of; null: never."""


class Progress(Shown):
    """How far a job is."""

    job_id: str
    state: State
    links: dict[State, int]
    lists: int
    segments: SegmentCounts
    stages: dict[Stage, int]
    """Segments that each stage is done with."""
    verdicts: dict[Verdict, int]
    examined: int
    """Frames."""
    kept: int
    hard: int
    transfers: list[TransferNow]
    waits: list[WaitNow]
    device: DeviceNow | None = None
    """What waits for the device, unless it is at it."""
    fraction: float
    """Share of the work that is done, 0 to 1; videos not yet fetched count like an average one."""
    eta_seconds: float | None
    """None while there is nothing to estimate from, such as while a device is away."""
    seconds_since_progress: float
    """Since anything of the job last changed: the sign of a hang, unless ``waits`` says what for."""

    @property
    def standing(self) -> dict[str, Any]:
        """What makes it news."""
        waits = [(wait.reason, wait.links, wait.cause) for wait in self.waits]
        device = self.device and self.device.model_dump(exclude={"silent_seconds"})
        return {**self.model_dump(exclude={*CLOCKS, "waits", "device"}), "waits": waits, "device": device}


class Look:
    """Looks at one job, again and again: the pace of what it saw gives the estimate."""

    def __init__(self, runtime: Callable[[], Runtime], job_id: str) -> None:
        self._runtime, self._job_id = runtime, job_id
        self._eta = Eta()
        self._device: ModelSpec | None = None

    def __call__(self) -> Progress:
        """The job now.

        Raises:
            NotFound: there is no such job (any more).
            BrokerUnavailable, CatalogUnavailable: try again.
        """
        runtime = self._runtime()
        job = runtime.catalog.work.summary(self._job_id)
        if self._device is None:  # once: a job keeps its recipe
            self._device = runtime.catalog.work.recipe(job.recipe_id).device_model
        snapshot = _snapshot(runtime, job, self._device)
        self._eta.note(snapshot)
        return _progress(job, snapshot, None if job.state.final else self._eta.left(), self._eta.quiet)


def _snapshot(runtime: Runtime, job: JobSummary, device: ModelSpec) -> Snapshot:
    transfers = transfers_of(runtime.control, job.id)
    by_stage = runtime.control.progress(job.id)
    settled = job.segments.done + job.segments.failed
    return Snapshot(
        videos=sum(job.links.values()),
        videos_done=job.links.get(State.DONE, 0) + job.links.get(State.PARTIAL, 0),
        videos_failed=job.links.get(State.FAILED, 0),
        videos_waiting=job.links.get(State.QUEUED, 0) + len(transfers),
        segments=job.segments.total,
        segments_by_stage=left_behind(by_stage, settled, job.segments.total),
        examined=job.funnel.examined,
        kept=job.funnel.of(*KEPT),
        hard=job.funnel.of(Verdict.HARD),
        transfers=transfers,
        waits=waits_of(runtime.control, job.id),
        device=device_wait(
            runtime.settings, runtime.control, job.id, device, by_stage, job.segments.total - settled
        ),
    )


def _progress(job: JobSummary, snapshot: Snapshot, eta: float | None, quiet: float) -> Progress:
    return Progress(
        job_id=job.id,
        state=job.state,
        links=job.links,
        lists=job.lists,
        segments=job.segments,
        stages={stage: snapshot.segments_by_stage[stage.value] for stage in CHAIN},
        verdicts={verdict: count for verdict in Verdict if (count := job.funnel.of(verdict))},
        examined=snapshot.examined,
        kept=snapshot.kept,
        hard=snapshot.hard,
        transfers=[
            TransferNow(
                link=one.link,
                tool=one.tool,
                received_bytes=one.received,
                total_bytes=one.total,
                bytes_per_second=one.bytes_per_second,
            )
            for one in snapshot.transfers
        ],
        waits=[
            WaitNow(reason=one.reason, links=one.links, seconds=one.seconds, cause=one.cause)
            for one in snapshot.waits
        ],
        device=_device_now(snapshot.device),
        fraction=max(0.0, min(1.0, snapshot.fraction)),
        eta_seconds=eta,
        # The books know what happened before anybody watched; this watch what is not in the books yet.
        seconds_since_progress=min(quiet, _age(job.updated_at)),
    )


def _device_now(wait: DeviceWait | None) -> DeviceNow | None:
    if wait is None:
        return None
    return DeviceNow(
        device=wait.device,
        segments=wait.segments,
        held=wait.held,
        state=wait.state,
        silent_seconds=wait.silent,
    )


def _age(moment: str) -> float:
    then = datetime.fromisoformat(moment)
    return max(0.0, (datetime.now(UTC) - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds())


class Watch:
    """What is new of one job, for any number of watchers. Belongs to one event loop."""

    def __init__(self, look: Callable[[], Progress], threads: CapacityLimiter) -> None:
        self._look, self._threads = look, threads
        self.news: Progress | HardposeError | None = None
        """The last look, or why there was none."""
        self.number = 0
        """Grows with the news."""
        self.watchers = 0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def wait(self, seen: int, seconds: float) -> bool:
        """Waits for news after number ``seen``, ``seconds`` at most; whether there are any."""
        if self.number == seen:
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                return False
        return self.number != seen

    def end(self) -> None:
        """Nobody watches any more."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            news = await self._next()
            self._publish(news)
            if isinstance(news, Progress) and news.state.final:
                return
            if isinstance(news, HardposeError) and news.action != Action.TRANSIENT:
                return
            pause = max(POLL_SECONDS, SHARE * (time.monotonic() - began))
            await asyncio.sleep(min(pause, SLOWEST_POLL_SECONDS))

    async def _next(self) -> Progress | HardposeError:
        try:
            return await to_thread.run_sync(self._look, limiter=self._threads)
        except HardposeError as error:  # told to the watchers
            log.info("a watched job cannot be looked at: %s", error)
            return error

    def _publish(self, news: Progress | HardposeError) -> None:
        old, self.news = self.news, news
        if _standing(old) == _standing(news):
            return
        self.number += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _standing(news: Progress | HardposeError | None) -> object:
    if isinstance(news, Progress):
        return news.standing
    return (news.code, news.cause) if news is not None else None


class Watches:
    """The watches of an application, one for each job that is watched.

    Args:
        threads: those that look.
    """

    def __init__(self, threads: CapacityLimiter) -> None:
        self._threads = threads
        self._watches: dict[str, Watch] = {}

    @asynccontextmanager
    async def of(self, job_id: str, look: Callable[[], Progress]) -> AsyncIterator[Watch]:
        """The watch of a job, shared with all who are inside the ``with``."""
        watch = self._watches.get(job_id)
        if watch is None:
            watch = self._watches[job_id] = Watch(look, self._threads)
        watch.watchers += 1
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if not watch.watchers and self._watches.get(job_id) is watch:
                del self._watches[job_id]
                watch.end()
