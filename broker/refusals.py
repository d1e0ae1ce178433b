"""Which workers could not take a segment, and which are only just loading: kept where a killed process
cannot forget it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from broker.connection import Connection

COMING_SECONDS = 120.0
"""In which a worker has loaded its models or is given up (Celery's ``worker_proc_alive_timeout``, see
``broker.app``)."""
KEPT_SECONDS = 24 * 3600
KIND_SECONDS = 60
"""After which those who could do nothing of a kind are asked again."""
_FIT, _UNFIT = "fit takes", "unfit takes"
"""Fields beside the keys of workers, which have no blank in them."""
_NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
"""
_COMING = (
    _NOW
    + """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.6f', now), ARGV[i]) end
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[1]))
"""
)
_EXPECTED = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.6f', now - ARGV[1]))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
)


@dataclass(frozen=True)
class Refused:
    """Who could not take one segment."""

    unfit: frozenset[str]
    """Workers (``broker.presence.worker_key``) that could not have taken any."""
    fit: frozenset[str]
    """Workers that do others, and could take none under this recipe."""
    takes: int
    """How often it was taken for nothing, by all of them together."""
    fit_takes: int
    """Those of workers that do others."""


class Refusals:
    """Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    def refuse(self, name: str, kind: str, worker: str, fit: bool) -> Refused:
        """The worker cannot take the work ``name`` (``tasks.attempts``).

        Args:
            name: of the work, the same when its message is delivered again.
            kind: of the work: whoever cannot do one of a kind for want of something, can do none.
            worker: its key.
            fit: whether it can take work of another kind.

        Returns:
            All refusals of it so far.
        """
        mine, alike = self._control.key(f"refused:{name}"), self._control.key(f"refused-kind:{kind}")
        with self._control.server() as server:
            pipe = server.pipeline()
            pipe.hincrby(mine, _FIT if fit else _UNFIT, 1)
            if fit:
                pipe.sadd(alike, worker)
                pipe.expire(alike, KIND_SECONDS)
            else:
                pipe.hset(mine, worker, 1)
            pipe.expire(mine, KEPT_SECONDS)
            pipe.hgetall(mine)
            pipe.smembers(alike)
            *_, told, kinds = pipe.execute()
        counts = {way: int(told.pop(way, 0)) for way in (_FIT, _UNFIT)}
        return Refused(frozenset(told), frozenset(kinds), sum(counts.values()), counts[_FIT])

    def coming(self, worker: str, queues: Iterable[str]) -> None:
        """The worker begins to load what these queues need."""
        self._run(_COMING, COMING_SECONDS, *(_entry(worker, queue) for queue in queues))

    def came(self, worker: str, queues: Iterable[str]) -> None:
        """It is done with that."""
        with self._control.server() as server:
            server.zrem(self._control.key("workers:coming"), *(_entry(worker, queue) for queue in queues))

    def expected(self, queue: str) -> frozenset[str]:
        """The workers that are only just loading what ``queue`` needs."""
        entries = (str(entry).partition(" ") for entry in self._run(_EXPECTED, COMING_SECONDS))
        return frozenset(worker for named, _, worker in entries if named == queue)

    def _run(self, script: str, *args: str | float) -> Any:
        keys = [self._control.key("workers:coming")]
        with self._control.server() as server:
            return server.register_script(script)(keys=keys, args=list(args))


def _entry(worker: str, queue: str) -> str:
    """A queue's name has no blank in it."""
    return f"{queue} {worker}"
