"""The page of the failure report: everything in one HTML file, no script, nothing loaded from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

import tasks.dataset
from broker.frame_views import PoseClass
from broker.messages import Verdict
from tasks import mask_colours
from tasks.dataset.credits import model_credits
from tasks.dataset.histogram import Histogram
from tasks.dataset.report import KIND, Row, csp_hash, page_environment, safe_href
from tasks.dataset.text import public_source
from tasks.failure_report.file import MARK
from tasks.failure_report.intervals import DRAWS, Estimate
from tasks.failure_report.pictures import Portrait
from tasks.failure_report.poses import FEW, POSE_NAMES, REFERENCE, Overall, PoseRow, overall
from tasks.failure_report.scope import Scope, Work
from tasks.failure_report.tally import Tally
from tasks.verdicts import VERDICTS

THRESHOLDS = (0.4, 0.5, 0.6, 0.7)
MAX_VIDEOS = 100
"""Rows of the table of videos; the others are summed up in one."""
MOST_NAMED = 3
"""Pose classes that the first sentence names."""

_HERE, _DATASET = Path(__file__).parent, Path(tasks.dataset.__file__).parent


@dataclass(frozen=True)
class VideoRow:
    """What a video has brought."""

    title: str
    href: str | None
    licence: str
    minutes: float
    examined: int
    compared: int
    hard: int
    mean: float | None

    @property
    def hard_per_minute(self) -> float:
        """Hard frames in a minute of video."""
        return self.hard / self.minutes if self.minutes else 0.0


@dataclass(frozen=True)
class Saving:
    """What a threshold would save."""

    threshold: float
    frames: int
    share: float
    video_seconds: float | None
    """Of video that had to be examined for each saved frame; None when none is saved."""
    compute_seconds: float | None
    """The same of computing, all stages together."""
    chosen: bool


def render(
    scope: Scope,
    tally: Tally,
    rejected: int,
    rows: Sequence[PoseRow],
    portraits: Mapping[PoseClass, Sequence[Portrait]],
) -> bytes:
    """The page as UTF-8; every text from outside is escaped.

    Args:
        scope: the work.
        tally: its compared frames.
        rejected: how many frames reviewers have rejected; they are not in ``tally``.
        rows: its pose classes, as the page lists them.
        portraits: the worst frames of each class, the worst first.
    """
    whole = overall(tally)
    sheets = ((folder / "report.css").read_text(encoding="utf-8") for folder in (_DATASET, _HERE))
    style = "".join([mask_colours.STYLE, *sheets])
    environment = page_environment(_HERE, _DATASET)
    environment.filters |= {"percent": percent, "interval": interval, "seconds": seconds_text}
    ious = [iou for values in tally.ious.values() for iou in values]
    page = environment.get_template("failures.html").render(
        mark=Markup(MARK),  # noqa: S704 - our own constant
        style=Markup(style),  # noqa: S704 - our own file, not a user's text
        style_hash=csp_hash(style),
        scope=scope,
        tally=tally,
        rejected=rejected,
        whole=whole,
        rows=rows,
        reference=next((row for row in rows if row.pose == REFERENCE), None),
        worst=worst_classes(rows, whole),
        clearly=any(row.clearly_worse for row in rows),
        few=FEW,
        draws=DRAWS,
        portraits=[(POSE_NAMES[pose][0], pose, shown) for pose, shown in portraits.items() if shown],
        histogram=Histogram.of(ious, tally.threshold),
        savings=savings(scope, tally),
        funnel=scope.funnel(),
        verdicts=_verdicts(scope),
        **_videos(scope, tally),
        **_cost(scope),
        models=model_credits(scope.recipe),
    )
    return page.encode()


def worst_classes(rows: Sequence[PoseRow], whole: Overall | None) -> list[PoseRow]:
    """The classes to name first: those with enough frames that fail more often than all together.

    They come as ``rows`` do; where none does so, the first that has a hard frame.
    """
    known = [row for row in rows if not row.few and row.hard]
    above = [row for row in known if whole is not None and row.share.value > whole.share.value]
    return (above or known[:1])[:MOST_NAMED]


def percent(share: float) -> str:
    """A share in whole percent, with one digit behind the point below 10."""
    digits = 1 if 0 < abs(share) < 0.0995 else 0
    return f"{100 * share:.{digits}f} %"


def interval(estimate: Estimate, kind: str = "iou") -> str:
    """``0.31 to 0.48``, or in percent with ``share``; empty without one. Differences show their sign."""
    if estimate.low is None or estimate.high is None:
        return ""
    if kind == "share":
        return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f} %"
    sign = "+" if kind == "difference" else ""
    return f"{estimate.low:{sign}.2f} to {estimate.high:{sign}.2f}"


def seconds_text(seconds: float | None) -> str:
    """A duration for people: ``0.4 s``, ``12 s``, ``3.5 min``, ``2.1 h``; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def savings(scope: Scope, tally: Tally) -> list[Saving]:
    """What thresholds around the chosen one would save."""
    video = sum(work.seconds for work in scope.works)
    compute = sum(scope.stage_seconds().values())
    return [
        Saving(
            threshold=threshold,
            frames=(saved := tally.below(threshold)),
            share=saved / tally.count if tally.count else 0.0,
            video_seconds=video / saved if saved else None,
            compute_seconds=compute / saved if saved else None,
            chosen=threshold == tally.threshold,
        )
        for threshold in sorted({*THRESHOLDS, tally.threshold})
    ]


def _verdicts(scope: Scope) -> list[Row]:
    """The verdicts that there are, the most frequent first."""
    funnel = scope.funnel()
    rows = [
        Row(
            name=str(verdict).replace("_", " "),
            count=funnel.of(verdict),
            share=round(100 * funnel.of(verdict) / max(1, funnel.examined), 2),
            text=VERDICTS[verdict].text,
            kind=KIND.get(verdict, "dropped"),
            setting=VERDICTS[verdict].setting,
        )
        for verdict in Verdict
        if funnel.of(verdict)
    ]
    return sorted(rows, key=lambda row: -row.count)


def _videos(scope: Scope, tally: Tally) -> dict[str, Any]:
    works: dict[str, list[Work]] = {}
    for work in scope.works:
        works.setdefault(work.video.id, []).append(work)
    rows = [_video(same, tally) for same in works.values()]
    rows.sort(key=lambda row: (-row.hard, -row.compared, row.title))
    return {"videos": rows[:MAX_VIDEOS], "other_videos": rows[MAX_VIDEOS:]}


def _video(works: Sequence[Work], tally: Tally) -> VideoRow:
    video, number = works[-1].video, tally.videos.get(works[-1].video.id)
    compared = sum(tally.frames[number]) if number is not None else 0
    return VideoRow(
        title=video.title or public_source(video.source),
        href=safe_href(video.source),
        licence=video.licence,
        minutes=max(work.seconds for work in works) / 60,
        examined=sum(work.funnel.examined for work in works),
        compared=compared,
        hard=sum(tally.hards[number]) if number is not None else 0,
        mean=sum(tally.sums[number]) / compared if number is not None and compared else None,
    )


def _cost(scope: Scope) -> dict[str, Any]:
    stages = scope.stage_seconds()
    longest = max(stages.values(), default=0.0) or 1.0
    return {
        "stages": [(stage, taken, round(100 * taken / longest, 2)) for stage, taken in stages.items()],
        "compute_seconds": sum(stages.values()),
        "video_seconds": sum(work.seconds for work in scope.works),
    }
