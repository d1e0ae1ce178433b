"""Typed errors: each names its cause and the remedy, and says what may be done next."""

from enum import StrEnum
from typing import ClassVar


class Action(StrEnum):
    """What the system does after a failure."""

    PERMANENT = "permanent"
    """Trying again cannot help; record it and go on with the other videos."""
    TRANSIENT = "transient"
    """Trying again later may help; back off and retry."""
    SESSION_POISONED = "session_poisoned"
    """The remote side has flagged this address; stop asking for a while."""
    OUTDATED_TOOL = "outdated_tool"
    """The tool no longer understands the site; try the next one."""


class HardposeError(Exception):
    """Base of every error that a user can meet.

    Args:
        cause: what is wrong, with the value that is wrong in it.
        remedy: what the user can do about it.

    Both stay in ``args``, so that the error survives the pickling between a worker and its pool.
    """

    code: ClassVar[str] = "error"
    """Stable name, kept in the catalog and usable in filters."""
    action: ClassVar[Action] = Action.PERMANENT
    tool: str = ""
    """The foreign tool that failed, and its version, where there is one."""
    tool_version: str = ""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}".strip()

    def __repr__(self) -> str:
        return f"{self.code}: {self.cause} -> {self.remedy}"


class SettingsError(HardposeError):
    """A setting has a value that cannot be used."""

    code = "bad_setting"


class UnknownVersion(HardposeError):
    """A message of another version of hardpose arrived."""

    code = "unknown_version"


class FunnelMismatch(HardposeError):
    """The verdicts of a segment do not add up to the frames that were examined."""

    code = "funnel_mismatch"


class MissingDependency(HardposeError):
    """A Python package that this process needs is not installed."""

    code = "missing_dependency"


class BrokerUnavailable(HardposeError):
    """No broker answers."""

    code = "broker_unavailable"
    action = Action.TRANSIENT


class BrokerRefuses(BrokerUnavailable):
    """The broker cannot be used as the settings have it: its user, password or names, or what kind it is."""

    code = "broker_refuses"


class BrokerUntrusted(BrokerUnavailable):
    """The broker's certificate is out of date, of another host, or signed by a stranger."""

    code = "broker_untrusted"


class AlreadyRunning(HardposeError):
    """Another hardpose holds this home folder."""

    code = "already_running"


class ArtifactMissing(HardposeError):
    """An artifact that should be in the store is not there."""

    code = "artifact_missing"


class DiskFull(HardposeError):
    """The artifact store or a temporary folder has no room left."""

    code = "disk_full"


class WeightsError(HardposeError):
    """Weights could not be fetched, or are not what was pinned."""

    code = "weights"


class WorkCancelled(HardposeError):
    """The job of this piece of work was cancelled."""

    code = "cancelled"


class JobRunning(HardposeError):
    """The job has open work: it cannot be deleted."""

    code = "job_running"


class VideoForgotten(HardposeError):
    """The video was removed on request, and is not taken in again."""

    code = "forgotten"


class BeingErased(HardposeError):
    """What was made of a video earlier is being removed just now."""

    code = "being_erased"
    action = Action.TRANSIENT


class NotFound(HardposeError):
    """A job, video or model of that name is not known."""

    code = "not_found"
