"""The failed links of a report: one by one, or by reason where many failed for the same one."""

from collections import defaultdict
from dataclasses import dataclass

from broker.messages import Failure
from broker.views import JobView
from tasks.dataset.funnel_book import failed_links
from tasks.dataset.text import public_source

FEW = 3
"""Links that failed for one reason and are still told one by one."""


@dataclass(frozen=True)
class FailureGroup:
    """Links with one reason."""

    what: str
    """The link, or how many."""
    failure: Failure
    """Of the first of them."""
    links: tuple[tuple[int, str, str], ...] = ()
    """Number, link and cause of each, where there are many."""

    @property
    def kind(self) -> str:
        """What kind of reason it is, and by whom it was found: ``permanent; yt-dlp 2026.10.26``."""
        return kind_of(self.failure)


def kind_of(failure: Failure) -> str:
    """``transient; yt-dlp 2026.10.26``: the action, and the tool where there is one."""
    tool = f"{failure.tool} {failure.tool_version}".strip()
    action = str(failure.action).replace("_", " ")
    return f"{action}; {tool}" if tool else action


def failure_groups(job: JobView) -> list[FailureGroup]:
    """The job's failed links, the most frequent reason first, then by position."""
    found: dict[tuple[str, str, str], list[tuple[int, str, Failure]]] = defaultdict(list)
    for link, failure in failed_links(job):
        row = (link.position + 1, public_source(link.link), failure)
        found[failure.code, failure.tool, failure.tool_version].append(row)
    many = sorted((rows for rows in found.values() if len(rows) > FEW), key=lambda rows: -len(rows))
    few = sorted((row for rows in found.values() if len(rows) <= FEW for row in rows), key=lambda row: row[0])
    groups = [
        FailureGroup(f"{len(rows):,} links", rows[0][2], tuple((n, text, f.cause) for n, text, f in rows))
        for rows in many
    ]
    return groups + [FailureGroup(f"{number}. {text}", failure) for number, text, failure in few]
