"""What a device is shown of a frame: the same pixels, whether they come from the store or in the message."""

from broker.recipe import ModelSpec
from workers.contracts import Image
from workers.devices.answers import REACHED
from workers.pictures import decode_rgb, encode_jpeg, encode_png, resized


def as_sent(image: Image, spec: ModelSpec) -> bytes:
    """A frame as it travels to the device inside a message: at the size of its route, PNG.

    A device whose option ``frames`` is ``jpeg`` gets a JPEG of quality 95, a tenth of the bytes. One that is
    sent pictures by its driver gets it there: twice through a JPEG would be other pixels.

    Args:
        image: the stored frame, H x W x 3 uint8 RGB.
        spec: the device.
    """
    sized = _at_route_size(image, spec)
    return encode_jpeg(sized) if _as_jpeg(spec) else encode_png(sized, natural=True)


def as_seen(image: Image, spec: ModelSpec) -> Image:
    """What decoding ``as_sent`` gives, by the shortest way: a PNG loses nothing."""
    sized = _at_route_size(image, spec)
    return decode_rgb(encode_jpeg(sized)) if _as_jpeg(spec) else sized


def _at_route_size(image: Image, spec: ModelSpec) -> Image:
    route = spec.route
    if route is None or not (route.width and route.height):
        return image
    return resized(image, route.width, route.height, str(spec.options.get("resize", "area")))


def _as_jpeg(spec: ModelSpec) -> bool:
    return spec.options.get("frames") == "jpeg" and spec.name not in REACHED
