"""kombu's AMQP transport, for a RabbitMQ that takes nothing for a while: who sends does not wait for ever.

A RabbitMQ that is short of memory or of disk stops reading from those who send (RabbitMQ documentation,
"Memory and Disk Alarms" and "Blocked Connection Notifications"). It tells them so once, and confirms nothing;
py-amqp would wait for as long as the alarm lasts. Here a sender waits for a while, and is told why.

What was sent in vain may be taken when the alarm is over, and is there twice when it was sent again. That is
harmless: the books take a segment once, and a link's earlier messages are void.

Flower's events are of the moment, and nobody waits for their confirmation: it was a round trip for each, in
the main process of a worker. While an alarm lasts they are dropped.

It overrides private methods of py-amqp (``tests/broker/test_rabbitmq_alarm.py`` guards them).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from amqp import spec
from amqp.exceptions import RecoverableConnectionError
from kombu.transport import pyamqp

from broker.amqp_broker import SENDER_SECONDS
from broker.amqp_errors import BrokerBlocked

log = logging.getLogger(__name__)

LEAVING_SECONDS = 2.0
"""For which an answer to a farewell is waited for."""
_TRANSIENT = 1
"""``delivery-mode`` of what need not outlive the server (AMQP 0-9-1, 4.5.2)."""


class Channel(pyamqp.Channel):
    """kombu's, that gives up on a confirmation that does not come."""

    def basic_publish_confirm(self, msg: Any, *args: Any, **options: Any) -> Any:
        """py-amqp's, for as long as the connection has patience.

        Raises:
            BrokerBlocked: the server does not confirm. The link is dropped: a confirmation that comes late
                would be taken for that of the next message.
        """
        connection, began = self.connection, monotonic()
        # Not on a channel that confirms: it would be confirmed too, and the next message be taken for safe.
        if msg.properties.get("delivery_mode") == _TRANSIENT and not self._confirm_selected:
            blocked = connection.alarm and connection.takes_nothing()
            return None if blocked else self._basic_publish(msg, *args, **options)
        try:
            with connection.within(connection.patience):
                return super().basic_publish_confirm(msg, *args, **options)
        except (_OutOfPatience, RecoverableConnectionError) as error:
            # A message that the link's buffers do not hold is given up by the system, as after a cut.
            if not isinstance(error, _OutOfPatience) and not connection.takes_nothing():
                raise
            connection.collect()
            raise BrokerBlocked.because(connection.alarm, monotonic() - began) from error

    def close(self, *args: Any, **options: Any) -> Any:
        """py-amqp's, that waits for a while."""
        if self.connection is None:
            return None
        with self.connection.within(LEAVING_SECONDS):
            return super().close(*args, **options)


class Connection(pyamqp.Connection):
    """kombu's, that remembers an alarm.

    Args:
        patience: seconds for which a message that was sent may stay without its confirmation.
        **options: py-amqp's.
    """

    Channel = Channel
    # With the reason, which py-amqp leaves out.
    _METHODS = pyamqp.Connection._METHODS | {
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s")
    }

    def __init__(self, *args: Any, patience: float = SENDER_SECONDS, **options: Any) -> None:
        self.patience = patience
        self.alarm = ""
        """What the server is short of, in its own words; "" when it takes messages."""
        self._until: float | None = None
        super().__init__(*args, **options)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Inside, no answer is waited for longer than ``seconds`` in all, whatever else the server says."""
        self._until = monotonic() + seconds
        try:
            yield
        finally:
            self._until = None

    def blocking_read(self, timeout: float | None = None) -> Any:
        """py-amqp's, of one frame.

        Raises:
            TimeoutError: there was none.
        """
        if self._until is None or timeout is not None:
            return super().blocking_read(timeout)
        try:
            return super().blocking_read(max(self._until - monotonic(), 0.001))
        except TimeoutError as error:
            raise _OutOfPatience from error

    def takes_nothing(self) -> bool:
        """Whether the server takes nothing, as far as it has said by now."""
        if self.connected:
            with suppress(OSError, RecoverableConnectionError):  # no news, or none any more
                self.drain_events(timeout=0)
        return bool(self.alarm)

    def close(self, *args: Any, **options: Any) -> Any:
        """py-amqp's, that waits for a while, and not for a server that reads nothing."""
        if self.alarm:
            return self.collect()
        with self.within(LEAVING_SECONDS):
            return super().close(*args, **options)

    def _on_blocked(self, reason: str) -> None:
        self.alarm = reason or "an alarm"
        log.warning("RabbitMQ takes no messages: %s", self.alarm)

    def _on_unblocked(self) -> None:
        log.warning("RabbitMQ takes messages again")
        self.alarm = ""


class _OutOfPatience(TimeoutError):
    """What was waited for has not come."""


class Transport(pyamqp.Transport):
    """kombu's, with our connection."""

    Connection = Connection


class TlsTransport(pyamqp.SSLTransport):
    """The same over TLS."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """kombu's, which would ask each of several hosts for the certificate of the first."""
        client: Any = self.client
        if client.alt:
            client.ssl = {**client.ssl, "server_hostname": client.hostname}
        return super().establish_connection()
