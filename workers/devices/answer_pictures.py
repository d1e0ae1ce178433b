"""The picture that a device is sent, and the person map in the picture that it sends back."""

from dataclasses import dataclass

import numpy as np

from workers.contracts import Image, PersonMap
from workers.devices.answers import AnswerOptions
from workers.devices.errors import UnreadableAnswer, WrongSize
from workers.pictures import PictureDamaged, decode_answer, encode_jpeg, encode_png, resized, size_of

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Sent:
    """A picture as a device gets it.

    Attributes:
        data: PNG or JPEG.
        answer_width, answer_height: of the answer that it has to bring, pixels.
    """

    data: bytes
    answer_width: int
    answer_height: int

    @property
    def most_answer_bytes(self) -> int:
        """Of a PNG of that size that does not compress at all, four times over."""
        return 64 * 1024 + 4 * self.answer_width * self.answer_height


def to_send(image: Image, options: AnswerOptions) -> Sent:
    """``image`` (H x W x 3 uint8 RGB) as the device wants it."""
    if options.width:
        image = resized(image, options.width, options.height, options.resize)
    height, width = image.shape[:2]
    data = encode_jpeg(image) if options.frames == "jpeg" else encode_png(image)
    return Sent(data, options.answer_width or width, options.answer_height or height)


def person_map(data: bytes, sent: Sent, options: AnswerOptions) -> PersonMap:
    """The map in an answer, h x w uint8.

    Raises:
        UnreadableAnswer: it is no whole grey PNG or JPEG, or too large; or no 8-bit PNG, where labels are
            described: a JPEG changes numbers, fewer bits scale them.
        WrongSize: it is of another size than it has to be; names both.
    """
    if len(data) > sent.most_answer_bytes:
        raise UnreadableAnswer(
            f"The answer has more than {sent.most_answer_bytes} bytes.",
            f"A mask of {sent.answer_width} x {sent.answer_height} takes fewer: send a grey PNG.",
        )
    try:
        _check_size(size_of(data), sent)  # before it is decoded: it may claim to be huge
        values = decode_answer(data, exact=options.answer == "label")
    except PictureDamaged as error:
        raise UnreadableAnswer(
            f"The answer is no usable picture. {error.cause}",
            f"{error.remedy} A mask is an 8-bit grey PNG or JPEG.",
        ) from error
    if options.answer == "probability":
        return values
    return np.where(values == options.person_label, 255, 0).astype(np.uint8)


def _check_size(found: tuple[int, int], sent: Sent) -> None:
    width, height = found
    if found != (sent.answer_width, sent.answer_height):
        raise WrongSize(
            f"The answer measures {width} x {height}, and has to measure {sent.answer_width} x "
            f"{sent.answer_height} (width x height).",
            "Let the device answer in the size of the picture that it gets, or describe its own by "
            "answer_size.",
        )
