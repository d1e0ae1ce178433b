"""The Celery app: serialisation, acknowledgement, routes, limits. Made by a function, never at import."""

import logging
from typing import Any

from celery import Celery
from kombu import Queue

from broker.amqp_broker import SENDER_SECONDS, WORKER_SECONDS, amqp_options, use_transports
from broker.amqp_broker import TRANSPORTS as AMQP_TRANSPORTS
from broker.amqp_queues import WorkAMQP, work_queue
from broker.backlog_pump import BacklogPump
from broker.broker_url import BrokerKind, kind_of, parse_broker_url
from broker.connection import SILENCE_SECONDS
from broker.control import PRIORITY_STEPS, Control, key_prefix
from broker.device_register import DeviceRegister
from broker.errors import BrokerUnavailable
from broker.lease import LeaseKeeper
from broker.parking_pump import ParkingPump
from broker.presence_beat import PresenceBeat
from broker.queues import DEVICE_QUEUE
from broker.queues import EXPORT_QUEUE as EXPORT_QUEUE
from broker.sentinels import transport_options as sentinel_options
from broker.settings import Settings, load_settings
from broker.tls import celery_tls

log = logging.getLogger(__name__)

TASKS_MODULE = "tasks.celery_tasks"
"""Named, not imported: the broker does not know the work, a worker loads it when it starts."""


TRANSPORTS = {
    "redis": "broker.transport:Transport",
    "rediss": "broker.transport:Transport",
    "sentinel": "broker.transport:SentinelTransport",
    **AMQP_TRANSPORTS,
}
"""Of kombu's schemes; see ``BrokerUrl.kombu``."""


def create_app(settings: Settings, queues: tuple[str, ...] = ()) -> Celery:
    """A Celery app for ``settings``.

    Args:
        settings: with a broker URL.
        queues: the queues to declare; a worker consumes from them, Flower lists them.

    Raises:
        SettingsError: the broker's URL or its authority's file cannot be used.
    """
    use_transports(TRANSPORTS)
    on_amqp = kind_of(settings.broker) is BrokerKind.AMQP
    app = Celery("hardpose", amqp=WorkAMQP if on_amqp else None)
    app.conf.update(
        broker_url=parse_broker_url(settings.broker).kombu,
        broker_use_ssl=celery_tls(settings.broker, settings.broker_ca),
        broker_transport_options=_transport_options(settings, WORKER_SECONDS if queues else SENDER_SECONDS),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a device or a GPU host outlives a restart of the broker
        include=[TASKS_MODULE],
        worker_enable_remote_control=settings.device is None,  # nobody orders a device about; it is watched
        task_queues=list(map(work_queue if on_amqp else Queue, queues)) or None,
        **(_on_amqp() if on_amqp else {}),
        **_messages(),
        **_delivery(settings),
    )
    app.hardpose_settings = settings  # for the steps; not in app.conf, which Celery prints and sends about
    app.steps["consumer"].update((LeaseKeeper, ParkingPump, PresenceBeat, BacklogPump))
    return app


def _messages() -> dict[str, Any]:
    """JSON only; state lives in the catalog, so results are not stored."""
    return {
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "enable_utc": True,
        "timezone": "UTC",
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "worker_hijack_root_logger": False,
    }


def _delivery(settings: Settings) -> dict[str, Any]:
    """A message is acknowledged after the work: a worker that dies gives it back, three times at most."""
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        # A device need not wait while the next segment, with its pictures, is fetched and unpacked.
        "worker_prefetch_multiplier": 1 if settings.device is None else 2,
        "worker_proc_alive_timeout": 120,  # a pool process that loads models must not be killed for it
        "worker_soft_shutdown_timeout": 1,  # after SIGQUIT; SIGTERM waits for the task
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_soft_time_limit": settings.soft_time_limit,
        "task_time_limit": settings.hard_time_limit,
    }


def _on_amqp() -> dict[str, Any]:
    """What only RabbitMQ has to be told."""
    return {
        "broker_heartbeat": 2 * SILENCE_SECONDS,  # a link that was cut says nothing; checked by both sides
        # Not exclusive: after such a cut the server believes for a while that the old link holds it.
        "control_queue_exclusive": False,
        "control_queue_durable": True,
    }


def _transport_options(settings: Settings, patience: float) -> dict[str, Any]:
    url = parse_broker_url(settings.broker)
    if not url.kind.in_redis:
        return amqp_options(patience)
    return {
        "global_keyprefix": key_prefix(settings),
        "body_encoding": "utf-8",  # our JSON as it is: kombu's base64 makes a message a third larger
        "visibility_timeout": settings.visibility_timeout,  # short, because LeaseKeeper renews
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "queue_order_strategy": "priority",
        "priority_steps": list(PRIORITY_STEPS),
        "socket_keepalive": True,
        # A link that was cut says nothing: without these a worker would wait for it for a quarter of an hour.
        "socket_timeout": SILENCE_SECONDS,
        "socket_connect_timeout": SILENCE_SECONDS,
        "health_check_interval": SILENCE_SECONDS if settings.device is not None else 25,
        **sentinel_options(url, settings.broker_ca),
    }


def _own_queues(settings: Settings) -> list[str]:
    """Those of the devices that are known by now."""
    try:
        known = DeviceRegister(Control.of(settings)).queues()
    except BrokerUnavailable as error:
        log.warning("the queues of devices are not shown: %s", error)
        return []
    return [queue for queue in known if queue != DEVICE_QUEUE]


def __getattr__(name: str) -> Celery:
    """``celery -A broker.app`` and Flower ask for ``app``: it is made when asked for."""
    if name in ("app", "celery"):
        settings = load_settings()
        stages = ("".join(part.split()) for part in settings.placement.split("|"))
        queues = ("download", *stages, EXPORT_QUEUE, *_own_queues(settings))
        made = create_app(settings, queues)  # declared, so that Flower shows their lengths
        made.conf.task_default_queue = queues[0]  # else it shows one more, Celery's own, which nobody uses
        return made
    raise AttributeError(name)
