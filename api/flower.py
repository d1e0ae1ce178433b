"""Flower: the queues, workers and tasks in a browser, behind a password and bounded in memory."""

import importlib.util
import os
import secrets
import socket
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home
from broker.errors import MissingDependency, SettingsError
from broker.settings import Settings

PROGRAM = "import broker.app, tasks.celery_tasks; from celery.__main__ import main; main()"
"""Ours are imported first: Celery looks into the current folder, where other modules may have these names."""
USER = "hardpose"
MAX_TASKS = 5000
"""Tasks that are remembered; Flower takes some 100 MB with them."""
LEAST_PASSWORD = 12
"""Characters of a password that was chosen; ours have 24."""
COLUMNS = "name,args,state,result,exception,received,runtime,worker,uuid"


def check_flower(host: str, port: int) -> None:
    """What would end Flower as soon as it is started is told before.

    Raises:
        MissingDependency: it is not installed.
        SettingsError: the address cannot be listened on.
    """
    if importlib.util.find_spec("flower") is None:
        raise MissingDependency(
            "Flower is not installed.", "pip install 'hardpose[flower]', or go without it: --flower-port 0."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"Flower's port {port} is taken: {error.strerror}.", "Name another with --flower-port, or 0."
            ) from error


def flower_login(settings: Settings, folder: Path) -> str:
    """``user:password``: of the settings, else one that is made once and kept in ``folder/password``.

    Raises:
        SettingsError: the one in the settings is not of that form, or too short.
    """
    if settings.flower_auth is None:
        return f"{USER}:{_kept_password(folder / 'password')}"
    login = settings.flower_auth.get_secret_value()
    user, _, password = login.partition(":")
    if not user or len(password) < LEAST_PASSWORD:
        raise SettingsError(
            "The setting HARDPOSE_FLOWER_AUTH is not USER:PASSWORD, or its password is too short.",
            f"Give it a user and a password of at least {LEAST_PASSWORD} characters.",
        )
    return login


def flower_arguments(login: str, folder: Path, host: str, port: int) -> list[str]:
    """The command line of Flower, its broker in the environment.

    The login is in a configuration file that only its user can read, never on a command line.

    Args:
        login: ``user:password``.
        folder: for that file and for what Flower remembers over a restart; made if missing.
        host: address to listen on.
        port: to listen on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "flowerconfig.py"
    options = {
        "address": host,
        "port": port,
        "basic_auth": [login],
        "max_tasks": MAX_TASKS,
        "purge_offline_workers": 60,
        "persistent": True,
        "db": str(folder / "flower"),
        "state_save_interval": 5000,  # milliseconds
        "tasks_columns": COLUMNS,
        "natural_time": False,
    }
    _write_private(config, "".join(f"{name} = {value!r}\n" for name, value in options.items()))
    return [sys.executable, "-P", "-c", PROGRAM, "-A", "broker.app", "flower", f"--conf={config}"]


def register(cli: typer.Typer) -> None:
    """Adds ``hardpose flower`` to the command line."""

    @cli.command()
    @guarded
    def flower(
        home: Home = None,
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5555,
    ) -> None:
        """Watch queues, workers and tasks in a browser; `hardpose up` starts it by itself."""
        from api.local import attach

        run_flower(attach(read_settings(home=home)), host, port)


def run_flower(settings: Settings, host: str, port: int) -> None:
    """Becomes Flower; returns only by an error.

    Raises:
        SettingsError: it would be open to others without ``flower_auth``, or the address is taken.
        BrokerUnavailable: no broker is configured.
    """
    if settings.flower_auth is None and not _loopback(host):
        raise SettingsError(
            f"Flower would listen on {host} with a password that nobody has chosen.",
            "Set HARDPOSE_FLOWER_AUTH=USER:PASSWORD, or listen on 127.0.0.1.",
        )
    settings.broker  # noqa: B018 - none is told here
    check_flower(host, port)
    folder = settings.home.absolute() / "flower"
    arguments = flower_arguments(flower_login(settings, folder), folder, host, port)
    os.execve(sys.executable, arguments, {**os.environ, **settings.environment()})  # noqa: S606 - no shell


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kept_password(file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(18))
    return file.read_text().strip()


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
