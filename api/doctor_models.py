"""The part of ``hardpose doctor`` about models: those in use, what runs and converts them, and the GPU."""

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from api.findings import Finding
from api.local import attach
from api.models_find import GROUPS, models_named
from api.models_list import row_of
from broker.control import Control
from broker.errors import HardposeError
from broker.recipe import Stage
from broker.settings import Settings
from tasks.device_names import configured_device, is_announced_name
from workers.models import NETWORKS, installed
from workers.onnx_runtime import installed_providers, sees_gpu
from workers.weights import WeightsStore

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Packages that bring the module ``onnxruntime``. Two of them in one environment overwrite each other."""
TENSORFLOWS = ("tensorflow", "tensorflow-cpu")
CONVERTERS = {
    "onnx": "writes converted networks",
    "h5py": "reads Mask R-CNN's weights",
}


def runtime_findings(
    settings: Settings,
    gpu_here: Callable[[], bool] = sees_gpu,
    providers: Callable[[], tuple[str, ...]] = installed_providers,
) -> list[Finding]:
    """Looks at the packages for OpenPose's and Mask R-CNN's networks, and for a GPU. None has to be here.

    Args:
        settings: of this process.
        gpu_here: whether this process sees a GPU.
        providers: what the installed ONNX Runtime can use; raises ``MissingDependency``.
    """
    runtimes = _installed(RUNTIMES)
    usable, finding = _onnxruntime(runtimes, providers)
    return [
        finding,
        *_asked_for(settings, usable),
        *(_converter(name, purpose) for name, purpose in CONVERTERS.items()),
        _tensorflow(),
        _gpu(settings, gpu_here(), usable),
    ]


def model_findings(settings: Settings) -> Iterator[Finding]:
    """A row for each model in use: its weights are here, are fetched when needed, or are missing."""
    names = {Stage.POSE: settings.pose_model, Stage.MASK: settings.mask_model}
    if settings.device_model.endswith(".toml") or is_announced_name(settings.device_model):
        yield _own_device(settings)
    elif Path(settings.device_model).suffix not in NETWORKS:  # a file is its own weights
        names[Stage.ME] = settings.device_model
    store = WeightsStore(settings.weights_dir)
    for stage, name in names.items():
        what = f"model for {stage}"
        try:
            found = [row_of(model, store) for model in models_named(settings, name) if model.stage == stage]
        except HardposeError as error:
            yield Finding(what, False, error.cause, error.remedy)
            continue
        for row in found:
            yield Finding(
                what, row.state not in ("to_bring", "unusable"), f"{name}: {row.detail}", row.remedy
            )
        if not found:
            remedy = f"Installed for {stage}: {', '.join(installed(GROUPS[stage]))}."
            yield Finding(what, False, f"{name} is installed, but not for {stage}", remedy)


def _own_device(settings: Settings) -> Finding:
    """A device that is known by its page or by the name that it has announced."""
    what, live = f"model for {Stage.ME}", attach(settings)
    try:
        spec = configured_device(live, lambda: Control.of(live))
    except HardposeError as error:
        return Finding(what, False, error.cause, error.remedy)
    return Finding(what, True, f"{settings.device_model}: {spec.version}, driven by {spec.name}")


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Those that are installed, with their versions."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _onnxruntime(
    here: dict[str, str], providers: Callable[[], tuple[str, ...]]
) -> tuple[tuple[str, ...], Finding]:
    """What it can use (nothing, if it is not there), and its row."""
    named = ", ".join(f"{package} {number}" for package, number in here.items())
    try:
        usable = providers()
    except HardposeError as error:
        return (), Finding("onnxruntime", False, error.cause, error.remedy, optional=True, warning=bool(here))
    if len(here) > 1:
        detail = f"{named}: they are the same module, and one has overwritten the other"
        remedy = f"Uninstall both, then install the one you want: pip uninstall {' '.join(here)}"
        return usable, Finding("onnxruntime", False, detail, remedy, optional=True, warning=True)
    return usable, Finding("onnxruntime", True, f"{named or 'here'}: {', '.join(usable)}", optional=True)


def _asked_for(settings: Settings, usable: tuple[str, ...]) -> Iterator[Finding]:
    """Providers that the settings name and no worker could use."""
    missing = [name for name in settings.compute.providers if name not in usable]
    if missing:
        detail = f"{', '.join(missing)}: asked for by HARDPOSE_COMPUTE__PROVIDERS, and not here"
        remedy = "Install the build that has it, or take it out of the setting."
        yield Finding("providers", False, detail, remedy)


def _converter(name: str, purpose: str) -> Finding:
    number = _installed((name,)).get(name)
    detail = f"{number}: {purpose}" if number else f"not installed: {purpose}"
    return Finding(name, number is not None, detail, "pip install 'hardpose[convert]'", optional=True)


def _tensorflow() -> Finding:
    named = ", ".join(f"{package} {number}" for package, number in _installed(TENSORFLOWS).items())
    detail = f"{named or 'not installed'}: the teacher matterport with runtime=tensorflow"
    remedy = "pip install 'hardpose[tensorflow]', or 'hardpose[tensorflow-gpu]' in an environment of its own"
    return Finding("tensorflow", bool(named), detail, remedy, optional=True)


def _gpu(settings: Settings, here: bool, usable: tuple[str, ...]) -> Finding:
    hidden = f"; HARDPOSE_GPU={settings.gpu}" if settings.gpu is not None else ""
    if not here:
        detail = f"this process sees none: networks run on the CPU{hidden}"
        return Finding("GPU", False, detail, "Nothing needs one; it is faster with one.", optional=True)
    if usable and "cuda" not in usable:
        detail = f"there is one, and the installed ONNX Runtime cannot use it{hidden}"
        remedy = "In an environment of its own: pip install 'hardpose[onnx-gpu]'"
        return Finding("GPU", False, detail, remedy, optional=True, warning=True)
    return Finding("GPU", True, f"this process sees one{hidden}", optional=True)
