"""Jobs as they are ordered: their names, and their way to the books and the queue. No model is imported."""

import logging
from collections.abc import Sequence
from pathlib import Path

from broker.app import create_app
from broker.intake import Intake
from broker.priority import Priority
from broker.recipe import Recipe, canonical_hash
from tasks.pipeline import send_links
from tasks.runtime import Runtime
from workers.downloads.links import exists, has_scheme

log = logging.getLogger(__name__)

_ANY = Intake()
PART = 1000
"""Links that are sent between two looks at what is still open, which takes as long as sending a hundred."""


def job_id_of(links: Sequence[str], recipe: Recipe, intake: Intake = _ANY) -> str:
    """The same links under the same recipe and rules are the same job: running it again resumes it.

    A local file that has changed since is another link: its old results are not its results.
    """
    parts: list[object] = [sorted({_identity(link) for link in links}), recipe.id]
    rules = intake.model_dump(mode="json", exclude_defaults=True)
    # Only what differs: a rule that is added one day must not make other jobs of those that do without it.
    return canonical_hash([*parts, rules] if rules else parts)


def _identity(link: str) -> str:
    path = Path(link)
    if has_scheme(link) or not exists(path) or not path.is_file():
        return link
    facts = path.stat()
    return f"{link} {facts.st_size} {facts.st_mtime_ns}"


def book(
    runtime: Runtime,
    recipe: Recipe,
    links: Sequence[str],
    intake: Intake = _ANY,
    priority: Priority | None = None,
) -> str:
    """Writes a job to the catalog if the broker lives; returns the job's id. ``send`` does the rest.

    Args:
        runtime: of this process.
        recipe: of the job.
        links: as ``expand_links`` leaves them.
        intake: which of the linked videos are taken in.
        priority: of its messages; None: as it is, of a new job normal.

    Raises:
        BrokerUnavailable: nothing was written.
        SettingsError: the recipe's device has a queue of its own, and the placement leaves no room for it.
    """
    runtime.placement.check(recipe)
    job_id = job_id_of(links, recipe, intake)
    runtime.ask_broker()
    runtime.catalog.create_job(job_id, recipe, links, intake, priority)
    return job_id


def send(runtime: Runtime, job_id: str) -> int:
    """Puts the open links of a job on the queue; returns how many.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    with create_app(runtime.settings) as app:
        sent = send_links(app, runtime, job_id)
    log.info("job %s: %s links sent", job_id, sent)
    return sent


def send_in_parts(runtime: Runtime, job_id: str) -> int:
    """``send`` for a job of thousands of links: one that is cancelled meanwhile is not sent to its end.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    waiting = [link.position for link in runtime.catalog.unfinished(job_id)]
    sent = 0
    with create_app(runtime.settings) as app:
        for start in range(0, len(waiting), PART):
            part = set(waiting[start : start + PART])
            sent += send_links(app, runtime, job_id, positions=part)
    log.info("job %s: %s links sent", job_id, sent)
    return sent


def enqueue(
    runtime: Runtime, links: Sequence[str], intake: Intake = _ANY, priority: Priority | None = None
) -> str:
    """Writes a job to the catalog and its links to the queue; returns the job's id."""
    job_id = book(runtime, runtime.recipe(), links, intake, priority)
    send(runtime, job_id)
    return job_id
