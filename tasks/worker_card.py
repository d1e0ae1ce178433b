"""The card of this worker: what it serves and has loaded, without what its machine keeps to itself."""

import importlib.metadata
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from broker.errors import BrokerUnavailable
from broker.presence import Presence, Unfit, WorkerCard
from broker.queues import served_stages
from broker.recipe import ModelSpec, Stage
from tasks.counting import found_unfit
from tasks.fitness import is_unloadable, unfit_because
from tasks.loaded_models import loaded_models, points_of, public_spec
from tasks.preloading import preload
from tasks.runtime import Runtime
from tasks.unit_news import process_news

log = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
"""Between two attempts to tell a broker that is away of this worker."""


def load_and_describe(
    runtime: Runtime, name: str, pid: int, started: float, queues: Sequence[str]
) -> WorkerCard:
    """Loads what ``queues`` need into this process, and describes the worker.

    Args:
        runtime: of the process that will do the work.
        name: of the worker, as Flower shows it.
        pid: of its main process, which beats.
        started: when, Unix time.
        queues: that it serves.
    """
    stages = served_stages(queues)
    models: dict[Stage, ModelSpec] = {}
    unfit: Unfit | None = None
    try:
        preload(runtime, stages)
        models = loaded_models(runtime, stages)
    except Exception as error:
        # The same error meets the first task and is dealt with there; raised here it would end the
        # process, and its successor, for ever.
        log.exception("cannot load what %s need", ", ".join(queues))
        if is_unloadable(runtime, error):
            unfit = unfit_because(runtime, error)
            found_unfit(unfit.code)
        runtime.not_loaded = None
    settings = runtime.settings
    runtime.card = WorkerCard(
        name=name,
        host=socket.gethostname(),
        pid=pid,
        queues=tuple(queues),
        models=models,
        points=points_of(models),
        gpu=settings.gpu or "",
        version=importlib.metadata.version("hardpose"),
        metrics=f"{settings.metrics_host}:{settings.metrics_port}" if settings.metrics_port else "",
        started=started,
        unfit=unfit,
    )
    return runtime.card


def announce(runtime: Runtime, card: WorkerCard, tested: Mapping[str, Any]) -> None:
    """Shows the worker, and the device that it drives, if it has one of its own.

    Args:
        runtime: of the process that will do the work.
        card: of the worker; one of its own that ``runtime`` has by now goes before it.
        tested: the device's self-test: the fields of ``workers.devices.self_test.SelfTest``; empty: none.

    Raises:
        BrokerUnavailable: nobody is told.
    """
    latest = runtime.card if runtime.card is not None and runtime.card.key == card.key else card
    Presence(runtime.control).announce(latest)
    if runtime.described is not None:
        spec = public_spec(runtime.described.spec)
        # Without it: the log says why; the device may only be switched off.
        process_news().begin(runtime.control, spec, card, tested, ready=Stage.ME in card.models)


def announce_until_heard(runtime: Runtime, card: WorkerCard, tested: Mapping[str, Any]) -> None:
    """As ``announce``; a broker that is away, as where all is started at once, is told when it is there.

    Nobody else could: the card is known to the process that has loaded the models alone.
    """
    try:
        announce(runtime, card, tested)
    except BrokerUnavailable as error:
        log.warning("this worker is not shown yet: %s", error)
        again = threading.Thread(
            target=_announce_later, args=(runtime, card, tested), name="announce", daemon=True
        )
        again.start()


def _announce_later(runtime: Runtime, card: WorkerCard, tested: Mapping[str, Any]) -> None:
    while True:
        time.sleep(AGAIN_SECONDS)
        try:
            announce(runtime, card, tested)
        except BrokerUnavailable as error:
            log.debug("this worker is still not shown: %s", error)
        else:
            log.info("this worker is shown now")
            return
