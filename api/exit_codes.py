"""What the exit status of ``hardpose`` means."""

from enum import IntEnum

from broker.views import JobView, State


class ExitCode(IntEnum):
    """Programs may rely on these. 1 is left to Python: a defect of hardpose, with a traceback."""

    OK = 0
    """Everything that was asked for is done."""
    USAGE = 2
    """A wrong option or setting; nothing was started."""
    ALL_FAILED = 3
    """The job ended and not one video could be used."""
    ENVIRONMENT = 4
    """Something is missing or does not answer: a package, weights, the broker, a folder."""
    SOME_FAILED = 5
    """The job ended, some videos or segments failed; their reasons are in the summary."""
    CANCELLED = 6
    """The job was cancelled before it had ended; what was done by then stays done."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; the same command goes on where this one stopped."""


def exit_code(job: JobView) -> ExitCode:
    """The exit status of a job that ended. A playlist that was read is no success by itself."""
    bad = [link for link in job.links if link.state != State.DONE]
    if not bad:
        return ExitCode.OK
    if job.cancelled_at is not None:
        return ExitCode.CANCELLED
    if all(link.state == State.FAILED for link in job.videos):
        return ExitCode.ALL_FAILED
    return ExitCode.SOME_FAILED
