"""A device emulated on this machine: any ``.tflite`` segmentation network, on LiteRT."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from broker.errors import SettingsError
from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Image, PersonMap
from workers.embedded_weights import SELFIE, VERSION
from workers.errors import ModelMismatch
from workers.litert import LiteRT, Tensor
from workers.models import Weights
from workers.options import option_values, read_options
from workers.pose.geometry import Floats, sigmoid

CHOICES = {
    "colours": ("rgb", "bgr"),
    "output": ("probability", "logit", "softmax", "argmax"),
    "resize": ("area", "linear"),
}


@dataclass(frozen=True)
class DeviceOptions:
    """What a file cannot say about itself. Its sizes, types and quantisation are read from it.

    Attributes:
        colours: order of the input's channels, ``rgb`` or ``bgr``.
        scale, offset: the input's real value is pixel (0..255) * scale + offset.
        resize: how the frame is brought to the input's size: ``area`` averages, ``linear`` samples.
        output: ``probability``, ``logit`` (sigmoid follows), ``softmax`` (over two or more channels of
            logits), or ``argmax`` (the largest channel; with one channel: class numbers).
        person_channel: the person's channel, or class number, when there are several.
        threshold: probability from which a pixel is person.
        output_name: which output is the mask, when several could be.
    """

    colours: str = "rgb"
    scale: float = 1 / 255
    offset: float = 0.0
    resize: str = "area"
    output: str = "probability"
    person_channel: int = 1
    threshold: float = 0.5
    output_name: str = ""


class LiteRTDevice:
    """Draws masks with a ``.tflite`` file. Implements ``workers.contracts.Device``; not thread-safe.

    The default is the selfie segmentation network. A network needs one input 1 x H x W x 3 and an
    output 1 x h x w or 1 x h x w x channels, floating point or 8-bit quantised.

    Args:
        spec: one weights file, and ``DeviceOptions``.
        weights: the weights store, asked in ``load`` only.
        compute: its threads, of the network and of OpenCV.

    Raises:
        SettingsError: an option of ``spec`` cannot be used.
        ModelMismatch: ``spec`` has other than one weights file.
    """

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._threads = spec, weights, compute.threads
        self._options = device_options(spec)
        self._network: LiteRT | None = None
        if len(spec.weights) != 1:
            raise ModelMismatch(
                f"The device {spec.name} is described with {len(spec.weights)} weights files.",
                "Give one .tflite file.",
            )

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The selfie segmentation network, general model."""
        return ModelSpec(
            name="litert", version=VERSION, weights=(SELFIE,), options=option_values(DeviceOptions())
        )

    def load(self) -> None:
        """Loads the network and checks its shapes; a second call does nothing.

        Raises:
            WeightsError: the weights could not be fetched.
            MissingDependency: LiteRT is not installed.
            ModelMismatch: input or output do not fit the description; names what was found.
        """
        if self._network is not None:
            return
        cv2.setNumThreads(self._threads)
        network = LiteRT(self._weights.path(self._spec.weights[0]), self._threads)
        self._size = input_size(network)
        check_input_numbers(network, "scale" in self._spec.options)
        self._mask_output = mask_output(network, self._options)
        self._network = network

    @property
    def batch_size(self) -> int:
        """1: one image after the other."""
        return 1

    def maps(self, images: Sequence[Image]) -> list[PersonMap]:
        """The person map of each image (H x W x 3 uint8 RGB), h x w uint8 in the output's own size."""
        return [np.rint(255 * np.clip(self.probability(image), 0, 1)).astype(np.uint8) for image in images]

    def probability(self, image: Image) -> Floats:
        """Float32 h x w in the output's own size: probability of person."""
        self.load()
        assert self._network is not None
        (raw,) = self._network.run(self._input(image), self._mask_output)
        return person_probability(raw[0], self._options)

    def _input(self, image: Image) -> Floats:
        way = cv2.INTER_AREA if self._options.resize == "area" else cv2.INTER_LINEAR
        pixels = cv2.resize(image, self._size, interpolation=way).astype(np.float32)
        if self._options.colours == "bgr":
            pixels = pixels[:, :, ::-1]
        values: Floats = pixels * np.float32(self._options.scale) + np.float32(self._options.offset)
        return np.ascontiguousarray(values[None])


