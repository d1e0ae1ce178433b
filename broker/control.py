"""Small shared state in Redis: tickets, attempts, and the progress of jobs. Lossy by design.

Nothing here is the truth: the catalog is. Losing all of it costs repeated work, never a frame.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from broker.alerts import Alerts
from broker.backlog_scripts import DROP
from broker.broker_url import BROKER_VARIABLE, CONTROL_VARIABLE, parse_broker_url
from broker.connection import EXPIRY_SECONDS, control_url
from broker.connection import key_prefix as key_prefix
from broker.errors import BrokerRefuses
from broker.messages import Segment
from broker.settings import Settings
from broker.stage_progress import StageProgress
from broker.transfers import Transfers
from broker.voiding import Voided

RAISE_TICKET = """
local current = redis.call('GET', KEYS[1])
if not current or current < ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
"""
"""Sets a key to a larger value only, in one step."""
_NEXT_TICKET = """
local clock = redis.call('TIME')
local ticket = string.format('%016d', clock[1] * 1000000 + clock[2])
local current = redis.call('GET', KEYS[1])
if current and current >= ticket then ticket = string.format('%016d', current + 1) end
redis.call('SET', KEYS[1], ticket, 'EX', ARGV[1])
"""
NEXT_TICKET = _NEXT_TICKET + "return ticket"
"""The server's time in microseconds, and always more than the ticket before."""
STOP_LINK = _NEXT_TICKET + "redis.call('SET', KEYS[2], ticket, 'EX', ARGV[1])"
"""The same, and whatever has an older ticket is to stop."""
_EXPIRE_OWN = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('EXPIRE', KEYS[1], ARGV[2]) end"
DONE_SECONDS = 3600
"""For which it is known that work is done whose message could not be acknowledged: that message comes again
when its lease has run out. One that comes later still, to a device that was off, is worked on twice."""
PARKED = "parked"
"""The key of the messages that wait for their time; see ``broker.parking``."""
HELD = "held"
"""Before the keys of the segments that wait for room in front of their device; see ``broker.backlog``."""
PRIORITY_STEPS = (0, 3, 6, 9)
"""Priorities of messages; kombu keeps a list for each."""
PRIORITY_SEPARATOR = "\x06\x16"
"""Between a queue's name and its priority in kombu's keys (kombu.transport.redis.Channel.sep)."""
KEPT_KEYS = ("egress:", "alerts", "devices")
"""Of ours, that outlive the messages: a restart must not forget an open breaker, used tokens, or a device."""
VOID_PARTS = (":queue", ":due", ":late")
"""Of an egress: places in its queue, whose holders are messages."""


