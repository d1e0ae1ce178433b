"""The clients that a channel makes: one for all its commands, a new one when its connections are new."""

from broker.app import create_app
from broker.embedded import EmbeddedBroker
from broker.settings import load_settings


def test_a_channel_keeps_its_client_until_its_connections_are_new(server: EmbeddedBroker) -> None:
    settings = load_settings(broker_url=server.url, namespace="clients")
    with create_app(settings) as app, app.connection_for_write() as connection:
        channel = connection.default_channel
        first = channel._create_client()
        for number in range(3):
            app.send_task("hardpose.pose", args=(number,), queue="pose", connection=connection)
        assert channel._create_client() is first
        assert channel._create_client(asynchronous=True) is not channel._create_client(asynchronous=True)
        channel._disconnect_pools()
        again = channel._create_client()
        assert again is not first and again.ping()
        assert again.llen("pose") == 3  # under the prefix of all keys
