"""The devices that the catalog's recipes name, and how many frames each was judged on."""

import json
from collections import defaultdict

from sqlalchemy import Connection, select

from broker.database import Database
from broker.messages import Verdict
from broker.recipe import Frozen, ModelSpec, Recipe
from broker.tables import AnalysisRow, RecipeRow

Analyses = dict[str, dict[str, dict[str, int]]]
"""Counts by verdict, of each recipe's videos."""


class JudgedDevice(Frozen):
    """A device under test: one model with its weights and options."""

    model: ModelSpec
    recipes: tuple[str, ...]
    """Ids of the recipes that name it, sorted."""
    videos: int = 0
    """How many it was, or is to be, judged on."""
    frames: int = 0
    """Frames with an IoU: easy and hard ones."""
    hard: int = 0


class DeviceBooks:
    """What the catalog knows of devices. It may raise what ``broker.catalog.Catalog`` says of the database.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def judged(self) -> list[JudgedDevice]:
        """Every device of any recipe, by name and version. Costs a row for each video and recipe."""
        return self._database.read(_judged)


def _judged(connection: Connection) -> list[JudgedDevice]:
    by_device: dict[str, list[Recipe]] = defaultdict(list)  # by what the device is, wherever it is reached
    for row in connection.execute(select(RecipeRow.json)).scalars():
        recipe = Recipe.model_validate(row)
        by_device[json.dumps(recipe.device_model.identity(), sort_keys=True)].append(recipe)
    analyses = _analyses(connection)
    devices = [_device(group, analyses) for group in by_device.values()]
    return sorted(devices, key=lambda device: (device.model.name, device.model.version, device.recipes))


def _device(group: list[Recipe], analyses: Analyses) -> JudgedDevice:
    ids = sorted(recipe.id for recipe in group)
    funnels = [funnel for name in ids for funnel in analyses.get(name, {}).values()]
    hard = sum(funnel.get(Verdict.HARD, 0) for funnel in funnels)
    return JudgedDevice(
        model=group[0].device_model,
        recipes=tuple(ids),
        videos=len({video for name in ids for video in analyses.get(name, {})}),
        frames=hard + sum(funnel.get(Verdict.EASY, 0) for funnel in funnels),
        hard=hard,
    )


def _analyses(connection: Connection) -> Analyses:
    found: Analyses = defaultdict(dict)
    wanted = select(AnalysisRow.recipe_id, AnalysisRow.video_id, AnalysisRow.funnel)
    for recipe_id, video_id, funnel in connection.execute(wanted):
        found[recipe_id][video_id] = (funnel or {}).get("verdicts") or {}
    return found
