"""``funnel.json``: what became of every examined frame, and of every link."""

from typing import Any

from broker.errors import FunnelMismatch
from broker.messages import Failure, Funnel, Verdict
from broker.recipe import Stage
from broker.views import JobView, LinkView, SegmentView, State
from tasks.dataset.selection import LeftOut, Selection, distinct_videos
from tasks.dataset.tables import provenance
from tasks.dataset.text import public_source, public_text

FORMAT = "hardpose dataset"
"""Marks a folder as written by hardpose."""


def total_funnel(job: JobView) -> Funnel:
    """The sum over the distinct videos of ``job``, checked segment by segment.

    Raises:
        FunnelMismatch: a segment's verdicts do not add up, or do not agree with its records.
    """
    for video, link in distinct_videos(job):
        for segment in link.segments:
            _check(video.id, segment)
    return sum((link.funnel() for _, link in distinct_videos(job)), Funnel()).check()


def stage_seconds(job: JobView) -> dict[Stage, float]:
    """Seconds that each stage took, summed over the segments of the distinct videos."""
    segments = [segment for _, link in distinct_videos(job) for segment in link.segments]
    sums = {stage: sum(s.seconds.get(stage, 0.0) for s in segments) for stage in Stage}
    return {stage: round(seconds, 3) for stage, seconds in sums.items() if seconds > 0}


def failed_links(job: JobView) -> list[tuple[LinkView, Failure]]:
    """The links that failed as a whole, with the reason as ``public_failure`` gives it, by position."""
    failed = [link for link in job.links if link.state == State.FAILED]
    return [
        (link, public_failure(_reason(link), link)) for link in sorted(failed, key=lambda each: each.position)
    ]


def public_failure(failure: Failure, link: LinkView) -> Failure:
    """``failure`` of ``link``, or of one of its segments, without the folders and secrets of its source."""
    sources = (link.link, link.video.source) if link.video is not None else (link.link,)
    return failure.model_copy(
        update={
            "cause": public_text(failure.cause, *sources),
            "remedy": public_text(failure.remedy, *sources),
        }
    )


def _reason(link: LinkView) -> Failure:
    """The link's own failure, else that of its first failed segment."""
    failures = [link.failure, *(segment.failure for segment in link.segments)]
    unknown = Failure(code="unknown", cause="No reason was recorded.", remedy="See the worker's log.")
    return next((failure for failure in failures if failure is not None), unknown)


def funnel_document(job: JobView, selection: Selection) -> dict[str, Any]:
    """The whole of ``funnel.json``.

    Raises:
        FunnelMismatch: the counts do not add up.
    """
    total = total_funnel(job)
    written, left_out = len(selection.written), len(selection.left_out)
    if written + left_out != total.of(Verdict.HARD):
        raise FunnelMismatch(
            f"{total.of(Verdict.HARD)} frames are hard, but {written} are written and {left_out} left out.",
            "This is a defect of hardpose; please report it with the job's name.",
        )
    return {
        "format": FORMAT,
        "version": 1,
        "job": job.id,
        "created_at": job.created_at,
        "recipe": job.recipe.id,
        **_counts(total),
        "written": written,
        "left_out": [_left_out(each) for each in selection.left_out],
        "seconds": stage_seconds(job),
        "videos": [_video(link) for _, link in distinct_videos(job)],
        "failed_links": [
            {"position": link.position, "link": public_source(link.link), **_failure(failure)}
            for link, failure in failed_links(job)
        ],
        "lists": [
            _list(link)
            for link in sorted(job.links, key=lambda each: each.position)
            if link.listed is not None
        ],
    }


def _check(video: str, segment: SegmentView) -> None:
    segment.funnel.check()
    if segment.state != State.DONE:
        return
    verdicts = [d.verdict for d in segment.drops]
    verdicts += [k.verdict for k in segment.keepers if k.verdict is not None]
    recorded = Funnel.count(verdicts, len(verdicts))
    if any(recorded.of(v) != segment.funnel.of(v) for v in Verdict):
        raise FunnelMismatch(
            f"Segment {segment.index} of {video} counts {segment.funnel.examined} frames"
            f" but holds records of {recorded.examined}, or of other verdicts.",
            "This is a defect of hardpose; please report it with the job's name.",
        )


def _counts(funnel: Funnel) -> dict[str, Any]:
    verdicts = {str(v): funnel.of(v) for v in Verdict if funnel.of(v)}
    return {"examined": funnel.examined, "verdicts": verdicts}


def _video(link: LinkView) -> dict[str, Any]:
    assert link.video is not None
    states = [segment.state for segment in link.segments]
    return {
        "video": link.video.id,
        "source": public_source(link.video.source),
        "title": link.video.title,
        "uploader": link.video.uploader,
        "licence": link.video.licence,
        **provenance(link.video),
        "state": str(link.state),
        **_counts(link.funnel()),
        "segments": {str(state): states.count(state) for state in State if state in states},
        "failed_segments": [
            {
                "index": s.index,
                "start_ms": s.start_ms,
                "end_ms": s.end_ms,
                **_failure(public_failure(s.failure, link)),
            }
            for s in link.segments
            if s.failure is not None
        ],
    }


def _list(link: LinkView) -> dict[str, Any]:
    return {
        "position": link.position,
        "link": public_source(link.link),
        "title": link.list_title,
        "listed": link.listed,
        "complete": link.list_complete,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "cause": failure.cause,
        "remedy": failure.remedy,
        "action": str(failure.action),
        "tool": failure.tool,
        "tool_version": failure.tool_version,
    }


def _left_out(each: LeftOut) -> dict[str, Any]:
    return {
        "video": each.shot.video.id,
        "time_ms": each.shot.keeper.time_ms,
        "partner": each.partner.name,
        "pose_distance": round(each.pose_distance, 6),
        "hash_distance": each.hash_distance,
    }
