"""What is said when a job has ended: counts, failures with their remedies, and why nothing was kept."""

from typing import Any

from broker.messages import Failure, Verdict
from broker.views import JobView, LinkView
from tasks.publish import Published
from tasks.verdicts import explain_funnel


def failures(job: JobView) -> list[tuple[LinkView, Failure]]:
    """Every recorded failure of the job's links and segments."""
    found = []
    for link in job.links:
        of_segments = [(link, segment.failure) for segment in link.segments if segment.failure is not None]
        # A link whose segments failed carries the first of their failures: it is not a further one.
        own = [(link, link.failure)] if link.failure is not None and not of_segments else []
        found += own + of_segments
    return found


def summary_lines(job: JobView, published: Published | None = None) -> list[str]:
    """The summary for people."""
    funnel = job.funnel()
    lines = [
        f"{len(job.links)} links, {funnel.examined} frames examined, "
        f"{funnel.of(Verdict.EASY, Verdict.HARD)} kept, {funnel.of(Verdict.HARD)} hard"
    ]
    for link, failure in failures(job):
        lines.append(f"failed ({failure.code}): {link.link}\n    {failure.cause} {failure.remedy}")
    if not funnel.of(Verdict.EASY, Verdict.HARD):
        lines.append("Nothing was kept, because:" if funnel.examined else "Nothing was examined.")
        lines += [f"    {reason}" for reason in explain_funnel(funnel)]
    elif not funnel.of(Verdict.HARD):
        lines.append(
            f"No frame is hard: the device agreed with the teacher on all that was kept "
            f"(IoU >= {job.recipe.comparison.iou_threshold})."
        )
    if published is not None:
        lines += [
            f"data set: {published.folder} ({published.images} images)",
            f"report:   {published.report}",
        ]
    return lines


def summary_json(job: JobView, published: Published | None = None) -> dict[str, Any]:
    """The summary for programs."""
    funnel = job.funnel()
    return {
        "job_id": job.id,
        "recipe_id": job.recipe.id,
        "final": job.final,
        "links": [
            {
                "link": link.link,
                "state": link.state.value,
                "video": link.video.id if link.video else None,
                "funnel": link.funnel().model_dump(mode="json"),
            }
            for link in job.links
        ],
        "failures": [{"link": link.link, **f.model_dump(mode="json")} for link, f in failures(job)],
        "funnel": funnel.model_dump(mode="json"),
        "reasons": explain_funnel(funnel),
        "dataset": str(published.folder) if published else None,
        "images": published.images if published else None,
        "report": str(published.report) if published else None,
    }
