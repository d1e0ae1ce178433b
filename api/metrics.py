"""The state of the whole system for Prometheus (https://prometheus.io/docs/practices/naming/).

Workers count what they do and serve it themselves (``workers.metrics``); this is what is there: queues,
workers, books, egresses. What cannot be asked just now is left out, and ``hardpose_broker_up`` or
``hardpose_catalog_up`` says so.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.device_metrics import device_metrics
from broker.app import EXPORT_QUEUE
from broker.backlog import Backlog
from broker.device_register import DeviceRegister
from broker.egress import EgressView, egress_views
from broker.errors import HardposeError
from broker.frame_views import Review
from broker.parking import Parking
from broker.presence import Presence
from broker.queue_lengths import lengths
from broker.recipe import Stage
from broker.views import State
from broker.work_counts import WorkCounts
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

BREAKER = ("closed", "open", "half_open")


def collect(runtime: Runtime) -> bytes:
    """The metrics in Prometheus' text format. Reads counts only: its cost does not grow with the frames."""
    registry = CollectorRegistry()
    registry.register(_System(runtime))
    return generate_latest(registry)


class _System(Collector):
    """Asks when it is asked; ``describe`` keeps the registry from asking for the names first."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        version = importlib.metadata.version("hardpose")
        yield _by("build_info", "The release of hardpose; always 1.", "version", {version: 1})
        for part, look in (("broker", _broker), ("catalog", _catalog)):
            found, up = _asked(look, self._runtime)
            yield from found
            yield _plain(f"{part}_up", f"Whether the {part} answers.", int(up))


def _asked(look: Callable[[Runtime], list[Metric]], runtime: Runtime) -> tuple[list[Metric], bool]:
    try:
        return look(runtime), True
    except HardposeError as error:
        log.warning("some metrics are left out: %s", error)
        return [], False


def _broker(runtime: Runtime) -> list[Metric]:
    control = runtime.control
    cards = Presence(control).alive()
    queues = [Stage.DOWNLOAD.value, *runtime.placement.queues, EXPORT_QUEUE]
    register = DeviceRegister(control)
    queues += sorted({*(queue for card in cards for queue in card.queues), *register.queues()} - set(queues))
    workers = {queue: sum(queue in card.queues for card in cards) for queue in queues}
    unfit = {queue: sum(queue in c.queues and c.unfit is not None for c in cards) for queue in queues}
    alerts = GaugeMetricFamily(
        "hardpose_tool_alerts",
        "Links since a downloader of this version last understood its site.",
        labels=["tool", "version"],
    )
    for alert in control.alerts():
        alerts.add_metric([alert.tool, alert.version], alert.count)
    parked, held = Parking(control).waiting().by_reason, Backlog(control).counts()
    return [
        _by("workers", "Workers that were heard of in the last 30 seconds, by queue.", "queue", workers),
        _by("unfit_workers", "Those of them that cannot load what they need, by queue.", "queue", unfit),
        _by("parked_messages", "Messages that wait outside the queues, by reason.", "reason", parked),
        alerts,
        *_running(runtime, queues),
        *_queues(runtime, queues),
        *_egresses(egress_views(control)),
        *device_metrics(register.units()),
        _by("held_segments", "Segments before their first stage, by device queue.", "queue", held),
    ]


def _running(runtime: Runtime, queues: list[str]) -> list[Metric]:
    """As the workers tell it, so it is there with every broker."""
    running = WorkCounts(runtime.control).running()
    told = {queue: running.get(queue, 0) for queue in [*queues, *sorted(set(running) - set(queues))]}
    return [_by("running_messages", "Messages that workers work on, by queue.", "queue", told)]


def _queues(runtime: Runtime, queues: list[str]) -> list[Metric]:
    """On RabbitMQ the workers tell what they hold; what waits for its time is not among them."""
    waiting, held = lengths(runtime.settings, runtime.control, queues)
    stalled = WorkCounts(runtime.control).stalled(waiting)
    return [
        _by("queue_messages", "Messages that wait in a queue, of all priorities.", "queue", waiting),
        _by(
            "queue_stalled_seconds",
            "Seconds for which messages wait and no worker has taken one, by queue.",
            "queue",
            stalled,
        ),
        _plain("held_messages", "Messages that workers have taken and not finished, of all queues.", held),
    ]


def _egresses(views: list[EgressView]) -> list[Metric]:
    state = GaugeMetricFamily(
        "hardpose_egress_breaker",
        "1 for the state of an egress's breaker.",
        labels=["egress", "state"],
    )
    for view in views:
        for name in BREAKER:
            state.add_metric([view.identity, name], int(view.breaker == name))
    told: dict[str, tuple[str, Callable[[EgressView], float]]] = {
        "granted": ("Videos that were asked for in the last hour.", lambda view: view.granted),
        "videos_per_hour": ("Videos that may be asked for in an hour; 0: any.", lambda v: v.videos_per_hour),
        "waiting": ("Links that wait for their turn.", lambda view: view.waiting),
        "next_seconds": ("Seconds until the rate allows the next video.", lambda view: view.next_seconds),
        "retry_seconds": ("Seconds until an open breaker lets one try.", lambda view: view.retry_seconds),
    }
    return [
        state,
        *(
            _by(f"egress_{name}", words, "egress", {view.identity: of(view) for view in views})
            for name, (words, of) in told.items()
        ),
    ]


def _catalog(runtime: Runtime) -> list[Metric]:
    books = runtime.catalog.counts.all()
    parts = books.segments
    segments = {"done": parts.done, "failed": parts.failed, "open": parts.total - parts.done - parts.failed}
    reviews = {review: books.reviews.get(review, 0) for review in Review}
    return [
        _by("jobs", "Jobs by state.", "state", _states(books.jobs)),
        _by("links", "Links of all jobs by state, lists not counted.", "state", _states(books.links)),
        _plain("videos", "Videos in the catalog.", books.videos),
        _by("segments", "Segments of all videos and recipes.", "state", segments),
        _plain("examined_frames", "Frames that were examined, over all recipes.", books.funnel.examined),
        _by("frames", "Examined frames by verdict, over all recipes.", "verdict", books.funnel.verdicts),
        _by("hard_frames", "Hard frames by what the reviewers have made of them.", "review", reviews),
        _by("exports", "Exports by state.", "state", _states(books.exports)),
    ]


def _states(counts: Mapping[State, int]) -> dict[State, int]:
    """Every state: a series that appears only when something goes wrong raises no alert the first time."""
    return {state: counts.get(state, 0) for state in State}


def _by(name: str, words: str, label: str, counts: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"hardpose_{name}", words, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family


def _plain(name: str, words: str, count: float) -> Metric:
    return GaugeMetricFamily(f"hardpose_{name}", words, value=count)
