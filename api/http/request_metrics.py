"""Counts and times of the API's own requests, by route template: a path with ids would name a series each."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; Prometheus' own defaults without the two that no route comes near."""


class RequestMetrics:
    """The requests of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hardpose_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "hardpose_http_request_duration_seconds",
            "Time from a request to its answer; streams of events are not in it.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.streams = Gauge(
            "hardpose_http_event_streams", "Open streams of events.", registry=self._registry
        )

    def note(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Notes a request.

        Args:
            method: an HTTP method; any other counts as ``other``.
            route: the route's template, ``unmatched`` without one.
            status: of the answer.
            seconds: that it took; None for a stream.
        """
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(known, route).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
