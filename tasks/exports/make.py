"""Makes an export that was ordered: from the books to a zip file in the artifact store."""

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.errors import NotFound
from broker.export_books import FramesRemoved
from broker.exports import ExportFormat, ExportSpec
from broker.views import State
from tasks.dataset.folder import STALE_SECONDS, explained
from tasks.exports.choice import choose
from tasks.exports.write import Written, write_export
from tasks.exports.zipped import zip_folder
from tasks.publish import publish
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

PREFIX = "hardpose-export-"
"""Of the temporary folders, by which those of killed workers are found."""


def export_key(export_id: str) -> str:
    """Key of an export's zip file in the artifact store."""
    return f"exports/{export_id}.zip"


def write_spec(runtime: Runtime, spec: ExportSpec, out: Path) -> Written:
    """Writes an export into ``out/<format>`` (the data set of a job into ``out/dataset``).

    Args:
        runtime: with the catalog and the store.
        spec: what is wanted.
        out: the folder above; made when missing.

    Raises:
        MixedRecipes: see ``choose``.
        NotFound: the job of a data set is not known.
        HardposeError: see ``write_export`` and ``tasks.publish.publish``.
    """
    if spec.format == ExportFormat.DATASET:
        return _dataset(runtime, spec.frames.jobs[0], out)
    books = runtime.catalog
    choice = choose(books.frames.each, books.exports.jobs_of, spec)
    return write_export(choice, runtime.artifacts, out / spec.format)


def make_export(runtime: Runtime, export_id: str) -> dict[str, int] | None:
    """Makes the export of an order, from the beginning.

    Returns:
        Its counts; None when there was nothing to do: the order has ended, or was deleted.

    Raises:
        FramesRemoved: a video of it, or a job, was removed meanwhile; its file is not left in the store.
        HardposeError: see ``write_spec`` and ``broker.artifacts``.
    """
    books = runtime.catalog.exports
    if not books.start(export_id):
        log.info("export %s has ended or was deleted, this message is void", export_id)
        return None
    spec, key = books.get(export_id).spec, export_key(export_id)
    with _temporary(runtime.settings.temp_dir) as folder:
        written = write_spec(runtime, spec, folder)
        target = folder / "export.zip"
        with explained(target):
            zip_folder(written.folder, target)
        with target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = target.stat().st_size
        runtime.artifacts.put_file(key, target)
    try:
        done = books.finish(export_id, key, size, sha256, written.counts, written.videos, written.analyses)
    except FramesRemoved:
        discard_file(runtime, export_id)
        raise
    if not done:
        discard_file(runtime, export_id)
    return written.counts if done else None


def discard_file(runtime: Runtime, export_id: str) -> None:
    """Removes the file of an order that was deleted or has failed; that of one that is done stays.

    Nobody would ever find it, and it may hold what was to be removed. It may be done by another worker, to
    which the message was delivered a second time.
    """
    try:
        done = runtime.catalog.exports.get(export_id).state == State.DONE
    except NotFound:
        done = False
    if not done:
        runtime.artifacts.delete(export_key(export_id))


def _dataset(runtime: Runtime, job_id: str, out: Path) -> Written:
    job = runtime.catalog.job(job_id)
    published = publish(job, runtime.artifacts, out)
    videos = sorted({link.video.id for link in job.links if link.video is not None})
    counts = {"train": published.images, "val": 0, "test": 0, "control": 0, "without_mask": 0}
    counts |= {"left_out": published.left_out, "videos": len(videos)}
    analyses = frozenset((video_id, job.recipe.id) for video_id in videos)
    return Written(published.folder, counts, videos, analyses)


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(f"{PREFIX}*"):
            if time.time() - left.lstat().st_mtime > STALE_SECONDS:
                log.info("Removing %s, left behind by a worker that was killed", left)
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)
