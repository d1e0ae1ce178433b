"""Segments that are held before their first stage, because too many already wait for their device.

A device may be slow, or switched off for a day; poses and teacher's masks of all that it has yet to see
would fill the store meanwhile. So the worker of the first stage does not run a segment whose device has
enough to do: it puts the segment's message here and is free for other work. ``broker.backlog_pump`` wakes as
many as there is room for. Whether one may pass is decided by the gate alone (``tasks.backlog_gate``), each
time it comes by: a segment that is woken too early, or twice, is only held again, in its old place.

Everything here is a message: one that becomes void is dropped (``Control.void_tickets``), and losing all of
it costs no more than losing a queue.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broker.backlog_scripts import COUNTS, HELD_BY, HOLD, PASS, SENT, WAKE
from broker.connection import EXPIRY_SECONDS
from broker.control import HELD, Control
from broker.recipe import Frozen
from broker.settings import Settings

SEND_SECONDS = 30.0
"""In which a message that was taken is sent, or it is given out again: its sender has died."""
RESERVED_SECONDS = 60.0
"""For which the place of a woken segment is kept free; then others are woken too: the first one passes."""
URGENT = 10**11
"""Between two priorities in the order of what is held; Unix times are less."""


class Room(Frozen):
    """What the gate sees of a device's queue."""

    waiting: int
    """Segments in the queues between the first stage and the device, its own included."""
    held: int
    """Segments that are held for it and come before this one."""
    reserved: int
    """Segments that were woken a moment ago and have not come by yet; room is kept for them."""
    awake: bool
    """Whether this segment was woken."""

    def lets_pass(self, bound: int) -> bool:
        """Whether this segment may go on. Who was woken comes before who has only just arrived."""
        if self.awake:
            return self.waiting < bound
        return self.held == 0 and self.waiting + self.reserved < bound


def bound_of(settings: Settings, inline: bool) -> int:
    """Segments that may wait for a device.

    Args:
        settings: of the system.
        inline: whether their messages hold the pictures.
    """
    return min(settings.device_backlog, settings.inline_backlog) if inline else settings.device_backlog


class HeldSegment(Frozen):
    """A held segment, as ``Backlog.wake`` gives it."""

    key: str
    """``Segment.key``."""
    message: dict[str, Any]
    """The Celery signature of what remains of its chain."""
    serial: int
    """Tells this holding from a later one."""


class Backlog:
    """The held segments of a system. Every method may raise BrokerUnavailable.

    Args:
        control: of the system.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def room(self, queue: str, between: Sequence[str], key: str, rank: int) -> Room:
        """What there is in front of the device with this queue: one round trip.

        Args:
            queue: of the device.
            between: the queues of a Redis broker that a segment passes on its way, the device's own included.
            key: of the segment that asks (``Segment.key``).
            rank: of its priority, 0 the most urgent.
        """
        with self._control.server() as server:
            pipe = server.pipeline(transaction=False)
            lengths = self._control.ask_lengths(pipe, between)
            pipe.zcount(self._key(f"waiting:{queue}"), "-inf", (rank + 1) * URGENT)
            pipe.zcard(self._key(f"reserved:{queue}"))
            pipe.zscore(self._key(f"woken:{queue}"), key)
            *counts, held, reserved, awake = pipe.execute()
        waiting = sum(map(int, counts[:lengths]))
        return Room(waiting=waiting, held=int(held), reserved=int(reserved), awake=awake is not None)

    def hold(
        self,
        queue: str,
        between: Sequence[str],
        key: str,
        message: Mapping[str, Any],
        *,
        ticket: str,
        job_id: str,
        rank: int,
        inline: bool = False,
    ) -> None:
        """Holds a segment, in place of what was held of it before; one that comes again keeps its place.

        Args:
            queue: of its device.
            between: see ``room``; the pump asks for the same.
            key: of the segment.
            message: the Celery signature of what remains of its chain, its own task first.
            ticket: of the segment.
            job_id: of its job.
            rank: of its priority, 0 the most urgent.
            inline: whether its message to the device will hold the pictures.
        """
        body = json.dumps(message, separators=(",", ":"))
        self._run(
            HOLD, queue, key, body, ticket, job_id, rank * URGENT, json.dumps(list(between)), int(inline)
        )

    def passed(self, queue: str, key: str, ticket: str) -> None:
        """A woken segment goes on; a copy that is held of it is not needed any more."""
        self._run(PASS, queue, key, ticket)

    def wake(self, queue: str, room: int, most: int) -> list[HeldSegment]:
        """Up to ``most`` segments for which there is room, the most urgent first, then the longest held.

        They are still held, and nobody else is given them for ``SEND_SECONDS``: send each, then say ``sent``.
        One whose sender dies in between comes again.

        Args:
            queue: of the device.
            room: places that are free in front of it; those of earlier woken ones are taken off here.
            most: at once.
        """
        rows = self._run(WAKE, queue, room, most, SEND_SECONDS, RESERVED_SECONDS, EXPIRY_SECONDS) or []
        return [HeldSegment(key=key, message=json.loads(body), serial=serial) for key, body, serial in rows]

    def sent(self, queue: str, held: HeldSegment) -> None:
        """The segment, as ``wake`` gave it, is on its way. A later holding of it stays."""
        self._run(SENT, queue, held.key, held.serial)

    def any(self) -> bool:
        """Whether any segment is held, for whatever device: the cheapest question."""
        with self._control.server() as server:
            return bool(server.exists(self._key("by-queue")))

    def counts(self) -> dict[str, int]:
        """Segments that are held, by their device's queue."""
        rows = self._run(COUNTS) or []
        return {str(queue): int(count) for queue, count in rows}

    def of_job(self, job_id: str) -> int:
        """Segments of a job that are held."""
        return int(self._run(HELD_BY, job_id))

    def between(self, queue: str) -> tuple[str, ...]:
        """The queues in front of the device with this queue, as the gate has named them last."""
        with self._control.server() as server:
            text: Any = server.hget(self._key("between"), queue)
        return tuple(json.loads(text)) if text else ()

    def inline(self, queue: str) -> bool:
        """Whether anything that is held, or was since nothing was, gets its pictures in its message."""
        with self._control.server() as server:
            return bool(server.hexists(self._key("inline"), queue))

    def _key(self, part: str) -> str:
        return self._control.key(f"{HELD}:{part}")

    def _run(self, script: str, *args: str | float) -> Any:
        with self._control.server() as server:
            return server.register_script(script)(keys=[self._key("")], args=list(args))