def device_options(spec: ModelSpec) -> DeviceOptions:
    """The options of ``spec``, checked.

    Raises:
        SettingsError: an option is unknown, of the wrong type or out of its range.
    """
    options = read_options(DeviceOptions, spec)
    for name, choices in CHOICES.items():
        if getattr(options, name) not in choices:
            raise SettingsError(
                f"The option {name} of the device {spec.name} is {getattr(options, name)!r}.",
                f"Give one of: {', '.join(choices)}.",
            )
    if not 0 < options.threshold < 1:
        raise SettingsError(
            f"The option threshold of the device {spec.name} is {options.threshold}.",
            "Give a probability between 0 and 1.",
        )
    return options


def input_size(network: LiteRT) -> tuple[int, int]:
    """Width and height of the input image.

    Raises:
        ModelMismatch: the input is no single image of three channels, or of an open size.
    """
    shape = network.input.shape
    if len(shape) != 4 or shape[0] not in (1, -1) or shape[3] != 3 or min(shape[1:3]) < 1:
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}.",
            "Give a network whose input is 1 x height x width x 3 with a fixed height and width.",
        )
    return shape[2], shape[1]


def check_input_numbers(network: LiteRT, scale_given: bool) -> None:
    """Refuses an integer input that nothing says how to fill: pixels over 255 would become 0 and 1.

    Raises:
        ModelMismatch: the file has no quantisation for its integer input, and the options no scale.
    """
    if network.input.dtype.kind != "f" and not network.input.quantised and not scale_given:
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}, and the file does not say how it is quantised.",
            "Set scale and offset in the .json beside the file: the number stored is pixel (0..255) * scale "
            'plus offset, for plain pixels {"scale": 1, "offset": 0}.',
        )


def mask_output(network: LiteRT, options: DeviceOptions) -> Tensor:
    """The output that carries the mask.

    Raises:
        ModelMismatch: none or several fit; names what was found.
    """
    fitting = [t for t in network.outputs if fits(t.shape, options)]
    if options.output_name:
        fitting = [t for t in fitting if t.name == options.output_name]
    if len(fitting) == 1:
        return fitting[0]
    found = ", ".join(map(str, network.outputs))
    raise ModelMismatch(
        f"{len(fitting)} outputs of {network.path} fit the description (output={options.output!r}, "
        f"person_channel={options.person_channel}, output_name={options.output_name!r}); it has {found}.",
        "Describe the mask's output with the options output, person_channel and output_name.",
    )


def fits(shape: tuple[int, ...], options: DeviceOptions) -> bool:
    """Whether an output of ``shape`` can be the mask: 1 x h x w [x channels], with the person's channel."""
    if len(shape) not in (3, 4) or shape[0] not in (1, -1) or min(shape[1:3]) < 2:
        return False
    channels = shape[3] if len(shape) == 4 else 1
    if channels == 1:
        return options.output != "softmax"
    return 0 <= options.person_channel < channels


def person_probability(raw: Floats, options: DeviceOptions) -> Floats:
    """Float32 h x w in [0, 1] from an output h x w [x channels]; argmax gives 0 or 1."""
    values = raw if raw.ndim == 3 else raw[:, :, None]
    several = values.shape[2] > 1
    if options.output == "argmax":
        classes = values.argmax(axis=2) if several else np.rint(values[:, :, 0])
        chosen: Floats = (classes == options.person_channel).astype(np.float32)
        return chosen
    if options.output == "softmax":
        powers = np.exp(values - values.max(axis=2, keepdims=True))
        values = powers / powers.sum(axis=2, keepdims=True)
    person = values[:, :, options.person_channel if several else 0]
    return np.ascontiguousarray(sigmoid(person) if options.output == "logit" else person)
