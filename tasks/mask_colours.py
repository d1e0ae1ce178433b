"""The two colours of the masks, wherever hardpose draws them: pictures, reports and the API's overlay.

Orange and blue differ in hue for every kind of colour blindness, where green and orange do not (Okabe and
Ito, Color Universal Design, 2008). Orange is their own; the blue is a lighter one, to show on dark pictures.
The review page has them once more, in ``base.css``, because a browser reads no Python: a test compares them.
"""

RGB = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

TEACHER: RGB = (230, 159, 0)
"""Orange."""
DEVICE: RGB = (47, 155, 224)
"""Blue."""
BOTH: RGB = (255, 255, 255)
"""White: where the two run together."""


def css(colour: RGB) -> str:
    """``#rrggbb``."""
    return "#" + bytes(colour).hex()


STYLE = f":root {{ --teacher: {css(TEACHER)}; --device: {css(DEVICE)}; }}\n"
"""For the head of a report, whose style sheet uses both names."""
