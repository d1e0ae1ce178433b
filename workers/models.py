"""The models by name: their descriptions, and how they are opened. Names are entry points."""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from broker.errors import MissingDependency, NotFound, SettingsError, WeightsError
from broker.recipe import ModelSpec, WeightsRef
from broker.settings import Plain, Settings
from workers import added
from workers.cards import ModelCard
from workers.compute import Compute
from workers.contracts import Device, PoseModel, Teacher
from workers.options import with_options

POSE, MASKS, DEVICES = "hardpose.pose", "hardpose.masks", "hardpose.devices"
"""Entry point groups; a stranger's package registers its own models in them."""
NETWORKS = {".tflite": "litert", ".onnx": "onnx"}
"""Files that are a device by themselves, and their drivers."""


class Weights(Protocol):
    """What a model needs of the weights store."""

    def path(self, ref: WeightsRef) -> Path:
        """A verified local file, fetched first if need be."""
        ...

    def derived(self, ref: WeightsRef, name: str, make: Callable[[Path, Path], None]) -> Path:
        """A file made once from the weights, such as their conversion to another format.

        Args:
            ref: the weights.
            name: what is made, with everything that decides its bytes, such as ``body25-fp16-1.onnx``.
            make: writes it: (the weights file, the file to write).
        """
        ...


class ModelClass(Protocol):
    """What an entry point has to name: a class with this constructor and this class method."""

    def __call__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> Any:
        """Describes the model; loads nothing yet."""

    def default_spec(self) -> ModelSpec:
        """The model's default description, whose ``name`` is the entry point's."""
        ...


class TakesWeights(Protocol):
    """What a model class offers besides when the user brings its weights (``hardpose models add``).

    Its ``default_spec`` has no weights; the newest that were added are put in.
    """

    card: ClassVar[ModelCard]

    @classmethod
    def check_weights(cls, path: Path) -> str:
        """Reads the whole file strictly; says in one line what is in it.

        Raises:
            WeightsDamaged: it is cut off or no file of the format.
            ModelMismatch: it holds another network; names what is missing, left over or of another shape.
        """
        ...

    @classmethod
    def export(cls, path: Path, to: Path, options: Mapping[str, Plain]) -> None:
        """Writes the network as an ONNX file that runs without hardpose.

        Args:
            path: of the weights.
            to: of the file to write.
            options: of the model, such as ``precision``.
        """
        ...


def takes_weights(model: ModelClass) -> TakesWeights | None:
    """``model`` as a class whose weights the user brings, or None when it has its own."""
    return cast(TakesWeights, model) if isinstance(getattr(model, "card", None), ModelCard) else None


def only_weights(spec: ModelSpec) -> WeightsRef:
    """The weights of a model that has one file.

    Raises:
        SettingsError: its description has none, or several.
    """
    if len(spec.weights) != 1:
        raise SettingsError(
            f"The model {spec.name} is described with {len(spec.weights)} weights files, and has one.",
            f"Bring it with `hardpose models add {spec.name} --from FILE`.",
        )
    return spec.weights[0]


def answers(group: str, name: str) -> frozenset[int]:
    """The BODY_25 points that a pose model can give; all, unless its class says otherwise in ``answers``.

    Raises:
        NotFound, MissingDependency: see ``model_class``.
    """
    return frozenset(getattr(model_class(group, name), "answers", range(25)))


