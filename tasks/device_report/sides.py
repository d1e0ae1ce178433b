"""Which devices a report sets side by side: from the names that people give them to recipes in the books."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.errors import HardposeError, NotFound, SettingsError
from broker.recipe import ModelSpec, Recipe, Stage
from broker.side_books import SideRecipe


class AmbiguousDevice(SettingsError):
    """A name stands for several devices, or for frames of several teachers; the remedy lists the choices."""

    code = "ambiguous_device"


class NoCommonFrames(HardposeError):
    """The devices were not tried on the same frames."""

    code = "no_common_frames"


@dataclass(frozen=True)
class Side:
    """A device of the report.

    Attributes:
        label: its name for people, unlike that of every other side.
        model: the device.
        recipes: ids of its recipes, the newest first; they differ in the threshold of hard frames alone.
        threshold: IoU below which its newest recipe calls a frame hard.
        open: segments that have not ended.
    """

    label: str
    model: ModelSpec
    recipes: tuple[str, ...]
    threshold: float
    open: int = 0


@dataclass(frozen=True)
class Sides:
    """The devices, in the order in which they were named, the older first.

    Attributes:
        each: two or more.
        recipe: of the last; what all have in common, the teacher above all, is in it.
    """

    each: tuple[Side, ...]
    recipe: Recipe

    @property
    def recipes(self) -> tuple[str, ...]:
        """Ids of all recipes."""
        return tuple(recipe for side in self.each for recipe in side.recipes)


def sides_of(known: Sequence[SideRecipe], names: Sequence[str]) -> Sides:
    """Finds the devices that are meant.

    Args:
        known: all recipes with analyses, the newest first.
        names: two or more: a recipe's id, a device's name (its newest firmware), ``name@firmware``, or, of a
            device without a description, its version or the name of its driver.

    Raises:
        NotFound: there is no such device.
        AmbiguousDevice: a name stands for several, or two names for the same.
        NoCommonFrames: the frames of one come from another pose model, teacher or rule.
    """
    if len(names) < 2:
        raise AmbiguousDevice("A comparison takes two devices or more.", "Name them after --devices.")
    found = [_one_model(name, _meant(name, known)) for name in names]
    _refuse_twins(names, found)
    masks = _common_masks(names, found)
    kept = [[each for each in group if each.recipe.stage_id(Stage.MASK) == masks] for group in found]
    labels = _labels([group[0].recipe.device_model for group in kept])
    sides = tuple(_side(label, group) for label, group in zip(labels, kept, strict=True))
    return Sides(sides, kept[-1][0].recipe)


def _side(label: str, group: Sequence[SideRecipe]) -> Side:
    newest = group[0].recipe
    return Side(
        label,
        newest.device_model,
        tuple(each.recipe.id for each in group),
        newest.comparison.iou_threshold,
        sum(each.open for each in group),
    )


def _meant(name: str, known: Sequence[SideRecipe]) -> list[SideRecipe]:
    by_id = [each for each in known if each.recipe.id == name]
    if by_id:
        return by_id
    device, _, firmware = name.partition("@")
    routed = [each for each in known if _route(each) and _route(each)[0] == device]
    if routed:
        wanted = firmware or _route(routed[0])[1]
        found = [each for each in routed if _route(each)[1] == wanted]
    else:
        found = [each for each in known if name in _names(each.recipe.device_model)]
    if not found:
        choices = list(dict.fromkeys(_choice(each.recipe.device_model) for each in known))
        raise NotFound(
            f"No frame was judged by a device {name!r}.",
            f"Devices that judged some: {', '.join(choices[:20]) or 'none'}; or give a recipe's id.",
        )
    return found


def _route(each: SideRecipe) -> tuple[str, ...]:
    route = each.recipe.device_model.route
    return (route.device, route.firmware) if route is not None else ()


def _names(model: ModelSpec) -> set[str]:
    return {model.name, model.version, model.version.removeprefix("file-")} if model.route is None else set()


def _choice(model: ModelSpec) -> str:
    return f"{model.route.device}@{model.route.firmware}" if model.route else model.version


def _one_model(name: str, found: list[SideRecipe]) -> list[SideRecipe]:
    """``found``, if it is all of one device."""
    by_model: dict[str, list[SideRecipe]] = {}
    for each in found:
        by_model.setdefault(_identity(each.recipe.device_model), []).append(each)
    if len(by_model) > 1:
        raise AmbiguousDevice(
            f"{name!r} stands for {len(by_model)} devices.",
            f"Name one by its recipe: {'; '.join(_told([group[0] for group in by_model.values()]))}.",
        )
    return found


def _told(choices: Sequence[SideRecipe]) -> list[str]:
    """Each choice with what tells it from the others."""
    models = [each.recipe.device_model for each in choices]
    return [
        f"{each.recipe.id} ({_choice(model)}"
        f"{_difference(model, [other for other in models if other is not model])}, {each.videos} videos)"
        for each, model in zip(choices, models, strict=True)
    ]


def _identity(model: ModelSpec) -> str:
    return json.dumps(model.identity(), sort_keys=True)


def _refuse_twins(names: Sequence[str], found: Sequence[list[SideRecipe]]) -> None:
    seen: dict[str, str] = {}
    for name, group in zip(names, found, strict=True):
        first = seen.setdefault(_identity(group[0].recipe.device_model), name)
        if first is not name:
            raise AmbiguousDevice(
                f"{first!r} and {name!r} are the same device.", "Name two devices, or two firmwares of one."
            )


def _common_masks(names: Sequence[str], found: Sequence[list[SideRecipe]]) -> str:
    """The one id of the mask stage under which all devices have frames."""
    ids = [dict.fromkeys(each.recipe.stage_id(Stage.MASK) for each in group) for group in found]
    common = [masks for masks in ids[0] if all(masks in others for others in ids[1:])]
    if len(common) == 1:
        return common[0]
    choices = "; ".join(
        f"{name}: {', '.join(each.recipe.id for each in group)}"
        for name, group in zip(names, found, strict=True)
    )
    if not common:
        raise NoCommonFrames(
            f"{' and '.join(names)} were not tried on frames of one pose model, teacher and rule.",
            f"Try one on the other's frames: hardpose devices replay --device NAME. Recipes: {choices}.",
        )
    raise AmbiguousDevice(
        f"{' and '.join(names)} were tried together on frames of {len(common)} different earlier recipes.",
        f"Name the recipes instead: {choices}.",
    )


def _labels(models: Sequence[ModelSpec]) -> list[str]:
    """Short names, no two of them the same: by what differs, first of options, then of weights."""
    plain = [_short(model) for model in models]
    return [
        f"{name}{_difference(model, [m for m in models if m is not model and _short(m) == name])}"
        for name, model in zip(plain, models, strict=True)
    ]


def _short(model: ModelSpec) -> str:
    return f"{model.route.device} {model.route.firmware}" if model.route else f"{model.name} {model.version}"


def _difference(model: ModelSpec, namesakes: Sequence[ModelSpec]) -> str:
    if not namesakes:
        return ""
    parts = [
        f"{name}={model.options.get(name, 'default')}"
        for name in _option_names([model, *namesakes])
        if any(other.options.get(name) != model.options.get(name) for other in namesakes)
    ]
    if any(other.sha256 != model.sha256 for other in namesakes):
        parts.append(model.sha256[:8])
    return f" ({', '.join(parts)})" if parts else f" ({model.name})"


def _option_names(models: Iterable[ModelSpec]) -> list[str]:
    return sorted({name for model in models for name in model.options})
