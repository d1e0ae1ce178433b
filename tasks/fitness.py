"""A worker that cannot load what its queues need: it leaves the work to others, and says so.

It would be the fastest of all otherwise, and fail most segments of every job. What it cannot take goes back
for another worker, and it rests a little longer each time. Where nobody is left who could take a segment, it
fails with the error as it is.
"""

import logging
import time
from collections.abc import Iterable
from functools import cache

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from broker.errors import BrokerUnavailable
from broker.held_requests import HeldRequests
from broker.messages import Failure, Segment
from broker.presence import Presence, Unfit, WorkerCard
from broker.queues import served_stages, stages_of_queue
from broker.recipe import Stage
from broker.refusals import Refusals, Refused
from tasks.attempts import attempt_of_segment
from tasks.captions import public_line
from tasks.counting import found_unfit
from tasks.loaded_models import loaded_models, points_of
from tasks.placement import Group
from tasks.retrying import AwayPause, put_back
from tasks.runtime import WITH_MODEL, Runtime
from workers.devices.errors import DeviceAway

log = logging.getLogger(__name__)

NOT_ABOUT_THE_WORKER = (BrokerUnavailable, DeviceAway, SoftTimeLimitExceeded)
"""Raised while something is loaded, and dealt with elsewhere."""
REST_SECONDS, MOST_REST_SECONDS = 1.0, 15.0
"""Rest of an unfit worker before it gives a segment back: the first, and after a while. The segment waits as
long."""
TOLD_SECONDS = 60.0
"""After which a worker that has said that it is unfit may be fit again: one that is given work and still is
not says so more often than that."""
MOST_FIT_TAKES = 3
"""Of a segment, by workers that do other work: it is the segment's recipe, then."""
MOST_TAKES = 100
"""Of a segment, by whoever cannot take it; at ``MOST_REST_SECONDS`` each it is longer than a fit worker can
be busy with another one (``hard_time_limit``, 660 s)."""
LOG_SECONDS = 60.0


class Fitness:
    """Whether this process can work, as it was told last."""

    def __init__(self) -> None:
        self.rest = AwayPause(REST_SECONDS, MOST_REST_SECONDS, TOLD_SECONDS)
        self._logged_at = -LOG_SECONDS
        self._told = True

    def unfit(self, here: Runtime, error: BaseException) -> None:
        """It cannot load what its queues need."""
        why = unfit_because(here, error)
        found_unfit(why.code)
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            log.error("this worker is unfit for work: %s: %s %s", why.code, why.cause, why.remedy)
        if here.card is not None:
            self._show(here, here.card.model_copy(update={"unfit": why}))

    def fit(self, here: Runtime) -> None:
        """A segment is done; what others have heard is not told again."""
        card = here.card
        if card is None or here.unable:
            return
        stages = served_stages(card.queues)
        loaded = card.models
        if set(stages) & set(WITH_MODEL) - set(loaded) and here.has_loaded(stages):
            loaded = loaded_models(here, stages)
        elif card.unfit is None and self._told:
            return
        log.info("this worker is fit for work")
        found_unfit("")
        self.rest.ended()
        changed = {"unfit": None, "models": loaded, "points": points_of(loaded)}
        self._show(here, card.model_copy(update=changed))

    def _show(self, here: Runtime, card: WorkerCard) -> None:
        here.card, self._told = card, False
        try:
            Presence(here.control).announce(card)
            self._told = True
        except BrokerUnavailable as error:
            log.warning("the broker does not hear how fit this worker is: %s", error)


def unfit_because(here: Runtime, error: BaseException) -> Unfit:
    """``error`` as everyone may read it."""
    failure = Failure.of(error)
    try:
        now = Presence(here.control).now()
    except BrokerUnavailable:
        now = time.time()  # shown later; only others that are unfit too compare it
    return Unfit(
        code=failure.code,
        cause=public_line(failure.cause),
        remedy=public_line(failure.remedy),
        stages=tuple(stage for stage in Stage if stage in here.unable),
        at=now,
    )


