"""Which work a report is about: some jobs, their videos, and the one device that was tried on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.catalog import Catalog
from broker.errors import HardposeError, NotFound
from broker.messages import Funnel, Video
from broker.recipe import CHAIN, Recipe, Stage
from broker.views import JobView, LinkView, State


class MixedDevices(HardposeError):
    """The jobs have tried different devices, or with different teachers: their IoU cannot be compared."""

    code = "mixed_devices"


@dataclass(frozen=True)
class Work:
    """What became of one video under one recipe."""

    video: Video
    recipe: Recipe
    link: LinkView

    @property
    def funnel(self) -> Funnel:
        """Over its finished segments."""
        return self.link.funnel()

    @property
    def seconds(self) -> float:
        """Of video in its finished segments."""
        done = [s for s in self.link.segments if s.state == State.DONE]
        return sum(segment.end_ms - segment.start_ms for segment in done) / 1000


@dataclass(frozen=True)
class Scope:
    """The work of a report.

    Attributes:
        jobs: the oldest first; without drops and keepers.
        works: every video once for each recipe that it was examined under, in the order of the jobs.
    """

    jobs: tuple[JobView, ...]
    works: tuple[Work, ...]

    @property
    def recipe(self) -> Recipe:
        """Of the newest job: its threshold says what is hard."""
        return self.jobs[-1].recipe

    @property
    def recipe_ages(self) -> dict[str, int]:
        """The recipes by id; the newest job's is 0."""
        newest_first = dict.fromkeys(job.recipe.id for job in reversed(self.jobs))
        return {recipe: age for age, recipe in enumerate(newest_first)}

    @property
    def thresholds(self) -> list[float]:
        """Of all recipes, each once."""
        return sorted({job.recipe.comparison.iou_threshold for job in self.jobs})

    @property
    def running(self) -> bool:
        """Whether some of it is not finished."""
        return not all(job.final for job in self.jobs)

    def funnel(self) -> Funnel:
        """Over all work."""
        return sum((work.funnel for work in self.works), Funnel())

    def stage_seconds(self) -> dict[Stage, float]:
        """Wall-clock seconds that each stage took, over all finished segments, in the order of the chain."""
        segments = [segment for work in self.works for segment in work.link.segments]
        return {stage: sum(s.seconds.get(stage, 0.0) for s in segments) for stage in CHAIN}


def scope_of(catalog: Catalog, job_ids: Sequence[str]) -> Scope:
    """The work of ``job_ids``, or of all jobs when none is named.

    Raises:
        NotFound: there is no such job, or no job at all.
        MixedDevices: they differ in device or teacher. Other differences of their recipes are allowed.
    """
    named = [catalog.job_light(job_id) for job_id in dict.fromkeys(job_ids)]
    jobs = sorted(named or catalog.jobs(), key=lambda job: (job.created_at, job.id))
    if not jobs:
        raise NotFound("There is no job to report on.", "Start one with hardpose run or hardpose enqueue.")
    _check_same_models(jobs)
    works = {(work.video.id, work.recipe.id): work for job in jobs for work in _works(job)}
    return Scope(tuple(jobs), tuple(works.values()))


def _works(job: JobView) -> Iterator[Work]:
    for link in sorted(job.links, key=lambda each: each.position):
        if link.video is not None:
            yield Work(link.video, job.recipe, link)


def _check_same_models(jobs: Sequence[JobView]) -> None:
    for what, field in (("devices", "device_model"), ("teachers", "mask_model")):
        found: dict[str, list[str]] = {}
        for job in jobs:
            model = getattr(job.recipe, field)
            found.setdefault(f"{model.name} {model.version} {model.sha256[:12]} {model.options}", []).append(
                job.id
            )
        if len(found) > 1:
            first = list(found.values())
            named = "; ".join(f"{', '.join(ids[:3])}{' ...' if len(ids) > 3 else ''}" for ids in first[:3])
            raise MixedDevices(
                f"These jobs have {len(found)} different {what} ({named}): their IoU says nothing together.",
                "Name the jobs of one of them: hardpose report JOB...; or set devices side by side: "
                "hardpose report --devices NAME NAME.",
            )
