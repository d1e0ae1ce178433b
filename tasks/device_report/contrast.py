"""Two devices on the same frames, counted while the frames pass by: a few numbers of each, no picture."""

import heapq
from dataclasses import dataclass, field
from enum import StrEnum

from broker.frame_views import PoseClass
from broker.side_books import SideFrame
from tasks.failure_report.tally import POSES, WORST_OF_VIDEO

MANY_VIDEOS = 50
"""From as many videos on, two frames of each are enough to choose pictures from."""
GRID = 20
"""Squares a side of the picture of all frames by both IoUs."""


class Outcome(StrEnum):
    """What has become of a frame with the new device."""

    FIXED = "fixed"
    """Hard before, easy now."""
    BROKEN = "newly_broken"
    """Easy before, hard now."""
    STILL_HARD = "still_hard"
    STILL_EASY = "still_easy"


@dataclass(frozen=True, order=True)
class Change:
    """A frame under both devices; ordered by what the new one gains."""

    gain: float
    """IoU of the new device less that of the old one."""
    new: str
    """Id of the new device's frame; so is ``old``."""
    old: str
    before: float
    """IoU."""
    after: float


@dataclass
class Contrast:
    """The frames that both devices have judged.

    Attributes:
        threshold: IoU below which a frame is hard, for both.
        outcomes: how many frames of each.
        changed: the frames that are fixed or newly broken.
        videos: number of each video's row in the tables, by id.
        frames: of which video and which pose how many, a row a video; so are the others.
        before: sums of the old device's IoU.
        after: of the new one's.
        squares: of the squares of the gains.
        fixed: frames that are fixed.
        broken: frames that are newly broken.
        grid: frames by the old device's IoU (row) and the new one's, in 20 steps each.
    """

    threshold: float
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    changed: dict[Outcome, list[Change]] = field(
        default_factory=lambda: {Outcome.FIXED: [], Outcome.BROKEN: []}
    )
    videos: dict[str, int] = field(default_factory=dict)
    frames: list[list[float]] = field(default_factory=list)
    before: list[list[float]] = field(default_factory=list)
    after: list[list[float]] = field(default_factory=list)
    squares: list[list[float]] = field(default_factory=list)
    fixed: list[list[float]] = field(default_factory=list)
    broken: list[list[float]] = field(default_factory=list)
    grid: list[list[int]] = field(default_factory=lambda: [[0] * GRID for _ in range(GRID)])
    _best: dict[str, list[Change]] = field(default_factory=dict)
    _worst: dict[str, list[tuple[float, str, Change]]] = field(default_factory=dict)

    def add(self, pose: PoseClass, old: SideFrame, new: SideFrame) -> None:
        """Counts one frame.

        Raises:
            ValueError: it is not the same frame, or one of the devices has not judged it.
        """
        if old.iou is None or new.iou is None or (old.video_id, old.time_ms) != (new.video_id, new.time_ms):
            raise ValueError(f"{old.id} and {new.id} cannot be compared")
        change = Change(new.iou - old.iou, new.id, old.id, old.iou, new.iou)
        outcome = self.outcome(old.iou, new.iou)
        self.outcomes[outcome] += 1
        if outcome in self.changed:
            self.changed[outcome].append(change)
        self.grid[_step(old.iou)][_step(new.iou)] += 1
        row, column = self._row(old.video_id), POSES.index(pose)
        self.frames[row][column] += 1
        self.before[row][column] += old.iou
        self.after[row][column] += new.iou
        self.squares[row][column] += change.gain**2
        self.fixed[row][column] += outcome is Outcome.FIXED
        self.broken[row][column] += outcome is Outcome.BROKEN
        self._remember(old.video_id, change)

    def outcome(self, before: float, after: float) -> Outcome:
        """What has become of a frame with these IoUs."""
        if before < self.threshold:
            return Outcome.STILL_HARD if after < self.threshold else Outcome.FIXED
        return Outcome.BROKEN if after < self.threshold else Outcome.STILL_EASY

    @property
    def count(self) -> int:
        """All frames in common."""
        return sum(self.outcomes.values())

    def improved(self, most: int) -> list[Change]:
        """The frames that gain most, of one video at most two while others have some; none that loses."""
        kept = [sorted(changes, reverse=True) for changes in self._best.values()]
        return [each for each in _spread(kept, most) if each.gain > 0]

    def worsened(self, most: int) -> list[Change]:
        """The frames that lose most, in the same way."""
        kept = [sorted(change for _, _, change in changes) for changes in self._worst.values()]
        return [each for each in _spread(kept, most) if each.gain < 0]

    def _remember(self, video_id: str, change: Change) -> None:
        most = 8 if len(self.videos) <= MANY_VIDEOS else WORST_OF_VIDEO
        best = self._best.setdefault(video_id, [])
        heapq.heappush(best, change)
        worst = self._worst.setdefault(video_id, [])
        heapq.heappush(worst, (-change.gain, change.new, change))
        if len(best) > most:
            heapq.heappop(best)
            heapq.heappop(worst)

    def _row(self, video_id: str) -> int:
        if video_id not in self.videos:
            self.videos[video_id] = len(self.frames)
            for table in (self.frames, self.before, self.after, self.squares, self.fixed, self.broken):
                table.append([0.0] * len(POSES))
        return self.videos[video_id]


def _spread(by_video: list[list[Change]], most: int) -> list[Change]:
    """``most`` changes: of each video its first two, then the others; those that change most first."""
    first = sorted((c for each in by_video for c in each[:WORST_OF_VIDEO]), key=lambda c: -abs(c.gain))
    rest = sorted((c for each in by_video for c in each[WORST_OF_VIDEO:]), key=lambda c: -abs(c.gain))
    return sorted([*first, *rest][:most], key=lambda c: -abs(c.gain))


def _step(iou: float) -> int:
    return min(GRID - 1, max(0, int(iou * GRID)))
