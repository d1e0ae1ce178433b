"""A device emulated in this process by its network: what ``litert`` and ``onnx`` have in common."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Image, PersonMap
from workers.devices.description import DeviceDescription, OwnFile
from workers.devices.errors import TooLate
from workers.devices.network import Network, network_options
from workers.devices.network_input import Filled, NetworkInput, network_input
from workers.devices.network_output import MaskOutput, mask_output
from workers.errors import ModelMismatch
from workers.models import Weights


@dataclass(frozen=True)
class _Ready:
    network: Network
    seen: NetworkInput
    mask: MaskOutput


class InProcessDevice(ABC):
    """Draws masks with a network's file. Implements ``workers.contracts.Device``; not thread-safe.

    A network needs one input N x H x W x 3 or N x 3 x H x W, and an output N x h x w, N x h x w x channels or
    N x channels x h x w; floating point, integers, or quantised as its file says.

    Args:
        spec: one weights file, and ``NetworkOptions``.
        weights: the weights store, asked in ``load`` only.
        compute: threads, providers; and the images in a call, where the file leaves them open.

    Raises:
        SettingsError: an option of ``spec`` cannot be used.
        ModelMismatch: ``spec`` has other than one weights file.
    """

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._compute = spec, weights, compute
        self._options = network_options(spec)
        self._time_limit = float("inf")
        self._network: Network | None = None
        self._ready: _Ready | None = None
        if len(spec.weights) != 1:
            raise ModelMismatch(
                f"The device {spec.name} is described with {len(spec.weights)} weights files.",
                "Give one network's file.",
            )

    @classmethod
    def of_description(cls, description: DeviceDescription, compute: Compute) -> Self:
        """The described device: its file, its batch and its time limit; loads nothing yet."""
        device = cls(description.spec, OwnFile(description), replace(compute, batch=description.batch))
        device._time_limit = description.time_limit
        return device

    @abstractmethod
    def _open(self, path: Path) -> Network:
        """The network in ``path``, in memory."""

    def load(self) -> None:
        """Loads the network and checks its shapes; a second call does nothing.

        Raises:
            WeightsError: the weights could not be fetched.
            MissingDependency: the runtime is not installed.
            ModelMismatch: input or output do not fit the description; names what was found.
        """
        self._loaded()

    def network(self) -> Network:
        """The network in memory, before the description is held against it.

        Raises:
            WeightsError, MissingDependency: see ``load``.
            ModelMismatch: the file cannot be run.
        """
        if self._network is None:
            self._network = self._open(self._weights.path(self._spec.weights[0]))
        return self._network

    def _loaded(self) -> _Ready:
        if self._ready is None:
            network = self.network()
            seen = network_input(network, self._options)
            self._ready = _Ready(network, seen, mask_output(network, seen, self._options))
        return self._ready

    @property
    def batch_size(self) -> int:
        """Images in one call: as many as the file says, or where it leaves that open, as ``compute`` says."""
        fixed = self._loaded().seen.batch
        return fixed or self._compute.batch or 1

    def prepared(self, image: Image) -> Filled:
        """``image`` as ``maps`` may be given it in its place; safe in a thread beside."""
        return self._loaded().seen.filled(image)

    def maps(self, images: Sequence[Image | Filled]) -> list[PersonMap]:
        """The person map of each image (H x W x 3 uint8 RGB), h x w uint8 in the output's own size.

        Raises:
            NotANumber, WrongSize: of one of the images; see ``MaskOutput.person_map``.
            TooLate: a call took longer than the description allows.
            ModelMismatch: the network takes fewer images in a call than it says.
        """
        step = self.batch_size
        return [m for at in range(0, len(images), step) for m in self._call(images[at : at + step])]

    def _call(self, images: Sequence[Image | Filled]) -> list[PersonMap]:
        ready = self._loaded()
        started = time.monotonic()
        (raw,) = ready.network.run(ready.seen.fill(images), ready.mask.tensor)
        if len(raw) < len(images):
            raise ModelMismatch(
                f"The network's output {ready.mask.tensor} holds {len(raw)} mask(s) of {len(images)} images.",
                "Give it one image in each call: batch = 1.",
            )
        maps = [ready.mask.person_map(raw[i]) for i in range(len(images))]
        seconds = time.monotonic() - started
        if seconds > self._time_limit:
            raise TooLate(
                f"The network took {seconds:.3f} s for {len(images)} image(s), and may take "
                f"{self._time_limit:g} s.",
                "Raise time_limit in the device's description, or give it fewer images a call (batch).",
            )
        return maps
