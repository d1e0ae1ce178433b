"""The keys of a ``me.toml``, their types and bounds. ``title`` of a field is what an error says may stand."""

import shlex
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from broker.settings import Plain

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Without control characters: no path holds them, and errors are printed."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Colours3 = Annotated[list[Number], Field(min_length=3, max_length=3)]
Side = Annotated[int, Field(ge=1, le=8192)]
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]

MAX_TIME_LIMIT = 3600.0
"""Seconds. What takes longer for one picture is away."""


class Section(BaseModel):
    """A table of the file: no key that it does not know, no value of another type.

    A key that is not given is None where the driver's own options say the default.
    """

    # An address may hold a password, and a traceback repeats what pydantic says.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


def _is_web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("no plain address")
    return value


def _is_template(value: str) -> str:
    words = shlex.split(value)
    if not words or not all(any(name in word for word in words) for name in ("{input_dir}", "{output_dir}")):
        raise ValueError("no template")
    return value


class NetworkSection(Section):
    """``[network]``: of the drivers that run a network in this process, ``litert`` and ``onnx``."""

    model: Text = Field(min_length=1, title="the path of the network's file, relative to this one")
    """The network's file."""
    colours: Literal["rgb", "bgr"] | None = Field(None, title='"rgb" or "bgr"')
    """The order of the input's channels."""
    scale: Number | None = Field(None, title="a number; for pixels from 0 to 1 it is 0.00392156862745098")
    """The input's value is (pixel (0..255) * scale + offset - mean) / std."""
    offset: Number | None = Field(None, title="a number")
    """See ``scale``."""
    mean: Colours3 | None = Field(None, title="three numbers, of red, green and blue: [0.485, 0.456, 0.406]")
    """In place of ``offset``, one for each colour; see ``scale``."""
    std: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = Field(
        None, title="three numbers above 0, of red, green and blue: [0.229, 0.224, 0.225]"
    )
    """See ``mean``."""
    output: Literal["probability", "logit", "softmax", "argmax"] | None = Field(
        None, title='"probability", "logit", "softmax" or "argmax"'
    )
    """What the output's numbers are."""
    person_channel: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, title="a whole number from 0 on, the channel or the class number of the person"
    )
    """The person's channel, or class number."""
    output_name: Text | None = Field(None, title="a text, the name of the output that is the mask")
    """Which output is the mask, when several could be."""
    delegate: Text = Field(
        "", title="a text, the path of its shared library, or a name that the system finds"
    )
    """Of LiteRT: the library that drives an NPU."""
    delegate_options: dict[Text, Text] = Field({}, title='a table of texts, such as device = "0"')
    """For the delegate."""


class AnswerSection(Section):
    """What ``[http]`` and ``[command]`` say of the pictures that come back."""

    answer: Literal["probability", "label"] | None = Field(None, title='"probability" or "label"')
    """What the answer's pixels are: 0 to 255 for a probability from 0 to 1, or class numbers."""
    person_label: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, title="a whole number from 0 to 255, the class number of the person"
    )
    """The person's class number."""
    answer_size: Size | None = Field(None, title="two whole numbers from 1 to 8192, [width, height]")
    """What the answer has to measure; not given: what was sent."""


class HttpSection(AnswerSection):
    """``[http]``: a device that takes a picture and answers with a mask."""

    url: Annotated[Text, AfterValidator(_is_web_address)] = Field(
        title="an http:// or https:// address without a user or a password; a token stands in token_file"
    )
    """Where pictures are posted."""
    token_file: Text | None = Field(None, min_length=1, title="the path of a file that holds the token alone")
    """Of the bearer token; relative to this file."""
    ca: Text | None = Field(None, min_length=1, title="the path of a certificate authority (PEM)")
    """Who has signed the device's certificate; not given: the system's."""


class CommandSection(AnswerSection):
    """``[command]``: a program that reads a folder of pictures and writes a folder of masks."""

    run: Annotated[Text, AfterValidator(_is_template)] = Field(
        title='a command line with {input_dir} and {output_dir}: "my-tool {input_dir} {output_dir}"'
    )
    """The command; no shell reads it."""


class KnownPictureSection(Section):
    """``[known_picture]``: in place of the embedded one, for a device that is made for other scenes."""

    image: Text = Field(min_length=1, title="the path of a PNG or JPEG, relative to this file")
    """With somebody in it."""
    mask: Text = Field(min_length=1, title="the path of its mask, a grey PNG: 0 background, 255 person")
    """What the device has to find there."""


class Page(Section):
    """The whole file."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        title="at most 32 small letters, digits and hyphens, a letter or digit first: me-2",
    )
    """Of the product: units of one product and one firmware share it."""
    firmware: str = Field(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}$",
        title='a text of at most 64 letters, digits and . _ + -, in quotes: "2.1.0"',
    )
    """Its version."""
    driver: str = Field(min_length=1, title='the name of a driver: "litert", "onnx", "http" or "command"')
    """Entry point name in the group ``hardpose.devices``."""
    queue: Literal["shared", "own"] = Field("shared", title='"shared" (me) or "own" (me.NAME)')
    """Whether all devices share a queue."""
    pixels: Literal["store", "inline"] = Field("store", title='"store" or "inline"')
    """How frames come: from the artifact store, or in the messages."""
    batch: int = Field(1, ge=1, le=256, title="a whole number from 1 to 256")
    """Images in one call, where a network's file leaves it open."""
    processes: int | None = Field(None, ge=1, le=4, title="a whole number from 1 to 4")
    """Of its worker, which use the device in turns; see ``workers.devices.description``."""
    time_limit: float = Field(
        10.0, gt=0, le=MAX_TIME_LIMIT, allow_inf_nan=False, title="seconds, above 0 and at most 3600"
    )
    """Seconds for one call."""
    input: Size | None = Field(None, title="two whole numbers from 1 to 8192, [width, height]")
    """What the device works on; a network's file says it itself, unless it leaves it open."""
    resize: Literal["area", "linear"] | None = Field(None, title='"area" or "linear"')
    """How frames are brought to that size."""
    frames: Literal["png", "jpeg"] | None = Field(None, title='"png" or "jpeg"')
    """What the device is shown: the frame's own pixels, or those after a JPEG of quality 95."""
    threshold: float | None = Field(None, gt=0, lt=1, title="a number between 0 and 1, neither of them")
    """Probability from which a pixel is person."""
    empty_masks: Literal["verify", "refuse"] | None = Field(None, title='"verify" or "refuse"')
    """What an answer without a person is: believed when the known picture comes back right, or an error."""
    licence: Text = Field("unknown", min_length=1, max_length=200, title="a text, the licence of the network")
    """Goes with every frame into the data set."""
    network: NetworkSection | None = Field(None, title="a table, [network]")
    """Of ``litert`` and ``onnx``."""
    http: HttpSection | None = Field(None, title="a table, [http]")
    """Of ``http``."""
    command: CommandSection | None = Field(None, title="a table, [command]")
    """Of ``command``."""
    known_picture: KnownPictureSection | None = Field(None, title="a table, [known_picture]")
    """What the device is tried on."""
    options: dict[str, Plain] = Field({}, title="a table of plain values, [options]")
    """Of a driver of another package."""
