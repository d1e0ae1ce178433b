"""The books of exports, on both databases."""

import threading

import pytest
from samples_of_books import planned
from sqlalchemy import delete, insert, text

from broker.catalog import Catalog
from broker.cursors import pack
from broker.errors import NotFound
from broker.export_books import FramesRemoved
from broker.exports import ExportFormat, ExportSpec
from broker.frame_views import BadCursor
from broker.messages import Failure
from broker.tables import ForgottenRow, VideoRow
from broker.views import State

SPEC = ExportSpec(format=ExportFormat.YOLO_SEG, control=3)
DONE = {"artifact": "exports/x.zip", "size_bytes": 5_000_000_000, "sha256": "a" * 64, "counts": {"train": 4}}


def test_an_order_from_queued_to_done(catalog: Catalog) -> None:
    planned(catalog, 1)
    order = catalog.exports.create(SPEC, "ann")
    assert (order.spec, order.state, order.requested_by) == (SPEC, State.QUEUED, "ann")
    assert catalog.exports.open() == [order.id]
    assert catalog.exports.start(order.id)
    assert catalog.exports.start(order.id)  # its worker was killed: another begins again
    assert catalog.exports.finish(order.id, **DONE, videos=["sha256:ab"])
    done = catalog.exports.get(order.id)
    assert (done.state, done.size_bytes, done.counts) == (State.DONE, 5_000_000_000, {"train": 4})
    assert not catalog.exports.start(order.id)  # a message that is delivered twice
    catalog.exports.fail(order.id, Failure(code="late", cause="late"))
    assert catalog.exports.get(order.id) == done
    assert catalog.exports.open() == []
    assert catalog.exports.delete(order.id) == done
    for name in (order.id, "a\0b", "\ud800"):
        with pytest.raises(NotFound):
            catalog.exports.get(name)
    assert not catalog.exports.start(order.id)
    assert not catalog.exports.finish(order.id, **DONE, videos=[])


def test_pages_hold_every_order_once_newest_first(catalog: Catalog) -> None:
    made = [catalog.exports.create(SPEC, "ann").id for _ in range(7)]
    seen: list[str] = []
    times: list[str] = []
    cursor = None
    for _ in range(4):
        page = catalog.exports.page(2, cursor)
        assert page.total == 7
        seen += [view.id for view in page.items]
        times += [view.created_at for view in page.items]
        cursor = page.next
    assert cursor is None
    assert sorted(seen) == sorted(made)
    assert times == sorted(times, reverse=True)
    for bad in ("x", "eA==", "\u00e9", pack("jobs", ["a", "b"])):
        with pytest.raises(BadCursor):
            catalog.exports.page(2, bad)


@pytest.mark.parametrize("how", ["forgotten", "deleted"])
def test_an_export_of_a_video_that_was_removed_meanwhile_is_not_done(catalog: Catalog, how: str) -> None:
    planned(catalog, 1)
    order = catalog.exports.create(SPEC, "ann")
    assert catalog.exports.start(order.id)
    gone = "sha256:ab" if how == "forgotten" else "sha256:never"
    row = {"video_id": "sha256:ab", "at": "now", "by": "ann", "reason": "asked", "together": "one"}
    if how == "forgotten":
        catalog._database.write(lambda connection: connection.execute(insert(ForgottenRow).values(row)))
    with pytest.raises(FramesRemoved) as error:
        catalog.exports.finish(order.id, **DONE, videos=[gone])
    assert gone in error.value.cause
    assert catalog.exports.get(order.id).state == State.RUNNING


def test_the_removal_of_a_video_and_the_end_of_its_export_wait_for_each_other(
    catalog: Catalog, url: str
) -> None:
    """Whichever comes first, the other sees it: here the removal, still open when the export ends."""
    planned(catalog, 1, name="cd", job_id="other")
    catalog._database.write(lambda c: c.execute(text("DELETE FROM segments")))
    catalog._database.write(lambda c: c.execute(text("DELETE FROM analyses")))
    catalog._database.write(lambda c: c.execute(text("UPDATE links SET video_id = NULL")))
    order = catalog.exports.create(SPEC, "ann")
    assert catalog.exports.start(order.id)
    removed, ended = threading.Event(), threading.Event()
    found: list[BaseException | bool] = []

    def end() -> None:
        assert removed.wait(100)
        try:
            found.append(catalog.exports.finish(order.id, **DONE, videos=["sha256:cd"]))
        except FramesRemoved as error:
            found.append(error)
        ended.set()

    thread = threading.Thread(target=end)
    thread.start()

    def remove(connection: object) -> None:
        connection.execute(delete(VideoRow).where(VideoRow.id == "sha256:cd"))  # type: ignore[attr-defined]
        removed.set()
        assert not ended.wait(0.5)  # it waits for this transaction

    catalog._database.write(remove)
    thread.join(200)
    assert isinstance(found[0], FramesRemoved)


def test_jobs_of_videos(catalog: Catalog) -> None:
    segments = planned(catalog, 1, job_id="one")
    planned(catalog, 1, job_id="two")
    planned(catalog, 1, name="other", job_id="three")
    recipe = segments[0].recipe.id
    assert catalog.exports.jobs_of(["sha256:ab"], [recipe]) == ["one", "two"]
    assert catalog.exports.jobs_of(["sha256:ab"], ["another"]) == []
