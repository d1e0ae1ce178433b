"""A device emulated on this machine: any ``.tflite`` segmentation network, on LiteRT."""

from pathlib import Path
from typing import Self

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.devices.description import DeviceDescription
from workers.devices.in_process import InProcessDevice
from workers.devices.network import NetworkOptions
from workers.embedded_weights import SELFIE, VERSION
from workers.litert import Delegate, LiteRT
from workers.options import option_values


class LiteRTDevice(InProcessDevice):
    """Draws masks with a ``.tflite`` file; see ``InProcessDevice``. The default is the selfie segmentation.

    A file with a fixed batch is always given as many images; one whose batch is open gets as many as the
    description says. A described delegate drives what it can of the network; the CPU (XNNPACK) does the rest.
    """

    _delegate: Delegate | None = None

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The selfie segmentation network, general model."""
        return ModelSpec(
            name="litert", version=VERSION, weights=(SELFIE,), options=option_values(NetworkOptions())
        )

    @classmethod
    def of_description(cls, description: DeviceDescription, compute: Compute) -> Self:
        """The described device, on its delegate if it names one; loads nothing yet."""
        device = super().of_description(description, compute)
        if description.delegate:
            device._delegate = Delegate(description.delegate, dict(description.delegate_options))
        return device

    def _open(self, path: Path) -> LiteRT:
        return LiteRT(path, self._compute.threads, self._delegate)