def is_unloadable(here: Runtime, error: BaseException) -> bool:
    """Whether ``error`` was raised while a model or a library was loaded: this process is to blame, or the
    recipe, and not the pictures.
    """
    last = here.not_loaded
    if last is None:
        return False
    met = error is last or error.__cause__ is last  # MemoryError is wrapped
    return met and not any(isinstance(each, NOT_ABOUT_THE_WORKER) for each in (last, last.__cause__))


def leave_to_others(
    task: Task, here: Runtime, stages: Group, segment: Segment, error: Exception
) -> BaseException | None:
    """What to raise so that another worker takes the segment; None: ``error`` ends it, as any other.

    Args:
        task: of the segment.
        here: of this process.
        stages: that the task runs.
        segment: that it was given.
        error: that it met.

    Raises:
        BrokerUnavailable: nobody can say who else is there.
    """
    if not is_unloadable(here, error):
        return None
    here.not_loaded = None  # its traceback holds whatever was loaded
    fit = here.has_loaded(stages)
    if fit:
        here.unable.difference_update(stages)
    else:
        process_fitness().unfit(here, error)
    rest = _rest_for_others(task, here, here.card, stages, segment, fit) if here.card is not None else None
    return put_back(error, rest, "left to another worker") if rest is not None else None


def _rest_for_others(
    task: Task, here: Runtime, card: WorkerCard, stages: Group, segment: Segment, fit: bool
) -> AwayPause | None:
    """Before it is given back for another worker, which may be able to take it; None: nobody is.

    This one is counted among those that are not.
    """
    presence, refusals = Presence(here.control), Refusals(here.control)
    queue = HeldRequests(card.queues).queue_of(task.request)
    name, kind = attempt_of_segment(segment, queue), f"{queue}:{segment.recipe.stage_id(stages[-1])}"
    refused = refusals.refuse(name, kind, card.key, fit)
    coming = refusals.expected(queue)
    left = who_may_take(queue, presence.alive(), coming, refused, presence.now()) - {card.key}
    if has_gone_round(refused) or (not left and presence.settled()):
        return None
    # Who does other work must not be kept from it for long by a recipe that nobody can load; and whether
    # there are others is known in a moment.
    return process_fitness().rest if left and not fit else AwayPause(REST_SECONDS, REST_SECONDS)


def has_gone_round(refused: Refused) -> bool:
    """Whether enough have tried to say that nobody can take it."""
    return refused.fit_takes >= MOST_FIT_TAKES or refused.takes >= MOST_TAKES


def who_may_take(
    queue: str, cards: Iterable[WorkerCard], coming: Iterable[str], refused: Refused, now: float
) -> frozenset[str]:
    """The keys of the workers that may be able to take a segment.

    Args:
        queue: that it waits in.
        cards: of the workers that are alive.
        coming: keys of those that are only just loading what the queue needs.
        refused: who could not take it.
        now: Unix time, by the broker's clock.
    """
    stages = set(stages_of_queue(queue) or ())
    serving = {
        card.key: card.unfit if card.unfit and stages & set(card.unfit.stages) else None
        for card in cards
        if queue in card.queues
    }
    hopeful = {key for key, unfit in serving.items() if unfit is None}
    stale = {key for key, unfit in serving.items() if unfit and now - unfit.at > TOLD_SECONDS}
    fresh = set(coming) - set(serving)
    return frozenset((hopeful | stale - refused.unfit | fresh) - refused.fit)


def begin_to_load(here: Runtime, key: str, queues: tuple[str, ...]) -> None:
    """Tells the others that this worker will be there in a moment."""
    try:
        Refusals(here.control).coming(key, queues)
    except BrokerUnavailable as error:
        log.debug("nobody hears that this worker comes: %s", error)


def has_come(here: Runtime, key: str, queues: tuple[str, ...]) -> None:
    """The end of ``begin_to_load``, however it went."""
    try:
        Refusals(here.control).came(key, queues)
    except BrokerUnavailable as error:
        log.debug("it passes by itself that this worker comes: %s", error)


@cache
def process_fitness() -> Fitness:
    """The fitness of this process."""
    return Fitness()
