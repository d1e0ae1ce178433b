"""How busy the queues are, told by the workers themselves: it is the same on every broker.

A broker knows what waits; Redis does not know of which queue a message is that somebody has taken, and
RabbitMQ tells only those who may ask its management. So every worker tells with its heartbeat how many
messages of each queue it holds and from which it has taken some since the last beat.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from broker.connection import Connection
from broker.presence import ALIVE_SECONDS

_NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
"""
_TELL = (
    _NOW
    + """
redis.call('HSET', KEYS[1], ARGV[1], text(now) .. ' ' .. ARGV[2])
for i = 3, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], text(now)) end
"""
)
"""Tells what worker ARGV[1] holds, as JSON, and the queues from which it has taken something."""
_HELD = (
    _NOW
    + """
local found, told = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #told, 2 do
  local at, held = string.match(told[i + 1], '^(%S+) (.*)$')
  if at and now - tonumber(at) <= tonumber(ARGV[1]) then found[#found + 1] = held
  else redis.call('HDEL', KEYS[1], told[i]) end
end
return found
"""
)
"""What each living worker holds; those that were killed are forgotten."""
_STALLED = (
    _NOW
    + """
local answers = {}
for i = 1, #ARGV, 2 do
  local queue, stalled = ARGV[i], 0
  if tonumber(ARGV[i + 1]) == 0 then redis.call('HDEL', KEYS[2], queue)
  else
    if redis.call('HEXISTS', KEYS[2], queue) == 0 then redis.call('HSET', KEYS[2], queue, text(now)) end
    local since = tonumber(redis.call('HGET', KEYS[2], queue))
    local taken = tonumber(redis.call('HGET', KEYS[1], queue) or since)
    stalled = math.max(0, now - math.max(since, taken))
  end
  answers[#answers + 1] = text(stalled)
end
return answers
"""
)
"""Seconds for which messages have waited in queues (ARGV: name, length, ...) and none was taken."""


class WorkCounts:
    """What workers have in their hands. Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    def tell(self, key: str, held: Mapping[str, int], taken: Iterable[str]) -> None:
        """Told by each worker with every beat.

        Args:
            key: of the worker (``broker.presence.worker_key``).
            held: messages that it works on, by queue.
            taken: the queues from which it has taken a message since it told this last.
        """
        keys = self._keys("workers:held", "queues:taken")
        self._run(_TELL, keys, key, json.dumps(dict(held)), *taken)

    def forget(self, key: str) -> None:
        """The worker has ended, and holds nothing."""
        with self._control.server() as server:
            server.hdel(self._control.key("workers:held"), key)

    def running(self, within: float = ALIVE_SECONDS) -> dict[str, int]:
        """Messages that are worked on, by queue, as told in the last ``within`` seconds."""
        held: Counter[str] = Counter()
        for text in self._run(_HELD, self._keys("workers:held"), within):
            held.update(json.loads(text))
        return dict(held)

    def stalled(self, waiting: Mapping[str, int]) -> dict[str, float]:
        """For how many seconds messages have waited in each queue while nobody took one; 0 where none waits.

        The first question after a queue has filled starts its clock, so somebody has to ask regularly:
        Prometheus does. A queue that is long and moves is not stalled.

        Args:
            waiting: the lengths of the queues, now.
        """
        pairs = [str(each) for pair in waiting.items() for each in pair]
        told = self._run(_STALLED, self._keys("queues:taken", "queues:waiting"), *pairs)
        return dict(zip(waiting, map(float, told), strict=True))

    def _keys(self, *names: str) -> list[str]:
        return [self._control.key(name) for name in names]

    def _run(self, script: str, keys: list[str], *args: str | float) -> Any:
        with self._control.server() as server:
            return server.register_script(script)(keys=keys, args=list(args))
