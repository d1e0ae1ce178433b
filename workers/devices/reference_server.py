"""A small HTTP server in front of a described device: what the driver ``http`` speaks to, to copy from.

``python -m workers.devices.reference_server me.toml --port 9000`` takes pictures at ``POST /mask`` and says
at ``GET /healthz`` that it is there. The protocol, whole:

- The request's body is a PNG or a JPEG (``Content-Type: image/png`` or ``image/jpeg``), with a
  ``Content-Length``. If there is a token: ``Authorization: Bearer TOKEN``.
- 200 and a PNG, 8-bit grey, 0 background to 255 person, over the whole picture.
- 400 for a damaged picture, 401, 404, 405, 411, 413, 415, each with a JSON text ``{"error": ...}``.
- 503 with ``Retry-After``: not now. The work waits, and no frame is blamed.
- 500 for a picture that the network fails on: that frame is asked for once more, then put aside.
"""

import argparse
import hmac
import ipaddress
import json
import logging
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from broker.errors import HardposeError
from workers.contracts import Device
from workers.devices.description import DeviceDescription, load_description, open_described
from workers.devices.errors import DeviceAway, DeviceMisdescribed
from workers.devices.http_secrets import token_in
from workers.pictures import PictureDamaged, decode_rgb, encode_png

log = logging.getLogger(__name__)

MAX_BYTES = 32 * 1024**2
"""Of one picture."""
IDLE_SECONDS = 60
"""After which a silent connection is closed."""
RETRY_SECONDS = 5
MEDIA_TYPES = ("image/png", "image/jpeg")


class Refused(Exception):
    """A request that is answered with an error status; its text goes to the client."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class ReferenceServer(ThreadingHTTPServer):
    """Serves one device to any number of connections, one picture after the other.

    Args:
        device: draws the maps.
        host: to listen on; on any address but loopback only with a token.
        port: 0 takes a free one (``server_port``).
        token: that every picture has to come with; empty: none.

    Raises:
        DeviceMisdescribed: another address than loopback, and no token.
        OSError: the address is taken.
    """

    daemon_threads = True

    def __init__(self, device: Device, host: str = "127.0.0.1", port: int = 0, token: str = "") -> None:
        if not token and not _is_loopback(host):
            raise DeviceMisdescribed(
                f"{host} can be reached by others, and there is no token.",
                "Give --token-file, or listen on 127.0.0.1.",
            )
        super().__init__((host, port), _Handler)
        self._device, self._token = device, token.encode()
        self._one_at_a_time = threading.Lock()

    def allows(self, authorisation: str) -> bool:
        """Whether a request with this header may send a picture."""
        given = authorisation.removeprefix("Bearer ").encode()
        return not self._token or hmac.compare_digest(given, self._token)

    def mask(self, data: bytes) -> bytes:
        """The mask (PNG) of a picture.

        Raises:
            Refused: it is damaged, or the device fails on it or is away.
        """
        try:
            image = decode_rgb(data)
            with self._one_at_a_time:
                (answer,) = self._device.maps([image])
        except PictureDamaged as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        except DeviceAway as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except (HardposeError, RuntimeError, ValueError) as error:
            log.warning("a picture failed: %s", error)
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        return encode_png(answer)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class
        """Logs what ended a connection; of one that the client gave up in one line."""
        error = sys.exc_info()[1]
        log.warning("%s: %s", client_address, error, exc_info=not isinstance(error, OSError))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections
    server: ReferenceServer
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # head and body are two writes

    def do_POST(self) -> None:
        try:
            self._send(HTTPStatus.OK, "image/png", self.server.mask(self._picture()))
        except Refused as refused:
            self._refuse(refused)

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._send(HTTPStatus.OK, "application/json", b'{"ok": true}\n')
        elif self.path == "/mask":
            self._refuse(Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Pictures are posted."))
        else:
            self._refuse(Refused(HTTPStatus.NOT_FOUND, "There are POST /mask and GET /healthz."))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._refuse(Refused(HTTPStatus(code), message or explain or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: object) -> None:
        log.info("%s " + format, self.client_address[0], *args)

    def _picture(self) -> bytes:
        if self.path != "/mask":
            raise Refused(HTTPStatus.NOT_FOUND, "There are POST /mask and GET /healthz.")
        if not self.server.allows(self.headers.get("Authorization", "")):
            raise Refused(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.")
        if self.headers.get_content_type() not in MEDIA_TYPES:
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send one of {', '.join(MEDIA_TYPES)}.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length.")
        if len(length) > 12 or int(length) > MAX_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send at most {MAX_BYTES} bytes.")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "The picture was cut off.")
        return data

    def _refuse(self, refused: Refused) -> None:
        # What was not read of the request would be taken for the next one.
        self.close_connection = True
        body = json.dumps({"error": str(refused)}).encode() + b"\n"
        more = {"Connection": "close"}
        if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
            more["Retry-After"] = str(RETRY_SECONDS)
        self._send(refused.status, "application/json", body, more)

    def _send(self, status: HTTPStatus, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _token(path: Path | None, description: DeviceDescription) -> str:
    return token_in(path, description) if path is not None else ""


def main() -> None:
    """Serves until it is ended; says on the log where."""
    parser = argparse.ArgumentParser(description="Serves a described device over HTTP.")
    parser.add_argument("description", type=Path, help="a me.toml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one")
    parser.add_argument("--token-file", type=Path, help="holds the token that pictures have to come with")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        description = load_description(given.description)
        device = open_described(description)
        device.load()
        token = _token(given.token_file, description)
        with ReferenceServer(device, given.host, given.port, token) as server:
            log.info("serving %s on port %d", description.name, server.server_port)
            server.serve_forever()
    except HardposeError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
