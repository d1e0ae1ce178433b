"""The workers that cannot load what their queues need: a job goes on without them, and nobody would know."""

import logging
from typing import Any

from api.printable import printable
from broker.control import Control
from broker.errors import BrokerUnavailable
from broker.presence import Presence, WorkerCard
from broker.settings import Settings

log = logging.getLogger(__name__)


def unfit_workers(settings: Settings) -> list[WorkerCard]:
    """Those that were heard of just now; none where nobody can be asked, which ``status`` says elsewhere."""
    try:
        cards = Presence(Control.of(settings)).alive()
    except BrokerUnavailable as error:
        log.info("which workers are unfit is not known: %s", error)
        return []
    return [card for card in cards if card.unfit is not None]


def unfit_line(card: WorkerCard) -> str:
    """``the worker pose@gpu-3 is unfit for pose: weights: ...``."""
    if card.unfit is None:
        return ""
    why = card.unfit
    stages = ", ".join(why.stages)
    text = f"{why.code}: {why.cause} {why.remedy}".strip()
    return printable(f"The worker {card.name} on {card.host} is unfit for {stages}. {text}")


def unfit_json(card: WorkerCard) -> dict[str, Any]:
    """For programs."""
    why = card.unfit.model_dump(mode="json", exclude={"at"}) if card.unfit else {}
    return {"worker": card.name, "host": card.host, "queues": card.queues, **why}
