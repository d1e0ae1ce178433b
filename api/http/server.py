"""``hardpose api``: serves the application until told to stop."""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

import typer
import uvicorn

from api.http.app import create_api
from api.http.front import Front
from api.http.whereabouts import announced
from api.local import has_catalog
from broker.errors import HardposeError, SettingsError
from broker.settings import Settings
from tasks.erasing import finish_left
from tasks.frame_facts import class_old_frames

log = logging.getLogger(__name__)

GRACE_SECONDS = 5
"""For answers under way after SIGTERM; streams of events end at once."""
CONNECTIONS = 512
"""At once; beyond it a connection is answered with 503."""


class Server(uvicorn.Server):
    """A server that ends the streams of events when it is to end: they would last as long as their job."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self.front = front
        self.until_end = ExitStack()
        """What is left when the server ends: before the signal that has ended it may end the process."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers under way are waited for; a stream of events is told."""
        self.front.stopping.set()
        await super().shutdown(sockets)
        self.until_end.close()


def server_of(settings: Settings) -> Server:
    """A server of ``settings`` that has not been started.

    Raises:
        SettingsError: see ``create_api``.
    """
    app = create_api(settings)
    config = uvicorn.Config(
        app,
        log_config=None,  # the process's own logging
        access_log=False,  # its lines would hold whole addresses, queries included
        server_header=False,
        limit_concurrency=CONNECTIONS,
        forwarded_allow_ips=list(settings.api_proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="off",
    )
    return Server(config, app.state.front)


def serve(settings: Settings, opened: Callable[[str], None] | None = None) -> None:
    """Listens on ``api_host`` and ``api_port`` (0: any) until SIGINT or SIGTERM.

    Args:
        settings: whose API it is.
        opened: called with the API's address as soon as it listens.

    Raises:
        SettingsError: a token cannot be used; the API would be open to more than this machine; or it cannot
            listen there.
    """
    server = server_of(settings)
    with listen(settings.api_host, settings.api_port) as listener:
        url = _url(settings.api_host, listener.getsockname()[1])
        typer.echo(f"API: {url}  review: {url}/review/  description: {url}/docs/")
        if opened is not None:
            opened(url)
        with server.until_end as until_end:
            until_end.enter_context(announced(settings.home, url))
            threading.Thread(target=_finish_earlier_work, args=(server.front,), daemon=True).start()
            server.run([listener])


def _finish_earlier_work(front: Front) -> None:
    """Beside the first requests; a catalog that does not answer now is no reason not to listen."""
    try:
        if has_catalog(front.settings):
            runtime = front.runtime()
            finish_left(runtime)
            class_old_frames(runtime)
    except HardposeError as error:
        log.warning("what earlier releases and removals have left waits for the next start: %s", error)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: bound here, so that what cannot be is a typed error, and port 0 is known.

    Raises:
        SettingsError: nothing can listen there.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it an answer on a kept
        # connection waits some 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise SettingsError(
            f"The API cannot listen on {host}:{port}: {error.strerror or error}.",
            "Name another with --host and --port, or HARDPOSE_API_HOST and HARDPOSE_API_PORT.",
        ) from error


def _url(host: str, port: int) -> str:
    try:
        written = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        written = host
    return f"http://{written}:{port}"
