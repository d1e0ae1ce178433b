"""A device behind an HTTP server: a picture is posted, a mask comes back."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any

import httpx

from workers.contracts import Image, PersonMap
from workers.devices.answer_pictures import MEDIA_TYPES, Sent, person_map, to_send
from workers.devices.described_only import DescribedOnly
from workers.devices.description import DeviceDescription
from workers.devices.errors import DeviceAway, TooLate
from workers.devices.http_errors import at_once, out_of_reach, refused
from workers.devices.http_secrets import read_token, tls_context

WORDS_BYTES = 2000
"""Read of what a server says beside an error status."""


class HttpDevice(DescribedOnly):
    """Posts each image to the address in the description. Implements ``workers.contracts.Device``.

    The request's body is a PNG or JPEG; the answer to it has the status 200 and is a PNG or JPEG, 8-bit grey
    (``workers.devices.answers.AnswerOptions``). ``workers.devices.reference_server`` is such a server.
    Connections are kept alive, redirects are not followed, and after any failure all connections are
    dropped: an answer that comes late never meets the next frame. Not thread-safe.

    Args:
        description: with the connection's ``url``, and ``token_file`` and ``ca`` where it has them.

    Raises:
        SettingsError: an option of its spec cannot be used.
        DeviceMisdescribed: the token's file or the certificate authority cannot be used; names the line.
    """

    driver = "http"

    def __init__(self, description: DeviceDescription) -> None:
        super().__init__(description)
        self._token = read_token(description)
        self._tls: ssl.SSLContext = tls_context(description)
        self._runner: asyncio.Runner | None = None
        self._client: httpx.AsyncClient | None = None

    def maps(self, images: Sequence[Image]) -> list[PersonMap]:
        """The person map of each image (H x W x 3 uint8 RGB), h x w uint8 in the size of the answer.

        The description's time limit is for each ``batch_size`` images, from the first connection to the last
        byte.

        Raises:
            ServerFailed, UnreadableAnswer, WrongSize, TooLate: one got no usable answer.
            DeviceAway: the server cannot be reached, or says itself that it is not ready.
        """
        step = self.batch_size
        return [m for at in range(0, len(images), step) for m in self._call(images[at : at + step])]

    def _call(self, images: Sequence[Image]) -> list[PersonMap]:
        pictures = [to_send(image, self._options) for image in images]
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            answers = self._runner.run(self._ask_for_all(pictures))
        except BaseException:
            self._drop()
            raise
        return [person_map(a, p, self._options) for a, p in zip(answers, pictures, strict=True)]

    def _drop(self) -> None:
        """Closes all connections with whatever is still on its way in them."""
        runner, client = self._runner, self._client
        self._runner = self._client = None
        if runner is None:
            return
        try:
            if client is not None:
                runner.run(client.aclose())
        finally:
            runner.close()

    async def _ask_for_all(self, pictures: Sequence[Sent]) -> list[bytes]:
        if self._client is None:
            self._client = self._new_client()
        wanted = (self._ask(self._client, picture) for picture in pictures)
        outcomes = await asyncio.gather(*wanted, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise at_once(failures, len(pictures))
        return [outcome for outcome in outcomes if isinstance(outcome, bytes)]

    def _new_client(self) -> httpx.AsyncClient:
        for name in ("httpx", "httpcore"):  # they log whole addresses
            if logging.getLogger(name).getEffectiveLevel() < logging.WARNING:
                logging.getLogger(name).setLevel(logging.WARNING)
        head = {"Content-Type": MEDIA_TYPES[self._options.frames], "Accept": "image/png, image/jpeg"}
        # Bytes as they come: what a server packs could be of any size once it is unpacked.
        head["Accept-Encoding"] = "identity"
        head["User-Agent"] = "hardpose"
        if self._token:
            head["Authorization"] = f"Bearer {self._token}"
        # httpx's time limits are for single operations; one clock for the whole exchange is in _ask.
        return httpx.AsyncClient(headers=head, verify=self._tls, timeout=None, trust_env=False)  # noqa: S113

    async def _ask(self, client: httpx.AsyncClient, sent: Sent) -> bytes:
        limit, exchange = self._description.time_limit, Exchange()
        try:
            async with asyncio.timeout(limit):
                return await self._exchanged(client, sent, exchange)
        except TimeoutError as error:
            if not exchange.connected:
                raise DeviceAway(
                    f"The device {self._description.name} took no connection for {limit:g} s.",
                    f"Switch it on; its address is in {self._description.place('http.url')}.",
                ) from error
            raise TooLate(
                f"The device {self._description.name} gave no whole answer within {limit:g} s.",
                f"Look at its log, or allow more: {self._description.place('time_limit')}.",
            ) from error
        except httpx.TransportError as error:
            raise out_of_reach(error, self._description, exchange.connected) from error

    async def _exchanged(self, client: httpx.AsyncClient, sent: Sent, exchange: "Exchange") -> bytes:
        async with client.stream(
            "POST",
            str(self._description.connection["url"]),
            content=sent.data,
            extensions={"trace": exchange.trace},
        ) as response:
            if response.status_code != httpx.codes.OK:
                words = await _body(response, WORDS_BYTES)
                raise refused(response, words[:WORDS_BYTES], self._description, self._token)
            return await _body(response, sent.most_answer_bytes)


class Exchange:
    """What is known of one request while it is under way: whether there is a connection for it."""

    def __init__(self) -> None:
        self.connected = False

    async def trace(self, event: str, info: dict[str, Any]) -> None:  # noqa: ARG002
        """For httpcore's extension ``trace``."""
        if event.endswith("send_request_headers.started"):
            self.connected = True


async def _body(response: httpx.Response, most: int) -> bytes:
    """The body as it came, not unpacked; what follows ``most`` bytes is cut off, but for one."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > most:
            break
    return bytes(data[: most + 1])
