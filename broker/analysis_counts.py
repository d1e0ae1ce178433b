"""The sums that an analysis keeps over its segments. Call each under the lock of the analysis."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select, update

from broker.messages import Funnel
from broker.tables import AnalysisRow, SegmentRow
from broker.views import State


def recount(connection: Connection, video_id: str, recipe_id: str) -> None:
    """Makes the sums anew from all segments: for whoever has added, removed or changed several of them."""
    mine = and_(SegmentRow.video_id == video_id, SegmentRow.recipe_id == recipe_id)
    columns = (SegmentRow.state, SegmentRow.funnel, SegmentRow.seconds, SegmentRow.updated_at)
    rows = connection.execute(select(*columns).where(mine).order_by(SegmentRow.index)).all()
    states = [State(row.state) for row in rows]
    done = [row for row, state in zip(rows, states, strict=True) if state is State.DONE]
    values = {
        "segments": len(rows),
        "done": len(done),
        "failed": states.count(State.FAILED),
        "funnel": add_funnels(row.funnel for row in done),
        "seconds": add_seconds(row.seconds for row in done),
        "updated_at": max((row.updated_at for row in rows), default=None),
    }
    _write(connection, video_id, recipe_id, values)


def count_done(
    connection: Connection, video_id: str, recipe_id: str, before: State, segment: Mapping[str, Any]
) -> None:
    """Adds a segment that is done now.

    Args:
        connection: in the transaction that changes the segment.
        video_id: of the analysis.
        recipe_id: of the analysis.
        before: the segment's state until now.
        segment: its new ``funnel``, ``seconds`` and ``updated_at``.
    """
    row = _row(connection, video_id, recipe_id)
    values = {
        "done": row.done + 1,
        "failed": row.failed - (before is State.FAILED),
        "funnel": add_funnels((row.funnel, segment["funnel"])),
        "seconds": add_seconds((row.seconds, segment["seconds"])),
        "updated_at": segment["updated_at"],
    }
    _write(connection, video_id, recipe_id, values)


def count_failed(connection: Connection, video_id: str, recipe_id: str, updated_at: str) -> None:
    """Adds a segment that was open and has failed now."""
    row = _row(connection, video_id, recipe_id)
    _write(connection, video_id, recipe_id, {"failed": row.failed + 1, "updated_at": updated_at})


def count_ended(connection: Connection, recipe_id: str, failed: Mapping[str, int], updated_at: str) -> None:
    """Adds open segments that have failed now, to analyses of one recipe by their videos."""
    change = update(AnalysisRow).where(
        AnalysisRow.video_id == bindparam("of_video"), AnalysisRow.recipe_id == recipe_id
    )
    change = change.values(failed=AnalysisRow.failed + bindparam("more"), updated_at=updated_at)
    if failed:
        connection.execute(change, [{"of_video": name, "more": more} for name, more in failed.items()])


def add_funnels(funnels: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The sum of funnels as the tables hold them, without making models of them: lists add up thousands."""
    examined, verdicts = 0, dict[str, int]()
    for funnel in funnels:
        if funnel:
            examined += funnel["examined"]
            for verdict, count in funnel["verdicts"].items():
                verdicts[verdict] = verdicts.get(verdict, 0) + count
    return {"examined": examined, "verdicts": verdicts}


def add_seconds(seconds: Iterable[Mapping[str, float] | None]) -> dict[str, float]:
    """The sum by stage."""
    sums: dict[str, float] = {}
    for each in seconds:
        for stage, value in (each or {}).items():
            sums[stage] = sums.get(stage, 0.0) + value
    return sums


def funnel_of(record: Mapping[str, Any] | None) -> Funnel:
    """The funnel of a column; none yet is an empty one."""
    return Funnel.model_validate(record) if record else Funnel()


def _row(connection: Connection, video_id: str, recipe_id: str) -> Any:
    columns = (AnalysisRow.done, AnalysisRow.failed, AnalysisRow.funnel, AnalysisRow.seconds)
    return connection.execute(select(*columns).where(_at(video_id, recipe_id))).one()


def _write(connection: Connection, video_id: str, recipe_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(AnalysisRow).where(_at(video_id, recipe_id)).values(values))


def _at(video_id: str, recipe_id: str) -> Any:
    return and_(AnalysisRow.video_id == video_id, AnalysisRow.recipe_id == recipe_id)
