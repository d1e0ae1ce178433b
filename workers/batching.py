"""Batches that shrink: when one does not fit into memory, the next ones are half as large."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from workers.errors import OutOfMemory

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Runs a model on any number of items, a batch at a time.

    Args:
        model: its name, for the log.
        size: items of the first batch; the property ``size`` tells what it has become.
    """

    def __init__(self, model: str, size: int) -> None:
        self._model = model
        self.size = max(1, size)

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
        """``work`` on all ``items`` in order; one result for each.

        A batch that raises ``OutOfMemory`` (or ``MemoryError``, before it reached the network) is done again
        in halves, and the size stays halved for as long as this process lives: a GPU that was too small once
        will be again.

        Raises:
            OutOfMemory: a single item does not fit.
            MemoryError: the same.
        """
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            try:
                done = work(batch)
            except (OutOfMemory, MemoryError) as error:
                if len(batch) == 1:
                    raise
                self.size = len(batch) // 2
                log.warning(
                    "%s: a batch of %d does not fit into memory, going on with %d (%s)",
                    self._model, len(batch), self.size, getattr(error, "cause", error),
                )  # fmt: skip
                continue
            assert len(done) == len(batch), f"{self._model} gave {len(done)} results for {len(batch)} items"
            results.extend(done)
        return results
