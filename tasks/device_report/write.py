"""Makes the report of several devices and puts it in its place, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.errors import SettingsError
from tasks.dataset.text import public_source
from tasks.device_report.agreement import Reader
from tasks.device_report.contrast import Change, Contrast, Outcome
from tasks.device_report.page import ABSENT_NAMED, LISTED, PICTURES, Listed, Named, Section, render
from tasks.device_report.pictures import TwoPictures, two_pictures
from tasks.device_report.rows import contrast_rows, whole_row
from tasks.device_report.sides import Sides, sides_of
from tasks.device_report.tally import Tally, tally
from tasks.failure_report.file import put_page, refuse_foreign
from tasks.frame_facts import class_old_frames
from tasks.runtime import Runtime


@dataclass(frozen=True)
class DeviceReport:
    """A report that was written.

    Attributes:
        path: of the file.
        sides: the devices.
        tally: what was counted.
        sections: of each later device against the first.
    """

    path: Path
    sides: Sides
    tally: Tally
    sections: tuple[Section, ...]


def write_device_report(
    runtime: Runtime, names: Sequence[str], path: Path, threshold: float | None = None
) -> DeviceReport:
    """Writes what several devices have made of the same frames, each later one against the first.

    Reads the frames as a stream: what is held of each is a few numbers, and pictures of sixteen of each pair.

    Args:
        runtime: of this process.
        names: of two devices or more, see ``sides_of``.
        path: the file; a report that is there is replaced.
        threshold: IoU below which a frame is hard; None: as the last device's newest recipe says.

    Raises:
        NotFound, AmbiguousDevice, NoCommonFrames: the devices cannot be compared.
        ForeignFile: ``path`` is something else than a report.
        OutputUnusable: it cannot be written.
        CatalogUnavailable, CatalogBroken: the books cannot be read.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise SettingsError(f"The threshold {threshold} is no IoU.", "Give a number from 0 to 1.")
    refuse_foreign(path)
    sides = sides_of(runtime.catalog.sides.recipes(), names)
    class_old_frames(runtime)
    counted = tally(
        sides,
        runtime.catalog.sides.frames(sides.recipes),
        Reader(runtime.artifacts.get),
        sides.each[-1].threshold if threshold is None else threshold,
    )
    titles = _Titles(runtime)
    sections = tuple(
        _section(runtime, titles, sides.each[0].label, side.label, contrast)
        for side, contrast in zip(sides.each[1:], counted.contrasts, strict=True)
    )
    absent = [
        Named(side.label, reason, lacks.count, [titles.of(name) for name in lacks.frames[:ABSENT_NAMED]])
        for side, reasons in zip(sides.each, counted.absent, strict=True)
        for reason, lacks in sorted(reasons.items())
    ]
    put_page(path, render(sides, counted, sections, absent))
    return DeviceReport(path, sides, counted, sections)


def _section(runtime: Runtime, titles: "_Titles", old: str, new: str, contrast: Contrast) -> Section:
    def shown(changes: Sequence[Change]) -> list[TwoPictures]:
        found = (two_pictures(change, runtime.catalog, runtime.artifacts) for change in changes)
        return [each for each in found if each is not None]

    def listed(outcome: Outcome) -> list[Listed]:
        most_changed = sorted(contrast.changed[outcome], key=lambda change: (-abs(change.gain), change.new))
        return [Listed(change, titles.of(change.new)) for change in most_changed[:LISTED]]

    return Section(
        old=old,
        new=new,
        contrast=contrast,
        whole=whole_row(contrast),
        rows=contrast_rows(contrast),
        improved=shown(contrast.improved(PICTURES)),
        worsened=shown(contrast.worsened(PICTURES)),
        fixed=listed(Outcome.FIXED),
        broken=listed(Outcome.BROKEN),
    )


class _Titles:
    """What people call a frame: its video's title and its time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[str, str] = {}

    def of(self, frame_id: str) -> tuple[str, int]:
        """Title and milliseconds."""
        video_id, _, time_ms = frame_id.rsplit(".", 2)
        if video_id not in self._known:
            video = self._runtime.catalog.known_video(video_id)
            self._known[video_id] = (video.title or public_source(video.source)) if video else video_id
        return self._known[video_id], int(time_ms)
