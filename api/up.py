"""``hardpose up``: broker, workers and Flower on this machine until told to stop."""

import time

import typer

from api.flower import check_flower, flower_arguments, flower_login
from api.local import LocalSystem, local_system
from api.stopping import StopFlag, stop_on_signals
from api.up_api import ApiNews, check_api, start_api
from broker.app import EXPORT_QUEUE, create_app
from broker.recipe import CHAIN, Stage
from broker.settings import Settings
from tasks.frame_facts import class_old_frames
from tasks.reconcile import Reconciler
from tasks.runtime import Runtime
from workers.machine import prepare_machine

POLL_SECONDS = 0.5
LOOPBACK = "127.0.0.1"


def keep_up(settings: Settings, flower_port: int, api_port: int | None = None) -> None:
    """Starts everything, sends what earlier runs left open, and stays until SIGINT or SIGTERM."""
    if flower_port:
        check_flower(LOOPBACK, flower_port)
    api_port = check_api(settings, api_port)
    asked = Runtime(settings)
    queues = asked.placement.queues  # a wrong one ends it before anything is started
    # So do a model without its weights and a wrong option: no worker could load it.
    device = asked.recipe().device_model
    prepare_machine(settings, CHAIN)  # and a GPU or a runtime that is not here
    with stop_on_signals() as stop, local_system(settings) as system:
        class_old_frames(system.runtime)
        by = system.start_workers([Stage.DOWNLOAD, *queues, EXPORT_QUEUE], device)
        if device.route is not None:
            typer.echo(f"the device {device.version} is driven by {by}")
        if flower_port:
            _start_flower(system, flower_port)
        news = start_api(system, api_port) if api_port else None
        typer.echo(f"hardpose is up on {settings.home.absolute()}; logs in {system.supervisor.logs}")
        typer.echo(
            "  hardpose enqueue LINK...   in another terminal, then hardpose watch JOB; Ctrl-C here ends it"
        )
        with create_app(system.settings) as app:
            reconciler = Reconciler(app, system.runtime)
            _send_open_work(system, reconciler)
            _stay(system, reconciler, stop, news)


def _send_open_work(system: LocalSystem, reconciler: Reconciler) -> None:
    for job in system.runtime.catalog.jobs():
        if not job.final:
            typer.echo(f"job {job.id} goes on with {reconciler.resend(job.id)} links")
    if exports := reconciler.resend_exports():
        typer.echo(f"{exports} exports are made anew")


def _stay(system: LocalSystem, reconciler: Reconciler, stop: StopFlag, news: ApiNews | None) -> None:
    while not stop.asked:
        system.check()
        if news is not None:
            news.tell()
        if reconciler.lost():
            _send_open_work(system, reconciler)
        for name in system.supervisor.mend():
            typer.echo(
                f"{name} ended unexpectedly and was started again; see {system.supervisor.logs}", err=True
            )
        time.sleep(POLL_SECONDS)


def _start_flower(system: LocalSystem, port: int) -> None:
    """On loopback, behind a password of this home folder or of the settings."""
    folder = system.settings.home.absolute() / "flower"
    login = flower_login(system.settings, folder)
    arguments = flower_arguments(login, folder, LOOPBACK, port)
    system.supervisor.start_program(arguments, "flower", essential=False)
    where = f"password in {folder / 'password'}" if system.settings.flower_auth is None else "your password"
    typer.echo(f"Flower: http://{LOOPBACK}:{port}  user {login.partition(':')[0]}, {where} (in a moment)")
