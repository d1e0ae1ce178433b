"""Connections to a Redis that takes nothing for the moment: that is a link that is down, and passes.

A master without its replicas (NOREPLICAS), one that has become a replica (READONLY), one with a full disk
(MISCONF) or a full memory (OOM) answers with an error. Celery takes any error of the server for a defect and
ends the worker with what it works on; a link that is down it mends, as often as need be. So it is told that.

Redis documentation, "Redis serialization protocol specification", simple errors: the first word is the kind.
"""

import time
from typing import Any

from kombu.transport import redis as kombu_redis
from redis import Connection, SSLConnection
from redis.exceptions import (
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.sentinel import SentinelManagedConnection

KINDS = (ReadOnlyError, OutOfMemoryError, MasterDownError)
WORDS = ("NOREPLICAS", "MISCONF", "UNBLOCKED", "BUSY ", "-READONLY ", "-OOM ")
"""Of those that redis-py has no class for. UNBLOCKED: to who waits for a message of a master that becomes a
replica, in every planned failover. BUSY: a script of somebody runs. With a hyphen: what a script meets on a
server before Redis 7 ("ERR Error running script ...: -READONLY ..."); later ones pass it on as it is."""


REST_SECONDS = 1.0
"""Before it is asked again: it takes connections, so that Celery would be back at once, and again."""


def passes(error: ResponseError) -> bool:
    """Whether the server may take the same a while later, and nobody here has to change anything."""
    return isinstance(error, KINDS) or any(word in str(error) for word in WORDS)


class _Waiting:
    """Before a connection class of redis-py."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """redis-py's.

        Raises:
            redis.exceptions.ConnectionError: also when the server takes nothing for the moment.
        """
        connection: Any = super()
        try:
            return connection.read_response(*args, **options)
        except ResponseError as error:
            if not passes(error):
                raise
            connection.disconnect()
            time.sleep(REST_SECONDS)
            raise ConnectionError(f"The server takes nothing for the moment: {error}") from error


class PlainLink(_Waiting, Connection):
    """Without TLS."""


class TlsLink(_Waiting, SSLConnection):
    """With TLS."""


class MasterLink(_Waiting, SentinelManagedConnection):
    """To the master that Sentinels name."""


class TlsMasterLink(_Waiting, kombu_redis.SentinelManagedSSLConnection):
    """The same with TLS."""
