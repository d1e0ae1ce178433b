"""kombu's Redis transport, for workers that die and links that break: what is taken is never lost, and what
failed is let go.

Three things in kombu are not safe there:

- It takes a message with BRPOP and writes down afterwards that it holds it. What a worker had in its hands
  when it was killed, or the server sent into a dead link, is gone. Here the server does both in one step
  (``broker.queue_scripts.TAKE``), and whoever looks after expired leases gives the message back. A script
  cannot wait; so a worker that has found nothing waits for a bell, with BRPOP, and takes when it rings, or
  when it has waited as long as kombu would: what was put without a bell is found then.
- A message that is acknowledged after the link has come back ends the worker: its channel is gone. One whose
  acknowledgement could not be sent stays in its books, and with a prefetch count of 1 nothing is taken any
  more. Here the new channel sends it, or it is let go: its lease runs out, and it is given back.
- It stamps leases by the clock of each machine. A board that was just switched on may be years behind, and
  one that is ahead would take away what all others hold. Here it is the server's clock.

It overrides private methods (kombu is pinned, ``tests/broker/test_broken_links.py`` guards them).
"""

import logging
from queue import Empty
from time import monotonic
from typing import Any, ClassVar

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from broker.passing_refusals import MasterLink, PlainLink, TlsLink, TlsMasterLink
from broker.queue_scripts import RING, TAKE, sha_of
from broker.sentinels import Sentinels

log = logging.getLogger(__name__)


class HeldMessages(redis.QoS):
    """What this process holds, by the server's clock."""

    newest: ClassVar["HeldMessages | None"] = None
    """Of the channel that the worker takes its messages from, since it last connected."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """The message was taken, and its lease has begun: who took it has written it down."""
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
                        try:
                            self.restore_by_tag(tag, client)
                        except ValueError:  # else nothing that is held since then would ever come back
                            self.drop(tag, self.unacked_key)
            except redis.MutexHeld:
                return  # another worker is at it

    def drop(self, delivery_tag: Any, place: str) -> None:
        """What was put into ``place`` by others, and is none of Celery's messages: it can go nowhere."""
        log.error("what is no message was found in %s, and is dropped", place)
        self._remove_from_indices(delivery_tag).execute()


