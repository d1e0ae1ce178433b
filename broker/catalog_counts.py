"""What the books hold, as numbers: a handful of sums that are cheap however many frames there are."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, func, select

from broker.analysis_counts import add_funnels, funnel_of
from broker.database import Database
from broker.frame_views import Review
from broker.job_books import job_states
from broker.messages import Funnel, Verdict
from broker.recipe import Frozen
from broker.tables import AnalysisRow, ExportRow, FrameRow, LinkRow, VideoRow
from broker.views import State
from broker.work_views import SegmentCounts


class CatalogCounts(Frozen):
    """All that is in the books, counted."""

    jobs: dict[State, int] = Field(default_factory=dict)
    links: dict[State, int] = Field(default_factory=dict)
    """Without lists."""
    videos: int = 0
    segments: SegmentCounts = SegmentCounts()
    funnel: Funnel = Funnel()
    """Over all videos and recipes: frames that were examined, by verdict."""
    reviews: dict[Review, int] = Field(default_factory=dict)
    """Hard frames by what the reviewers have made of them."""
    exports: dict[State, int] = Field(default_factory=dict)


class CountBooks:
    """The counts. Reached as ``catalog.counts``; raises as every method of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> CatalogCounts:
        """All of them, as of one moment."""
        return self._database.read(_counts)


def _counts(connection: Connection) -> CatalogCounts:
    jobs = job_states().subquery()
    links = select(LinkRow.state, func.count()).where(LinkRow.listed.is_(None)).group_by(LinkRow.state)
    hard = FrameRow.verdict == Verdict.HARD.value
    reviews = select(FrameRow.review, func.count()).where(hard).group_by(FrameRow.review)
    exports = select(ExportRow.state, func.count()).group_by(ExportRow.state)
    columns = (AnalysisRow.segments, AnalysisRow.done, AnalysisRow.failed)
    sums: Any = connection.execute(select(*(func.coalesce(func.sum(each), 0) for each in columns))).one()
    funnels = connection.scalars(select(AnalysisRow.funnel))
    of_jobs = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    return CatalogCounts(
        jobs={State(name): count for name, count in _pairs(connection.execute(of_jobs))},
        links={State(name): count for name, count in _pairs(connection.execute(links))},
        videos=connection.scalar(select(func.count()).select_from(VideoRow)) or 0,
        segments=SegmentCounts(total=sums[0], done=sums[1], failed=sums[2]),
        funnel=funnel_of(add_funnels(funnels)),
        reviews={Review(name): count for name, count in _pairs(connection.execute(reviews))},
        exports={State(name): count for name, count in _pairs(connection.execute(exports))},
    )


def _pairs(rows: Iterable[Any]) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in rows]
