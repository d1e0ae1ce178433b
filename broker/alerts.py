"""Alerts: tools that no longer understand a site, until they are heard to work again or a week has passed."""

import json
from typing import Any

from broker.connection import Connection
from broker.recipe import Frozen

ALERT_SECONDS = 7 * 24 * 3600
"""Without news, after which an alert is dropped."""
NOTE_ALERT = """
local clock = redis.call('TIME')
local note = redis.call('HGET', KEYS[1], ARGV[1])
local count = note and cjson.decode(note)['count'] or 0
local time = tonumber(clock[1])
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({count = count + 1, cause = ARGV[2], time = time}))
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


class Alert(Frozen):
    """A tool of one version that has failed to understand a site."""

    tool: str
    version: str
    count: int
    """Links since it last worked."""
    cause: str
    """Of the last one."""
    time: float
    """Of the last one; Unix time."""


class Alerts(Connection):
    """The part of the shared state that tells of outdated tools."""

    def outdated_tool(self, tool: str, version: str, cause: str) -> None:
        """``tool`` did not understand a site."""
        with self._typed():
            note = self._redis.register_script(NOTE_ALERT)
            note(keys=[self.key("alerts")], args=[_field(tool, version), cause[:500], ALERT_SECONDS])

    def tool_works(self, tool: str, version: str) -> None:
        """``tool`` understands its site: there is no alert any more."""
        with self._typed():
            self._redis.hdel(self.key("alerts"), _field(tool, version))

    def alerts(self) -> list[Alert]:
        """The alerts of the last days, by tool and version."""
        with self._typed():
            noted: Any = self._redis.hgetall(self.key("alerts"))
            now = int(self._redis.time()[0])
        found = []
        for field, text in sorted(noted.items()):
            tool, version = json.loads(field)
            found.append(Alert(tool=tool, version=version, **json.loads(text)))
        return [alert for alert in found if now - alert.time <= ALERT_SECONDS]


def _field(tool: str, version: str) -> str:
    return json.dumps([tool, version])
