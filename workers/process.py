"""Starts a worker: one process that serves one or more queues with the pool that suits them."""

import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from socket import gethostname
from typing import Any

import billiard.pool
from celery import Celery

from broker.app import TASKS_MODULE, create_app
from broker.errors import BrokerRefuses, BrokerUnavailable, BrokerUntrusted, SettingsError
from broker.queues import served_stages, stages_of_queue
from broker.reach import prepare_broker
from broker.recipe import CHAIN, Stage
from broker.settings import TOKENS_VARIABLE, Settings
from workers.allocator import keep_freed_memory
from workers.device_start import device_queues, tested_device, wait_for_broker
from workers.device_turn import DeviceTurn, OwnCore
from workers.devices.description import DeviceDescription, load_description
from workers.gpu_slots import share_memory
from workers.machine import cores, prepare_machine
from workers.metrics_folder import metrics_folder

log = logging.getLogger(__name__)

DOWNLOAD_THREADS = 4
"""Transfers wait for the network: threads of one process do, and no model is near them."""

HEARTBEAT_SECONDS = 10
"""Between two signs of life for Flower, which calls a worker offline after twice as long. Celery's own 2 s
were a third of what a worker without work costs; for us ``PresenceBeat`` tells."""
STOP_RETRIES = 5
"""billiard may wait 300 x 0.1 s for a message that is long read when a prefork pool stops; 0.5 s will do:
what is not read by then comes back with its lease, and is the same when done again."""


def parse_queues(names: Sequence[str]) -> tuple[str, ...]:
    """Checks queue names: ``download``, ``export``, or neighbouring stages joined by ``+``.

    Raises:
        SettingsError: for a queue that no placement can have.
    """
    if not names:
        raise SettingsError(
            "No queue is named.", "Name one, such as pose, or a device with --device me.toml."
        )
    for name in names:
        if stages_of_queue(name) is None:
            raise SettingsError(
                f"There is no queue {name!r}.",
                f"Queues are download, {', '.join(CHAIN)}, neighbours joined by + such as pose+mask, "
                "me.NAME of the device NAME alone, and export.",
            )
    return tuple(dict.fromkeys(names))


def pool_arguments(queues: Sequence[str], processes: int = 1) -> dict[str, Any]:
    """Threads for downloads; forked processes for models, where time limits and revokes work."""
    if set(queues) == {Stage.DOWNLOAD.value}:
        return {"pool_cls": "threads", "concurrency": DOWNLOAD_THREADS}
    return {"pool_cls": "prefork", "concurrency": processes}


def serve(settings: Settings, queues: Sequence[str], name: str | None = None) -> None:
    """Serves ``queues`` until the process is told to stop (SIGTERM: finish the task; twice: at once).

    With ``settings.device`` it drives the described device, on the queue that its page says, and takes
    nothing before the device has answered.

    Raises:
        SettingsError: a queue that no placement can have, or that the device does not serve.
        DeviceMisdescribed, DriverCrashed: see ``workers.device_start.tested_device``.
        BrokerRefuses, BrokerUntrusted: waiting for the broker would not help.
        NoProvider, MissingDependency: this machine has not what the models of these queues run on.
    """
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = STOP_RETRIES
    keep_freed_memory()
    description = load_description(settings.device) if settings.device is not None else None
    names = parse_queues(queues if description is None else device_queues(description, queues))
    name = name or f"{names[0]}-{os.getpid()}"
    # Before anything can start CUDA; the processes of the pool inherit it.
    os.environ.update(prepare_machine(settings, served_stages(names)))
    settings = share_memory(settings, served_stages(names))
    tested: Mapping[str, Any] = {}
    if description is None:
        check_broker(settings, names, _longest(settings, names))
    else:
        # A board may be up before its network is: what is announced to nobody would never be shown.
        longest = description.processes * settings.hard_time_limit
        wait_for_broker(lambda: prepare_broker(settings, names, longest))
        description, tested = tested_device(settings, description, name)
        names = device_queues(description, queues)
    with _metrics(settings) as settings:
        _serve(settings, names, name, description, tested)