def installed(group: str) -> list[str]:
    """Names of the models of a group (``POSE``, ``MASKS``, ``DEVICES``), sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def model_class(group: str, name: str) -> ModelClass:
    """The class that an entry point names.

    Raises:
        NotFound: no such model; lists what is installed.
        MissingDependency: the model's package needs another one that is not installed.
    """
    points: tuple[EntryPoint, ...] = tuple(entry_points(group=group, name=name))
    if not points:
        raise NotFound(
            f"No model {name!r} is installed in the group {group}.",
            f"Installed: {', '.join(installed(group)) or 'none'}. Install the package that provides it.",
        )
    try:
        return cast(ModelClass, points[0].load())
    except ImportError as error:
        raise MissingDependency(
            f"The model {name!r} ({points[0].value}) cannot be imported: {error}.",
            "Install the packages it needs, for the embedded models: pip install 'hardpose[cpu]'.",
        ) from error


def pose_spec(settings: Settings) -> ModelSpec:
    """The description of the pose model that the settings name.

    Raises:
        NotFound: see ``model_class``.
        WeightsError: the user has to bring its weights first.
        SettingsError: an option of ``settings.pose_options`` is unknown or of the wrong type.
    """
    return _spec(POSE, settings.pose_model, settings.pose_options, settings.weights_dir)


def mask_spec(settings: Settings) -> ModelSpec:
    """The description of the teacher that the settings name.

    Raises:
        NotFound: see ``model_class``.
        WeightsError: the user has to bring its weights first.
        SettingsError: an option of ``settings.mask_options`` is unknown or of the wrong type.
    """
    return _spec(MASKS, settings.mask_model, settings.mask_options, settings.weights_dir)


def _spec(group: str, name: str, options: Mapping[str, Plain], weights_dir: Path) -> ModelSpec:
    chosen = model_class(group, name)
    spec = with_options(chosen.default_spec(), options)
    if takes_weights(chosen) is None:
        return spec
    found = added.newest(weights_dir, name)
    if found is None:
        raise WeightsError(
            f"The model {name} has no weights on this machine.",
            f"Bring them with `hardpose models add {name} --from FILE`; `hardpose models show {name}` says "
            "where they are and under which licence.",
        )
    return spec.model_copy(update={"weights": (found.ref,), "version": found.version})


def device_spec(settings: Settings) -> ModelSpec:
    """The description of the device that the settings name, with their threshold.

    ``settings.device_model`` is an entry point's name, or the path of a ``.tflite`` or ``.onnx`` file. What
    the file cannot say about itself (see ``NetworkOptions``) may stand in a JSON object beside it: for
    ``me.tflite`` in ``me.json``.

    Raises:
        NotFound: no such entry point or file.
        SettingsError: the JSON beside the file is no object of plain values; or the entry point drives
            nothing without a description.
    """
    name = settings.device_model
    if Path(name).suffix in NETWORKS:
        return _file_spec(Path(name), settings.device_threshold)
    chosen = model_class(DEVICES, name)
    if getattr(chosen, "only_described", False):
        raise SettingsError(
            f"The driver {name} drives no device without a description of it.",
            f'Write one, a me.toml with driver = "{name}", and name that file in place of the driver.',
        )
    spec = chosen.default_spec()
    if "threshold" not in spec.options:
        return spec
    return spec.model_copy(update={"options": {**spec.options, "threshold": settings.device_threshold}})


def _file_spec(path: Path, threshold: float) -> ModelSpec:
    if not path.is_file():
        raise NotFound(f"The device's model {path} is not a file.", f"Give the path of a {path.suffix} file.")
    data = path.read_bytes()
    if not data:
        raise SettingsError(f"The device's model {path} is empty.", f"Give a {path.suffix} file.")
    ref = WeightsRef(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        source=path.resolve().as_uri(),
        licence="unknown",
        size=len(data),
    )
    # The default options describe another network and stay out; those that are not given have defaults.
    options = {"threshold": threshold, **_options_beside(path)}
    driver = NETWORKS[path.suffix]
    return ModelSpec(name=driver, version=f"file-{path.stem}", weights=(ref,), options=options)


def _options_beside(path: Path) -> dict[str, str | int | float | bool]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        options = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{beside} is not JSON: {error}.", "Correct it or remove it.") from error
    if not isinstance(options, dict) or not all(isinstance(v, str | int | float) for v in options.values()):
        raise SettingsError(
            f"{beside} is not a JSON object of plain values.", 'Write for example {"output": "logit"}.'
        )
    return options


def open_pose(spec: ModelSpec, weights: Weights, compute: Compute | None = None) -> PoseModel:
    """The pose model that ``spec`` describes; loads nothing yet.

    Raises:
        NotFound: its entry point is not installed here.
        SettingsError: an option cannot be used.
    """
    return cast(PoseModel, model_class(POSE, spec.name)(spec, weights, compute or Compute()))


def open_mask(spec: ModelSpec, weights: Weights, compute: Compute | None = None) -> Teacher:
    """The teacher that ``spec`` describes; loads nothing yet.

    Raises:
        NotFound: its entry point is not installed here.
        SettingsError: an option cannot be used.
    """
    return cast(Teacher, model_class(MASKS, spec.name)(spec, weights, compute or Compute()))


def open_device(spec: ModelSpec, weights: Weights, compute: Compute | None = None) -> Device:
    """The device that ``spec`` describes; loads nothing yet.

    Raises:
        NotFound: its entry point is not installed here.
        SettingsError: an option cannot be used.
    """
    return cast(Device, model_class(DEVICES, spec.name)(spec, weights, compute or Compute()))
