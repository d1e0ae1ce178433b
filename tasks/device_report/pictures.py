"""Frames that gain or lose most, as pictures: the person under the old device and under the new one."""

from dataclasses import dataclass

from broker.catalog import Catalog
from broker.errors import ArtifactMissing, NotFound
from broker.frame_views import FrameDetail
from tasks.dataset.contact_sheet import data_uri
from tasks.dataset.pictures import Store, read_frame, read_mask
from tasks.dataset.selection import Shot
from tasks.device_report.contrast import Change
from tasks.failure_report.pictures import outlined


@dataclass(frozen=True)
class TwoPictures:
    """A frame under two devices.

    Attributes:
        change: its two IoUs.
        frame: what is known of it, as the new device has it.
        before: a ``data:`` URI, with the teacher's and the old device's outline; empty when one is gone.
        after: the same part of the frame with the new device's.
        lost: why a picture is gone.
    """

    change: Change
    frame: FrameDetail
    before: str = ""
    after: str = ""
    lost: str = ""


def two_pictures(change: Change, catalog: Catalog, store: Store) -> TwoPictures | None:
    """The pictures of a frame; one that is gone or damaged leaves its reason, a frame that is gone None."""
    try:
        old, new = catalog.frames.get(change.old), catalog.frames.get(change.new)
    except NotFound:  # removed while the report was made
        return None
    shot = Shot(new.video, new.keeper)
    try:
        bgr = read_frame(shot, store).bgr
        size = bgr.shape[:2]
        teacher = read_mask(shot, store, new.keeper.mask_key, "teacher's mask", size).mask
        first = read_mask(shot, store, old.keeper.device_key, "old device's mask", size).mask
        second = read_mask(shot, store, new.keeper.device_key, "new device's mask", size).mask
    except ArtifactMissing as error:
        return TwoPictures(change, new, lost=error.cause)
    return TwoPictures(
        change,
        new,
        data_uri(outlined(bgr, teacher, first, new.keeper, second)),
        data_uri(outlined(bgr, teacher, second, new.keeper, first)),
    )
