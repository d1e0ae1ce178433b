"""The download stage: a link becomes a video in the artifact store, and its segments in the catalog."""

import logging
import tempfile
from pathlib import Path

from broker.errors import Action
from broker.messages import Failure, Segment, Video
from broker.recipe import Recipe, Stage
from tasks.pipeline import segments_of
from tasks.runtime import Runtime
from workers.downloads.contracts import Fetched, FetchLimits
from workers.downloads.local import fetch
from workers.video import probe

log = logging.getLogger(__name__)


def download(runtime: Runtime, job_id: str, position: int, link: str) -> list[Segment]:
    """Fetches ``link`` and writes down its video and segments; returns the segments that are still to do.

    Raises:
        HardposeError: typed by cause; ``record_failure`` writes it to the catalog.
    """
    runtime.catalog.start_link(job_id, position)
    recipe: Recipe = runtime.catalog.job_light(job_id).recipe
    settings = runtime.settings
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hardpose-download-", dir=settings.temp_dir) as folder:
        limits = FetchLimits(
            max_bytes=settings.max_video_bytes,
            timeout_seconds=settings.download_timeout_seconds,
            allow_networks=settings.allow_networks,
        )
        fetched = fetch(link, Path(folder), limits)
        video = describe(runtime, fetched)
        if not runtime.artifacts.exists(video.artifact):
            runtime.artifacts.put_file(video.artifact, fetched.path)
    return runtime.catalog.plan_video(job_id, position, video, segments_of(job_id, video, recipe))


def describe(runtime: Runtime, fetched: Fetched) -> Video:
    """Looks into a fetched file: what kind of video it is, and under which name it is kept.

    Raises:
        DownloadError: by kind, when it is no video that can be used.
    """
    settings = runtime.settings
    facts = probe(fetched.path, settings.max_frame_pixels, settings.max_duration_seconds)
    return Video(
        id=fetched.video_id,
        source=fetched.source,
        title=fetched.title,
        uploader=fetched.uploader,
        licence=fetched.licence,
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
        duration_ms=facts.duration_ms,
        size_bytes=facts.size_bytes,
        artifact=f"videos/sha256-{fetched.sha256}{fetched.path.suffix.lower()}",
        tool=fetched.tool,
        tool_version=fetched.tool_version,
    )


def record_failure(runtime: Runtime, job_id: str, position: int, error: BaseException) -> Failure:
    """Writes the failure to the link; the other links are not touched."""
    failure = Failure.of(error, Stage.DOWNLOAD)
    if failure.code == "unexpected":
        log.error("link %s of job %s failed", position, job_id, exc_info=error)
    runtime.catalog.fail_link(job_id, position, failure)
    return failure


def worth_retrying(error: BaseException) -> bool:
    """Whether another try a little later may help."""
    return Failure.of(error).action == Action.TRANSIENT
