"""Serves what the processes of a worker count, added up: without a login, so on a network of yours only."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from broker.errors import SettingsError
from broker.presence import WorkerCard
from broker.presence_beat import PresenceBeat
from broker.queues import served_stages
from broker.recipe import Stage
from broker.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

WITHOUT_MODEL = {Stage.DOWNLOAD, Stage.COMPARE}


class LivingProcesses(MultiProcessCollector):
    """Sums over all processes of the pool that ever were; what they have loaded, over those that live."""

    def __init__(self, registry: CollectorRegistry, folder: Path) -> None:
        super().__init__(registry, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Called for every scrape. A process of the pool that was killed could not say goodbye."""
        for file in self._folder.glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not process_lives(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        metrics: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return metrics


def process_lives(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_ready(card: WorkerCard | None) -> bool:
    """Whether a worker can work: it has handed in its card, with a model for each stage that has one, and has
    not turned out unfit since.
    """
    if card is None or card.unfit is not None:
        return False
    return not set(served_stages(card.queues)) - WITHOUT_MODEL - set(card.models)


def with_readiness(metrics: "WSGIApplication") -> "WSGIApplication":
    """``metrics``, and ``/readyz``: 200 once this worker has come up, unless it is unfit; else 503."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return metrics(environ, start_response)
        ready = is_ready(PresenceBeat.card)
        start_response("200 OK" if ready else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ready\n" if ready else _why_not(PresenceBeat.card)]

    return answer


def _why_not(card: WorkerCard | None) -> bytes:
    if card is None or card.unfit is None:
        return b"not ready: see the worker's log\n"
    return f"not ready: {card.unfit.code}: {card.unfit.cause}\n".encode()


def serve_metrics(settings: Settings, folder: Path) -> int:
    """Serves the metrics of ``folder`` from a thread of this process, as long as it lives; returns the port.

    Every path has the metrics but ``/readyz``, see ``with_readiness``.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    registry = CollectorRegistry()
    LivingProcesses(registry, folder)
    host, port = settings.metrics_host, settings.metrics_port or 0
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be served on {host}:{port}: {error.strerror}.",
            "Set HARDPOSE_METRICS_HOST or HARDPOSE_METRICS_PORT to another; port 0 takes any that is free.",
        ) from error
    server.set_app(with_readiness(make_wsgi_app(registry)))
    log.info("metrics are at http://%s:%d/metrics", host, server.server_port)
    return server.server_port
