"""kombu's Redis transport, for links that break: what is taken is never lost, and what failed is let go.

Three things in kombu are not safe on a link that breaks without a word:

- It takes a message with BRPOP and writes down afterwards that it holds it. What the server has sent into a
  dead link is gone. With ``take_by_script`` the server does both in one step, and whoever looks after expired
  leases gives the message back. That asks the server once a second while nothing waits, as often as kombu
  asks anew with BRPOP, and a message may wait for that second: it is meant for devices.
- A message that is acknowledged after the link has come back ends the worker: its channel is gone. One whose
  acknowledgement could not be sent stays in its books, and with a prefetch count of 1 nothing is taken any
  more. Here the new channel sends it, or it is let go: its lease runs out, and it is given back.
- It stamps leases by the clock of each machine. A board that was just switched on may be years behind, and
  one that is ahead would take away what all others hold. Here it is the server's clock.

It overrides private methods (kombu is pinned, ``tests/broker/test_broken_links.py`` guards them).
"""

import hashlib
from queue import Empty
from time import monotonic
from typing import Any, ClassVar

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from broker.passing_refusals import MasterLink, PlainLink, TlsLink, TlsMasterLink
from broker.sentinels import Sentinels

IDLE_SECONDS = 1.0
"""Between two questions while no message waits; the worker's loop comes by once a second."""
_NOW = """
local clock = redis.call('TIME')
local now = string.format('%s.%06d', clock[1], clock[2])
"""
TAKE = (
    _NOW
    + """
local unacked, index = KEYS[#KEYS - 1], KEYS[#KEYS]
for n = 1, #KEYS - 2 do
  local body = redis.call('RPOP', KEYS[n])
  if body then
    redis.call('HSET', unacked, ARGV[1], '[' .. body .. ARGV[n + 1])
    redis.call('ZADD', index, now, ARGV[1])
    return KEYS[n]
  end
end
return false
"""
)
"""Takes a message of the first list that has one, and writes down that it is held (``QoS.append``).

The first argument is the tag that it is held by, then for each list what ends its entry: where the message
goes back to. The server does nothing else meanwhile, and the message may be full of pictures: it is neither
read here nor answered, but asked for in the same breath (8 MB: 12 ms; it was 40).
"""
HOLD = _NOW + "redis.call('ZADD', KEYS[1], now, ARGV[1])"
RENEW = (
    _NOW
    + """
for _, tag in ipairs(ARGV) do
  if redis.call('ZSCORE', KEYS[1], tag) then redis.call('ZADD', KEYS[1], now, tag) end
end
"""
)
"""A message that was acknowledged meanwhile must not come back to life."""


class HeldMessages(redis.QoS):
    """What this process holds, by the server's clock."""

    newest: ClassVar["HeldMessages | None"] = None
    """Of the channel that the worker takes its messages from, since it last connected."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """The message was taken; its lease begins."""
        if not self.channel.take_by_script:  # which has written it down already
            place = message.delivery_info
            entry = dumps([message._raw, place["exchange"], place["routing_key"]])
            with self.pipe_or_acquire() as pipe:
                pipe.hset(self.unacked_key, delivery_tag, entry)
                pipe.eval(HOLD, 1, *whole_keys(self.channel, self.unacked_index_key), delivery_tag)
                pipe.execute()
        redis.virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """The work is done. Where the server cannot be told, the message will be given out again."""
        try:
            self._open()._remove_from_indices(delivery_tag).execute()
        finally:
            self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """The message goes back, to the front of its queue; without a link when its lease has run out."""
        try:
            if requeue:
                self._open().restore_by_tag(delivery_tag, leftmost=True)
            else:
                self._open()._remove_from_indices(delivery_tag).execute()
        finally:
            self._quick_ack(delivery_tag)

    def _open(self) -> "HeldMessages":
        """Itself, or what has taken its place since the link broke; kombu would end the worker here.

        Raises:
            redis.exceptions.ConnectionError: there is none yet.
        """
        for held in (self, HeldMessages.newest):
            if held is not None and held.channel.connection is not None:
                return held
        raise ConnectionError("The link to the broker is broken.")

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Gives back what was held by others for longer than their lease."""
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            seconds, microseconds = client.time()
            latest = seconds + microseconds / 1e6 - self.visibility_timeout
            try:
                with redis.Mutex(client, self.unacked_mutex_key, self.unacked_mutex_expire):
                    overdue = {"offset": start if num else None, "num": num, "byscore": True}
                    for tag in client.zrange(self.unacked_index_key, 0, latest, **overdue):
                        self.restore_by_tag(tag, client)
            except redis.MutexHeld:
                return  # another worker is at it