class Control(Transfers, Alerts, StageProgress):
    """The shared state under one Redis URL (password included: never log it)."""

    @classmethod
    def of(cls, settings: Settings) -> "Control":
        """The control state that ``settings`` name.

        Raises:
            BrokerUnavailable: when there is no broker.
            BrokerRefuses: it is not Redis and no ``control_url`` is set; no waiting mends that.
            SettingsError: a URL cannot be used.
        """
        url = control_url(settings)
        variable = CONTROL_VARIABLE if settings.control_url else BROKER_VARIABLE
        if not parse_broker_url(url, variable).kind.in_redis:
            raise BrokerRefuses(
                "The shared state of hardpose needs Redis or Valkey, and the broker is of another kind.",
                "Set HARDPOSE_CONTROL_URL=redis://host:6379/0 beside the broker of another kind.",
            )
        return cls(url, key_prefix(settings), settings.broker_ca)

    # --- tickets: which message of a segment is the valid one ---

    def issue_tickets(self, segments: Iterable[Segment]) -> None:
        """Makes the tickets of ``segments`` the valid ones; messages with older tickets are dropped.

        Tickets grow with time. A sender that was overtaken by a later one changes nothing.
        """
        self.void_tickets({segment.key: segment.ticket for segment in segments})

    def newer_ticket(self, segment: Segment) -> str | None:
        """The valid ticket of the segment, if it was sent anew, or voided, since this message was written."""
        with self._typed():
            current = self._redis.get(self._ticket(segment))
        return str(current) if current is not None and str(current) > segment.ticket else None

    def void_tickets(self, tickets: Mapping[str, str]) -> None:
        """Voids messages, by ``Segment.key``, with tickets that say why (see ``broker.voiding``).

        What is held of them is dropped. One round trip for all: a job may have 10,000 of them.
        """
        with self._typed():
            raise_ticket, drop = map(self._redis.register_script, (RAISE_TICKET, DROP))
            pipe = self._redis.pipeline(transaction=False)
            for key, ticket in tickets.items():
                raise_ticket(keys=[self.key(f"ticket:{key}")], args=[ticket, EXPIRY_SECONDS], client=pipe)
                drop(keys=[self.key(f"{HELD}:")], args=[key, ticket], client=pipe)
            pipe.execute()

    def voided(self, segment: Segment) -> Voided | None:
        """Why this message of the segment is void: its work was cancelled, or its video erased."""
        newer = self.newer_ticket(segment)
        return Voided.parse(newer) if newer is not None else None

    def _ticket(self, segment: Segment) -> str:
        return self.key(f"ticket:{segment.key}")

    def issue_link_ticket(self, job_id: str, position: int) -> str:
        """A new ticket for a link of a job; messages with older ones are void from now on."""
        with self._typed():
            ticket = self._redis.register_script(NEXT_TICKET)
            return str(ticket(keys=[self._link_ticket(job_id, position)], args=[EXPIRY_SECONDS]))

    def link_superseded(self, job_id: str, position: int, ticket: str) -> bool:
        """Whether the link was sent anew since the message with this ticket was written.

        A message without a ticket is valid, and so is any when the server has lost its memory.
        """
        with self._typed():
            current = self._redis.get(self._link_ticket(job_id, position))
        return bool(ticket) and current is not None and str(current) > ticket

    def stop_links(self, links: Iterable[tuple[str, int]]) -> None:
        """Voids all messages about links, by job and position, and ends their transfers under way."""
        with self._typed():
            stop_link, pipe = self._redis.register_script(STOP_LINK), self._redis.pipeline(transaction=False)
            for job_id, position in links:
                keys = [self._link_ticket(job_id, position), self._link_stop(job_id, position)]
                stop_link(keys=keys, args=[EXPIRY_SECONDS], client=pipe)
            pipe.execute()

    def link_stopped(self, job_id: str, position: int, ticket: str) -> bool:
        """Whether the link was stopped since the message with this ticket was written."""
        with self._typed():
            stop = self._redis.get(self._link_stop(job_id, position))
        return stop is not None and ticket <= str(stop)

    def _link_stop(self, job_id: str, position: int) -> str:
        return self.key(f"stop:link:{job_id}:{position}")

    def _link_ticket(self, job_id: str, position: int) -> str:
        return self.key(f"ticket:link:{job_id}:{position}")

    def link_planned(self, job_id: str, position: int, ticket: str) -> None:
        """All that the link has become is on its way; its ticket is kept for as long as its message may come
        twice.
        """
        with self._typed():
            keys = [self._link_ticket(job_id, position)]
            self._redis.register_script(_EXPIRE_OWN)(keys=keys, args=[ticket, DONE_SECONDS])

    # --- attempts: starts that did not come to an end ---

    def begin(self, name: str) -> int:
        """Counts a start of the work ``name``; the answer includes this one and those that never ended."""
        key = self.key(f"attempts:{name}")
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            pipe.incr(key)
            pipe.expire(key, EXPIRY_SECONDS)
            return int(pipe.execute()[0])

    def end(self, name: str) -> None:
        """The work came to an end, good or bad: its process lives."""
        with self._typed():
            self._redis.delete(self.key(f"attempts:{name}"))

    def mark_done(self, name: str) -> None:
        """The work ``name`` was done and handed on; its message may be delivered again all the same."""
        with self._typed():
            self._redis.set(self.key(f"done:{name}"), 1, ex=DONE_SECONDS)

    def is_done(self, name: str) -> bool:
        """Whether ``mark_done`` was called for it within the hour."""
        with self._typed():
            return bool(self._redis.exists(self.key(f"done:{name}")))

    # --- messages ---

    def messages(self, queues: Iterable[str]) -> int:
        """Messages that wait in ``queues`` of a Redis broker, or elsewhere: held by a worker of any queue,
        parked, or held before their first stage.

        While a job is under way this is never 0: a stage sends the next message before it acknowledges
        its own. It is 0 when the server has lost them.
        """
        waiting, held = self.lengths(queues)
        return sum(waiting.values()) + held + self.aside()

    def aside(self) -> int:
        """Messages that are parked, or held before their first stage."""
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zcard(self.key(PARKED))
            pipe.hlen(self.key(f"{HELD}:messages"))
            return sum(map(int, pipe.execute()))

    def lengths(self, queues: Iterable[str]) -> tuple[dict[str, int], int]:
        """Messages that wait in each of ``queues`` of a Redis broker, and those held by a worker of any."""
        names = list(queues)
        with self._typed():
            pipe = self._redis.pipeline(transaction=False)
            self.ask_lengths(pipe, names)
            pipe.hlen(f"{self._prefix}unacked")
            *counts, held = map(int, pipe.execute())
        each = len(PRIORITY_STEPS)
        sums = (sum(counts[n : n + each]) for n in range(0, len(counts), each))
        return dict(zip(names, sums, strict=True)), held

    def ask_lengths(self, pipe: Any, queues: Iterable[str]) -> int:
        """Puts into ``pipe`` the question how long ``queues`` are; returns how many numbers answer it."""
        names = [
            f"{self._prefix}{queue}{f'{PRIORITY_SEPARATOR}{step}' if step else ''}"
            for queue in queues
            for step in PRIORITY_STEPS
        ]
        for name in names:
            pipe.llen(name)
        return len(names)

    def clear_queue_state(self) -> None:
        """Drops all but what sites were asked and how they took it.

        Only for an embedded broker, whose queues the catalog rebuilds.
        """
        kept = tuple(self.key(name) for name in KEPT_KEYS)
        with self._typed():
            names = map(str, self._redis.scan_iter(count=1000))
            void = [name for name in names if not name.startswith(kept) or name.endswith(VOID_PARTS)]
            for start in range(0, len(void), 1000):
                self._redis.unlink(*void[start : start + 1000])
