"""Jobs, videos and segments as lists show them: counts, and nothing that grows with a job's frames."""

from pydantic import Field

from broker.messages import Failure, Funnel, Video
from broker.priority import Priority as Priority
from broker.recipe import Frozen, Stage
from broker.views import State


class SegmentCounts(Frozen):
    """Segments by what became of them."""

    total: int = 0
    done: int = 0
    failed: int = 0


class JobSummary(Frozen):
    """A job in a list."""

    id: str
    recipe_id: str
    created_at: str
    """UTC, ISO 8601."""
    updated_at: str
    """When anything of it last changed."""
    priority: Priority = Priority.NORMAL
    cancelled_at: str | None = None
    state: State
    """``queued`` before any link was begun, ``running``, then ``done``, ``failed`` (all) or ``partial``."""
    links: dict[State, int]
    """Its links by state; lists (playlists, channels) are not counted, what they name is."""
    lists: int = 0
    segments: SegmentCounts = SegmentCounts()
    funnel: Funnel = Funnel()
    """Over its distinct videos."""
    seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds that each stage took, over its segments."""


class LinkSummary(Frozen):
    """A link of a job."""

    job_id: str
    position: int
    link: str
    state: State
    failure: Failure | None = None
    video_id: str | None = None
    title: str = ""
    parent: int | None = None
    """Position of the list that named it."""
    listed: int | None = None
    """How many videos it named, if it is a list."""
    segments: SegmentCounts = SegmentCounts()
    funnel: Funnel = Funnel()


class VideoSummary(Frozen):
    """A video in a list."""

    video: Video
    jobs: tuple[str, ...]
    """The jobs that have it, the oldest first."""
    segments: SegmentCounts
    """Over all recipes."""
    funnel: Funnel
    """Over all recipes."""


class SegmentSummary(Frozen):
    """A segment in a list."""

    video_id: str
    recipe_id: str
    index: int
    start_ms: int
    end_ms: int
    state: State
    funnel: Funnel = Funnel()
    seconds: dict[Stage, float] = Field(default_factory=dict)
    failure: Failure | None = None
    updated_at: str


class Erased(Frozen):
    """What a deletion has removed."""

    videos: int = 0
    """Source videos, from the catalog and the artifact store."""
    segments: int = 0
    frames: int = 0
    reviews: int = 0
    """Decisions of reviewers."""
    artifacts: int = 0
    """Files of the artifact store."""
    exports: tuple[str, ...] = ()
    """Ids of the exports that held something of it and are gone."""
    jobs: tuple[str, ...] = ()
    """Ids of the jobs that have lost a video or are gone."""
    kept: tuple[str, ...] = ()
    """What had to stay, each with its reason."""


class Cancelled(Frozen):
    """What cancelling a job has stopped."""

    job_id: str
    links: int
    """Links that had not ended."""
    segments: int
    """Segments that had not ended and that no other job waits for."""