class Channel(redis.Channel):
    """kombu's, that can take messages by a script."""

    QoS = HeldMessages
    connection_class: Any = PlainLink
    connection_class_ssl: Any = TlsLink
    take_by_script = False
    from_transport_options: tuple[str, ...] = (*redis.Channel.from_transport_options, "take_by_script")  # type: ignore[assignment]
    _in_poll: Any
    _brpop_sent_at: Any
    _rests_until = 0.0
    _script_sent = False
    _tag = ""
    _shared: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """kombu's, made once for each pool of connections and not once for each command.

        A client of redis-py fills a table of 170 answers when it is made: that was a quarter of what the main
        process of a worker did for a message.
        """
        if asynchronous:  # these are two, each with a connection that it listens on
            return super()._create_client(asynchronous=True)
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = super()._create_client()
        return self._shared

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Asks for a message; the answer is read by ``_brpop_read``."""
        if not self.take_by_script:
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues or monotonic() < self._rests_until:
            return
        lists = [(self._q_for_pri(queue, step), queue) for step in self.priority_steps for queue in queues]
        keys = whole_keys(self, *(name for name, _ in lists), self.unacked_key, self.unacked_index_key)
        connection: Any = self.client.connection
        self._in_poll, self._brpop_sent_at = connection, monotonic()
        command = ("EVALSHA", _sha(TAKE)) if self._script_sent else ("EVAL", TAKE)
        self._script_sent = True
        self._tag = self._next_delivery_tag()
        take = (*command, len(keys), *keys, self._tag, *(_back_to(queue) for _, queue in lists))
        read = ("HGET", keys[-2], self._tag)
        connection.send_packed_command(connection.pack_commands([take, read]))

    def _brpop_read(self, **options: Any) -> bool:
        if not self.take_by_script:
            return bool(super()._brpop_read(**options))
        try:
            return self._deliver_taken(self._taken(**options))
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _taken(self, **options: Any) -> Any:
        """The list that a message was taken from, and its entry in what is held; None where all are empty."""
        connection = self.client.connection
        try:
            name = self._name_of_list(connection, **options)
            entry = self.client.parse_response(connection, "HGET", **options)
        except (*self.connection_errors, RedisError):
            connection.disconnect()  # the next one connects anew, and no answer is taken for another's
            raise
        return (name, entry) if name and entry else None

    def _name_of_list(self, connection: Any, **options: Any) -> Any:
        try:
            return self.client.parse_response(connection, "EVAL", **options)
        except NoScriptError:  # the server was started anew
            self._script_sent = False
            return None

    def _deliver_taken(self, taken: Any) -> bool:
        if not taken:
            self._rests_until = monotonic() + (IDLE_SECONDS if self._script_sent else 0)
            raise Empty
        name, entry = taken
        queue = bytes_to_str(name)[len(self.global_keyprefix) :].rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        message, _, _ = loads(bytes_to_str(entry))
        message["properties"]["delivery_tag"] = self._tag
        self.connection._deliver(message, queue)
        return True


class Transport(redis.Transport):
    """kombu's, with our channel."""

    Channel = Channel


class SentinelChannel(Channel, redis.SentinelChannel):
    """Ours, on the master that Sentinels name: all of them, and they say why there is none."""

    from_transport_options: tuple[str, ...] = (  # type: ignore[assignment]
        *redis.SentinelChannel.from_transport_options,
        "take_by_script",
        "sentinels",
    )
    connection_class: Any = MasterLink
    connection_class_ssl: Any = TlsMasterLink
    sentinels: ClassVar[list[list[Any]]] = []
    master_name: str
    sentinel_kwargs: ClassVar[dict[str, Any]] = {}

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        options = self._connparams(asynchronous)
        for own in ("host", "port"):
            options.pop(own, None)
        places = [(str(host), int(port)) for host, port in self.sentinels]
        made: Any = Sentinels(places, self.sentinel_kwargs, **options)
        if asynchronous:  # kept as kombu keeps them, which closes them with the channel
            self._async_sentinel_manager = made
        else:
            self._sentinel_manager = made
        return made.master_for(self.master_name).connection_pool


class SentinelTransport(redis.SentinelTransport):
    """kombu's, with our channel."""

    Channel = SentinelChannel


def whole_keys(channel: Any, *names: str) -> list[str]:
    """Names of keys as the server knows them: kombu puts no prefix before those of scripts."""
    return [f"{channel.global_keyprefix}{name}" for name in names]


def _back_to(queue: str) -> str:
    """The end of an entry of what is held: kombu's exchange without a name, which is the queue itself."""
    return f',"",{dumps(queue)}]'


def _sha(script: str) -> str:
    """What the server calls a script (Redis documentation, EVALSHA)."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