def _longest(settings: Settings, queues: Sequence[str]) -> float:
    """Seconds for which a message of ``queues`` may be at work."""
    transfer = settings.download_timeout_seconds if Stage.DOWNLOAD in queues else 0.0
    return max(transfer, settings.hard_time_limit)


def check_broker(settings: Settings, queues: Sequence[str] = (), seconds: float = 0.0) -> None:
    """Ends what no waiting can mend; a broker that is merely away is waited for by the worker itself.

    Args:
        settings: of the system.
        queues: that the worker will serve.
        seconds: for which it may work on one message.

    Raises:
        BrokerRefuses: the password is wrong, or a queue of that name is of another kind.
        BrokerUntrusted: the certificate is not believed.
        SettingsError: the certificate authority's file cannot be used.
    """
    try:
        prepare_broker(settings, queues, seconds)
    except (BrokerRefuses, BrokerUntrusted):
        raise
    except BrokerUnavailable as error:
        log.warning("waiting for the broker: %s", error)


def _serve(
    settings: Settings,
    names: Sequence[str],
    name: str,
    description: DeviceDescription | None,
    tested: Mapping[str, Any],
) -> None:
    processes = processes_of(description, tested)
    log.info("serving %s", ", ".join(names))
    os.environ.pop(TOKENS_VARIABLE, None)
    # The tasks run in processes that read their settings themselves: hand on what the command line said.
    os.environ.update(settings.environment())
    # Imported before Celery does it: Celery looks into the current folder first, and a `tasks.py` there
    # is not ours.
    importlib.import_module(TASKS_MODULE)
    app = create_app(settings, tuple(names))
    # Of the device; the processes of the pool inherit both.
    app.hardpose_described, app.hardpose_self_test = description, dict(tested)
    if processes > 1:
        if has_own_cores(description, tested, settings.threads):
            app.hardpose_device_turn = OwnCore()
        else:
            _share_device(app, processes)
    # Not by Celery's own command line: it brings a terminal's library of 0.2 s and 10 MB for nothing.
    worker = app.Worker(
        hostname=f"{name}@{gethostname()}",
        queues=list(names),
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        heartbeat_interval=HEARTBEAT_SECONDS,
        **pool_arguments(names, processes),
    )
    worker.start()
    if worker.exitcode:  # nobody has asked for it, as when RabbitMQ takes a message back: the log says why
        raise SystemExit(worker.exitcode)


def processes_of(description: DeviceDescription | None, tested: Mapping[str, Any]) -> int:
    """How many processes a worker has: as the page of its device says, or one for a network on a GPU.

    Args:
        description: of the device; None: of a worker without one.
        tested: the device's self-test.
    """
    if description is None or (tested.get("on_gpu") and "processes" not in description.lines):
        return 1  # a second process would hold the network on the GPU a second time
    return description.processes


def has_own_cores(description: DeviceDescription | None, tested: Mapping[str, Any], threads: int) -> bool:
    """Whether the device is a network on this machine's processor, and each process has cores for its own.

    Args:
        description: of the device; None: of a worker without one.
        tested: the device's self-test.
        threads: of a network.
    """
    if description is None or not description.on_processor or tested.get("on_gpu"):
        return False
    return description.processes * threads <= cores()


def _share_device(app: Celery, processes: int) -> None:
    """The processes of the pool use the device in turns.

    Each segment's time is as many times as long, because most of it may be spent waiting for the others'.
    None is fetched beyond those at work: there is always one that waits for its turn.
    """
    app.hardpose_device_turn = DeviceTurn()  # inherited, as the self-test is
    app.conf.update(
        task_soft_time_limit=processes * app.conf.task_soft_time_limit,
        task_time_limit=processes * app.conf.task_time_limit,
        worker_prefetch_multiplier=1,
    )


@contextmanager
def _metrics(settings: Settings) -> Iterator[Settings]:
    """Serves metrics if the settings ask for them; gives the settings with the port that was taken."""
    if settings.metrics_port is None:
        yield settings
        return
    with metrics_folder(settings.temp_dir) as folder:
        # Only now: prometheus_client looks for the folder when it is imported.
        from workers.metrics_server import serve_metrics

        yield settings.model_copy(update={"metrics_port": serve_metrics(settings, folder)})
