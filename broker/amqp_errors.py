"""What RabbitMQ refuses, in words that name the cause and the remedy."""

from collections.abc import Iterable

from amqp.exceptions import AMQPError

from broker.errors import BrokerRefuses, BrokerUnavailable

ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED = 403, 406, 530
"""Reply codes (AMQP 0-9-1, 1.1)."""
_RIGHTS = "rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"


class BrokerQueuesDiffer(BrokerRefuses):
    """A queue or an exchange of ours is there already, and of another kind."""

    code = "broker_queues"


class BrokerBlocked(BrokerUnavailable):
    """RabbitMQ is there, and takes no messages for now."""

    code = "broker_blocked"

    @classmethod
    def because(cls, alarm: str, seconds: float) -> "BrokerBlocked":
        """The error for a message that was not confirmed.

        Args:
            alarm: what the server says that it is short of; "" where it has said nothing.
            seconds: for which it was waited for.
        """
        if not alarm:
            return cls(
                f"RabbitMQ has confirmed no message for {seconds:.0f} s.",
                "Look whether most of its nodes run and see each other (rabbitmq-diagnostics "
                "cluster_status), and try again.",
            )
        return cls(
            f"RabbitMQ takes no messages, for {seconds:.0f} s already: {alarm}.",
            "Give it what it is short of: free its disk, have its queues worked off, or set "
            "vm_memory_high_watermark or disk_free_limit anew (`rabbitmq-diagnostics alarms` tells which), "
            "and try again. What was not sent is sent then, or found by the workers.",
        )


def amqp_fault(chain: Iterable[BaseException]) -> BrokerUnavailable | None:
    """The typed error for what RabbitMQ has said; None where it has said nothing.

    Args:
        chain: an error, and what it came from.
    """
    said = next((error for error in chain if isinstance(error, AMQPError) and error.reply_code), None)
    if said is None:
        return None
    words, method = str(said.reply_text).rstrip("."), said.method_name or ""
    if said.reply_code == ACCESS_REFUSED and not method.startswith(("Queue", "Exchange", "Basic")):
        return BrokerRefuses(
            f"The broker refuses the user or the password: {words}.",
            "Set them right in HARDPOSE_BROKER_URL: amqps://USER:PASSWORD@HOST:PORT/VHOST. RabbitMQ lets its "
            "user guest in from its own host only.",
        )
    if said.reply_code in (ACCESS_REFUSED, NOT_ALLOWED):
        return BrokerRefuses(
            f"The broker's virtual host is not there, or not this user's: {words}.",
            f"Name another one in HARDPOSE_BROKER_URL, or: rabbitmqctl add_vhost VHOST; {_RIGHTS}.",
        )
    if said.reply_code == PRECONDITION_FAILED:
        return BrokerQueuesDiffer(
            f"The broker has a queue or an exchange of that name and another kind: {words}.",
            "Give hardpose a virtual host of its own (rabbitmqctl add_vhost VHOST, and its name at the end "
            "of HARDPOSE_BROKER_URL), or delete the old ones when they are empty.",
        )
    return None
