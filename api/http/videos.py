"""Videos and their segments, and how a video is removed with all that was made of it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import CallerHere, Here, requires
from api.http.images import kept_pictures
from api.http.paging import Asked, PageAsked, VideoId
from api.http.public import public_failure, public_video
from broker.frame_views import Name, Page
from broker.views import State
from broker.work_views import Erased, SegmentSummary, VideoSummary

router = APIRouter(tags=["videos"])
READER = [requires(Role.READ)]


class VideosAsked(PageAsked):
    """The query of the list of videos."""

    job: Name | None = Field(None, description="Only this job's.")


class VideoSegmentsAsked(PageAsked):
    """The query of a video's segments."""

    state: tuple[State, ...] = Field((), max_length=10)


class SegmentsAsked(VideoSegmentsAsked):
    """The query of the list of segments."""

    job: Name | None = Field(None, description="Only this job's.")
    video: Name | None = Field(None, description="Only this video's.")


class RemovalAsked(Asked):
    """The query of a removal."""

    reason: str = Field("", max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$", description="Kept beside the id.")


@router.get("/videos", summary="List videos", dependencies=READER)
def list_videos(asked: Annotated[VideosAsked, Query()], here: Here) -> Page[VideoSummary]:
    """Fetched videos, with the counts of their segments and frames over all recipes."""
    page = here.catalog.videos.page(asked.limit, asked.cursor, asked.job)
    return page.model_copy(update={"items": tuple(_shown(item) for item in page.items)})


@router.get("/videos/{video_id}", summary="Show a video", dependencies=READER)
def show_video(video_id: VideoId, here: Here) -> VideoSummary:
    """One video, with the counts of its segments and frames over all recipes."""
    return _shown(here.catalog.videos.get(video_id))


@router.delete("/videos/{video_id}", summary="Forget a video", dependencies=[requires(Role.ADMIN)])
def forget_video(
    video_id: VideoId,
    asked: Annotated[RemovalAsked, Query()],
    here: Here,
    request: Request,
    caller: CallerHere,
) -> Erased:
    """Removes the video and all that was made of it: from the artifact store, the catalog, and the exports.

    It is not fetched again. The answer says what was removed, and what had to stay.
    """
    from tasks import erasing

    erased = erasing.forget_video(here, video_id, by=caller.name, reason=asked.reason)
    kept_pictures(request).clear()
    return erased


@router.get(
    "/videos/{video_id}/segments",
    summary="List a video's segments",
    dependencies=READER,
)
def video_segments(
    video_id: VideoId, asked: Annotated[VideoSegmentsAsked, Query()], here: Here
) -> Page[SegmentSummary]:
    """The segments of a video, under all recipes."""
    here.catalog.videos.get(video_id)  # an unknown video is no empty list
    return _segments(here.catalog.videos.segments(video_id, None, asked.state, asked.limit, asked.cursor))


@router.get("/segments", summary="List segments", dependencies=READER)
def list_segments(asked: Annotated[SegmentsAsked, Query()], here: Here) -> Page[SegmentSummary]:
    """Segments of all videos: the unit of work, of retry and of progress."""
    books = here.catalog.videos
    return _segments(books.segments(asked.video, asked.job, asked.state, asked.limit, asked.cursor))


def _shown(summary: VideoSummary) -> VideoSummary:
    return summary.model_copy(update={"video": public_video(summary.video)})


def _segments(page: Page[SegmentSummary]) -> Page[SegmentSummary]:
    shown = (item.model_copy(update={"failure": public_failure(item.failure)}) for item in page.items)
    return page.model_copy(update={"items": tuple(shown)})
