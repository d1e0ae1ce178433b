"""What is said when a job has ended: counts, failures with their remedies, and why nothing was kept."""

from typing import Any

from api.failures import failure_lines, failures, reasons
from api.printable import counted
from broker.messages import Verdict
from broker.views import JobView, LinkView
from tasks.publish import Published
from tasks.verdicts import explain_funnel, faults


def summary_lines(
    job: JobView, published: Published | None = None, all_failures: bool = False, retry: str | None = None
) -> list[str]:
    """The summary for people.

    Args:
        job: the job.
        published: where its data set is, if it was written.
        all_failures: each one, not by reason when there are many.
        retry: the command that tries failures again; None where that is the one that was just given.
    """
    funnel = job.funnel()
    asked = [link for link in job.links if link.parent is None]
    of_lists = f" of {counted(len(asked), 'link')}" if len(job.videos) < len(job.links) else ""
    lines = [
        f"{counted(len(job.videos), 'video')}{of_lists}, {counted(funnel.examined, 'frame')} examined, "
        f"{funnel.of(Verdict.EASY, Verdict.HARD)} kept, {funnel.of(Verdict.HARD)} hard"
    ]
    lines += failure_lines(job, all_failures, retry)
    lines += _faults(job)
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
    found = failures(job)
    return {
        "job_id": job.id,
        "recipe_id": job.recipe.id,
        "intake": job.intake.model_dump(mode="json", exclude_defaults=True),
        "final": job.final,
        "videos": len(job.videos),
        "links": [_link(link) for link in job.links],
        "failures": [{"link": link.link, **f.model_dump(mode="json")} for link, f in found],
        "failure_reasons": [reason.json() for reason in reasons(found)],
        "funnel": funnel.model_dump(mode="json"),
        "reasons": explain_funnel(funnel),
        "faults": faults(job),
        "dataset": str(published.folder) if published else None,
        "images": published.images if published else None,
        "report": str(published.report) if published else None,
    }


def _faults(job: JobView) -> list[str]:
    """Why frames failed, by the code of the error; nothing where none did."""
    found = faults(job)
    named = ", ".join(f"{count} {code}" for code, count in found.items())
    return [f"{counted(sum(found.values()), 'frame')} failed: {named}"] if found else []


def _link(link: LinkView) -> dict[str, Any]:
    listing = {"title": link.list_title, "videos": link.listed, "complete": link.list_complete}
    return {
        "position": link.position,
        "link": link.link,
        "state": link.state.value,
        "video": link.video.id if link.video else None,
        "parent": link.parent,
        "list": listing if link.listed is not None else None,
        "funnel": link.funnel().model_dump(mode="json"),
    }
