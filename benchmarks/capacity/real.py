"""A run of the real system on this machine, with real processes, and what its own records say of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from sqlalchemy import create_engine, func, select, text

from api.local import LocalSystem, local_system
from benchmarks.capacity.demand import Bytes, Sample
from benchmarks.capacity.transfer import picture_seconds
from broker.app import create_app
from broker.catalog import Catalog
from broker.messages import Verdict
from broker.recipe import Sampling, Stage
from broker.settings import load_settings
from broker.tables import SegmentRow
from broker.views import JobView, SegmentView, State
from tasks.pipeline import send_links
from workers.supervisor import Supervisor

JOB = "capacity"
START_PATIENCE = 90.0
LOOK_SECONDS, SOON_SECONDS = 0.5, 0.05
"""Between two looks at the catalog: usually, and until the links have become segments."""


@dataclass(frozen=True)
class RealRun:
    """What one run has shown.

    Attributes:
        wall_seconds: from the sending of the first link to the settling of the last segment, by the
            catalog's own times.
        samples: the segments, as the stages themselves have timed them.
        segments: of each video, in the order of the links.
        fetch_seconds: from the sending of a link to that of its segments.
        cpu_seconds: of all processes of the system.
        others_cores: processors that all other programs of this machine took meanwhile, on average: where
            that is not next to nothing, the times above are not those of a machine of its own.
        sizes: of what was stored.
        picture_seconds: from asking the store for a picture of the run to having its bytes.
    """

    wall_seconds: float
    samples: tuple[Sample, ...]
    segments: tuple[int, ...]
    fetch_seconds: tuple[float, ...]
    cpu_seconds: float
    others_cores: float
    sizes: Bytes
    picture_seconds: float = 0.0

    @property
    def stage_seconds(self) -> float:
        """Sum over all segments and stages."""
        return sum(sum(sample.seconds.values()) for sample in self.samples)


def run_real(
    home: Path, clips: Sequence[Path], workers: Mapping[str, int], segment_seconds: float
) -> RealRun:
    """Runs ``clips`` through the real system; the clock starts when every worker has its models.

    Args:
        home: an empty folder for all that it leaves.
        clips: videos.
        workers: processes by queue; the placement follows from the names.
        segment_seconds: length of a segment.

    Raises:
        TimeoutError: if the workers do not come up.
        RuntimeError: if a segment failed: its times would say nothing.
    """
    sampling = Sampling(segment_seconds=segment_seconds)
    settings = load_settings(home=home, placement=" | ".join(workers), sampling=sampling)
    with local_system(settings) as system:
        links = [str(clip) for clip in clips]
        system.runtime.catalog.create_job(JOB, system.runtime.recipe(), links)
        system.start_workers([Stage.DOWNLOAD, *workers])
        _start_more(system.supervisor, workers)
        _wait_until_ready(system)
        before, began, clock = _cpu(system), time.time(), time.monotonic()
        busy = _busy()
        with create_app(system.settings) as app:
            send_links(app, system.runtime, JOB)
        fetched = _follow(system, clock)
        spent = _cpu(system) - before
        others = max(0.0, _busy() - busy - spent) / (time.monotonic() - clock)
        job = system.runtime.catalog.job(JOB)
    return _read(job, began, fetched, (spent, others), home)


def _start_more(supervisor: Supervisor, workers: Mapping[str, int]) -> None:
    for queue, count in workers.items():
        for _ in range(count - 1):
            supervisor.start_worker([queue])


def _wait_until_ready(system: LocalSystem) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while len(set(system.workers_ready())) != 1:
        if time.monotonic() > deadline:
            raise TimeoutError(f"workers did not come up; see {system.supervisor.logs}")
        time.sleep(0.1)
    time.sleep(1.0)  # the consumers' start-up traffic belongs to coming up


def _cpu(system: LocalSystem) -> float:
    """Seconds so far, user and system, of the workers with their pools, and of the broker."""
    mains = [psutil.Process(worker.process.pid) for worker in system.supervisor.workers]
    if system.broker is not None and system.broker.pid is not None:
        mains.append(psutil.Process(system.broker.pid))
    times = [process.cpu_times() for main in mains for process in (main, *main.children())]
    return float(sum(spent.user + spent.system for spent in times))


def _busy() -> float:
    """Seconds so far in which any processor of the machine worked for anybody, this process left out."""
    times, mine = psutil.cpu_times(), time.process_time()
    waited = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # they are in user and nice too
    return float(sum(times) - waited - guests - mine)


def _follow(system: LocalSystem, clock: float) -> dict[int, float]:
    """Waits for the end of the job; gives the seconds after which each link had become segments."""
    fetched: dict[int, float] = {}
    while True:
        system.check()
        job = system.runtime.catalog.job(JOB)
        for link in job.links:
            if link.segments and link.position not in fetched:
                fetched[link.position] = time.monotonic() - clock
        if job.final:
            return fetched
        time.sleep(LOOK_SECONDS if len(fetched) == len(job.links) else SOON_SECONDS)


def _read(
    job: JobView, began: float, fetched: Mapping[int, float], cpu: tuple[float, float], home: Path
) -> RealRun:
    segments = [segment for link in job.links for segment in link.segments]
    bad = [segment for segment in segments if segment.state != State.DONE]
    if bad or not segments:
        failure = bad[0].failure if bad else None
        raise RuntimeError(f"{len(bad)} of {len(segments)} segments failed: {failure}")
    return RealRun(
        wall_seconds=_ended(home) - began,
        samples=tuple(_sample(segment) for segment in segments),
        segments=tuple(len(link.segments) for link in job.links),
        fetch_seconds=tuple(fetched[link.position] for link in job.links),
        cpu_seconds=cpu[0],
        others_cores=cpu[1],
        sizes=_sizes(home, job, len(segments)),
        picture_seconds=picture_seconds(home / "artifacts"),
    )


def _ended(home: Path) -> float:
    """Unix seconds of the last change of a segment in the catalog of ``home``."""
    engine = create_engine(f"sqlite:///{home.absolute() / 'catalog.sqlite'}")
    with engine.connect() as connection:
        last = connection.execute(select(func.max(SegmentRow.updated_at))).scalar_one()
    engine.dispose()
    return datetime.fromisoformat(str(last)).timestamp()


def _sample(segment: SegmentView) -> Sample:
    soon = sum(drop.verdict == Verdict.TOO_SOON for drop in segment.drops)
    examined = segment.funnel.examined
    return Sample(dict(segment.seconds), examined, examined - soon, len(segment.keepers))


def _sizes(home: Path, job: JobView, segments: int) -> Bytes:
    store = home / "artifacts"
    seconds = sum(link.video.duration_ms for link in job.links if link.video) / 1000
    kinds = {folder.name: _files(folder) for folder in store.iterdir() if folder.is_dir()}
    catalog = _catalog_bytes(home) - _catalog_bytes(_empty_catalog(home / "empty"))
    return Bytes(
        video_second=sum(kinds.get("videos", [])) / seconds,
        frame=_mean(kinds.get("frames", [])),
        mask=_mean(kinds.get("masks", [])),
        device_mask=_mean(kinds.get("device", [])),
        results=sum(kinds.get("results", [])) / segments,
        catalog=catalog / segments,
    )


def _empty_catalog(home: Path) -> Path:
    home.mkdir()
    catalog = Catalog(f"sqlite:///{home.absolute() / 'catalog.sqlite'}")
    catalog.migrate()
    catalog.dispose()
    return home


def _catalog_bytes(home: Path) -> int:
    """Of the database's pages in use, with what still stands in its log."""
    engine = create_engine(f"sqlite:///{home.absolute() / 'catalog.sqlite'}")
    with engine.connect() as connection:
        count, size, free = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("page_count", "page_size", "freelist_count")
        )
    engine.dispose()
    return int((count - free) * size)


def _files(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def _mean(sizes: Sequence[int]) -> float:
    return sum(sizes) / len(sizes) if sizes else 0.0
