"""What a device's unit is at."""

from enum import StrEnum


class UnitState(StrEnum):
    """As its worker has said it last; one that is not heard of any more may be in any."""

    READY = "ready"
    """It takes work."""
    WAITING_FOR_DEVICE = "waiting_for_device"
    """Its worker lives and the device behind it does not answer, or answers wrongly."""
    GONE = "gone"
    """Its worker has ended in good order."""
