"""How often one may ask. The only file that imports ``limits``."""

import logging
import math
import re
import time
from pathlib import Path
from typing import Any

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisSentinelStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from api.http.errors import Limited
from broker.broker_url import BrokerKind, kind_of, parse_broker_url
from broker.connection import key_prefix
from broker.sentinels import greeting
from broker.settings import Settings
from broker.tls import redis_tls

log = logging.getLogger(__name__)

_PICTURE = re.compile(r"/frames/[^/]+/images/[^/]+")
"""The paths of a frame's pictures: a page of the gallery asks for a hundred of them."""
PICTURES_PER_REQUEST = 10
AWAY_SECONDS = 30.0
"""For which a Redis that did not answer is not asked again."""
AWAY_TIMEOUT = 2.0
"""Seconds after which it has not answered."""


class RateLimits:
    """Counts requests in a moving window of a minute.

    In Redis when one is configured, so that all API processes count together; in this process otherwise, and
    while Redis is away: the catalog can be read without it.

    Args:
        settings: ``api_requests_per_minute`` and the URL of the control state.
    """

    def __init__(self, settings: Settings) -> None:
        requests = settings.api_requests_per_minute
        self._requests = RateLimitItemPerMinute(requests, namespace="requests")
        self._pictures = RateLimitItemPerMinute(requests * PICTURES_PER_REQUEST, namespace="pictures")
        self._here = MovingWindowRateLimiter(MemoryStorage())
        self._url = _redis_of(settings)
        self._authority = settings.broker_ca
        self._prefix = f"{key_prefix(settings)}hardpose:rate"
        self._shared: MovingWindowRateLimiter | None = None
        self._away_until = 0.0

    @property
    def shared(self) -> bool:
        """Whether counting takes a round trip to Redis: not for the event loop."""
        return self._url is not None and time.monotonic() >= self._away_until

    def count(self, who: str, method: str, path: str) -> None:
        """Counts a request.

        Args:
            who: the caller, or the address.
            method: of the request.
            path: of the request; pictures of frames count a tenth.

        Raises:
            Limited: it is one too many.
        """
        picture = method in ("GET", "HEAD") and _PICTURE.fullmatch(path) is not None
        item = self._pictures if picture else self._requests
        limiter = self._limiter()
        try:
            if limiter.hit(item, who):
                return
            reset = limiter.get_window_stats(item, who).reset_time
        except StorageError as error:
            log.warning("requests are counted in this process alone: %s", type(error.storage_error).__name__)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return
        seconds = max(1, min(60, math.ceil(reset - time.time())))
        raise Limited(
            f"More than {item.amount} {'pictures' if picture else 'requests'} in a minute.",
            f"Try again in {seconds} s; HARDPOSE_API_REQUESTS_PER_MINUTE sets the limit.",
            seconds,
        )

    def _limiter(self) -> MovingWindowRateLimiter:
        if self._url is None or not self.shared:
            return self._here
        if self._shared is None:
            self._shared = MovingWindowRateLimiter(_storage(self._url, self._prefix, self._authority))
        return self._shared


def _storage(url: str, prefix: str, authority: Path | None) -> RedisStorage:
    silence = {"socket_timeout": AWAY_TIMEOUT, "socket_connect_timeout": AWAY_TIMEOUT}
    options: dict[str, Any] = {**silence, "key_prefix": prefix, "wrap_exceptions": True}
    tls, parts = redis_tls(url, authority), parse_broker_url(url)
    if parts.kind is BrokerKind.REDIS:
        return RedisStorage(url, **options, **tls)
    account = {"username": parts.user, "password": parts.password}
    options |= tls | {name: value for name, value in account.items() if value is not None}
    return RedisSentinelStorage(
        f"redis+sentinel://{parts.places}/{parts.service}",  # it knows no other scheme, and no database
        use_replicas=False,
        sentinel_kwargs=greeting(parts, authority),
        db=parts.database,
        ssl=parts.tls,
        **options,
    )


def _redis_of(settings: Settings) -> str | None:
    secret = settings.control_url or settings.broker_url
    url = secret.get_secret_value() if secret else ""
    return url if url and kind_of(url).in_redis else None
