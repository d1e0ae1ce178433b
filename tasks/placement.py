"""Placement: which stages share a queue, and so a process."""

from dataclasses import dataclass
from itertools import combinations

from broker.errors import SettingsError
from broker.queues import DEVICE_QUEUE
from broker.recipe import CHAIN, Recipe, Stage

Group = tuple[Stage, ...]
"""Neighbouring stages of the chain that run one after the other in one task."""


def queue_name(group: Group) -> str:
    """The queue of a group: its stages joined by ``+``."""
    return "+".join(group)


def all_groups() -> list[Group]:
    """Every run of neighbouring stages: ten, from single stages to the whole chain."""
    ends = combinations(range(len(CHAIN) + 1), 2)
    return [CHAIN[start:end] for start, end in ends]


def group_of_task(name: str) -> Group | None:
    """The group that the Celery task ``name`` runs; None for a task of another kind."""
    return next((group for group in all_groups() if name == f"hardpose.{queue_name(group)}"), None)


@dataclass(frozen=True)
class Placement:
    """How the chain is cut into groups; every group is one queue."""

    groups: tuple[Group, ...]

    @classmethod
    def parse(cls, text: str) -> "Placement":
        """Reads ``"pose+mask | me | compare"``.

        Raises:
            SettingsError: when a stage is unknown, missing, doubled or out of order.
        """
        named = tuple(tuple(name.strip() for name in part.split("+")) for part in text.split("|"))
        flat = tuple(name for group in named for name in group)
        if flat != CHAIN:
            raise SettingsError(
                f"The placement {text!r} does not name each stage once and in order.",
                'Name pose, mask, me and compare in this order, parted by "|" (own queue) or "+" (same '
                'process), for example HARDPOSE_PLACEMENT="pose+mask | me | compare".',
            )
        return cls(tuple(tuple(Stage(name) for name in group) for group in named))

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of the groups, in the order of the chain."""
        return tuple(queue_name(group) for group in self.groups)

    def queue_of(self, group: Group, recipe: Recipe) -> str:
        """The queue of ``group`` for work under ``recipe``: a device may have one of its own.

        Raises:
            SettingsError: it has, or it gets its pictures inside the messages, and its stage shares a process
                with another one here.
        """
        route = recipe.device_model.route
        if route is None or Stage.ME not in group:
            return queue_name(group)
        alone = route.queue != DEVICE_QUEUE or route.pixels == "inline"
        if alone and group != (Stage.ME,):
            own = f"the queue {route.queue} of its own" if route.queue != DEVICE_QUEUE else "inline pictures"
            raise SettingsError(
                f"The device {route.device} has {own}, and the placement joins {queue_name(group)} in one "
                "process.",
                'Part me from the others, for example HARDPOSE_PLACEMENT="pose | mask | me | compare".',
            )
        return route.queue

    def check(self, recipe: Recipe) -> None:
        """Lets a recipe pass that this placement can serve.

        Raises:
            SettingsError: see ``queue_of``.
        """
        for group in self.groups:
            self.queue_of(group, recipe)

    @property
    def books_queue(self) -> str:
        """The queue whose workers reach the catalog: the one that compares."""
        return self.queues[-1]
