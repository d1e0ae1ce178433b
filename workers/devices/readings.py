"""What else a description could have meant: other readings of one network, tried on the known picture."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from broker.settings import Plain
from workers.devices.errors import DeviceFault
from workers.devices.known_picture import KnownPicture
from workers.devices.network import CHOICES, Network, NetworkOptions
from workers.devices.network_input import NetworkInput, network_input
from workers.devices.network_output import mask_output
from workers.errors import ModelMismatch
from workers.tensors import Tensor

Changes = Mapping[str, Plain]
"""Options by name, with other values than the description has."""

_NORMS: tuple[Changes, ...] = (
    {"scale": 1 / 255, "offset": 0.0, "mean": "", "std": ""},
    {"scale": 1 / 127.5, "offset": -1.0, "mean": "", "std": ""},
    {"scale": 1.0, "offset": 0.0, "mean": "", "std": ""},
    {"scale": 1.0, "offset": -128.0, "mean": "", "std": ""},
    {"scale": 1 / 255, "offset": 0.0, "mean": "0.485 0.456 0.406", "std": "0.229 0.224 0.225"},
    {"scale": 1.0, "offset": 0.0, "mean": "123.68 116.779 103.939", "std": ""},
)
"""Pixels from 0 to 1, from -1 to 1, as they are, as int8; torchvision's and Caffe's means (of ImageNet)."""
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Tried in place of the described one."""
_MOST_CLASSES = 32
BUDGET = 20.0
"""Seconds of search; a small network needs a tenth of it."""


@dataclass(frozen=True)
class Fit:
    """A reading of the answer to the known picture.

    Attributes:
        changes: to the description's options.
        iou: with the known mask, in [0, 1].
        inverted: background and person are exchanged besides; no option says so.
    """

    changes: Changes
    iou: float
    inverted: bool = False


class Readings:
    """Tries descriptions of one network. What it is fed with is computed once for each way to feed it.

    Args:
        network: loaded.
        options: as described.
        known: the picture that they are tried on.
        budget: seconds after which no more are tried.
    """

    def __init__(
        self, network: Network, options: NetworkOptions, known: KnownPicture, budget: float = BUDGET
    ) -> None:
        self._network, self._options, self._known = network, options, known
        self._until = time.monotonic() + budget
        self._raw: dict[tuple[object, ...], list[NDArray[Any]]] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the budget is used up, so that not everything was tried."""
        return time.monotonic() >= self._until

    def alone(self) -> list[Fit]:
        """Every reading that differs in one thing and can be had, the best first."""
        upside_down = self.fit({}, inverted=True)
        return self._best([*map(self.fit, self._singles()), upside_down])

    def in_pairs(self) -> list[Fit]:
        """Every reading that differs in two of what is most often wrong and can be had, the best first."""
        pairs = combinations(self._usual(), 2)
        return self._best(self.fit({**a, **b}) for a, b in pairs if not a.keys() & b.keys())

    def fit(self, changes: Changes, inverted: bool = False) -> Fit | None:
        """What the network answers under ``changes``; None when it cannot be read that way."""
        if self.exhausted:
            return None
        options = replace(self._options, **changes)  # type: ignore[arg-type]
        try:
            seen = network_input(self._network, options)
            mask = mask_output(self._network, seen, options)
            answer = mask.person_map(self._answered(seen)[self._network.outputs.index(mask.tensor)][0])
        except (ModelMismatch, DeviceFault):
            return None
        answer = 255 - answer if inverted else answer
        return Fit(changes, self._known.iou(answer, options.threshold), inverted)

    def _best(self, fits: Iterable[Fit | None]) -> list[Fit]:
        """Of equals the one that was tried first; a rounding is no difference."""
        return sorted((fit for fit in fits if fit is not None), key=lambda fit: -round(fit.iou, 2))

    def _answered(self, seen: NetworkInput) -> list[NDArray[Any]]:
        """All outputs for the known picture."""
        key = (seen.width, seen.height, seen.way, seen.bgr, seen.factor.tobytes(), seen.shift.tobytes())
        if key not in self._raw:
            values = seen.fill([self._known.picture])
            self._raw[key] = self._network.run(values, *self._network.outputs)
        return self._raw[key]

    def _singles(self) -> list[Changes]:
        """Each thing that may be wrong, with each value that it may have in its place."""
        rare: list[Changes] = [
            *({"output_name": tensor.name} for tensor in self._network.outputs),
            *({"resize": name} for name in CHOICES["resize"]),
            *({"threshold": value} for value in THRESHOLDS),
        ]
        if self._channels() == 1:  # then class numbers are a way to read it, and the person's is unknown
            rare += [{"output": "argmax", "person_channel": number} for number in range(_MOST_CLASSES)]
        return [*self._usual(), *self._others(rare)]

    def _usual(self) -> list[Changes]:
        channels = self._channels()
        # Of several channels, logits are softmax's; as good on one picture, a sigmoid of one is the rare way.
        outputs = sorted(CHOICES["output"], key=lambda name: channels > 1 and name == "logit")
        return self._others([
            *({"colours": name} for name in CHOICES["colours"]),
            *({"output": name} for name in outputs),
            *_NORMS,
            *({"person_channel": number} for number in range(min(channels, _MOST_CLASSES)) if channels > 1),
        ])  # fmt: skip

    def _others(self, tried: Iterable[Changes]) -> list[Changes]:
        """What of each is other than described."""
        own = asdict(self._options)
        other = [{key: value for key, value in each.items() if own[key] != value} for each in tried]
        return [each for each in other if each]

    def _channels(self) -> int:
        return max(map(_channels, self._network.outputs), default=1)


def _channels(tensor: Tensor) -> int:
    """Of an output, the fewer of what stands second and last; 1 where it has none."""
    return max(min(tensor.shape[1], tensor.shape[3]), 1) if len(tensor.shape) == 4 else 1
