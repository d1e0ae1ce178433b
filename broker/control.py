"""Small shared state in Redis: tickets, attempts, and the progress of jobs. Lossy by design.

Nothing here is the truth: the catalog is. Losing all of it costs repeated work, never a frame.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import redis

from broker.errors import BrokerUnavailable
from broker.messages import Segment
from broker.recipe import CHAIN, Stage
from broker.settings import Settings

EXPIRY_SECONDS = 14 * 24 * 3600
"""Long enough for a device that is switched off over a holiday."""


RAISE_TICKET = """
local current = redis.call('GET', KEYS[1])
if not current or current < ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
"""
"""Sets a key to a larger value only, in one step."""
PRIORITY_STEPS = (0, 3, 6, 9)
"""Priorities of messages; kombu keeps a list for each."""
PRIORITY_SEPARATOR = "\x06\x16"
"""Between a queue's name and its priority in kombu's keys (kombu.transport.redis.Channel.sep)."""


def key_prefix(settings: Settings) -> str:
    """What all keys of this system begin with, kombu's and ours."""
    return f"{settings.namespace}:" if settings.namespace else ""


class Control:
    """The shared state under one Redis URL (password included: never log it).

    Args:
        url: of a Redis or Valkey database.
        prefix: of every key; see ``key_prefix``.
    """

    def __init__(self, url: str, prefix: str = "") -> None:
        self._prefix = prefix
        self._redis = redis.Redis.from_url(
            url, socket_timeout=10, socket_connect_timeout=10, health_check_interval=25, decode_responses=True
        )

    @classmethod
    def of(cls, settings: Settings) -> "Control":
        """The control state that ``settings`` name.

        Raises:
            BrokerUnavailable: when there is no broker, or it is not Redis and no ``control_url`` is set.
        """
        url = settings.control_url.get_secret_value() if settings.control_url else settings.broker
        if not url.startswith("redis"):
            raise BrokerUnavailable(
                "The shared state of hardpose needs Redis or Valkey, and the broker is of another kind.",
                "Set HARDPOSE_CONTROL_URL=redis://host:6379/0 beside the broker of another kind.",
            )
        return cls(url, key_prefix(settings))

    def ping(self) -> None:
        """Asks for a sign of life.

        Raises:
            BrokerUnavailable: names what went wrong. So does every other method.
        """
        with self._typed():
            self._redis.ping()

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise BrokerUnavailable(
                f"The broker does not answer: {error}.",
                "Check that it runs and that HARDPOSE_BROKER_URL and its password are right.",
            ) from error

    # --- tickets: which message of a segment is the valid one ---

    def issue_tickets(self, segments: Iterable[Segment]) -> None:
        """Makes the tickets of ``segments`` the valid ones; messages with older tickets are dropped.

        Tickets grow with time. A sender that was overtaken by a later one changes nothing.
        """
        with self._typed():
            raise_ticket = self._redis.register_script(RAISE_TICKET)
            for segment in segments:
                raise_ticket(keys=[self._ticket(segment)], args=[segment.ticket, EXPIRY_SECONDS])

    def superseded(self, segment: Segment) -> bool:
        """Whether the segment was sent anew since this message was written."""
        with self._typed():
            current = self._redis.get(self._ticket(segment))
        return current is not None and str(current) > segment.ticket

    def _ticket(self, segment: Segment) -> str:
        return f"{self._prefix}hardpose:ticket:{segment.key}"

    # --- attempts: starts that did not come to an end ---

    def begin(self, name: str) -> int:
        """Counts a start of the work ``name``; the answer includes this one and those that never ended."""
        key = f"{self._prefix}hardpose:attempts:{name}"
        with self._typed():
            pipe = self._redis.pipeline()
            pipe.incr(key)
            pipe.expire(key, EXPIRY_SECONDS)
            return int(pipe.execute()[0])

    def end(self, name: str) -> None:
        """The work came to an end, good or bad: its process lives."""
        with self._typed():
            self._redis.delete(f"{self._prefix}hardpose:attempts:{name}")

    # --- progress: for bars and ETAs ---

    def advance(self, segment: Segment, stage: Stage) -> None:
        """Notes that ``stage`` is done with ``segment``; twice counts once."""
        with self._typed():
            name = f"{self._prefix}hardpose:progress:{segment.job_id}:{stage}"
            pipe = self._redis.pipeline(transaction=False)
            pipe.sadd(name, segment.key)
            pipe.expire(name, EXPIRY_SECONDS)
            pipe.execute()

    def progress(self, job_id: str) -> dict[Stage, int]:
        """Segments of the job that each stage of the chain is done with, in this run of the job."""
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            for stage in CHAIN:
                pipe.scard(f"{self._prefix}hardpose:progress:{job_id}:{stage}")
            return dict(zip(CHAIN, map(int, pipe.execute()), strict=True))

    # --- workers ---

    def announce(self, name: str) -> None:
        """A worker process has loaded its models and takes work."""
        with self._typed():
            self._redis.sadd(f"{self._prefix}hardpose:ready", name)

    def ready(self) -> set[str]:
        """Names of the worker processes that have announced themselves."""
        with self._typed():
            return {str(name) for name in self._redis.smembers(f"{self._prefix}hardpose:ready")}

    def withdraw(self, name: str) -> None:
        """A worker process is gone."""
        with self._typed():
            self._redis.srem(f"{self._prefix}hardpose:ready", name)

    # --- messages ---

    def messages(self, queues: Iterable[str]) -> int:
        """Messages that wait in ``queues`` of a Redis broker or are held by a worker, of any queue.

        While a job is under way this is never 0: a stage sends the next message before it acknowledges
        its own. It is 0 when the server has lost them.
        """
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                for step in PRIORITY_STEPS:
                    suffix = f"{PRIORITY_SEPARATOR}{step}" if step else ""
                    pipe.llen(f"{self._prefix}{queue}{suffix}")
            pipe.hlen(f"{self._prefix}unacked")
            return sum(map(int, pipe.execute()))

    def clear_queue_state(self) -> None:
        """Empties the whole database: only for an embedded broker, whose queues the catalog rebuilds."""
        with self._typed():
            self._redis.flushdb()
