"""The models that made a data set: what each did, its licence, and how its authors want to be cited."""

import logging
from dataclasses import dataclass
from typing import Any

from broker.errors import HardposeError
from broker.recipe import ModelSpec, Recipe
from workers.models import DEVICES, MASKS, POSE, model_class, takes_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credit:
    """One model.

    Attributes:
        role: ``pose``, ``teacher`` or ``device``.
        does: that, in words.
        model: as the recipe names it.
        citation: its authors' own; empty when they ask for none, or the model is not installed here.
    """

    role: str
    does: str
    model: ModelSpec
    citation: str

    def as_json(self) -> dict[str, Any]:
        """For ``annotations.json``. Where the weights came from stays out: it may be a folder."""
        return {
            "role": self.role,
            "name": self.model.name,
            "version": self.model.version,
            "sha256": self.model.sha256,
            "licence": self.model.licence,
            "citation": self.citation,
        }


def model_credits(recipe: Recipe) -> list[Credit]:
    """The three models of ``recipe``, in the order of their work."""
    parts = (
        ("pose", "finds one whole person", POSE, recipe.pose_model),
        ("teacher", "draws the mask that counts as truth", MASKS, recipe.mask_model),
        ("device", "draws the mask that is tried", DEVICES, recipe.device_model),
    )
    return [Credit(role, does, model, _citation(group, model.name)) for role, does, group, model in parts]


def _citation(group: str, name: str) -> str:
    try:
        takes = takes_weights(model_class(group, name))
    except HardposeError as error:
        # Its frames were made on another machine; the data set is written without asking the model.
        log.info("no citation of %s: %s", name, error.cause)
        return ""
    return takes.card.citation if takes is not None else ""
