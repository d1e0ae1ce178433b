"""Failures of a job: one by one, or by reason when there are many."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.printable import counted, printable
from broker.errors import Action, WorkCancelled
from broker.messages import Failure
from broker.views import JobView, LinkView

FEW = 3
"""Failures for one reason that are still told one by one in a summary."""
RETRYABLE = (Action.TRANSIENT, Action.SESSION_POISONED, Action.OUTDATED_TOOL)
"""Trying again may help: later, after the pause, with a newer tool."""

Found = list[tuple[LinkView, Failure]]


@dataclass(frozen=True)
class Reason:
    """What failed for one reason."""

    code: str
    action: Action
    count: int
    link: str
    """An example."""
    failure: Failure
    """Of the example."""

    def json(self) -> dict[str, Any]:
        """For programs."""
        example = {"link": self.link, "cause": self.failure.cause, "remedy": self.failure.remedy}
        retry = self.action in RETRYABLE
        return {"code": self.code, "action": self.action.value, "count": self.count, "retry": retry} | example


def failures(job: JobView) -> Found:
    """Every recorded failure of the job's links and segments."""
    found = []
    for link in job.links:
        of_segments = [(link, segment.failure) for segment in link.segments if segment.failure is not None]
        # A link whose segments failed carries the first of their failures: it is not a further one.
        own = [(link, link.failure)] if link.failure is not None and not of_segments else []
        found += own + of_segments
    return found


def reasons(found: Found) -> list[Reason]:
    """The reasons, the most frequent first."""
    groups: dict[tuple[str, Action], Found] = defaultdict(list)
    for link, failure in found:
        groups[failure.code, failure.action].append((link, failure))
    made = [
        Reason(code, action, len(group), group[0][0].link, group[0][1])
        for (code, action), group in groups.items()
    ]
    return sorted(made, key=lambda reason: (-reason.count, reason.code))


def retry_command(job_id: str, home: Path | None = None) -> str:
    """What tries the failures of a job again, in the folder ``home`` if that was named."""
    return f"hardpose retry {job_id}" + (f" --home {shlex.quote(str(home))}" if home else "")


def failure_lines(job: JobView, all_of_them: bool = False, retry: str | None = None) -> list[str]:
    """Failures with cause and remedy, of more than ``FEW`` for one reason an example; then what may pass.

    Args:
        job: the job.
        all_of_them: each one.
        retry: the command that tries again; None where that is the one that was just given.
    """
    every = failures(job)
    found = [(link, failure) for link, failure in every if failure.code != WorkCancelled.code]
    groups = reasons(found)
    many = {(r.code, r.action) for r in groups if r.count > FEW and not all_of_them}
    lines = [_reason_line(reason) for reason in groups if (reason.code, reason.action) in many]
    lines += [
        f"failed ({f.code}): {printable(link.link)}\n{_why(f)}"
        for link, f in found
        if (f.code, f.action) not in many
    ]
    return lines + _cancelled(job, len(every) - len(found)) + _hints(retry, groups)


def _cancelled(job: JobView, count: int) -> list[str]:
    """One line for whatever a cancelling has ended: it is no list of failures."""
    if not count:
        return []
    links = sum(link.failure is not None and link.failure.code == WorkCancelled.code for link in job.links)
    what = counted(links, "link") if links else counted(count, "segment")
    again = f"{retry_command(job.id)} --reason {WorkCancelled.code}"
    return [f"cancelled: {what}; taken up again by the same command, or by {again}"]


def _reason_line(reason: Reason) -> str:
    return f"failed ({reason.code}) {reason.count:,} x, e.g. {printable(reason.link)}\n{_why(reason.failure)}"


def _why(failure: Failure) -> str:
    tool = f"; {failure.tool} {failure.tool_version}".rstrip() if failure.tool else ""
    return f"    ({failure.action}{tool}) {printable(failure.cause)} {printable(failure.remedy)}".rstrip()


def _hints(retry: str | None, groups: Sequence[Reason]) -> list[str]:
    again = [reason for reason in groups if reason.action in RETRYABLE]
    if not again:
        return []
    may_pass = f"{counted(sum(r.count for r in again), 'failure')} may pass:"
    if retry is None:
        return [f"{may_pass} the same command tries again."]
    options = " ".join(f"--reason {code}" for code in dict.fromkeys(reason.code for reason in again))
    return [f"{may_pass} {retry} {options}"]
