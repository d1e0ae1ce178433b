"""An egress of its own for each test, and what it answers."""

import uuid

from broker.control import Control
from broker.egress import Egress, Wait


def an_egress(
    control: Control, per_second: float = 10.0, burst: int = 1, pause: float = 0.3, longest: float = 1.0
) -> Egress:
    return Egress(control, f"test-{uuid.uuid4().hex}", per_second * 3600, burst, pause, longest)


def wait_of(answer: Wait | None) -> Wait:
    assert answer is not None, "was granted"
    return answer
