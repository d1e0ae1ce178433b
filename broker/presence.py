"""Who works: the card that every worker hands in once its models are loaded, and its heartbeat."""

import logging
from typing import Any

from pydantic import Field, ValidationError

from broker.connection import Connection
from broker.errors import HardposeError
from broker.recipe import Frozen, ModelSpec, Stage

log = logging.getLogger(__name__)

ALIVE_SECONDS = 30.0
"""After which a worker that is not heard of is gone: six beats, for a machine that is short of time."""
SETTLED_SECONDS = 10.0
"""Two beats: whoever lives is heard of by then, once the broker is there, or there again."""
SILENT_SECONDS = 15.0
"""After which, if nobody at all was heard of, it was the broker that was away. Less than ``ALIVE_SECONDS``: a
shorter absence leaves everybody alive."""
KEPT_SECONDS = 24 * 3600
"""After which the card of a worker that was killed is thrown away."""

_NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
"""
_HEARD = """
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
local silent = not last[2] or tonumber(last[2]) < now - tonumber(ARGV[#ARGV])
if silent or redis.call('EXISTS', KEYS[3]) == 0 then redis.call('SET', KEYS[3], text(now)) end
"""
_ANNOUNCE = (
    _NOW
    + _HEARD
    + """
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now - ARGV[3]))) do
  redis.call('ZREM', KEYS[2], key)
  redis.call('HDEL', KEYS[1], key)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], text(now), ARGV[1])
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[3]) end
"""
)
_BEAT = (
    _NOW
    + """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
"""
    + _HEARD
    + """
redis.call('ZADD', KEYS[2], text(now), ARGV[1])
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[2]) end
return 1
"""
)
_ALIVE = (
    _NOW
    + """
local found = {}
local seen = redis.call('ZRANGEBYSCORE', KEYS[2], text(now - ARGV[1]), '+inf', 'WITHSCORES')
for i = 1, #seen, 2 do
  local card = redis.call('HGET', KEYS[1], seen[i])
  if card then found[#found + 1] = card; found[#found + 1] = seen[i + 1] end
end
return found
"""
)
_SETTLED = (
    _NOW
    + """
local since = redis.call('GET', KEYS[3])
return since and now - since >= tonumber(ARGV[1]) and 1 or 0
"""
)
_WITHDRAW = "redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('ZREM', KEYS[2], ARGV[1])"


class Unfit(Frozen):
    """Why a worker cannot load what its queues need, as everyone may read it."""

    code: str
    """Of the error."""
    cause: str
    remedy: str = ""
    stages: tuple[Stage, ...]
    """Of its queues, that it cannot run."""
    at: float
    """When it last found so; Unix time, by the broker's clock."""


class WorkerCard(Frozen):
    """A worker process that takes work: what it serves, and with what."""

    name: str
    """As Flower shows it, such as ``pose@gpu-3``."""
    host: str
    pid: int
    """Of its main process; with ``host`` it is the worker's ``key``."""
    queues: tuple[str, ...]
    models: dict[Stage, ModelSpec] = Field(default_factory=dict)
    """What it has loaded, without the folders of its machine. A stage of its queues that is not here, and
    has a model, could not load it: ``unfit`` or the worker's log says why."""
    points: tuple[int, ...] = ()
    """BODY_25 points that its pose model can give; empty for a worker without one."""
    gpu: str = ""
    """The only GPU it sees, as its settings name it; empty: no choice was made."""
    version: str
    """Of hardpose."""
    metrics: str = ""
    """Where its metrics are served, ``HOST:PORT``; empty: nowhere."""
    started: float
    """Unix time, by the worker's clock."""
    unfit: Unfit | None = None
    """None: it is fit for work, as far as it knows."""
    seen: float = 0.0
    """When it was last heard of; Unix time, by the broker's clock."""

    @property
    def key(self) -> str:
        """Unique among all workers: two may have been given one name."""
        return worker_key(self.host, self.pid)


def worker_key(host: str, pid: int) -> str:
    """The key of the worker whose main process is ``pid`` on ``host``."""
    return f"{host}:{pid}"


class Presence:
    """The workers of a system. Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    def announce(self, card: WorkerCard) -> None:
        """Shows ``card``, in place of an earlier one of the same worker; it counts as a beat."""
        # What has nothing to say is left out: workers and API of the release before take no other fields.
        left_out = {"seen"} if card.unfit else {"seen", "unfit"}
        self._run(_ANNOUNCE, card.key, card.model_dump_json(exclude=left_out), KEPT_SECONDS, SILENT_SECONDS)

    def beat(self, key: str) -> bool:
        """The worker lives. False when its card is not known (any more): it has to be announced (again)."""
        return bool(self._run(_BEAT, key, KEPT_SECONDS, SILENT_SECONDS))

    def card(self, key: str) -> WorkerCard | None:
        """The card of one worker, alive or not."""
        with self._control.server() as server:
            text: Any = server.hget(self._control.key("workers"), key)
        return _read(str(text), 0.0) if text else None

    def alive(self, within: float = ALIVE_SECONDS) -> list[WorkerCard]:
        """The workers that were heard of in the last ``within`` seconds, by name."""
        found = self._run(_ALIVE, within) or []
        cards = [_read(str(text), float(seen)) for text, seen in zip(found[::2], found[1::2], strict=True)]
        return sorted((card for card in cards if card), key=lambda card: (card.name, card.key))

    def settled(self) -> bool:
        """Whether who is not in ``alive`` is not there.

        Where the broker was away for long, has lost its memory, or has only just started, not everybody may
        have been heard of yet.
        """
        return bool(self._run(_SETTLED, SETTLED_SECONDS))

    def now(self) -> float:
        """Unix time, by the broker's clock."""
        with self._control.server() as server:
            seconds, micros = server.time()
        return float(seconds) + float(micros) / 1e6

    def withdraw(self, key: str) -> None:
        """The worker takes no work any more."""
        self._run(_WITHDRAW, key)

    def _run(self, script: str, *args: str | float) -> Any:
        keys = [self._control.key(name) for name in ("workers", "workers:seen", "workers:heard-since")]
        with self._control.server() as server:
            return server.register_script(script)(keys=keys, args=list(args))


def _read(text: str, seen: float) -> WorkerCard | None:
    """The card, or None for one of another release, which says more or less than ours."""
    try:
        return WorkerCard.model_validate_json(text).model_copy(update={"seen": seen})
    except (HardposeError, ValidationError) as error:
        log.warning("the card of a worker of another release is not shown: %s", error)
        return None
