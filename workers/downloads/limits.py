"""How fast sites are asked, when they are left alone, and what the outcome of a fetch says about that."""

from broker.connection import Connection
from broker.egress import UNLIMITED, Egress
from broker.errors import Action, HardposeError
from broker.settings import Settings
from workers.downloads.errors import (
    BadLink,
    DownloadError,
    PrivateAddress,
    RefusedByServer,
    ToolMissing,
    TooManyRedirects,
    UnsupportedScheme,
    UnsupportedSite,
)

HOST_PAUSE_SECONDS = 300.0
"""For which a file's host is left alone after "too many requests"; doubled while it goes on. A host is not a
site: it counts requests of some minutes and holds no grudge against an address for hours."""
HOST_MAX_PAUSE_SECONDS = 3600.0
SAYS_NOTHING = (
    BadLink,
    PrivateAddress,
    RefusedByServer,  # a flagged address is often refused the media (403) and nothing else
    TooManyRedirects,
    ToolMissing,
    UnsupportedScheme,
    UnsupportedSite,
)
"""Permanent errors after which it is not known whether the site still answers this address as it should."""


def egress_of(settings: Settings, control: Connection) -> Egress:
    """The egress under which this worker asks sites; it is shared by all workers that name it alike."""
    chosen = settings.downloads
    return Egress(
        control,
        chosen.egress,
        chosen.videos_per_hour,
        chosen.burst,
        chosen.breaker_pause_seconds,
        chosen.breaker_max_pause_seconds,
    )


def host_egress(control: Connection, host: str) -> Egress:
    """The breaker of a host that files are fetched from directly. It has no rate: the host is the user's.

    Args:
        control: the shared state.
        host: name or address, in any case.
    """
    name = f"host:{host.lower().rstrip('.')}"
    return Egress(control, name, UNLIMITED, 1, HOST_PAUSE_SECONDS, HOST_MAX_PAUSE_SECONDS)


def note(egress: Egress, who: str, error: BaseException | None) -> float:
    """Tells the breaker how a fetch ended.

    A video, and a refusal that is about that video alone (private, removed, not within the job's rules), are
    good answers. A failure of the network, of the tool or of our own says nothing about the address.

    Args:
        egress: that was asked for the turn.
        who: had the turn.
        error: None for a video.

    Returns:
        Seconds for which the site is left alone from now on; 0 if it is not.

    Raises:
        BrokerUnavailable: when it cannot be told.
    """
    if isinstance(error, HardposeError) and error.action == Action.SESSION_POISONED:
        return egress.poisoned(who, error.cause)
    if error is None or is_answer(error):
        egress.succeeded(who)
    else:
        egress.inconclusive(who)
    return 0.0


def is_answer(error: BaseException) -> bool:
    """Whether the error is the site's normal answer about one video."""
    if not isinstance(error, DownloadError) or isinstance(error, SAYS_NOTHING):
        return False
    return error.action == Action.PERMANENT
