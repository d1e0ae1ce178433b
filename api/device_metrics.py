"""The devices of a system for Prometheus: who is there, and when each unit was last heard of."""

from collections import Counter
from collections.abc import Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from api.device_wait import CONDITIONS, condition
from broker.device_register import DeviceUnit


def device_metrics(units: Sequence[DeviceUnit]) -> list[Metric]:
    """Of each device its units by what they are at; of each unit the moment at which it was last heard of."""
    counts = Counter((unit.device, condition(unit)) for unit in units)
    by_state = GaugeMetricFamily(
        "hardpose_device_units", "Units of a device, by what they are at.", labels=["device", "state"]
    )
    for device in sorted({unit.device for unit in units}):
        for state in CONDITIONS:
            by_state.add_metric([device, state], counts[device, state])
    seen = GaugeMetricFamily(
        "hardpose_device_last_seen_timestamp_seconds",
        "When a unit was last heard of, by the broker's clock.",
        labels=["device", "firmware", "unit"],
    )
    for unit in units:
        seen.add_metric([unit.device, unit.firmware, unit.key], unit.last_seen)
    return [by_state, seen]
