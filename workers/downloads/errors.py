"""Why a link gave no video: typed, with a stable code and what may be done next."""

from broker.errors import Action, HardposeError


def encodable(text: str) -> str:
    """``text`` with ``?`` for what UTF-8 cannot hold: Python's stand-ins for bytes of a file's name."""
    return text.encode("utf-8", "replace").decode("utf-8")


class DownloadError(HardposeError):
    """Base of the failures of one link. Its texts can always be stored and sent as UTF-8."""

    code = "download"

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(encodable(cause), encodable(remedy))


# --- the link itself ---------------------------------------------------------------------------------


class UnsupportedScheme(DownloadError):
    """The link is not http, https, file or a path."""

    code = "unsupported_scheme"


class BadLink(DownloadError):
    """The link cannot be used as it is: no host, a password inside, not parseable."""

    code = "bad_link"


class PrivateAddress(DownloadError):
    """The link, a redirect of it or its DNS name leads into a private network."""

    code = "private_address"


class NameNotResolved(DownloadError):
    """No address is known for the link's host name."""

    code = "name_not_resolved"
    action = Action.TRANSIENT


# --- the file ----------------------------------------------------------------------------------------


class FileMissing(DownloadError):
    """There is no file at the path."""

    code = "file_missing"


class FileUnreadable(DownloadError):
    """The file may not be read, or is not a regular file."""

    code = "file_unreadable"


class EmptyFile(DownloadError):
    """The file has 0 bytes."""

    code = "empty_file"


class EmptyFolder(DownloadError):
    """A folder without a video in it."""

    code = "empty_folder"


class NotAVideo(DownloadError):
    """The bytes are something else than a video."""

    code = "not_a_video"


class NoVideoStream(DownloadError):
    """A media file without a picture: sound or subtitles only, or a video track with no frames."""

    code = "no_video_stream"


class VideoTruncated(DownloadError):
    """The file ends before its container says it does."""

    code = "video_truncated"


class VideoDamaged(DownloadError):
    """The container is whole, but its frames cannot be decoded or carry no times."""

    code = "video_damaged"


class VideoTooLarge(DownloadError):
    """More bytes or more pixels in a frame than the settings allow."""

    code = "video_too_large"


class VideoTooLong(DownloadError):
    """A longer duration than the settings allow."""

    code = "video_too_long"


class FrameUndecodable(DownloadError):
    """One frame of the video cannot be decoded; the others may be fine."""

    code = "frame_undecodable"


# --- the server --------------------------------------------------------------------------------------


class NotFoundOnServer(DownloadError):
    """The server has no such file (HTTP 404 or 410)."""

    code = "http_404"


class RefusedByServer(DownloadError):
    """The server will not give the file (HTTP 401, 403, 451 and other 4xx)."""

    code = "http_refused"


class TooManyRedirects(DownloadError):
    """The link leads from one address to the next without end."""

    code = "too_many_redirects"


class TooManyRequests(DownloadError):
    """The server asks this address to slow down (HTTP 429)."""

    code = "http_429"
    action = Action.SESSION_POISONED


class ServerBusy(DownloadError):
    """The server failed or did not answer (HTTP 5xx, 408, 425, no connection)."""

    code = "server_busy"
    action = Action.TRANSIENT


class TransferCut(DownloadError):
    """The connection broke again and again before the file was whole."""

    code = "transfer_cut"
    action = Action.TRANSIENT


class DownloadTimeout(DownloadError):
    """The file did not arrive within the time allowed."""

    code = "download_timeout"
    action = Action.TRANSIENT


# --- the site: permanent -----------------------------------------------------------------------------


class VideoPrivate(DownloadError):
    """Its owner has made the video private."""

    code = "video_private"


class VideoRemoved(DownloadError):
    """The video was taken down, its account was closed, or it never was."""

    code = "video_removed"


class MembersOnly(DownloadError):
    """Only paying members or subscribers may see it."""

    code = "members_only"


class AgeRestricted(DownloadError):
    """Only an account of age may see it."""

    code = "age_restricted"


class RegionBlocked(DownloadError):
    """It may not be seen from this country."""

    code = "region_blocked"


class LiveStream(DownloadError):
    """A live stream or a premiere that has not become a video yet."""

    code = "live_stream"


class DrmProtected(DownloadError):
    """Its formats are encrypted for the site's own players."""

    code = "drm_protected"


class NoSuitableFormat(DownloadError):
    """The site has no format within the limits."""

    code = "no_suitable_format"


class UnsupportedSite(DownloadError):
    """None of the downloaders knows the site, or finds a video on the page."""

    code = "unsupported_site"


class EmptyList(DownloadError):
    """A playlist or a channel without a video."""

    code = "empty_list"


# --- the job's own gates: permanent ------------------------------------------------------------------


class LicenceRefused(DownloadError):
    """The job takes only freely licensed videos, and this one is not known to be one."""

    code = "licence_refused"


class ChannelDenied(DownloadError):
    """The channel is on the job's deny-list."""

    code = "channel_denied"


class PublishedTooEarly(DownloadError):
    """The video is older than the job asks for, or its day is not known."""

    code = "published_too_early"


# --- the session and the tool ------------------------------------------------------------------------


class BotCheck(DownloadError):
    """The site wants a person to sign in: it has flagged this address or account."""

    code = "bot_check"
    action = Action.SESSION_POISONED


class ExtractionFailed(DownloadError):
    """The tool no longer understands the site."""

    code = "extraction_failed"
    action = Action.OUTDATED_TOOL


class ToolMissing(DownloadError):
    """A link of a site, and not one of the configured downloaders is installed here."""

    code = "tool_missing"
