"""Messages that wait: for a token, for a breaker, for another worker that fetches the same video.

They wait in Redis and not in a worker: a worker that holds a message for an hour holds a thread with it, and
a retry would count as an attempt. ``broker.parking_pump`` sends those that are due.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field, ValidationError

from broker.connection import Connection
from broker.control import PARKED
from broker.errors import HardposeError
from broker.recipe import MESSAGE_VERSION, Frozen, Version

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""In which a message that was taken is sent, or it is given out again: its sender has died."""


class ParkedLink(Frozen):
    """A message of the task ``hardpose.download``, and why it waits."""

    version: Version = MESSAGE_VERSION
    job_id: str
    position: int = Field(ge=0)
    link: str
    ticket: str = ""
    retries: int = Field(0, ge=0)
    task_id: str
    reason: str
    """A short name, such as ``rate``, ``breaker``, ``probe`` or ``claimed``."""
    soft_time_limit: float | None = None
    """Seconds, of the task."""
    time_limit: float | None = None
    priority: int | None = None
    """The number that the message carries (``broker.priority``)."""
    caption: str = ""
    """What the message shows in place of its arguments."""
    serial: int = 0
    """Given by ``Parking``: tells this parking of the link from a later one."""

    @property
    def name(self) -> str:
        """The same for every message about this link."""
        return f"{self.job_id}:{self.position}"


class Waiting(Frozen):
    """What is parked, over all jobs."""

    by_reason: dict[str, int]
    next_seconds: float | None
    """Until the first is due, 0 if it is; None when nothing is parked."""

    @property
    def total(self) -> int:
        """How many messages are parked."""
        return sum(self.by_reason.values())


_COMMON = """
local parked, messages, reasons, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function remove(name)
  local reason = redis.call('HGET', reasons, name)
  if reason and redis.call('HINCRBY', counts, reason, -1) < 1 then redis.call('HDEL', counts, reason) end
  redis.call('HDEL', reasons, name)
  redis.call('HDEL', messages, name)
  redis.call('ZREM', parked, name)
end
"""
_PARK = (
    _COMMON
    + """
local name, message, reason = ARGV[1], ARGV[2], ARGV[3]
remove(name)
redis.call('HSET', messages, name, redis.call('INCR', KEYS[5]) .. ' ' .. message)
redis.call('HSET', reasons, name, reason)
redis.call('HINCRBY', counts, reason, 1)
redis.call('ZADD', parked, text(now + tonumber(ARGV[4])), name)
"""
)
_DUE = (
    _COMMON
    + """
local taken = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', parked, '-inf', text(now), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', parked, text(now + tonumber(ARGV[2])), name)
  local message = redis.call('HGET', messages, name)
  if message then taken[#taken + 1] = message else remove(name) end
end
return taken
"""
)
_SENT = (
    _COMMON
    + """
local message = redis.call('HGET', messages, ARGV[1])
if message and message:sub(1, #ARGV[2] + 1) == ARGV[2] .. ' ' then remove(ARGV[1]) end
"""
)
_DROP = _COMMON + "remove(ARGV[1])"


class Parking:
    """The parked messages of a system. Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    def park(self, message: ParkedLink, seconds: float) -> None:
        """Keeps ``message`` for ``seconds``, in place of an earlier one about the same link."""
        body = message.model_dump_json(exclude={"serial"})
        self._run(_PARK, message.name, body, message.reason, max(0.0, seconds))

    def due(self, most: int) -> list[ParkedLink]:
        """Up to ``most`` messages whose time has come, the first due first.

        They are still parked, and nobody else is given them for ``SEND_SECONDS``: send each, then say
        ``sent``. One whose sender dies in between comes again.
        """
        return list(_readable(self._run(_DUE, most, SEND_SECONDS)))

    def sent(self, message: ParkedLink) -> None:
        """``message``, as ``due`` gave it, is in its queue. A later parking of the same link stays."""
        self._run(_SENT, message.name, message.serial)

    def drop(self, job_id: str, position: int) -> None:
        """Forgets the message of a link, if one is parked."""
        self._run(_DROP, f"{job_id}:{position}")

    def drop_all(self, links: Iterable[tuple[str, int]]) -> None:
        """Forgets the messages of many links, by job and position."""
        with self._control.server() as server:
            drop, pipe = server.register_script(_DROP), server.pipeline(transaction=False)
            for job_id, position in links:
                drop(keys=self._keys(), args=[f"{job_id}:{position}"], client=pipe)
            pipe.execute()

    def any(self) -> bool:
        """Whether anything is parked, due or not: the cheapest question."""
        with self._control.server() as server:
            return bool(server.exists(self._control.key(PARKED)))

    def waiting(self) -> Waiting:
        """How many messages are parked, and when the next is due."""
        with self._control.server() as server:
            counts: Any = server.hgetall(self._key("reason-counts"))
            first: Any = server.zrange(self._control.key(PARKED), 0, 0, withscores=True)
            seconds, microseconds = server.time()
        now = float(seconds) + float(microseconds) / 1e6
        wait = max(0.0, first[0][1] - now) if first else None
        return Waiting(by_reason={str(k): int(n) for k, n in sorted(counts.items())}, next_seconds=wait)

    def of_job(self, job_id: str) -> dict[int, tuple[str, float]]:
        """Why each parked link of the job waits and for how many seconds yet, by position."""
        pattern = "".join(f"[{c}]" if c in "*?[" else c for c in job_id) + ":*"
        with self._control.server() as server:
            found = dict(server.hscan_iter(self._key("reasons"), match=pattern, count=1000))
            if not found:
                return {}
            dues: Any = server.zmscore(self._control.key(PARKED), list(found))
            seconds, microseconds = server.time()
        now = float(seconds) + float(microseconds) / 1e6
        rows = {}
        for (name, reason), due in zip(found.items(), dues, strict=True):
            if due is not None:  # sent since the names were read
                rows[int(name.rpartition(":")[2])] = (str(reason), max(0.0, due - now))
        return dict(sorted(rows.items()))

    def _key(self, part: str) -> str:
        return self._control.key(f"{PARKED}:{part}")

    def _keys(self) -> list[str]:
        parts = ("messages", "reasons", "reason-counts", "serial")
        return [self._control.key(PARKED), *map(self._key, parts)]

    def _run(self, script: str, *args: str | float) -> list[Any]:
        with self._control.server() as server:
            answer: Any = server.register_script(script)(keys=self._keys(), args=list(args))
        return list(answer or ())


def _readable(texts: list[Any]) -> Iterator[ParkedLink]:
    for text in texts:
        serial, _, body = str(text).partition(" ")
        try:
            yield ParkedLink(**{**json.loads(body), "serial": int(serial)})
        except (HardposeError, ValidationError) as error:
            log.error("a parked message is left to a worker of its own version: %s", error)
