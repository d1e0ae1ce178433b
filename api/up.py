"""``hardpose up``: broker, workers and Flower on this machine until told to stop."""

import importlib.util
import os
import secrets
import socket
import sys
import time
from pathlib import Path

import typer

from api.local import LocalSystem, local_system
from api.reconcile import Reconciler
from api.stopping import StopFlag, stop_on_signals
from broker.app import create_app
from broker.errors import MissingDependency, SettingsError
from broker.recipe import CHAIN, Stage
from broker.settings import Settings
from tasks.runtime import Runtime
from workers.machine import prepare_machine

POLL_SECONDS = 0.5
FLOWER = "import broker.app, tasks.celery_tasks; from celery.__main__ import main; main()"
"""Ours are imported first: Celery looks into the current folder, where other modules may have these names."""


def keep_up(settings: Settings, flower_port: int) -> None:
    """Starts everything, sends what earlier runs left open, and stays until SIGINT or SIGTERM."""
    _check_flower(flower_port)
    asked = Runtime(settings)
    queues = asked.placement.queues  # a wrong one ends it before anything is started
    asked.recipe()  # so do a model without its weights and a wrong option: no worker could load it
    prepare_machine(settings, CHAIN)  # and a GPU or a runtime that is not here
    with stop_on_signals() as stop, local_system(settings) as system:
        system.start_workers([Stage.DOWNLOAD, *queues])
        if flower_port:
            _start_flower(system, flower_port)
        typer.echo(f"hardpose is up on {settings.home.absolute()}; logs in {system.supervisor.logs}")
        typer.echo(
            "  hardpose enqueue LINK...   in another terminal, then hardpose watch JOB; Ctrl-C here ends it"
        )
        with create_app(system.settings) as app:
            reconciler = Reconciler(app, system.runtime)
            _send_open_work(system, reconciler)
            _stay(system, reconciler, stop)


def _send_open_work(system: LocalSystem, reconciler: Reconciler) -> None:
    for job in system.runtime.catalog.jobs():
        if not job.final:
            typer.echo(f"job {job.id} goes on with {reconciler.resend(job.id)} links")


def _stay(system: LocalSystem, reconciler: Reconciler, stop: StopFlag) -> None:
    while not stop.asked:
        system.check()
        if reconciler.lost():
            _send_open_work(system, reconciler)
        for name in system.supervisor.mend():
            typer.echo(
                f"{name} ended unexpectedly and was started again; see {system.supervisor.logs}", err=True
            )
        time.sleep(POLL_SECONDS)


def _check_flower(port: int) -> None:
    """Raises a typed error for what would end Flower as soon as it is started."""
    if not port:
        return
    if importlib.util.find_spec("flower") is None:
        raise MissingDependency(
            "Flower is not installed.", "pip install 'hardpose[flower]', or go without it: --flower-port 0."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Flower's port {port} is taken: {error.strerror}.", "Name another with --flower-port, or 0."
            ) from error


def _start_flower(system: LocalSystem, port: int) -> None:
    """Flower on loopback behind a password of this home folder, bounded in memory.

    The password reaches Flower in a configuration file only its user can read, never on a command line.
    """
    folder = system.settings.home.absolute() / "flower"
    folder.mkdir(parents=True, exist_ok=True)
    password = _kept_password(folder / "password")
    config = folder / "flowerconfig.py"
    _write_private(
        config,
        f"address = '127.0.0.1'\nport = {port}\nbasic_auth = ['hardpose:{password}']\n"
        f"max_tasks = 5000\npurge_offline_workers = 60\npersistent = True\n"
        f"db = {str(folder / 'flower')!r}\nstate_save_interval = 5000\n",
    )
    arguments = [sys.executable, "-P", "-c", FLOWER, "-A", "broker.app", "flower", f"--conf={config}"]
    system.supervisor.start_program(arguments, "flower", essential=False)
    typer.echo(f"Flower: http://127.0.0.1:{port}  user hardpose, password in {folder / 'password'}")


def _kept_password(file: Path) -> str:
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(18))
    return file.read_text().strip()


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
