"""The installed models by name, over all three groups, with what is known of each without loading it."""

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from broker.errors import HardposeError, NotFound, SettingsError
from broker.recipe import ModelSpec, Stage, WeightsRef
from broker.settings import Plain, Settings
from workers import added
from workers.added import AddedWeights
from workers.cards import ModelCard
from workers.models import (
    DEVICES,
    MASKS,
    NETWORKS,
    POSE,
    ModelClass,
    TakesWeights,
    installed,
    model_class,
    takes_weights,
)
from workers.options import with_options

GROUPS = {Stage.POSE: POSE, Stage.MASK: MASKS, Stage.ME: DEVICES}
"""The stage that a group of entry points serves."""


class ModelBroken(HardposeError):
    """An installed model's class cannot be used: a defect of the package that brings it."""

    code = "model_broken"


@dataclass(frozen=True)
class InstalledModel:
    """One entry point. What is asked of its class imports its module; nothing is loaded."""

    stage: Stage
    name: str
    settings: Settings

    @cached_property
    def kind(self) -> ModelClass:
        """Its class.

        Raises:
            MissingDependency: a package that it needs is not installed.
            ModelBroken: its module cannot be imported for another reason.
        """
        try:
            return model_class(GROUPS[self.stage], self.name)
        except HardposeError:
            raise
        except Exception as error:
            raise self._broken(error) from error

    @cached_property
    def spec(self) -> ModelSpec:
        """Its default description, without weights that were added.

        Raises:
            MissingDependency, ModelBroken: see ``kind``.
        """
        kind = self.kind
        try:
            return kind.default_spec()
        except HardposeError:
            raise
        except Exception as error:
            raise self._broken(error) from error

    @property
    def taker(self) -> TakesWeights | None:
        """Its class, if the user brings its weights."""
        return takes_weights(self.kind)

    @property
    def card(self) -> ModelCard | None:
        """What is to be known of it, if the user brings its weights."""
        return self.taker.card if self.taker is not None else None

    @property
    def history(self) -> list[AddedWeights]:
        """What was added for it on this machine, the newest last; empty if it takes no weights."""
        return added.history(self.settings.weights_dir, self.name) if self.taker is not None else []

    @property
    def weights(self) -> tuple[WeightsRef, ...]:
        """The weights that a new recipe with it uses."""
        return (self.history[-1].ref,) if self.history else self.spec.weights

    @property
    def all_weights(self) -> list[WeightsRef]:
        """Its own weights, and all that were ever added for it."""
        return [*self.spec.weights, *(entry.ref for entry in self.history)]

    @property
    def setting(self) -> str:
        """The variable that puts it in use."""
        return f"HARDPOSE_{'device' if self.stage == Stage.ME else self.stage.value}_model".upper()

    @property
    def in_use(self) -> bool:
        """Whether the configured recipe names it."""
        chosen = {
            Stage.POSE: self.settings.pose_model,
            Stage.MASK: self.settings.mask_model,
            Stage.ME: _device_name(self.settings.device_model),
        }
        return chosen[self.stage] == self.name

    def configured(self, changes: Mapping[str, Plain] | None = None) -> ModelSpec:
        """Its description with the options of the settings, if it is in use, and ``changes`` on top.

        Raises:
            SettingsError: an option is unknown or of the wrong type.
        """
        options = {Stage.POSE: self.settings.pose_options, Stage.MASK: self.settings.mask_options}
        given = options.get(self.stage, {}) if self.in_use else {}
        return with_options(self.spec, {**given, **(changes or {})})

    def _broken(self, error: Exception) -> ModelBroken:
        return ModelBroken(
            f"The model {self.name} ({self.stage}) cannot be used: {type(error).__name__}: {error}.",
            "Tell the makers of its package.",
        )


def _device_name(device: str) -> str:
    return NETWORKS.get(Path(device).suffix, device)


def all_models(settings: Settings) -> list[InstalledModel]:
    """Every entry point of the three groups, in the order of the stages."""
    return [
        InstalledModel(stage, name, settings) for stage, group in GROUPS.items() for name in installed(group)
    ]


def models_named(settings: Settings, name: str) -> list[InstalledModel]:
    """The models of that name: at most one for each stage.

    Raises:
        NotFound: there is none; lists those that there are, the nearest first.
    """
    everything = all_models(settings)
    if found := [model for model in everything if model.name == name]:
        return found
    names = sorted({model.name for model in everything})
    near = difflib.get_close_matches(name, names, n=len(names), cutoff=0.5)
    rest = [other for other in names if other not in near]
    raise NotFound(
        f"No model {name!r} is installed.",
        f"Installed: {', '.join([*near, *rest]) or 'none'}. `hardpose models list` says more of each.",
    )


def model_to_bring(settings: Settings, name: str) -> tuple[InstalledModel, TakesWeights]:
    """The model of that name whose weights the user brings.

    Raises:
        NotFound: no such model.
        SettingsError: it takes no weights: it has none, or fetches its own.
        MissingDependency, ModelBroken: its class cannot be imported.
    """
    found = models_named(settings, name)
    for model in found:
        if (taker := model.taker) is not None:
            return model, taker
    if any(model.spec.weights for model in found):
        raise SettingsError(
            f"The model {name} fetches its own weights; there are none to bring.",
            "`hardpose models --fetch` fetches those of the models in use.",
        )
    raise SettingsError(f"The model {name} takes no weights from hardpose.", "There is nothing to add.")


def command_line(*arguments: str) -> str:
    """A ``hardpose`` command as a shell would need it."""
    return shlex.join(["hardpose", *arguments])


def option_variables(model: InstalledModel) -> dict[str, str]:
    """Each option's variable that sets it; empty where no setting does."""
    if model.stage == Stage.ME:
        return {
            name: "HARDPOSE_DEVICE_THRESHOLD" if name == "threshold" else "" for name in model.spec.options
        }
    prefix = f"HARDPOSE_{model.stage.value.upper()}_OPTIONS__"
    return {name: prefix + name.upper() for name in model.spec.options}
