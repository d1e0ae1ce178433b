"""What yt-dlp's error texts and HTTP statuses mean. No import of yt-dlp: this is about words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.errors import Action, DiskFull, HardposeError
from workers.downloads.errors import (
    AgeRestricted,
    BadLink,
    BotCheck,
    DrmProtected,
    EmptyFile,
    EmptyList,
    ExtractionFailed,
    LiveStream,
    MembersOnly,
    NoSuitableFormat,
    NotFoundOnServer,
    RefusedByServer,
    RegionBlocked,
    ServerBusy,
    TooManyRedirects,
    TooManyRequests,
    TransferCut,
    UnsupportedSite,
    VideoPrivate,
    VideoRemoved,
    VideoTooLarge,
)

AGAIN = "Run the same command again later."
WAIT = "Wait some hours, use another address, or lower HARDPOSE_DOWNLOADS__VIDEOS_PER_HOUR."
UPDATE = "Update yt-dlp: sites change every month."
OTHER = "Leave the link out."
TRANSIENT_STATUS = frozenset({408, 425})


@dataclass(frozen=True)
class Words:
    """A row of the table: a pattern, the error it stands for, and the remedy."""

    pattern: str
    kind: type[HardposeError]
    remedy: str


# The first row that matches counts, so what is said of this address comes before what is said of the video:
# YouTube begins both with "Video unavailable". ' may be the typographic one.
TABLE: tuple[Words, ...] = (
    # --- of this address or session ---
    Words("confirm you.re not a bot", BotCheck, WAIT),  # YouTube: LOGIN_REQUIRED
    Words("captcha challenge", BotCheck, WAIT),  # YouTube: playerCaptchaViewModel
    Words("IP is likely being blocked", BotCheck, WAIT),  # YouTube: another video's player responses
    Words("unusual traffic", BotCheck, WAIT),  # Google's "sorry" page
    Words("rate-limited|content isn.t available, try again later", TooManyRequests, WAIT),  # YouTube, an hour
    Words("HTTP Error 429|Too Many Requests", TooManyRequests, WAIT),  # any site
    # --- of the disk ---
    Words("No space left on device|Disk quota exceeded", DiskFull, "Free some space."),  # OSError in a text
    Words("File too large", VideoTooLarge, "Raise HARDPOSE_MAX_VIDEO_BYTES."),  # the process's own bound
    # --- of the video ---
    Words("DRM", DrmProtected, OTHER),  # InfoExtractor.report_drm
    Words("confirm your age|age.restricted|inappropriate for some", AgeRestricted, OTHER),  # YouTube, others
    Words("members.only|Join this channel|this channel.s members", MembersOnly, OTHER),  # YouTube
    Words(
        "requires payment|Music Premium|only available to.*subscribers", MembersOnly, OTHER
    ),  # YouTube, others
    Words("private video|(video|playlist) is private", VideoPrivate, OTHER),  # YouTube, Vimeo
    Words("your country|geo.restrict|from your location|in your region", RegionBlocked, OTHER),  # many
    Words(
        "live event will begin|Premieres? (in|will begin)|begin in a few moments", LiveStream, AGAIN
    ),  # YouTube
    Words("live event has ended|not currently live|stream recording is not available", LiveStream, AGAIN),
    Words("processing this video", ServerBusy, AGAIN),  # YouTube, just uploaded
    Words("does not have a .* tab", EmptyList, OTHER),  # YoutubeTab, a channel without such videos
    Words(
        "removed|terminated|no longer available|does ?n.t exist|does not exist", VideoRemoved, OTHER
    ),  # YouTube
    Words("video (is )?(unavailable|not available)|isn.t available", VideoRemoved, OTHER),  # YouTube, many
    Words("not made this video available|has been closed|has been deleted", VideoRemoved, OTHER),  # YouTube
    Words("Requested format is not available", NoSuitableFormat, "Raise the job's largest height."),
    Words("file:// URLs are disabled", BadLink, OTHER),  # a page or a list of pieces names a local file
    # --- of yt-dlp: another downloader may know better ---
    Words("page needs to be reloaded", ExtractionFailed, UPDATE),  # YouTube to a client it no longer serves
    Words("No video formats found|Failed to extract|Unable to extract", ExtractionFailed, UPDATE),  # any site
    Words("Unsupported URL|is not a valid URL|No suitable extractor", UnsupportedSite, OTHER),  # no extractor
    # --- of the transfer ---
    Words("not get any data blocks", EmptyFile, "Check that the link plays in a browser."),  # HttpFD
    Words("content too short|more expected|bytes read", TransferCut, AGAIN),  # HttpFD, after its retries
    Words("timed out|Connection (reset|refused|aborted)|Remote end closed", ServerBusy, AGAIN),  # urllib3
    Words("Unable to connect to proxy|ProxyError|Tunnel connection failed", ServerBusy, AGAIN),  # urllib3
)

_STATUS = re.compile(r"HTTP Error (\d{3})")
_NOISE = re.compile(
    r"\x1b\[[0-9;]*m|^ERROR: |; please report this issue on .*|Use --[a-z].*",
    re.DOTALL,
)


def tidy(text: str) -> str:
    """yt-dlp's text without colours and without advice on its command line; 400 characters at most."""
    return _NOISE.sub("", text).strip().rstrip(".")[:400]


def by_words(text: str) -> HardposeError | None:
    """The typed error of a text, None if no row knows it."""
    for row in TABLE:
        if re.search(row.pattern, text, re.IGNORECASE):
            return row.kind(f"{tidy(text)}.", row.remedy)
    found = _STATUS.search(text)
    return by_status(int(found[1]), "", text) if found else None


def by_status(status: int, url: str, text: str) -> HardposeError:
    """The typed error of an HTTP status.

    Args:
        status: of the answer.
        url: that was asked; only its host is named.
        text: yt-dlp's, used when there is no ``url``.
    """
    says = f"{urlsplit(url).hostname} answers HTTP {status}." if url else f"{tidy(text)}."
    if status == 429:
        return TooManyRequests(says, WAIT)
    if status in (404, 410):
        return NotFoundOnServer(says, "Check the link.")
    if 300 <= status < 400:  # of a redirect that is not followed any further
        return TooManyRedirects(f"{says[:-1]} again and again.", "Give the address that it leads to.")
    if status == 451:
        return RegionBlocked(says, OTHER)
    if status in TRANSIENT_STATUS or status >= 500:
        return ServerBusy(says, AGAIN)
    return RefusedByServer(says, "Check that the link opens without logging in.")


def warned(error: HardposeError, warnings: Sequence[str]) -> HardposeError:
    """The cause of a failed extraction where yt-dlp has only warned of it: YouTube's player answers 429 or
    503, and yt-dlp goes on and finds no formats. Another tool would ask the same server again.
    """
    if error.action != Action.OUTDATED_TOOL:
        return error
    busy = (typed for text in warnings if isinstance(typed := by_words(text), ServerBusy))
    return poisoned(warnings) or next(busy, error)


def poisoned(warnings: Sequence[str]) -> HardposeError | None:
    """What yt-dlp was told of this address, though it may have found a video all the same."""
    found = (typed for text in warnings if (typed := by_words(text)) is not None)
    return next((typed for typed in found if typed.action == Action.SESSION_POISONED), None)
