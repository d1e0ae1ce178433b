"""The download stage: a link becomes a video in the artifact store, and its segments in the catalog."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from broker.catalog_erase import names_of
from broker.errors import Action, BeingErased, HardposeError, VideoForgotten, WorkCancelled
from broker.messages import Segment, Video
from broker.priority import Priority
from broker.recipe import canonical_hash
from broker.settings import Settings
from broker.views import LinkOrder, LinkView
from tasks.attempts import Poison
from tasks.counting import video_fetched
from tasks.erasing import finish
from tasks.pipeline import segments_of
from tasks.runtime import Runtime
from tasks.transfer import AlreadyHere, Errand, LinkStopped, PutBack, Transfer, best_effort, video_here
from workers.downloads import gates
from workers.downloads.chain import fetch
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Metadata
from workers.downloads.limits import egress_of
from workers.downloads.links import is_remote
from workers.downloads.local import TOOL as LOCAL
from workers.downloads.parts import PartBusy, part_folder
from workers.downloads.sites import known_video_id
from workers.video import probe

BUSY_PAUSE = 5.0
"""Until a link that another process of this machine is fetching is looked at again."""


@dataclass(frozen=True)
class Downloaded:
    """What a link has become.

    Attributes:
        segments: of its video, those that are still to do.
        links: of its playlist, those that are still to do.
        priority: of the job, for what is sent of these.
    """

    segments: tuple[Segment, ...] = ()
    links: tuple[LinkView, ...] = ()
    priority: Priority = Priority.NORMAL


def download(runtime: Runtime, errand: Errand, suspect: bool = False) -> Downloaded:
    """Fetches a link, unless its video is there, and writes down its video and segments, or its links.

    Args:
        runtime: of this process.
        errand: which link of which job.
        suspect: a process has ended over this link; the file is first opened in one of its own.

    Raises:
        PutBack: the link has to wait; nothing was asked, or the site wants no more for a while.
        HardposeError: typed by cause; the task writes it to the catalog.
    """
    order = runtime.catalog.link_order(errand.job_id, errand.position)
    if order.listed is not None:  # its links may not all have been sent, if a worker died over it
        children = runtime.catalog.open_children(errand.job_id, errand.position)
        return Downloaded(links=tuple(children), priority=order.priority)
    if order.state.final:
        return Downloaded()
    if known := known_video_id(order.link):
        runtime.catalog.erasing.check(known)
    runtime.catalog.start_link(errand.job_id, errand.position)
    if video := video_here(runtime, known):
        egress_of(runtime.settings, runtime.control).forget(errand.who)  # it may have waited for a turn
        gates.check(stated(video), order.intake, runtime.settings)
        return _plan_known(runtime, errand, order, video)
    try:
        return _fetch(runtime, errand, order, suspect)
    except AlreadyHere as here:
        return _plan_known(runtime, errand, order, here.video)
    except PartBusy as error:
        raise PutBack(BUSY_PAUSE, "claimed") from error


def _plan(runtime: Runtime, errand: Errand, order: LinkOrder, video: Video) -> Downloaded:
    """Books the video and its segments.

    Raises:
        LinkStopped: it was cancelled meanwhile.
        VideoForgotten: it was removed on request.
        BeingErased: what was made of it before is still being removed.
    """
    segments = segments_of(errand.job_id, video, order.recipe)
    try:
        todo = runtime.catalog.plan_video(errand.job_id, errand.position, video, segments)
    except WorkCancelled as error:
        raise LinkStopped from error
    except BeingErased:
        finish(runtime)
        raise
    return Downloaded(tuple(todo), priority=order.priority)


def _plan_known(runtime: Runtime, errand: Errand, order: LinkOrder, video: Video) -> Downloaded:
    """The same for a video that was fetched before.

    Raises:
        BeingErased: as there, and when its file was removed between the look for it and the booking.
    """
    done = _plan(runtime, errand, order, video)
    if not runtime.artifacts.exists(video.artifact):
        raise BeingErased(f"The file of {video.id} was removed just now.", "It is fetched anew by itself.")
    return done


def _book(runtime: Runtime, errand: Errand, order: LinkOrder, video: Video, path: Path) -> Downloaded:
    """Stores a fetched file and books it; one that is not booked in the end does not stay in the store."""
    finish(runtime)  # or a file that is on its way out would be taken for the new one
    runtime.catalog.erasing.check(*names_of(video.id, video.sha256))
    if not runtime.artifacts.exists(video.artifact):
        runtime.artifacts.put_file(video.artifact, path)
    try:
        done = _plan(runtime, errand, order, video)
    except (LinkStopped, VideoForgotten, BeingErased):
        runtime.catalog.erasing.discard(video.artifact)
        finish(runtime)
        raise
    if not runtime.artifacts.exists(video.artifact):  # removed with another video between the two steps
        runtime.artifacts.put_file(video.artifact, path)
    return done


def _fetch(runtime: Runtime, errand: Errand, order: LinkOrder, suspect: bool) -> Downloaded:
    """Takes the link through the downloaders, and books what came out of it before others may claim it."""
    settings = runtime.settings
    transfer = Transfer(runtime, errand, order)
    name = canonical_hash([errand.job_id, errand.position])
    with part_folder(settings.temp_dir, name, _resumable) as folder, transfer.held():
        if known := known_video_id(order.link):
            transfer.claim(known)
            if video := video_here(runtime, known):  # by whoever had the claim until now
                gates.check(stated(video), order.intake, settings)
                raise AlreadyHere(video)
        fetched = _watched(runtime, transfer, order, folder)
        if isinstance(fetched, Listing):
            children = _list(runtime, errand, fetched)
            return Downloaded(links=tuple(children), priority=order.priority)
        if suspect:
            probe_apart(fetched.path, settings)
        video = describe(runtime, fetched)
        if is_remote(order.link):  # what nobody could know before: a direct link's length, for one
            gates.check(stated(video), order.intake, settings)
        video_fetched(video)
        return _book(runtime, errand, order, video, fetched.path)


def _list(runtime: Runtime, errand: Errand, found: Listing) -> list[LinkView]:
    try:
        return runtime.catalog.list_link(
            errand.job_id, errand.position, found.links, found.title, found.complete
        )
    except WorkCancelled as error:
        raise LinkStopped from error


def _watched(runtime: Runtime, transfer: Transfer, order: LinkOrder, folder: Path) -> Fetched | Listing:
    settings = runtime.settings
    bounds = FetchLimits(
        max_bytes=settings.max_video_bytes,
        timeout_seconds=settings.download_timeout_seconds,
        allow_networks=settings.allow_networks,
        max_height=order.intake.max_height,
        max_entries=order.intake.limit or settings.downloads.max_list_entries,
    )
    try:
        fetched = fetch(order.link, folder, bounds, settings, transfer)
    except (AlreadyHere, PutBack):  # the site has answered, or it was not asked at all
        transfer.ended(None)
        raise
    except Exception as error:
        transfer.ended(error)
        raise
    transfer.ended(None)
    if fetched.tool != LOCAL:
        with best_effort("an alert may stand longer than it should"):
            runtime.control.tool_works(fetched.tool, fetched.tool_version)
    return fetched


def _resumable(error: BaseException) -> bool:
    """Whether the next try of the same link may build upon the bytes that are there."""
    if isinstance(error, HardposeError):
        return error.action in (Action.TRANSIENT, Action.SESSION_POISONED)
    return isinstance(error, PutBack)


def stated(video: Video) -> Metadata:
    """What the site has stated of a video that was fetched before: each job has gates of its own."""
    return Metadata(
        video_id=video.id,
        link=video.source,
        title=video.title,
        uploader=video.uploader,
        uploader_id=video.uploader_id,
        channel_id=video.channel_id,
        licence=video.licence,
        upload_date=video.upload_date,
        duration_seconds=video.duration_ms / 1000,
        format_id=video.format_id,
        height=video.height,
        size_bytes=video.size_bytes,
    )


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
        uploader_id=fetched.uploader_id,
        channel_id=fetched.channel_id,
        upload_date=fetched.upload_date,
        format_id=fetched.format_id,
        sha256=fetched.sha256,
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
