"""What the catalog answers: read-only views for the command line, the data set and the API."""

from enum import StrEnum

from pydantic import Field

from broker.intake import Intake
from broker.messages import Drop, Failure, Funnel, Keeper, Video
from broker.priority import Priority
from broker.recipe import Frozen, Recipe, Stage


class State(StrEnum):
    """Where a link or a segment stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    """Links only: some segments are done, some failed."""
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self in (State.DONE, State.PARTIAL, State.FAILED)


class SegmentView(Frozen):
    """A segment as the catalog knows it."""

    index: int
    start_ms: int
    end_ms: int
    state: State
    funnel: Funnel = Funnel()
    drops: tuple[Drop, ...] = ()
    keepers: tuple[Keeper, ...] = ()
    """Decided keepers, by time."""
    seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds that each stage took."""
    failure: Failure | None = None


class LinkOrder(Frozen):
    """All that the download of one link needs to know of its job."""

    job_id: str
    position: int
    link: str
    state: State
    recipe: Recipe
    intake: Intake
    video_id: str | None = None
    """The video it led to, if it was fetched before."""
    parent: int | None = None
    """Position of the list it was found in."""
    listed: int | None = None
    """How many videos it named, if it is a list that has been read."""
    priority: Priority = Priority.NORMAL


class LinkView(Frozen):
    """One link of a job, with its video once that is known."""

    position: int
    link: str
    state: State
    failure: Failure | None = None
    video: Video | None = None
    segments: tuple[SegmentView, ...] = ()
    parent: int | None = None
    """Position of the playlist or channel that named this link; None if the user gave it."""
    listed: int | None = None
    """How many videos it named, if it is a playlist or a channel. Such a link has no video of its own."""
    list_title: str = ""
    list_complete: bool = True
    """Whether the list held no more videos than were taken."""

    def funnel(self) -> Funnel:
        """The sum over the finished segments."""
        return sum((s.funnel for s in self.segments), Funnel())


class JobView(Frozen):
    """A job: some links under one recipe."""

    id: str
    recipe: Recipe
    created_at: str
    """UTC, ISO 8601."""
    links: tuple[LinkView, ...] = ()
    intake: Intake = Intake()
    """Which of the linked videos it takes in."""
    priority: Priority = Priority.NORMAL
    cancelled_at: str | None = None
    """Set while the job is cancelled; taking it up again clears it."""

    @property
    def videos(self) -> tuple[LinkView, ...]:
        """The links that are not lists: each is, or may become, one video."""
        return tuple(link for link in self.links if link.listed is None)

    @property
    def final(self) -> bool:
        """Whether every link has ended."""
        return all(link.state.final for link in self.links)

    def funnel(self) -> Funnel:
        """The sum over the job's distinct videos: a video asked for twice counts once."""
        seen: dict[str, LinkView] = {link.video.id: link for link in self.links if link.video}
        return sum((link.funnel() for link in seen.values()), Funnel())
