"""Which groups of body parts count as people, for the models that find parts first and people afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass

from workers.options import require_range
from workers.pose.geometry import Floats

MOST_PARTS = 25
"""A body has no more (BODY_25)."""


@dataclass(frozen=True)
class PersonRule:
    """What is a fragment and no person: few parts *and* little confidence.

    A frame must show exactly one person, so a stray elbow may not cost a frame, and a second person whom only
    a few parts show may not slip through.

    Attributes:
        person_min_parts: a person with this many parts counts, whatever their confidence; the feet's do not
            count, because false feet are common.
        person_min_confidence: a person whose parts have this mean confidence counts, however few they are.
    """

    person_min_parts: int = 5
    person_min_confidence: float = 0.5

    def __post_init__(self) -> None:
        require_range(self, 0, MOST_PARTS, "person_min_parts")
        require_range(self, 0, 1, "person_min_confidence")

    def counts(self, confidences: Floats, feet: Iterable[int]) -> bool:
        """Whether a group of parts is a person.

        Args:
            confidences: of all parts of the skeleton; 0 where one is not seen. At least one is.
            feet: numbers of the parts that belong to feet.
        """
        seen = confidences > 0
        mean = float(confidences[seen].mean())
        seen[list(feet)] = False
        return int(seen.sum()) >= self.person_min_parts or mean >= self.person_min_confidence
