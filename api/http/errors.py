"""What the API itself refuses, before or beside the work."""

from broker.errors import Action, HardposeError


class BadHost(HardposeError):
    """The request names a host that this API does not answer for."""

    code = "bad_host"


class BadRequest(HardposeError):
    """The request cannot be read at all."""

    code = "bad_request"


class NotSignedIn(HardposeError):
    """There is no token and no session, or not a good one."""

    code = "not_signed_in"


class Forbidden(HardposeError):
    """The caller may not do this."""

    code = "forbidden"


class ForeignPage(HardposeError):
    """A page of another site has sent the request through a browser."""

    code = "foreign_page"


class TooLarge(HardposeError):
    """The request is larger than is taken."""

    code = "too_large"


class NotJsonBody(HardposeError):
    """The body of the request is of another type than JSON."""

    code = "unsupported_media_type"


class Limited(HardposeError):
    """The caller asks too often.

    Args:
        cause: see ``HardposeError``.
        remedy: see ``HardposeError``.
        seconds: after which it may be tried again.
    """

    code = "rate_limited"
    action = Action.TRANSIENT

    def __init__(self, cause: str, remedy: str, seconds: int = 1) -> None:
        super().__init__(cause, remedy)
        self.seconds = seconds


class TooManyStreams(Limited):
    """As many streams of events are open as are allowed."""

    code = "too_many_streams"


class LinkRefused(HardposeError):
    """A link that the API does not take, though the command line might."""

    code = "link_refused"


class UnknownModel(HardposeError):
    """A recipe names a model that is not installed."""

    code = "unknown_model"


class BadOrder(HardposeError):
    """Something in an order that is well written but cannot be done."""

    code = "bad_order"
