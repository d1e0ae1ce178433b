"""Cancelling a job: first in the books, then wherever something of it waits or is under way."""

from broker.control import Control
from broker.egress import forget_everywhere
from broker.parking import Parking
from broker.voiding import CANCELLED
from broker.work_views import Cancelled
from tasks.runtime import Runtime


def cancel_job(runtime: Runtime, job_id: str) -> Cancelled:
    """Ends what is open of a job; may be repeated. What is done stays done, and is used again.

    Links and segments fail with the code ``cancelled``. Messages that wait are void; a transfer ends within
    some seconds, and gives back its claim and its partial file; a stage that is at work finishes its
    segment, and no further one begins. Work that another job waits for goes on.

    Raises:
        NotFound: there is no such job.
        BrokerUnavailable: a broker is configured and does not answer; nothing is changed, or, if it has
            gone away since, what is under way goes on until the cancelling is repeated.
    """
    control = control_if_any(runtime)
    work = runtime.catalog.cancel_job(job_id)
    if control is not None:
        control.void_tickets({key: CANCELLED.on(ticket) for key, ticket in work.tickets.items()})
        stop_links(control, [(job_id, position) for position in work.positions])
    return Cancelled(job_id=job_id, links=work.links, segments=work.segments)


def control_if_any(runtime: Runtime) -> Control | None:
    """The shared state; None where there is no broker, and so nothing is under way.

    A folder's own broker forgets its messages when it is started anew: the books alone decide then.

    Raises:
        BrokerUnavailable: a broker is configured and does not answer.
    """
    if runtime.settings.broker_url is None and runtime.settings.control_url is None:
        return None
    runtime.ask_broker()
    return runtime.control


def stop_links(control: Control, links: list[tuple[str, int]]) -> None:
    """Voids the messages about links, given as job and position, and gives their places in lines away.

    Raises:
        BrokerUnavailable: do it again.
    """
    parking = Parking(control)
    parked = {job_id: parking.of_job(job_id) for job_id in {job_id for job_id, _ in links}}
    control.stop_links(links)
    waiting = [(job_id, position) for job_id, position in links if position in parked[job_id]]
    parking.drop_all(waiting)
    forget_everywhere(control, [f"{job_id}:{position}" for job_id, position in waiting])
