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
