"""What the requests of one API process share: settings, access, limits, and the runtime behind them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from anyio import CapacityLimiter

from api.http.access import Access
from api.http.hosts import Hosts
from api.http.limits import RateLimits
from api.http.progress import Watches
from api.http.recipes import Recipes
from api.http.request_metrics import RequestMetrics
from api.local import attach
from broker.settings import Settings
from tasks.runtime import Runtime

LOOK_SECONDS = 5.0
"""Between two looks for the embedded broker of the home folder, which has another address after a restart."""


DRAWING = 8
"""Pictures that are fetched and drawn at once: a slow artifact store must not take all 40 threads that
routes have, nor pictures of 8K all memory. More wait, without a thread."""
ORDERING = 8
"""Orders for jobs that are worked on at once; one may take a process of its own to find out its recipe."""
SMALL_THREADS = 16
"""For what every request and every stream needs: never behind routes that wait for a store."""


class Front:
    """One per application. Connects to nothing until it is asked to.

    Raises:
        SettingsError: see ``Access.of``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.access = Access.of(settings)
        self.hosts = Hosts(settings)
        self.limits = RateLimits(settings)
        self.metrics = RequestMetrics()
        self.recipes = Recipes()
        self.sending = ThreadPoolExecutor(2, "send")
        """Puts the links of large orders on the queue; the process ends after it has."""
        self.drawing = CapacityLimiter(DRAWING)
        self.ordering = CapacityLimiter(ORDERING)
        self.small_threads = CapacityLimiter(SMALL_THREADS)
        self.watches = Watches(self.small_threads)
        self.streams = 0
        """Open streams of events."""
        self.stopping = threading.Event()
        """Set when the server is told to end: streams of events end then."""
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._looked = -LOOK_SECONDS

    def runtime(self) -> Runtime:
        """The runtime; a new one when the home folder's embedded broker was started anew."""
        with self._lock:
            if self._runtime is None or self._may_have_moved():
                self._looked = time.monotonic()
                settings = attach(self.settings)
                if self._runtime is None or settings.broker_url != self._runtime.settings.broker_url:
                    self._runtime = Runtime(settings)
            return self._runtime

    def count_stream(self, change: int) -> None:
        """A stream of events was opened (1) or has ended (-1)."""
        self.streams += change
        self.metrics.streams.set(self.streams)

    def _may_have_moved(self) -> bool:
        return self.settings.broker_url is None and time.monotonic() - self._looked > LOOK_SECONDS
