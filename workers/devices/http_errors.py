"""What a device's HTTP server can do wrong, in our words: a fault of one frame, or a device that is away."""

import os
import socket
import ssl
from collections.abc import Sequence

import httpx

from broker.printable import printable
from workers.devices.description import DeviceDescription
from workers.devices.errors import DeviceAway, DeviceFault, NothingThere, ServerFailed, ServerRefuses

WORDS = 200
"""Characters of a server's own words that an error quotes."""
REFUSALS = {
    401: ("http.token_file", "Look at the token: {place}."),
    403: ("http.token_file", "Look at the token: {place}."),
    404: ("http.url", "Look at the address, its path included: {place}."),
    405: ("http.url", "Look at the address: {place}. It has to take POST."),
    413: ("input", 'Send smaller pictures: {place}, or frames = "jpeg".'),
    415: ("frames", 'Say what the server takes, "png" or "jpeg": {place}.'),
}
"""The key that is wrong, by status (RFC 9110, 15.5), and what to do."""
REDIRECTED = ("http.url", "Redirects are not followed. Give the last address: {place}.")


def refused(
    response: httpx.Response, words: bytes, description: DeviceDescription, token: str
) -> DeviceFault | DeviceAway:
    """What another status than 200 means.

    Args:
        response: its status and headers.
        words: the beginning of its body, quoted as far as it can be shown.
        description: names the lines to look at.
        token: is blotted out, should the server repeat it.
    """
    status = response.status_code
    said = words.decode("utf-8", "replace")
    said = printable(said.replace(token, "***") if token else said)[:WORDS].strip()
    cause = f"The server of the device {description.name} answered {status}{f': {said}' if said else ''}."
    if status == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
        return DeviceAway(cause, "It says that it is not ready; it is asked again.")
    refusal = REDIRECTED if response.is_redirect else REFUSALS.get(status)
    if refusal is None:
        return ServerFailed(cause, "Look at the server's log.")
    key, remedy = refusal
    kind = NothingThere if status == httpx.codes.NOT_FOUND else ServerRefuses
    error = kind(cause, remedy.format(place=description.place(key)))
    error.key = key
    return error


def out_of_reach(
    error: httpx.TransportError, description: DeviceDescription, connected: bool
) -> DeviceFault | DeviceAway:
    """What a connection that failed means.

    One that the server closed on a request may be that frame's doing: a fault, and the stage finds out.
    """
    name, why = description.name, _reason(error)
    if connected:
        return ServerFailed(
            f"The connection to the device {name} ended in the middle of a request: {why}.",
            "Look at the server's log; it may have crashed.",
        )
    url = description.place("http.url")
    if any(isinstance(each, ssl.SSLError) for each in _chain(error)):
        return DeviceAway(
            f"The device {name} cannot be trusted: {why}.",
            f"Name the authority that signed its certificate, and a host name that it is for: "
            f"{description.place('http.ca')}, {url}.",
        )
    return DeviceAway(f"The device {name} cannot be reached: {why}.", f"Switch it on; look at {url}.")


def at_once(failures: Sequence[BaseException], asked: int) -> BaseException:
    """The error of ``asked`` requests at once of which ``failures`` failed.

    A device that is away for some of them only is not away: it cannot do as many at once.
    """
    others = [failure for failure in failures if not isinstance(failure, DeviceAway)]
    if others:
        return next((each for each in others if not isinstance(each, DeviceFault)), others[0])
    first = failures[0]
    if isinstance(first, DeviceAway) and len(failures) < asked:
        return ServerFailed(
            f"Of {asked} requests at once, {len(failures)} failed. {first.cause}", "Describe a smaller batch."
        )
    return first


def _reason(error: BaseException) -> str:
    """The innermost words of an error that httpx wraps, without any address."""
    for each in reversed(_chain(error)):
        if isinstance(each, ssl.SSLError | socket.gaierror):  # they have numbers of their own
            return printable(each.strerror or str(each))[:WORDS]
        if isinstance(each, OSError) and each.errno:
            return os.strerror(each.errno)
    return printable(str(error) or type(error).__name__)[:WORDS]


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    return chain
