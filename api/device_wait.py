"""What of a job waits for its device, and when that was last heard of: the reason for a long silence."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from api.printable import counted, span
from broker.backlog import Backlog
from broker.control import Control
from broker.device_register import DeviceRegister, DeviceUnit, UnitState
from broker.errors import BrokerUnavailable
from broker.queue_lengths import waiting_by_queue, waiting_in
from broker.queues import DEVICE_QUEUE
from broker.recipe import ModelSpec, Stage
from broker.settings import Settings
from broker.views import JobView

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceWait:
    """Segments of a job that wait for its device. Equal while only the clock runs."""

    device: str
    """Its name, or the queue of those that are emulated."""
    segments: int
    """That have all they need, and that are held before their first stage, together."""
    held: int
    """Before their first stage, because so many wait already."""
    state: str
    """``at_work``, ``waiting_for_device``, ``silent``, ``gone`` or ``unknown``."""
    silent: float | None = field(default=None, compare=False)
    """Seconds since any unit of it was last heard of; None: never."""

    @property
    def away(self) -> bool:
        """Whether nobody does the work: how long it will take cannot be known."""
        return self.state != "at_work"

    def __str__(self) -> str:
        verb = "waits" if self.segments == 1 else "wait"
        held = f" ({self.held:,} of them held before the first stage)" if self.held else ""
        return f"{counted(self.segments, 'segment')} {verb} for {self.device}{self.why}{held}"

    @property
    def brief(self) -> str:
        """For where there is little room: the count is shown beside."""
        return f"for {self.device}{self.why}"

    @property
    def why(self) -> str:
        """Why it does not do them, beginning with a comma; empty while it works."""
        return heard_in_words(self.state, self.silent)


def heard_in_words(state: str, silent: float | None) -> str:
    """``, last heard of 3.0 h ago`` and the like, of a ``DeviceWait.state``."""
    if state == "unknown" or silent is None:
        return ", never heard of" if state == "unknown" else ""
    ago = f"{span(silent)} ago"
    return {
        "at_work": "",
        "waiting_for_device": ", which does not answer its worker",
        "gone": f", whose worker was stopped {ago}",
    }.get(state, f", last heard of {ago}")


def device_wait(
    settings: Settings,
    control: Control,
    job_id: str,
    device: ModelSpec,
    by_stage: Mapping[Stage, int],
    unsettled: int,
) -> DeviceWait | None:
    """What of the job waits for its device; None where nothing does, or where the device is at it.

    Args:
        settings: of the system.
        control: its shared state.
        job_id: of the job.
        device: of its recipe.
        by_stage: segments that each stage is done with, in this run of the job.
        unsettled: its segments that have not ended.

    Raises:
        BrokerUnavailable: nobody can say.
    """
    held = Backlog(control).of_job(job_id)
    waiting = max(0, by_stage.get(Stage.MASK, 0) - by_stage.get(Stage.ME, 0)) + held
    if not any(by_stage.get(stage, 0) for stage in (Stage.POSE, Stage.MASK)):
        waiting = max(waiting, held + _of_replay(settings, control, device, unsettled - held))
    if waiting == 0:
        return None
    if device.route is None:
        state = "at_work"
        return DeviceWait("the workers of me", waiting, held, state, 0.0) if held else None
    units = [u for u in DeviceRegister(control).units(device.route.device) if serves(u, device)]
    state, silent = standing(units)
    if state == "at_work" and not held:
        return None
    return DeviceWait(device.route.device, waiting, held, state, silent)


def _of_replay(settings: Settings, control: Control, device: ModelSpec, unsettled: int) -> int:
    """Segments of a replay that wait, at most. It passes no stage before the device: they are in its queue,
    beside those of others.
    """
    if device.route is None or unsettled < 1:
        return 0
    return min(unsettled, waiting_in(settings, control, [device.route.queue]))


def serves(unit: DeviceUnit, device: ModelSpec) -> bool:
    """Whether the unit does the work of this very device: the same firmware, model and options."""
    return unit.spec.identity() == device.identity()


def standing(units: list[DeviceUnit]) -> tuple[str, float | None]:
    """What can be expected of these units together, and for how many seconds the best of them is silent."""
    if not units:
        return "unknown", None
    states = {condition(unit) for unit in units}
    best = next(state for state in CONDITIONS if state in states)
    return best, min(unit.silent for unit in units if condition(unit) == best)


CONDITIONS = ("at_work", "waiting_for_device", "silent", "gone")
"""Of a unit, the best first."""


def condition(unit: DeviceUnit) -> str:
    """What the unit said last, unless it is not heard of any more."""
    if unit.state == UnitState.GONE:
        return "gone"
    if not unit.alive:
        return "silent"
    return "at_work" if unit.state == UnitState.READY else "waiting_for_device"


def ask_device(settings: Settings, job: JobView) -> DeviceWait | None:
    """``device_wait`` of a job; None where nobody can be asked, which ``status`` says elsewhere."""
    if job.final:
        return None
    try:
        control = Control.of(settings)
        by_stage = control.progress(job.id)
        return device_wait(settings, control, job.id, job.recipe.device_model, by_stage, unsettled(job))
    except BrokerUnavailable as error:
        log.info("what waits for the device is not known: %s", error)
        return None


def unsettled(job: JobView) -> int:
    """Segments of the job that have not ended."""
    return sum(not segment.state.final for link in job.links for segment in link.segments)


def devices_waited_for(settings: Settings) -> list[DeviceWait]:
    """The devices that do not do the segments in their own queues, or for which segments are held."""
    try:
        control = Control.of(settings)
        register, held = DeviceRegister(control), Backlog(control).counts()
        units, waiting = register.units(), waiting_by_queue(settings, control, register.queues())
    except BrokerUnavailable as error:
        log.info("what waits for devices is not known: %s", error)
        return []
    found = []
    for queue in sorted({*waiting, *held}):
        mine = [unit for unit in units if unit.queue == queue]
        names = ", ".join(sorted({unit.device for unit in mine})) or queue
        aside = held.get(queue, 0)
        wait = DeviceWait(names, waiting.get(queue, 0) + aside, aside, *standing(mine))
        if wait.segments and (wait.held or (wait.away and queue != DEVICE_QUEUE)):
            found.append(wait)
    return found
