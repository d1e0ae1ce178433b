"""What is read off a running model: numbers over time, and how long things took."""

from collections.abc import Sequence

import simpy


class Gauge:
    """A number that changes by steps, its mean over time and its largest value."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self.value = 0
        self.reset()

    def reset(self) -> None:
        """Forgets the past; the value stays."""
        self._area, self._began, self._since, self.most = 0.0, self._env.now, self._env.now, self.value

    def add(self, change: int) -> None:
        """The number rises or falls, now."""
        self._area += self.value * (self._env.now - self._since)
        self._since = self._env.now
        self.value += change
        self.most = max(self.most, self.value)

    def mean(self) -> float:
        """Over the time since the last reset; 0 over none."""
        self.add(0)
        passed = self._env.now - self._began
        return self._area / passed if passed else 0.0


def mean(values: Sequence[float]) -> float:
    """0 for none."""
    return sum(values) / len(values) if values else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of all lie (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
