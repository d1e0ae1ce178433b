"""A clock that stands in for the broker's own: it goes on when the test says so, and not while it is slow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

TIME = "redis.call('TIME')"
"""How every script asks for the time: it is the only clock of the shared state."""


class ServersClock:
    """What the scripts and the client of this process are told by any server; it stands still by itself.

    Attributes:
        now: Unix time in seconds, exact to a microsecond.
    """

    def __init__(self) -> None:
        # Some moment that is far from all that was ever noted by a true clock, in either direction.
        self._microseconds = 2_000_000_000 * 10**6

    @property
    def now(self) -> float:
        return self._microseconds / 1e6

    def go_on(self, seconds: float) -> None:
        """Lets ``seconds`` pass."""
        self._microseconds += round(seconds * 1e6)

    def told(self) -> tuple[int, int]:
        """Seconds and microseconds, as the command TIME has them."""
        return divmod(self._microseconds, 10**6)

    def put_into(self, script: str) -> str:
        """``script``, which is told the time of this clock."""
        seconds, microseconds = self.told()
        return script.replace(TIME, f"{{'{seconds}', '{microseconds}'}}")


@contextmanager
def servers_clock() -> Iterator[ServersClock]:
    """The clock of all servers that this process asks inside the ``with``. Keys expire by their true one."""
    clock, register = ServersClock(), redis.Redis.register_script

    def register_script(client: redis.Redis, script: str | bytes) -> Any:
        if isinstance(script, str):  # one of ours: other libraries have theirs as bytes
            script = clock.put_into(script)
        return register(client, script)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.Redis, "register_script", register_script)
        patch.setattr(redis.Redis, "time", lambda _: clock.told())
        yield clock
