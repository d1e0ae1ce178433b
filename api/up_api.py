"""The HTTP API under the care of ``hardpose up``."""

import importlib.util
import socket

import typer

from api.http.access import Access
from api.local import LocalSystem
from broker.errors import MissingDependency, SettingsError
from broker.settings import Settings
from workers.supervisor import hardpose_command


def check_api(settings: Settings, port: int | None) -> int:
    """What would end the API as soon as it is started is told before.

    Args:
        settings: whose API it would be.
        port: as asked for: 0 for no API, None for the settings' own.

    Returns:
        The port to listen on, 0 for no API. The default port, when it is taken, gives way to any other.

    Raises:
        MissingDependency: the API is not installed.
        SettingsError: its tokens cannot be used, or a port that was asked for cannot be listened on.
    """
    if port == 0:
        return 0
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise MissingDependency(
            "The HTTP API is not installed.", "pip install 'hardpose[api]', or go without it: --api-port 0."
        )
    Access.of(settings)
    asked = port is not None or "api_port" in settings.model_fields_set
    wanted = port if port is not None else settings.api_port
    try:
        return _free(settings.api_host, wanted)
    except OSError as error:
        if not asked:
            return _free(settings.api_host, 0)
        raise SettingsError(
            f"The API's port {wanted} on {settings.api_host} cannot be had: {error.strerror}.",
            "Name another with --api-port, or 0 for no API.",
        ) from error


def _free(host: str, port: int) -> int:
    """``port``, or any free one for 0.

    Raises:
        OSError: it is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


class ApiNews:
    """Says where the API is as soon as it listens, some seconds after its process has started."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._told = False

    def tell(self) -> None:
        """Says it once; cheap to call often."""
        if self._told or not self._listens():
            return
        self._told = True
        url = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"
        typer.echo(f"API: {url}  review: {url}/review/  description: {url}/docs/")

    def _listens(self) -> bool:
        # Whoever listens on every address is asked on loopback.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - not bound
        try:
            socket.create_connection((host, self._port), timeout=1.0).close()
        except OSError:
            return False
        return True


def start_api(system: LocalSystem, port: int) -> ApiNews:
    """Starts the API; the work goes on without it, should it end again and again."""
    arguments = [*hardpose_command(), "api", "--port", str(port)]
    system.supervisor.start_program(arguments, "api", essential=False, tokens=True)
    return ApiNews(system.settings.api_host, port)
