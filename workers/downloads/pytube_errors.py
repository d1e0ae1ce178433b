"""The failures of pytubefix and pytube, typed: by the exception's class and the site's words."""

import http.client
import re
import urllib.error
from collections.abc import Mapping, Sequence

from workers.downloads.bounded_urllib import AnswerTooLarge
from workers.downloads.errors import (
    AgeRestricted,
    BotCheck,
    DownloadError,
    DrmProtected,
    ExtractionFailed,
    LiveStream,
    MembersOnly,
    NotFoundOnServer,
    RegionBlocked,
    ServerBusy,
    TooManyRequests,
    TransferCut,
    VideoPrivate,
    VideoRemoved,
)

_OLD = "Update the downloader: sites change every month."
_BUSY = "Try again later."
_REMEDIES: Mapping[type[DownloadError], str] = {
    VideoPrivate: "Leave it out, or ask its owner.",
    VideoRemoved: "Leave it out.",
    MembersOnly: "Leave it out.",
    AgeRestricted: "Leave it out.",
    RegionBlocked: "Leave it out, or set HARDPOSE_DOWNLOAD_PROXY to a proxy in another country.",
    LiveStream: "Give it again when it has become a video.",
    DrmProtected: "Leave it out.",
    BotCheck: "Wait: the site is not asked for a while. Lower HARDPOSE_DOWNLOADS__VIDEOS_PER_HOUR.",
    TransferCut: _BUSY,
    ExtractionFailed: _OLD,
}
_TYPES: Mapping[str, type[DownloadError]] = {
    "VideoPrivate": VideoPrivate,
    "MembersOnly": MembersOnly,
    "AgeRestrictedError": AgeRestricted,
    "AgeCheckRequiredError": AgeRestricted,
    "AgeCheckRequiredAccountError": AgeRestricted,
    "VideoRegionBlocked": RegionBlocked,
    "VideoBlockedByCopyright": RegionBlocked,
    "LiveStreamError": LiveStream,
    "LiveStreamOffline": LiveStream,
    "RecordingUnavailable": VideoRemoved,
    "LiveStreamEnded": LiveStream,
    "VideoRemovedByUploader": VideoRemoved,
    "VideoRemovedByYouTubeForViolatingTOS": VideoRemoved,
    "AccountTerminated": VideoRemoved,
    "BotDetection": BotCheck,
    "PoTokenRequired": ExtractionFailed,
    "InnerTubeResponseError": ExtractionFailed,
    "SABRError": ExtractionFailed,
    "ExtractError": ExtractionFailed,
    "HTMLParseError": ExtractionFailed,
    "MaxRetriesExceeded": TransferCut,
}
"""By name, because the two packages have classes of the same names and pytube has only some of them."""
_WORDS: Sequence[tuple[re.Pattern[str], type[DownloadError]]] = [
    (re.compile(words), kind)
    for words, kind in (
        (r"not a bot|rate.limited|try again later|unusual traffic", BotCheck),
        (r"\bprivate\b|granted access", VideoPrivate),
        (r"members|join this channel|payment|purchase|subscri", MembersOnly),
        (r"\bage\b|inappropriate for some users", AgeRestricted),
        (r"your (country|region|location)", RegionBlocked),
        (r"live (event|stream)|premiere", LiveStream),
        (r"\bdrm\b", DrmProtected),
        (r"removed|terminated|closed|no longer available|video (is )?unavailable|not exist", VideoRemoved),
    )
]
"""YouTube's own words for why a video cannot be played, as they stand in ``playabilityStatus.reason``.
"This video is not available" is left out: it is said to a client that may not have it, too."""


def site_failure(error: Exception, reason: str) -> DownloadError | None:
    """The typed error of one of the packages' own exceptions.

    Args:
        error: what the package raised.
        reason: the site's words, or empty; used where the exception's class says no more than
            "unavailable".

    Returns:
        None if the exception is none of theirs.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    for name in names:
        if name in _TYPES:
            return _made(_TYPES[name], reason or str(error))
    if "VideoUnavailable" in names:
        text = (reason or str(error)).lower()
        kinds = (kind for words, kind in _WORDS if words.search(text))
        return _made(next(kinds, ExtractionFailed), reason or str(error))
    if "PytubeFixError" in names or "PytubeError" in names:
        return _made(ExtractionFailed, f"{type(error).__name__}: {error}")
    return None


def network_failure(error: Exception) -> DownloadError | None:
    """The typed error of urllib's exceptions; None if it is none of them."""
    if isinstance(error, urllib.error.HTTPError):
        return _status(error.code)
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, PermissionError):  # this process may not do that: see confinement
            return ExtractionFailed(f"The tool left its bounds: {error.reason}.", _OLD)
        return ServerBusy(f"The site does not answer: {error.reason}.", _BUSY)
    if isinstance(error, AnswerTooLarge):
        return ExtractionFailed(f"The site's answer is not what it was: {error}.", _OLD)
    if isinstance(error, http.client.HTTPException | TimeoutError | ConnectionError):
        return ServerBusy(f"The site's answer broke off ({type(error).__name__}).", _BUSY)
    return None


def _status(code: int) -> DownloadError:
    if code == 429:
        return TooManyRequests("The site asks this address to slow down (HTTP 429).", _REMEDIES[BotCheck])
    if code >= 500 or code in (408, 425):
        return ServerBusy(f"The site answers with HTTP {code}.", _BUSY)
    if code in (404, 410):
        return NotFoundOnServer(f"The site has no such page (HTTP {code}).", "Check the link.")
    # 400 and 403 are what a client that the site no longer knows is given.
    return ExtractionFailed(f"The site answers the tool with HTTP {code}.", _OLD)


def _made(kind: type[DownloadError], text: str) -> DownloadError:
    return kind(f"The site says: {text.strip().rstrip('.')[:300]}.", _REMEDIES[kind])
