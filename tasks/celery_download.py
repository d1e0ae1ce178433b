"""The Celery task of the download queue: what each way in which a link can end does to its message."""

import logging
from typing import TYPE_CHECKING

from celery import Task, shared_task
from celery.exceptions import Reject, Retry

from broker.errors import Action, BrokerUnavailable, HardposeError
from broker.parking import ParkedLink, Parking
from broker.recipe import Stage
from tasks.attempts import attempt_of_link, counted
from tasks.captions import link_caption, title_caption
from tasks.counting import VOID, link_ended, link_raised
from tasks.failures import describe_failure
from tasks.pipeline import link_limits, send_link, send_segments
from tasks.readable import LinkFailed, ReadableTask
from tasks.retrying import BOOKS_RETRY_SECONDS, RETRIES, RETRY_SECONDS, again, pause_of, retry_later
from tasks.runtime import Runtime, process_runtime

if TYPE_CHECKING:
    from tasks.download import Downloaded
    from tasks.transfer import Errand, PutBack

log = logging.getLogger(__name__)


class Parked(Retry):  # type: ignore[misc]
    """The link's message waits outside the queue."""


@shared_task(
    name="hardpose.download",
    base=ReadableTask,
    bind=True,
    max_retries=RETRIES,
    default_retry_delay=RETRY_SECONDS,
    throws=(LinkFailed,),
)
def download_link(self: Task, job_id: str, position: int, link: str, ticket: str = "") -> str:
    """Fetches one link and sends one chain for each of its segments, or one message for each of its links.

    Returns what came of it in a line, for people.

    Raises:
        LinkFailed: a failure that is in the catalog by now.
    """
    from tasks.transfer import Errand

    try:
        answer = _download_or_record(self, Errand(job_id, position, link, ticket))
    except BaseException as error:
        link_raised(error, parked=isinstance(error, Parked))
        raise
    link_ended(answer)
    return answer


def _download_or_record(task: Task, errand: "Errand") -> str:
    try:
        return _download(task, errand)
    except (Retry, Reject, LinkFailed):
        raise
    except Exception as error:  # also of what was done about another one: no link may be left running
        log.exception("link %s of job %s failed", errand.position, errand.job_id)
        raise _recorded(task, errand.job_id, errand.position, errand.link, error) from None


def _download(task: Task, errand: "Errand") -> str:
    # Imported here: a model or device worker has neither the catalog's packages nor a decoder's.
    from tasks.download import download
    from tasks.transfer import LinkStopped, PutBack, best_effort

    here, job_id, position = process_runtime(), errand.job_id, errand.position
    try:
        if here.control.link_superseded(job_id, position, errand.ticket):
            log.info("link %s of job %s was sent anew, this message is void", position, job_id)
            return f"{VOID}it was sent anew"
        name, most = attempt_of_link(job_id, position), here.settings.max_attempts
        with counted(here.control, name, most, f"Link {position + 1}") as starts:
            # More than one: the process ended while this link, among others, was in it.
            done = download(here, errand, suspect=starts > 1)
        send_segments(task.app, here, done.segments, done.priority)
        for child in done.links:
            send_link(task.app, here, job_id, child.position, child.link, done.priority)
        with best_effort(f"the ticket of link {errand.who} is kept longer than it is of use"):
            here.control.link_planned(job_id, position, errand.ticket)
        return _told(done)
    except LinkStopped:
        log.info("link %s of job %s was stopped", position, job_id)
        return f"{VOID}it was stopped"  # by whoever has written down why
    except PutBack as wait:
        raise _parked(task, errand, wait) from wait
    except BrokerUnavailable as error:
        raise again(task, error) from error
    except HardposeError as error:
        if error.action == Action.TRANSIENT and task.request.retries < RETRIES:
            _tell(here, errand, error, pause_of(task))
            raise again(task, error) from error
        raise _recorded(task, job_id, position, errand.link, error) from None


def _parked(task: Task, errand: "Errand", wait: "PutBack") -> BaseException:
    """Lets a link wait outside the queue: it costs no worker, no memory and no attempt.

    Returns what ends the task. To Celery that is a retry, so that neither its log nor Flower calls a link
    that waits a success.
    """
    from tasks.transfer import best_effort

    here = process_runtime()
    message = ParkedLink(
        job_id=errand.job_id,
        position=errand.position,
        link=errand.link,
        ticket=errand.ticket,
        retries=task.request.retries,
        task_id=task.request.id,
        reason=wait.reason,
        caption=link_caption(errand.job_id, errand.position, errand.link),
        priority=(task.request.delivery_info or {}).get("priority"),
        **link_limits(here.settings),
    )
    with best_effort(f"link {errand.who} waits and is still shown as running"):
        here.catalog.put_back(errand.job_id, errand.position)
    try:
        Parking(here.control).park(message, wait.seconds)
    except BrokerUnavailable as away:
        return again(task, away)
    told = f"put back ({wait.reason}) for {wait.seconds:.0f} s"
    return Parked(told, when=wait.seconds)


def _recorded(task: Task, job_id: str, position: int, link: str, error: BaseException) -> LinkFailed:
    """Writes a link's failure to the catalog; a catalog that is away is waited for, with the link.

    Returns what ends the task.
    """
    failure = describe_failure(error, Stage.DOWNLOAD)
    try:
        process_runtime().catalog.fail_link(job_id, position, failure)
    except HardposeError as away:
        if away.action != Action.TRANSIENT:
            raise
        raise retry_later(task, away, BOOKS_RETRY_SECONDS, max_retries=None) from away
    return LinkFailed.of(failure, link)


def _told(done: "Downloaded") -> str:
    if done.segments:
        return f"{title_caption(done.segments[0].video.title)}: {len(done.segments)} segments"
    return f"{len(done.links)} links" if done.links else "nothing left to do"


def _tell(here: Runtime, errand: "Errand", error: HardposeError, seconds: float) -> None:
    """Tells those who watch that a link is tried again, and why. That is news, and no reason to fail."""
    try:
        here.control.stumbled(errand.job_id, errand.position, error.cause, seconds)
    except BrokerUnavailable as away:
        log.warning("that link %s is tried again is not shown: %s", errand.who, away)
