"""``hardpose run``: a job from links to data set in one command, resumable by the same command."""

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from api.local import LocalSystem, local_system
from api.progress import Snapshot, View
from api.reconcile import Reconciler
from broker.app import create_app
from broker.catalog import Catalog
from broker.control import Control
from broker.recipe import Recipe, Stage, canonical_hash
from broker.settings import Settings
from broker.views import JobView
from tasks.pipeline import send_links
from tasks.publish import Published, publish
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


class Interrupted(Exception):
    """The user or the system asked to stop; nothing is lost."""


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM. A flag, not an exception, so that no write is cut in half."""

    asked: bool = False

    def check(self) -> None:
        """Raises ``Interrupted`` once a stop was asked for."""
        if self.asked:
            raise Interrupted


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While inside, SIGINT and SIGTERM set the flag."""
    flag = StopFlag()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        flag.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def job_id_of(links: Sequence[str], recipe: Recipe) -> str:
    """The same links under the same recipe are the same job: running it again resumes it."""
    return canonical_hash([sorted(set(links)), recipe.id])


def fetch_weights(runtime: Runtime, recipe: Recipe, view: View) -> None:
    """Has the recipe's weights on this machine before any worker asks; a missing one ends the run here."""
    for spec in (recipe.pose_model, recipe.mask_model, recipe.device_model):
        for ref in spec.weights:
            if runtime.weights.cached(ref) is None:
                view.say(f"fetching weights {ref.file} of {spec.name} ({ref.size:,} bytes, {ref.licence})")
            runtime.weights.path(ref)


def run_job(
    settings: Settings, links: Sequence[str], out: Path, view: View, local_workers: bool = True
) -> tuple[JobView, Published]:
    """Runs a job to its end and writes ``out/dataset``.

    Raises:
        Interrupted: after a signal; all that was started has been ended.
        HardposeError: when the system itself cannot work; failures of single videos are in the job.
    """
    asked = Runtime(settings)
    recipe, queues = asked.recipe(), asked.placement.queues  # wrong ones end it before anything is started
    job_id = job_id_of(links, recipe)
    view.say(f"job {job_id}: {len(links)} links, recipe {recipe.id}")
    with stop_on_signals() as stop, local_system(settings) as system:
        runtime = system.runtime
        if local_workers:
            fetch_weights(runtime, recipe, view)
            stop.check()
            system.start_workers([Stage.DOWNLOAD, *queues])
        runtime.catalog.create_job(job_id, recipe, links)
        with create_app(system.settings) as app:
            send_links(app, runtime, job_id)
            _follow(system, Reconciler(app, runtime), job_id, view, stop)
        job = runtime.catalog.job(job_id)
        published = publish(job, runtime.artifacts, out)
    return job, published


def _follow(system: LocalSystem, reconciler: Reconciler, job_id: str, view: View, stop: StopFlag) -> None:
    """Shows progress, mends workers and sends lost messages anew until the job has ended."""
    while not show_once(system.runtime.catalog, system.runtime.control, job_id, view):
        stop.check()
        for name in system.supervisor.mend():
            view.say(f"worker {name} ended unexpectedly and was started again; see {system.supervisor.logs}")
        if reconciler.lost():
            sent = reconciler.resend(job_id)
            view.say(f"the broker has lost its messages; {sent} open links were sent again")
        time.sleep(POLL_SECONDS)


def show_once(catalog: Catalog, control: Control, job_id: str, view: View) -> bool:
    """Shows the job as it stands; returns whether it has ended."""
    job = catalog.job_light(job_id)
    view.show(Snapshot.of(job, control.progress(job_id)))
    return job.final


def watch_job(runtime: Runtime, job_id: str, view: View) -> JobView:
    """Follows a job that runs elsewhere until it has ended.

    Raises:
        Interrupted: after a signal; the job goes on.
    """
    with stop_on_signals() as stop:
        while not show_once(runtime.catalog, runtime.control, job_id, view):
            stop.check()
            time.sleep(POLL_SECONDS)
    return runtime.catalog.job(job_id)


def enqueue(runtime: Runtime, links: Sequence[str]) -> str:
    """Writes a job to the catalog and its links to the queue; returns the job's id."""
    recipe = runtime.recipe()
    job_id = job_id_of(links, recipe)
    runtime.control.ping()
    runtime.catalog.create_job(job_id, recipe, links)
    with create_app(runtime.settings) as app:
        sent = send_links(app, runtime, job_id)
    log.info("job %s: %s of %s links sent", job_id, sent, len(links))
    return job_id
