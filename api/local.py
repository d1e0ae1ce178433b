"""The system on this machine: a broker, if none is given, and worker processes, ended in the right order."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable, NotFound, SettingsError
from broker.presence import Presence
from broker.queues import DEVICE_QUEUE
from broker.reach import ask_broker
from broker.recipe import ModelSpec
from broker.settings import Settings
from tasks.erasing import finish_left
from tasks.runtime import Runtime
from workers.gpu_slots import slots_of
from workers.supervisor import Supervisor

BROKER_FOLDER = "broker"


@dataclass
class LocalSystem:
    """What ``hardpose run`` and ``hardpose up`` stand on."""

    settings: Settings
    runtime: Runtime
    supervisor: Supervisor
    broker: EmbeddedBroker | None

    def check(self) -> None:
        """Raises ``BrokerUnavailable`` if the broker was ours and has ended."""
        if self.broker is not None and not self.broker.alive():
            raise BrokerUnavailable(
                f"The embedded broker has ended; its log is in {self.broker.folder}.",
                "Run the same command again: what is done stays done.",
            )

    def start_workers(self, queues: Sequence[str], device: ModelSpec | None = None) -> str:
        """Starts one worker process for each queue; returns who does the work of the device, in words.

        A device with a page on this machine is driven from here, whatever its driver. One that has announced
        itself is driven by its own worker, and none is started here for its queue.

        Args:
            queues: of the placement.
            device: that the work is for; None: any that can be emulated.
        """
        for queue in queues:
            if queue != DEVICE_QUEUE or device is None or device.route is None:
                for slot in slots_of(self.settings, queue, queues):
                    self.supervisor.start_worker([queue], slot=slot)
        if device is None or device.route is None or DEVICE_QUEUE not in queues:
            return "this machine"
        page = Path(self.settings.device_model)
        if page.suffix != ".toml":
            return f"the worker of {device.route.device}, on the queue {device.route.queue}"
        self.supervisor.start_worker([device.route.queue], page)
        return f"this machine, as {page} describes it"

    def workers_ready(self) -> tuple[int, int]:
        """How many of the started workers take work, and how many there are."""
        ready = {card.key for card in Presence(self.runtime.control).alive()}
        mine = [worker.announced_as for worker in self.supervisor.workers]
        return sum(name in ready for name in mine), len(mine)


@contextmanager
def local_system(settings: Settings) -> Iterator[LocalSystem]:
    """A broker and a supervisor; on the way out the workers end first and the broker last.

    Raises:
        AlreadyRunning: when another hardpose holds the home folder's broker.
        BrokerUnavailable: when the given broker does not answer.
    """
    with ExitStack() as stack:
        broker = None
        _make_home(settings)
        if settings.broker_url is None:
            broker = stack.enter_context(EmbeddedBroker(settings.home.absolute() / BROKER_FOLDER))
            settings = settings.model_copy(update={"broker_url": SecretStr(broker.url)})
        runtime = Runtime(settings)
        ask_broker(settings, runtime.control)
        if broker is not None:
            # The catalog is the truth: messages of an earlier run are void, what is open is sent anew.
            runtime.control.clear_queue_state()
        finish_left(runtime)
        supervisor = Supervisor(settings)
        stack.callback(supervisor.stop)
        yield LocalSystem(settings, runtime, supervisor, broker)


def _make_home(settings: Settings) -> None:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The folder {settings.home.absolute()} cannot be made: {error.strerror}.",
            "Choose another with --out, --home or HARDPOSE_HOME.",
        ) from error


def has_catalog(settings: Settings) -> bool:
    """Whether there is a catalog to look into; one by URL is believed to be there."""
    return settings.catalog_url is not None or (settings.home / "catalog.sqlite").exists()


def require_catalog(settings: Settings) -> None:
    """Ends a command that looks into a catalog where there is none: looking must not make one.

    Raises:
        NotFound: when the home folder has none.
    """
    if not has_catalog(settings):
        raise NotFound(
            f"There are no jobs in {settings.home.absolute()}.",
            "Name the folder with --home or HARDPOSE_HOME: for `hardpose run --out DIR` it is DIR/state.",
        )


def attach(settings: Settings) -> Settings:
    """``settings`` with the URL of the embedded broker that runs on this home folder, if one does."""
    if settings.broker_url is None:
        url = EmbeddedBroker.running_url(settings.home.absolute() / BROKER_FOLDER)
        if url is not None:
            return settings.model_copy(update={"broker_url": SecretStr(url)})
    return settings
