"""The page of several devices on the same frames: one HTML file, no script, nothing loaded from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

import tasks.dataset
import tasks.failure_report
from broker.recipe import ModelSpec
from tasks import mask_colours
from tasks.dataset.credits import model_credits
from tasks.dataset.report import csp_hash, page_environment
from tasks.device_report.contrast import GRID, Change, Contrast, Outcome
from tasks.device_report.mcnemar import mcnemar
from tasks.device_report.pictures import TwoPictures
from tasks.device_report.rows import ContrastRow
from tasks.device_report.sides import Sides
from tasks.device_report.tally import NOT_TRIED, Tally
from tasks.failure_report.file import MARK
from tasks.failure_report.intervals import DRAWS
from tasks.failure_report.page import interval, percent
from tasks.failure_report.poses import FEW, POSE_NAMES
from tasks.failure_report.tally import POSES

PICTURES = 8
"""Of the frames that gain most, and of those that lose most."""
LISTED = 100
"""Frames that a list names; the rest is counted."""
ABSENT_NAMED = 5
"""Frames that are named of each device and reason for which it lacks some."""
CHANCE = 0.05
"""Below this p-value the page says that a difference is no chance."""

_HERE, _DATASET = Path(__file__).parent, Path(tasks.dataset.__file__).parent
_FAILURES = Path(tasks.failure_report.__file__).parent


@dataclass(frozen=True)
class Listed:
    """A frame of a list."""

    change: Change
    place: tuple[str, int]
    """Its video's title, and milliseconds."""


@dataclass(frozen=True)
class Named:
    """Frames that one device lacks, for one reason."""

    side: str
    reason: str
    count: int
    places: list[tuple[str, int]]

    @property
    def why(self) -> str:
        """In words."""
        return (
            "it was not tried on them" if self.reason == NOT_TRIED else f"it failed on them ({self.reason})"
        )


@dataclass(frozen=True)
class Section:
    """A device against the first one.

    Attributes:
        old: label of the first.
        new: of the other.
        contrast: what was counted.
        whole: of all frames; None when there is none in common.
        rows: by pose.
        improved: the frames that gain most.
        worsened: those that lose most.
        fixed: the frames that are fixed, those that gain most first; so many as are listed.
        broken: those that are newly broken.
    """

    old: str
    new: str
    contrast: Contrast
    whole: ContrastRow | None
    rows: list[ContrastRow]
    improved: list[TwoPictures]
    worsened: list[TwoPictures]
    fixed: list[Listed]
    broken: list[Listed]

    def count(self, outcome: str) -> int:
        """How many frames of an outcome."""
        return self.contrast.outcomes[Outcome(outcome)]

    @property
    def p(self) -> float:
        """Of McNemar's test on fixed against broken."""
        return mcnemar(self.count(Outcome.FIXED), self.count(Outcome.BROKEN))

    @property
    def finding(self) -> str:
        """What the test says, in a sentence."""
        fixed, broken = self.count(Outcome.FIXED), self.count(Outcome.BROKEN)
        if not fixed + broken:
            return (
                "No frame has changed sides, so nothing says that one device fails more often than the other."
            )
        shown = f"{fixed:,} fixed against {broken:,} newly broken"
        chance = f"McNemar's exact test, p {p_text(self.p)}"
        if self.p >= CHANCE:
            return (
                f"{shown} may well be chance ({chance}): nothing says that one of the two fails less often."
            )
        better = self.new if fixed > broken else self.old
        return f"{shown} is hardly chance ({chance}): {better} fails less often on frames like these."

    @property
    def squares(self) -> list[tuple[float, float, float, int]]:
        """The picture of all frames: x, y and opacity of each square that has some, and how many it has.

        To the right is the new device's IoU, upwards the old one's; the picture is 100 x 100.
        """
        most = max((max(row) for row in self.contrast.grid), default=0) or 1
        size = 100 / GRID
        return [
            (column * size, 100 - (row + 1) * size, 0.15 + 0.85 * (count / most) ** 0.5, count)
            for row, counts in enumerate(self.contrast.grid)
            for column, count in enumerate(counts)
            if count
        ]


def render(sides: Sides, tally: Tally, sections: Sequence[Section], absent: Sequence[Named]) -> bytes:
    """The page as UTF-8; every text from outside is escaped.

    Args:
        sides: the devices.
        tally: what was counted.
        sections: of each later device against the first.
        absent: what only some devices have judged.
    """
    folders = (_DATASET, _FAILURES, _HERE)
    sheets = [(folder / "report.css").read_text(encoding="utf-8") for folder in folders]
    style = "".join([mask_colours.STYLE, *sheets])
    environment = page_environment(_HERE)
    environment.filters |= {"percent": percent, "interval": interval, "p": p_text, "iou": iou_text}
    page = environment.get_template(
        "devices.html"
    ).render(
        mark=Markup(MARK),  # noqa: S704 - our own constant
        style=Markup(style),  # noqa: S704 - our own file, not a user's text
        style_hash=csp_hash(style),
        sides=sides.each,
        recipe=sides.recipe,
        tally=tally,
        sections=sections,
        absent=absent,
        pairs=_pairs(sides, tally),
        poses=[
            (pose, POSE_NAMES[pose][0])
            for pose in POSES
            if any(pose in agreement.masks for agreement in tally.agreements.values())
        ],
        credits=model_credits(sides.recipe)[:2],
        options=options_text,
        thresholds=sorted({side.threshold for side in sides.each}),
        running=any(side.open for side in sides.each),
        few=FEW,
        draws=DRAWS,
    )
    return page.encode()


def _pairs(sides: Sides, tally: Tally) -> list[tuple[str, str, object]]:
    labels = [side.label for side in sides.each]
    return [(labels[a], labels[b], agreement) for (a, b), agreement in tally.agreements.items()]


def options_text(model: ModelSpec) -> str:
    """``threshold=0.5, resize=area``: what of a device changes its masks."""
    said = ((name, value) for name, value in sorted(model.options.items()) if value != "")
    return ", ".join(f"{name}={value}" for name, value in said) or "none"


def p_text(p: float) -> str:
    """``= 0.034``; a very small one as ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}" if p < 0.1 else f"= {p:.2f}"


def iou_text(value: float | None) -> str:
    """With three digits; a dash for None."""
    return "–" if value is None else f"{value:.3f}"
