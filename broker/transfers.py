"""Transfers under way, for those who watch: how much of which link is here, and by which tool."""

import json
from typing import Any

from broker.connection import Connection
from broker.recipe import Frozen

STALE_SECONDS = 60.0
"""A transfer without news for that long has stalled or lost its process, and is not shown."""
EXPIRY_SECONDS = 3600


class Transfer(Frozen):
    """One file on its way."""

    position: int
    """Of the link in its job."""
    received: int
    """Bytes that are here."""
    total: int | None
    """Bytes of the file, if known."""
    tool: str
    started: float
    """Unix time, by the server's clock."""
    updated: float
    bytes_per_second: float
    """Since it was first heard of; what an earlier try had brought is not counted."""


class Transfers(Connection):
    """The part of the shared state that tells of transfers."""

    def transfer(self, job_id: str, position: int, received: int, total: int | None, tool: str) -> None:
        """Notes how far a link is; about once a second is enough."""
        with self._typed():
            now = self._now()
            earlier = self._news(self._redis.hget(self._transfers(job_id), str(position)))
            started, first = earlier[3:5] if earlier and earlier[0] <= received else (now, received)
            news = json.dumps([received, total, tool, started, first, now])
            pipe = self._redis.pipeline(transaction=False)
            pipe.hset(self._transfers(job_id), str(position), news)
            pipe.expire(self._transfers(job_id), EXPIRY_SECONDS)
            pipe.execute()

    def transfer_ended(self, job_id: str, position: int) -> None:
        """The link's transfer is over, good or bad."""
        with self._typed():
            self._redis.hdel(self._transfers(job_id), str(position))

    def transfers(self, job_id: str) -> list[Transfer]:
        """The job's transfers that were heard of in the last ``STALE_SECONDS``, by position."""
        with self._typed():
            noted: Any = self._redis.hgetall(self._transfers(job_id))
            now = self._now()
        found = [_transfer(int(position), self._news(text)) for position, text in noted.items()]
        return sorted((t for t in found if now - t.updated <= STALE_SECONDS), key=lambda t: t.position)

    def stumbled(self, job_id: str, position: int, cause: str, seconds: float) -> None:
        """Notes that a link has failed for now, and is tried again in so many seconds."""
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hset(self._stumbles(job_id), str(position), json.dumps([self._now() + seconds, cause]))
            pipe.expire(self._stumbles(job_id), EXPIRY_SECONDS)
            pipe.execute()

    def stumbles(self, job_id: str) -> dict[int, tuple[float, str]]:
        """Links that are about to be tried again: seconds until then and the cause, by position."""
        with self._typed():
            noted: Any = self._redis.hgetall(self._stumbles(job_id))
            now = self._now()
        found = {int(position): self._news(text) for position, text in noted.items()}
        return {at: (due - now, cause) for at, (due, cause) in sorted(found.items()) if due > now}

    def _stumbles(self, job_id: str) -> str:
        return self.key(f"stumbles:{job_id}")

    def _transfers(self, job_id: str) -> str:
        return self.key(f"transfers:{job_id}")

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    @staticmethod
    def _news(text: Any) -> list[Any]:
        return list(json.loads(text)) if text else []


def _transfer(position: int, news: list[Any]) -> Transfer:
    received, total, tool, started, first, updated = news
    seconds = updated - started
    return Transfer(
        position=position,
        received=received,
        total=total,
        tool=tool,
        started=started,
        updated=updated,
        bytes_per_second=(received - first) / seconds if seconds > 0 else 0.0,
    )