class Channel(redis.Channel):
    """kombu's, that takes messages by a script, and waits for them at a bell."""

    QoS = HeldMessages
    connection_class: Any = PlainLink
    connection_class_ssl: Any = TlsLink
    _in_poll: Any
    _brpop_sent_at: Any
    _waits = False
    """Whether the last attempt to take has left the queues empty, so that the next one waits for a bell."""
    _script_sent = False
    _tag = ""
    _shared: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unheld: set[str] = set()
        super().__init__(*args, **kwargs)

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

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """As kombu does it; what nobody will acknowledge, as answers to Celery's questions, is not held."""
        (self._unheld.add if no_ack else self._unheld.discard)(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """A single message, that is not held.

        Raises:
            NotImplementedError: it is to be held: let a consumer take it.
        """
        if not no_ack:
            raise NotImplementedError("a message that is to be acknowledged is taken by a consumer")
        return super().basic_get(queue, no_ack, **kwargs)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """kombu's, and the bell, in one breath."""
        batch = kwargs.pop("_publish_batch", None)
        if batch is not None:
            super()._put(queue, message, _publish_batch=batch, **kwargs)
            batch.add("eval", *self._ring(queue))
            return
        packet = _Packet(self)
        super()._put(queue, message, _publish_batch=packet, **kwargs)
        packet.send(("EVAL", *self._ring(queue)))

    def _do_restore_message(
        self, payload: Any, exchange: str, routing_key: str, pipe: Any, leftmost: bool = False
    ) -> None:
        super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)
        for queue in self._lookup(exchange, routing_key):
            pipe.eval(*self._ring(queue))

    def _ring(self, queue: str) -> tuple[Any, ...]:
        return RING, 1, *whole_keys(self, _bell(queue))

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Asks for a message, if need be after the next bell; the answer is read by ``_brpop_read``."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        lists = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        bells = list(map(_bell, queues))
        keys = whole_keys(self, *lists, *bells, self.unacked_key, self.unacked_index_key)
        command = ("EVALSHA", sha_of(TAKE)) if self._script_sent else ("EVAL", TAKE)
        self._tag = self._next_delivery_tag()
        take = (*command, len(keys), *keys, self._tag, len(queues), *map(self._back_to, queues))
        asked = [take, ("HGET", keys[-2], self._tag)]
        if self._waits:
            asked.insert(0, ("BRPOP", *whole_keys(self, *bells), timeout or self.brpop_timeout))
        connection: Any = self.client.connection
        self._in_poll, self._brpop_sent_at, self._script_sent = connection, monotonic(), True
        connection.send_packed_command(connection.pack_commands(asked))

    def _brpop_read(self, **options: Any) -> bool:
        try:
            return self._deliver_taken(self._taken(**options))
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _taken(self, **options: Any) -> Any:
        """The queue that a message was taken from, and the message; None where all are empty."""
        connection = self.client.connection
        try:
            if self._waits:
                self.client.parse_response(connection, "BRPOP", **options)
            taken = self._answer_to_take(connection, **options)
            entry = self.client.parse_response(connection, "HGET", **options)
        except (*self.connection_errors, RedisError):
            connection.disconnect()  # the next one connects anew, and no answer is taken for another's
            raise
        if not taken:
            return None
        name, _, *unheld = taken
        if not unheld and entry is None:  # somebody has emptied the server in between
            return None
        queue = bytes_to_str(name)[len(self.global_keyprefix) :].rsplit(self.sep, 1)[0]
        try:
            message = loads(bytes_to_str(unheld[0])) if unheld else loads(bytes_to_str(entry))[0]
            message["properties"]["delivery_tag"] = self._tag
        except (ValueError, LookupError, TypeError):  # would end the worker, and the next that is given it
            self.qos.drop(self._tag, queue)
            return None
        return queue, message

    def _answer_to_take(self, connection: Any, **options: Any) -> Any:
        self._waits = False
        try:
            taken = self.client.parse_response(connection, "EVAL", **options)
        except NoScriptError:  # the server was started anew, or is another one
            self._script_sent = False
            return None
        self._waits = not (taken and taken[1])
        return taken

    def _deliver_taken(self, taken: Any) -> bool:
        if not taken:
            raise Empty
        queue, message = taken
        self._queue_cycle.rotate(queue)
        self.connection._deliver(message, queue)
        return True

    def _back_to(self, queue: str) -> str:
        """The end of an entry of what is held: kombu's exchange without a name, which is the queue itself."""
        return "" if queue in self._unheld else f',"",{dumps(queue)}]'


class _Packet:
    """Takes kombu's commands for a batch, and sends them at once.

    A pipeline of redis-py, which does the same, was a fifth of what it costs to send a small message; one
    script for all is as cheap for those, but copies the large ones.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._commands: list[tuple[Any, ...]] = []

    def add(self, name: str, key: str, *args: Any) -> None:
        """One command, as ``kombu.transport.redis.PublishBatch.add`` is given it."""
        self._commands.append((name.upper(), *whole_keys(self._channel, key), *args))

    def send(self, last: tuple[Any, ...]) -> None:
        """With a last one, whose keys are whole; returns when all are answered.

        Raises:
            redis.exceptions.RedisError: one was refused, or the link is broken.
        """
        commands = [*self._commands, last]
        with self._channel.conn_or_acquire() as client:
            connection = client.connection_pool.get_connection()
            try:
                connection.send_packed_command(connection.pack_commands(commands))
                for name, *_ in commands:
                    client.parse_response(connection, name)
            except BaseException:  # a time limit too: what is still answered must be nobody else's answer
                connection.disconnect()
                raise
            finally:
                client.connection_pool.release(connection)


class Transport(redis.Transport):
    """kombu's, with our channel."""

    Channel = Channel


class SentinelChannel(Channel, redis.SentinelChannel):
    """Ours, on the master that Sentinels name: all of them, and they say why there is none."""

    from_transport_options: tuple[str, ...] = (  # type: ignore[assignment]
        *redis.SentinelChannel.from_transport_options,
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


def _bell(queue: str) -> str:
    """The key of what is rung when a message comes into ``queue``."""
    return f"bell:{queue}"
