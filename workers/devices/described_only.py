"""What the drivers share that reach a device by something only its description says."""

from typing import ClassVar, Self

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.devices.answers import AnswerOptions, answer_options
from workers.devices.description import DeviceDescription
from workers.options import option_values


class DescribedOnly:
    """A device that is sent pictures and answers with pictures, batch by batch; nothing of it is here.

    Args:
        description: of the device.

    Raises:
        SettingsError: an option of its spec cannot be used.
    """

    only_described = True
    driver: ClassVar[str]
    """Name of the entry point."""

    def __init__(self, description: DeviceDescription) -> None:
        self._description = description
        self._options: AnswerOptions = answer_options(description.spec)

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """A device that no description says more of."""
        return ModelSpec(name=cls.driver, version="described", options=option_values(AnswerOptions()))

    @classmethod
    def of_description(cls, description: DeviceDescription, compute: Compute) -> Self:  # noqa: ARG003
        """The described device; reaches and starts nothing yet. Arguments and errors as of the class."""
        return cls(description)

    @property
    def batch_size(self) -> int:
        """Pictures in one call, as described."""
        return self._description.batch

    def load(self) -> None:
        """Nothing: every call reaches for the device anew."""
