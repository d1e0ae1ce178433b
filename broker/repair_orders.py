"""Who looks for lost messages, whether the shared state has lost its memory, and who mends: one at a time."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import LockError

from broker.connection import Connection

LEADS_SECONDS = 20
"""After which another worker looks, when the one that did is gone."""
MENDS_SECONDS = 60
"""After which another may mend, when the one that did has died; renewed with every job."""
ORDERED_SECONDS = 24 * 3600
_LEADS = """
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class RepairOrders:
    """What the workers of a system agree on. Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    def leads(self, name: str) -> bool:
        """Whether the worker ``name`` is the one that looks, for the next ``LEADS_SECONDS``."""
        keys = [self._control.key("repair:leader")]
        with self._control.server() as server:
            return bool(server.register_script(_LEADS)(keys=keys, args=[name, LEADS_SECONDS]))

    def memory(self) -> str:
        """A mark that lasts as long as the server's memory: one that has changed says that all was lost."""
        key = self._control.key("repair:memory")
        with self._control.server() as server:
            server.set(key, uuid.uuid4().hex, nx=True)
            return str(server.get(key))

    def take_loss(self, memory: str) -> bool:
        """Whether the caller is the first to tell of the loss before ``memory``."""
        with self._control.server() as server:
            return bool(server.set(self._loss(memory), 1, nx=True, ex=ORDERED_SECONDS))

    def give_back_loss(self, memory: str) -> None:
        """It could not be told after all."""
        with self._control.server() as server:
            server.delete(self._loss(memory))

    @contextmanager
    def mending(self) -> Iterator[Callable[[], None] | None]:
        """For the one that sends anew: what it calls now and then to stay the one; None for any other.

        Two at once would void each other's messages.

        Raises:
            BrokerUnavailable: also from what is called.
        """
        with self._control.server() as server:
            lock = server.lock(self._control.key("repair:mending"), timeout=MENDS_SECONDS)
            if not lock.acquire(blocking=False):
                yield None
                return
            try:
                yield lambda: self._renew(lock.reacquire)
            finally:
                self._renew(lock.release)

    def _renew(self, call: Callable[[], object]) -> None:
        """What has run out is not renewed: the work is the same when somebody else does it again."""
        try:
            call()
        except LockError:
            return

    def _loss(self, memory: str) -> str:
        return self._control.key(f"repair:loss:{memory}")
