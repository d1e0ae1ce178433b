"""Which frame has ended the process that drives the device: what is shown is noted, after a first death.

In the normal case nothing is asked of Redis. A segment that comes again because its process died is shown
frame by frame, each noted beforehand; the note that outlives the next death names the frame. That frame is
condemned (``failed``, ``device_poison_frame``), and the others get their masks.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from broker.connection import EXPIRY_SECONDS
from broker.control import Control
from broker.errors import BrokerUnavailable
from tasks.attempts import Poison

log = logging.getLogger(__name__)

MOST_CONDEMNED = 8
"""Frames of one segment that may end the process; with more of them it is the device that is broken."""


class Suspects:
    """The frames of one segment that are suspected of ending the process.

    Args:
        control: where notes outlive the process; None: nothing is noted.
        name: of the work, as its starts are counted under.
    """

    def __init__(self, control: Control | None = None, name: str = "") -> None:
        self._control, self._name = control, name
        self.watching = False
        """Whether an earlier start ended its process: frames are to be shown one by one."""
        self.condemned: frozenset[int] = frozenset()
        """Milliseconds of the frames that are not to be shown any more."""

    def resume(self, starts: int) -> int:
        """Takes up what earlier starts have left; gives how many starts each ended with a known frame.

        Args:
            starts: of this work, with this one.

        Raises:
            Poison: too many frames have ended the process.
            BrokerUnavailable: the notes cannot be read.
        """
        if self._control is None or starts < 2:
            return 0
        self.watching = True
        self.condemned = self._condemn(self._control)
        if len(self.condemned) > MOST_CONDEMNED:
            raise Poison(
                f"{len(self.condemned)} frames of one segment have each ended the process that drives the "
                "device.",
                "So many are the device's fault and not theirs: look at the worker's log.",
            )
        return len(self.condemned)

    def _condemn(self, control: Control) -> frozenset[int]:
        """The frames condemned so far, and the one that was being shown when the process died."""
        condemned, noted = self._keys(control)
        with control.server() as server:
            last = server.get(noted)
            if last is not None:
                log.warning("%s: the frame at %s ms has ended its process, it is condemned", self._name, last)
                pipe = server.pipeline()
                pipe.sadd(condemned, str(last))
                pipe.expire(condemned, EXPIRY_SECONDS)
                pipe.delete(noted)
                pipe.execute()
            return frozenset(int(time) for time in server.smembers(condemned))

    @contextmanager
    def shown(self, time_ms: int) -> Iterator[None]:
        """Notes the frame at ``time_ms`` while the device is asked about it.

        Raises:
            BrokerUnavailable: the note cannot be made.
        """
        assert self._control is not None
        _, noted = self._keys(self._control)
        with self._control.server() as server:
            server.set(noted, time_ms, ex=EXPIRY_SECONDS)
        try:
            yield
        finally:
            with self._control.server() as server:
                server.delete(noted)

    def keep(self) -> None:
        """The work comes again though its process lives: what is known of its frames is not forgotten."""
        if self._control is not None and self.condemned:
            with _unless_away(self._name):
                self._control.begin(self._name)  # else the next start would count as the first, and not look

    def forget(self) -> None:
        """The work has come to its end."""
        if self._control is not None and self.watching:
            with _unless_away(self._name), self._control.server() as server:
                server.delete(*self._keys(self._control))

    def _keys(self, control: Control) -> tuple[str, str]:
        return control.key(f"condemned:{self._name}"), control.key(f"suspect:{self._name}")


_current: ContextVar[Suspects | None] = ContextVar("suspects", default=None)


@contextmanager
def suspects_of(control: Control | None, name: str) -> Iterator[Suspects]:
    """The suspects of the work that is done inside the ``with``; ``counted`` goes inside it, with ``resume``.

    Args:
        control: see ``Suspects``.
        name: the same.
    """
    suspects = Suspects(control, name)
    token = _current.set(suspects)
    try:
        yield suspects
    except BaseException:
        suspects.keep()
        raise
    else:
        suspects.forget()
    finally:
        _current.reset(token)


def current_suspects() -> Suspects:
    """Of the work that this process does just now; without any notes where nobody counts starts."""
    return _current.get() or Suspects()


@contextmanager
def _unless_away(name: str) -> Iterator[None]:
    try:
        yield
    except BrokerUnavailable as error:
        log.warning("what is known of the frames of %s is not up to date: %s", name, error)
