"""Finds out that messages were lost, in a thread of the workers that reach the catalog, and has it mended.

The thread itself only counts, and sends one message: a worker's main process must not open the catalog that
its pool uses (``tasks.celery_repair`` does, in the pool).
"""

import logging
import threading
from collections.abc import Sequence

from celery import Celery

from broker.control import Control
from broker.presence_beat import own_key
from broker.pump_step import PumpStep, pump_until
from broker.queues import stages_of_queue
from broker.recipe import Stage
from broker.repair_orders import RepairOrders
from broker.settings import Settings
from tasks.pipeline import sending
from tasks.readable import captioned
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
"""Between two looks."""
TASK = "hardpose.repair"


class RepairPump(PumpStep):
    """The thread of a worker that fetches, or that keeps the books."""

    thread_name = "repair-pump"

    def serves(self, queues: Sequence[str]) -> bool:
        """Those that reach the catalog, and so would mend."""
        return any({Stage.DOWNLOAD, Stage.COMPARE} & set(stages_of_queue(queue) or ()) for queue in queues)

    def pump(self, app: Celery, settings: Settings, stopped: threading.Event) -> None:
        """Looks until ``stopped``."""
        if not settings.repairs:
            return
        watch: list[LossWatch] = []

        def turn(control: Control) -> bool:  # noqa: ARG001 - the runtime has its own
            if not watch:
                watch.append(LossWatch(app, Runtime(settings), own_key()))
            watch[0].look()
            return False

        pump_until(stopped, settings, turn, EVERY_SECONDS, "lost messages")


class LossWatch:
    """Sees that the shared state has lost its memory, or that there is no message at all for too long.

    Args:
        app: sends.
        runtime: of this process; its catalog is not opened.
        name: of this worker, unlike any other's.
    """

    def __init__(self, app: Celery, runtime: Runtime, name: str) -> None:
        from tasks.reconcile import Reconciler  # a worker of pose has no catalog

        self._app, self._name = app, name
        self._orders = RepairOrders(runtime.control)
        self._quiet = Reconciler(app, runtime)
        self._memory = ""

    def look(self) -> str | None:
        """Orders a repair if one is due; says why.

        Raises:
            BrokerUnavailable: it is away; the next look sees the same.
        """
        memory = self._orders.memory()
        before, self._memory = self._memory or memory, memory
        if before != memory and self._orders.take_loss(memory):
            try:
                return self._order("the shared state has lost its memory")
            except Exception:
                self._memory = before
                self._orders.give_back_loss(memory)
                raise
        if self._orders.leads(self._name) and self._quiet.lost():
            return self._order("there is no message")
        return None

    def _order(self, why: str) -> str:
        log.warning("%s: what is open is sent anew", why)
        with sending():
            self._app.send_task(TASK, queue=Stage.DOWNLOAD.value, args=(why,), **captioned(why))
        return why
