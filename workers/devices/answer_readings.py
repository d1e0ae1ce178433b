"""What else a device's picture could have meant: other readings of one answer to the known picture."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from workers.contracts import PersonMap
from workers.devices import known_picture
from workers.devices.answers import threshold_of
from workers.devices.description import DeviceDescription, open_described
from workers.devices.readings import THRESHOLDS, Fit

_MOST_LABELS = 64
"""More different values than this are no class numbers."""


class AnswerReadings:
    """Reads an answer in every way; the device is asked again only for one that was read as labels.

    Args:
        description: of the device, whose driver is ``http`` or ``command``.
        answer: the person map that its reading gave, h x w uint8.
    """

    exhausted = False

    def __init__(self, description: DeviceDescription, answer: PersonMap) -> None:
        self._description, self._answer = description, answer

    def alone(self) -> list[Fit]:
        """Every other reading, the best first; of equals, the plainest."""
        return sorted(self._fits(), key=lambda fit: -round(fit.iou, 2))

    def in_pairs(self) -> list[Fit]:
        """None: ``answer`` and ``person_label`` go together."""
        return []

    def _fits(self) -> Iterator[Fit]:
        options, values = self._description.spec.options, self._answer
        known, threshold = known_picture.of(self._description), threshold_of(self._description.spec)
        if options.get("answer") == "label":
            values = self._as_sent()
            yield Fit({"answer": "probability"}, known.iou(values, threshold))
        for each in THRESHOLDS:
            yield Fit({"threshold": each}, known.iou(self._answer, each))
        labels = np.unique(values).tolist()
        for label in labels if len(labels) <= _MOST_LABELS else ():
            person = np.where(values == label, 255, 0).astype(np.uint8)
            changed = {"answer": "label", "person_label": label}
            yield Fit({k: v for k, v in changed.items() if options.get(k) != v}, known.iou(person, 0.5))
        yield Fit({}, known.iou(255 - values, threshold), inverted=True)

    def _as_sent(self) -> PersonMap:
        spec = self._description.spec
        plain = spec.model_copy(update={"options": {**spec.options, "answer": "probability"}})
        device = open_described(replace(self._description, spec=plain))
        device.load()
        return device.maps([known_picture.of(self._description).picture])[0]
