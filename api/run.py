"""``hardpose run``: a job from links to data set in one command, resumable by the same command."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.device_wait import device_wait, unsettled
from api.local import LocalSystem, local_system
from api.orders import job_id_of
from api.printable import counted
from api.progress import View
from api.snapshot import Snapshot
from api.stopping import StopFlag, stop_on_signals
from api.waiting import transfers_of, waits_of
from broker.app import create_app
from broker.errors import BrokerUnavailable
from broker.intake import Intake
from broker.priority import Priority
from broker.recipe import CHAIN, Recipe, Stage
from broker.settings import Settings
from broker.views import JobView
from tasks.pipeline import send_links
from tasks.publish import Published, publish
from tasks.reconcile import Reconciler
from tasks.runtime import Runtime
from workers.machine import prepare_machine

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Between two looks at the catalog, each of some 5 ms of CPU time for a small job."""
SLOWEST_POLL_SECONDS = 5.0
"""Between two looks at a job of thousands of links; as long may Ctrl-C go unheard."""
BROKER_PATIENCE = 60.0
"""Seconds for which a broker may be away, as it is while it is restarted."""

_ANY = Intake()


def fetch_weights(runtime: Runtime, recipe: Recipe, view: View, stop: StopFlag) -> None:
    """Has the recipe's weights on this machine before any worker asks; a missing one ends the run here."""
    for spec in (recipe.pose_model, recipe.mask_model, recipe.device_model):
        for ref in spec.weights:
            stop.check()
            if spec.route is not None:
                continue  # its own worker has it, and it may never leave the device
            if runtime.weights.cached(ref) is None:
                view.say(f"fetching weights {ref.file} of {spec.name} ({ref.size:,} bytes, {ref.licence})")
            runtime.weights.path(ref)


def run_job(
    settings: Settings,
    links: Sequence[str],
    out: Path,
    view: View,
    local_workers: bool = True,
    intake: Intake = _ANY,
    priority: Priority | None = None,
) -> tuple[JobView, Published]:
    """Runs a job to its end and writes ``out/dataset``.

    Raises:
        Interrupted: after a signal; all that was started has been ended.
        HardposeError: when the system itself cannot work; failures of single videos are in the job.
    """
    asked = Runtime(settings)
    recipe, queues = asked.recipe(), asked.placement.queues  # wrong ones end it before anything is started
    asked.placement.check(recipe)
    if local_workers:
        # So does a machine that lacks a GPU or a runtime: every worker would end over it, again and again.
        prepare_machine(settings, CHAIN)
    job_id = job_id_of(links, recipe, intake)
    view.say(f"job {job_id}: {counted(len(links), 'link')}, recipe {recipe.id}")
    with stop_on_signals() as stop, local_system(settings) as system:
        runtime = system.runtime
        if local_workers:
            fetch_weights(runtime, recipe, view, stop)
            by = system.start_workers([Stage.DOWNLOAD, *queues], recipe.device_model)
            if recipe.device_model.route is not None:
                view.say(f"the device {recipe.device_model.version} is driven by {by}")
        runtime.catalog.create_job(job_id, recipe, links, intake, priority)
        with create_app(system.settings) as app:
            send_links(app, runtime, job_id)
            _follow(system, Reconciler(app, runtime), job_id, view, stop)
        job = runtime.catalog.job(job_id)
        published = publish(job, runtime.artifacts, out)
    return job, published


def _follow(system: LocalSystem, reconciler: Reconciler, job_id: str, view: View, stop: StopFlag) -> None:
    """Shows progress, mends workers and sends lost messages anew until the job has ended."""
    for _ in polls(system.runtime, job_id, view):
        stop.check()
        system.check()
        for name in system.supervisor.mend():
            view.say(f"worker {name} ended unexpectedly and was started again; see {system.supervisor.logs}")
        if reconciler.lost():
            sent = reconciler.resend(job_id)
            view.say(f"the broker has lost its messages; {sent} open links were sent again")


def polls(runtime: Runtime, job_id: str, view: View) -> Iterator[None]:
    """Shows the job again and again; ends when the job has.

    Raises:
        BrokerUnavailable: when the broker has been silent for too long; a restart is waited for.
    """
    answered = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            job = runtime.catalog.job_light(job_id)
            view.show(_snapshot(runtime, job))
            answered = time.monotonic()
            if job.final:
                return
        except BrokerUnavailable as error:
            if time.monotonic() - answered > BROKER_PATIENCE:
                raise
            log.info("waiting for the broker: %s", error)
        took = time.monotonic() - began
        yield
        time.sleep(min(max(POLL_SECONDS, 10 * took), SLOWEST_POLL_SECONDS))


def _snapshot(runtime: Runtime, job: JobView) -> Snapshot:
    control, by_stage = runtime.control, runtime.control.progress(job.id)
    device = job.recipe.device_model
    wait = device_wait(runtime.settings, control, job.id, device, by_stage, unsettled(job))
    return Snapshot.of(job, by_stage, transfers_of(control, job.id), waits_of(control, job.id), wait)


def watch_job(runtime: Runtime, job_id: str, view: View) -> JobView:
    """Follows a job that runs elsewhere until it has ended.

    Raises:
        Interrupted: after a signal; the job goes on.
    """
    with stop_on_signals() as stop:
        for _ in polls(runtime, job_id, view):
            stop.check()
    return runtime.catalog.job(job_id)
