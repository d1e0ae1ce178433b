"""The download stage: a link becomes a video in the artifact store, and its segments in the catalog."""

import subprocess
import sys
import tempfile
from pathlib import Path

from broker.messages import Segment, Video
from broker.recipe import Recipe
from broker.settings import Settings
from tasks.attempts import Poison
from tasks.pipeline import segments_of
from tasks.runtime import Runtime
from workers.downloads.contracts import Fetched, FetchLimits
from workers.downloads.local import fetch
from workers.video import probe


def download(runtime: Runtime, job_id: str, position: int, link: str, suspect: bool = False) -> list[Segment]:
    """Fetches ``link`` and writes down its video and segments; returns the segments that are still to do.

    Args:
        runtime: of this process.
        job_id: of the job that asks.
        position: of the link in the job.
        link: a path, a ``file:`` URL or the http(s) address of a media file.
        suspect: a process has ended over this link; the file is first opened in one of its own.

    Raises:
        HardposeError: typed by cause; the task writes it to the catalog.
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
        if suspect:
            probe_apart(fetched.path, settings)
        video = describe(runtime, fetched)
        if not runtime.artifacts.exists(video.artifact):
            runtime.artifacts.put_file(video.artifact, fetched.path)
    return runtime.catalog.plan_video(job_id, position, video, segments_of(job_id, video, recipe))


def _suffix(path: Path) -> str:
    """The file's suffix if it can be part of an artifact's key; FFmpeg does not need one."""
    suffix = path.suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() else ""


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
        artifact=f"videos/sha256-{fetched.sha256}{_suffix(fetched.path)}",
        tool=fetched.tool,
        tool_version=fetched.tool_version,
    )


def probe_apart(path: Path, settings: Settings) -> None:
    """Probes in a process of its own: a file that crashes the decoder takes nothing else with it.

    Raises:
        Poison: if that process is killed. A file that is merely bad raises nothing here.
    """
    program = "import sys; from pathlib import Path; from workers.video import probe\n"
    program += "probe(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))"
    limits = [str(settings.max_frame_pixels), str(settings.max_duration_seconds)]
    # -P: a folder that the user works in may hold a module of the name of ours.
    line = [sys.executable, "-P", "-c", program, str(path), *limits]
    done = subprocess.run(line, capture_output=True, check=False)  # noqa: S603 - a list, no shell
    if done.returncode < 0:
        raise Poison(
            f"{path.name} ends the process that opens it (signal {-done.returncode}).",
            "The file is damaged in a way that crashes the decoder; convert it anew or leave it out.",
        )
