"""How far something slow may go: the test says it, and no sleep has to be the right one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gate:
    """Looks that end when they are let through.

    Whoever looks writes a line into ``notes`` when it begins, and waits until the file ``gate`` beside it
    holds a number that is not smaller than that of its line.
    """

    notes: Path

    @property
    def lines(self) -> list[str]:
        """A line of each look that has begun, in order."""
        return self.notes.read_text().splitlines()

    @property
    def looks(self) -> list[int]:
        """The process of each look that has begun, as the odd models note it."""
        return [int(line.split()[1]) for line in self.lines]

    def let(self, looks: int) -> None:
        """So many looks of all end; who begins another one waits in it."""
        new = self.notes.with_name("gate.new")
        new.write_text(str(looks))
        new.replace(self.notes.with_name("gate"))  # whoever reads sees the one or the other

    def open(self) -> None:
        """Nobody waits any more."""
        self.let(10**9)
