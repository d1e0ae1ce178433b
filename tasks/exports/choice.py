"""Which frames an export holds: the asked ones without repeats, and a control arm."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from broker.errors import HardposeError
from broker.exports import ExportFormat, ExportSpec
from broker.frame_views import FrameDetail, FrameFilter, Review
from broker.messages import Verdict, Video
from broker.recipe import Recipe
from tasks.dataset.near_duplicates import Walk
from tasks.exports.picked import SPLITS, Arm, Picked
from tasks.exports.split import draw, split_of

NOT_REJECTED = (Review.OPEN, Review.KEPT, Review.DISPUTED)
KEPT = (Verdict.EASY, Verdict.HARD)
"""Verdicts of frames that both have drawn a mask of."""
TABLES = (ExportFormat.CSV, ExportFormat.PARQUET)
"""Formats that hold no pictures, and so any frame."""
SPARE = 100
"""Candidates of the control arm beyond twice its size: some repeat others and are passed over."""

Frames = Callable[[FrameFilter], Iterator[FrameDetail]]
"""All frames of a filter by video, time and recipe, as ``FrameBooks.each`` gives them."""
JobsOf = Callable[[Sequence[str], Sequence[str]], list[str]]
"""The jobs that have any of some videos under any of some recipes."""


class MixedRecipes(HardposeError):
    """The frames of an export were made by different models."""

    code = "mixed_recipes"


@dataclass(frozen=True)
class Choice:
    """The frames of an export.

    Attributes:
        spec: the order.
        frames: by video and time.
        recipes: those that made them, by id; all have the same models.
        left_out: asked-for frames that repeat another one.
        without_mask: asked-for frames that never got a teacher's mask, left out of formats with pictures.
        jobs: ids of the jobs that have any of the videos under any of the recipes.
    """

    spec: ExportSpec
    frames: tuple[Picked, ...]
    recipes: dict[str, Recipe]
    left_out: int
    without_mask: int
    jobs: tuple[str, ...] = ()

    @property
    def videos(self) -> list[Video]:
        """The videos of the frames, by id."""
        found = {frame.video.id: frame.video for frame in self.frames}
        return [found[video_id] for video_id in sorted(found)]

    def of(self, split: str) -> list[Picked]:
        """The frames of one split, in order."""
        return [frame for frame in self.frames if frame.split == split]

    @property
    def counts(self) -> dict[str, int]:
        """Frames by split, control frames among them, and what was left out."""
        splits, arms = Counter(f.split for f in self.frames), Counter(f.arm for f in self.frames)
        return {
            **{name: splits[name] for name in SPLITS},
            "control": arms[Arm.CONTROL],
            "left_out": self.left_out,
            "without_mask": self.without_mask,
            "videos": len({f.video.id for f in self.frames}),
        }


def choose(frames: Frames, jobs_of: JobsOf, spec: ExportSpec) -> Choice:
    """Walks through the books and chooses.

    Of frames that are there under several recipes (the same models, other thresholds) the one whose recipe
    has the smallest id is taken. What repeats an earlier frame, by video and time, is left out, by the
    duplicate rule of the recipe with the smallest id of the first frame.

    Args:
        frames: the stream of the books.
        jobs_of: names the jobs that have any of some videos under any of some recipes.
        spec: the order.

    Raises:
        MixedRecipes: the frames were made by different models.
    """
    chooser = _Chooser(spec, jobs_of)
    for frame in _once(chooser.checked(frames(_asked(spec)))):
        chooser.take(frame)
    if spec.control:
        chooser.draw_control(_once(chooser.checked(frames(_others(spec)))))
    picked = tuple(sorted(chooser.picked, key=lambda each: (each.video.id, each.time_ms)))
    used = {name: chooser.recipes[name] for name in sorted({frame.recipe_id for frame in picked})}
    jobs = jobs_of(sorted({frame.video.id for frame in picked}), list(used)) if picked else []
    return Choice(spec, picked, used, chooser.left_out, chooser.without_mask, tuple(jobs))


def _asked(spec: ExportSpec) -> FrameFilter:
    """The filter of the order; rejected frames are in only where they are named."""
    where = spec.frames
    return where if where.reviews else where.model_copy(update={"reviews": NOT_REJECTED})


def _others(spec: ExportSpec) -> FrameFilter:
    """Where the control arm comes from: all kept frames of the same jobs and videos."""
    where = _asked(spec)
    return FrameFilter(jobs=where.jobs, videos=where.videos, verdicts=KEPT, reviews=where.reviews)


def _once(frames: Iterator[FrameDetail]) -> Iterator[FrameDetail]:
    for _, same in groupby(frames, key=lambda frame: (frame.video_id, frame.time_ms)):
        yield min(same, key=lambda frame: frame.recipe_id)


@dataclass
class _Chooser:
    spec: ExportSpec
    jobs_of: JobsOf
    picked: list[Picked] = field(default_factory=list)
    videos: dict[str, Video] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    left_out: int = 0
    without_mask: int = 0
    _examples: dict[str, str] = field(default_factory=dict)
    """A video of each recipe, to find its jobs by."""
    _names: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _walk: Walk | None = None

    def checked(self, frames: Iterator[FrameDetail]) -> Iterator[FrameDetail]:
        """``frames`` as long as all are of the same models."""
        for frame in frames:
            self._check(frame)
            yield frame

    def take(self, frame: FrameDetail) -> None:
        """One of the frames that were asked for."""
        self._seen.add((frame.video_id, frame.time_ms))
        if frame.keeper.mask_key is None and self.spec.format not in TABLES:
            self.without_mask += 1
            return
        picked = self._pick(frame, Arm.HARD)
        if self._repeats(picked):
            self.left_out += 1
        else:
            self.picked.append(picked)

    def draw_control(self, others: Iterator[FrameDetail]) -> None:
        """The control arm, of those that were not asked for.

        Each frame draws a number from its own name and the seed, and the lowest are taken: so the draw does
        not depend on the order of the books.
        """
        numbered = ((draw(self.spec.seed, "control", f.video.id, f.time_ms), f) for f in self._free(others))
        lowest = heapq.nsmallest(
            2 * self.spec.control + SPARE,
            numbered,
            key=lambda each: (each[0], each[1].video.id, each[1].time_ms),
        )
        wanted = self.spec.control
        for _, frame in lowest:
            if wanted and not self._repeats(frame):
                self.picked.append(frame)
                wanted -= 1

    def _free(self, others: Iterator[FrameDetail]) -> Iterator[Picked]:
        for frame in others:
            if (frame.video_id, frame.time_ms) not in self._seen and frame.keeper.mask_key is not None:
                yield self._pick(frame, Arm.CONTROL)

    def _pick(self, frame: FrameDetail, arm: Arm) -> Picked:
        video = self.videos.setdefault(frame.video_id, frame.video)
        names = tuple(sorted(frame.keeper.measures))
        names = self._names.setdefault(names, names)
        return Picked.of(frame, video, names, arm, split_of(video.id, self.spec.split, self.spec.seed))

    def _repeats(self, frame: Picked) -> bool:
        if self._walk is None:
            recipe = self.recipes[frame.recipe_id]
            self._walk = Walk(recipe.duplicates, recipe.rule.min_confidence)
        return self._walk.visit(frame.keypoints, frame.phash) is not None

    def _check(self, frame: FrameDetail) -> None:
        if frame.recipe_id in self.recipes:
            return
        self._examples[frame.recipe_id] = frame.video_id
        for known in self.recipes.values():
            if _models(known) != _models(frame.recipe):
                raise self._mixed(known, frame.recipe)
        self.recipes[frame.recipe_id] = frame.recipe

    def _mixed(self, one: Recipe, other: Recipe) -> MixedRecipes:
        return MixedRecipes(
            f"The frames were made by different models: {self._told(one)}; {self._told(other)}.",
            "Export them apart: name one job, or only jobs of the same models.",
        )

    def _told(self, recipe: Recipe) -> str:
        stages = (recipe.pose_model, recipe.mask_model, recipe.device_model)
        models = ", ".join(f"{model.name} {model.version} {model.sha256[:8]}".strip() for model in stages)
        jobs = self.jobs_of([self._examples[recipe.id]], [recipe.id])
        named = f" in job {jobs[0]}" + (f" and {len(jobs) - 1} more" if jobs[1:] else "") if jobs else ""
        return f"{models} (recipe {recipe.id}{named})"


def _models(recipe: Recipe) -> list[dict[str, object]]:
    return [model.identity() for model in (recipe.pose_model, recipe.mask_model, recipe.device_model)]
