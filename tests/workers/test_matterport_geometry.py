"""Anchors, the square input, and the way of boxes and masks back to the frame."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import ImageFailed
from workers.masks.matterport.anchors import anchors
from workers.masks.matterport.preprocess import to_square
from workers.masks.matterport.unmold import edge_pixels, frame_boxes, frame_mask, resized


@pytest.mark.parametrize(("size", "count"), [(512, 65_472), (1024, 261_888)])
def test_the_number_of_anchors(size: int, count: int) -> None:
    assert anchors(size).shape == (count, 4)
    assert anchors(size).dtype == np.float32


def test_anchors_against_a_loop() -> None:
    expected = []
    for level in range(5):
        stride = 4 * 2**level
        for row in range(128 // stride):
            for column in range(128 // stride):
                for ratio in (0.5, 1.0, 2.0):
                    height, width = 32 * 2**level / math.sqrt(ratio), 32 * 2**level * math.sqrt(ratio)
                    y, x = row * stride, column * stride
                    box = (y - height / 2, x - width / 2, y + height / 2 - 1, x + width / 2 - 1)
                    expected.append([side / 127 for side in box])
    assert len(expected) == 4092
    np.testing.assert_allclose(anchors(128), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "size", "window"),
    [
        ((720, 1280), 1024, (224, 0, 800, 1024)),  # limited by the longer side
        ((1080, 1920), 512, (112, 0, 400, 512)),  # made smaller
        ((240, 320), 1024, (128, 0, 896, 1024)),  # enlarged to 800, then limited to 1024
        ((500, 600), 1024, (112, 32, 912, 992)),  # enlarged to 800, which keeps it below 1024
        ((900, 900), 1024, (62, 62, 962, 962)),  # large enough: left as it is
        ((1280, 720), 256, (0, 56, 256, 200)),  # upright
    ],
)
def test_where_the_frame_lies_in_the_square(
    frame: tuple[int, int], size: int, window: tuple[int, ...]
) -> None:
    image = np.full((*frame, 3), 200, np.uint8)
    square = to_square(image, size)
    assert tuple(square.window) == window
    inside = np.zeros((size, size), bool)
    inside[window[0] : window[2], window[1] : window[3]] = True
    assert (square.image[inside] == 200).all()
    assert (square.image[~inside] == 0).all()
    assert square.image.dtype == np.float32


def test_resizing_is_bilinear_without_smoothing_and_truncates() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, 1::2] = (100, 101, 255)  # every second column: smoothing or not, their means differ from both
    square = to_square(image, 256).image
    assert set(np.unique(square[..., 0])) == {50.0}
    assert set(np.unique(square[..., 1])) == {50.0}, "50.5 is truncated"
    assert set(np.unique(square[..., 2])) == {127.0}, "red, green and blue keep their places"


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (1, 5000, 3)])
def test_a_frame_of_which_nothing_would_be_left_fails_alone(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageFailed):
        to_square(np.zeros(shape, np.uint8), 512)


@given(
    height=st.integers(40, 1500),
    width=st.integers(40, 1500),
    size=st.sampled_from([256, 512, 1024]),
)
def test_the_window_is_the_whole_frame(height: int, width: int, size: int) -> None:
    window = to_square(np.zeros((height, width, 3), np.uint8), size).window
    y1, x1, y2, x2 = window
    box = np.array([[y1, x1, y2 - 1, x2 - 1]], np.float32) / (size - 1)
    assert frame_boxes(box, window, size, height, width).tolist() == [[0, 0, height, width]]


def test_a_box_in_the_frame() -> None:
    window = np.array([112, 0, 400, 512], np.float32)  # 1920 x 1080 at 512
    box = np.array([[112 + 288 / 4, 128, 112 + 288 / 2, 256]], np.float32) / 511
    y1, x1, y2, x2 = frame_boxes(box, window, 512, 1080, 1920)[0]
    assert (y1, x1, y2, x2) == pytest.approx((270, 480, 542, 962), abs=2)


def loop_resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between pixel centres, 0 beyond the picture: scikit-image's documented ``order=1``,
    ``mode="constant"``, ``cval=0``, pixel by pixel.
    """

    def at(y: int, x: int) -> float:
        inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
        return float(mask[y, x]) if inside else 0.0

    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * mask.shape[0] / height - 0.5
            x = (j + 0.5) * mask.shape[1] / width - 0.5
            y0, x0 = math.floor(y), math.floor(x)
            a, b = y - y0, x - x0
            top = (1 - b) * at(y0, x0) + b * at(y0, x0 + 1)
            bottom = (1 - b) * at(y0 + 1, x0) + b * at(y0 + 1, x0 + 1)
            out[i, j] = (1 - a) * top + a * bottom
    return out


@pytest.mark.parametrize("size", [(28, 28), (1, 1), (5, 90), (61, 7), (57, 56)])
def test_masks_are_resized_as_documented(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(3).random((28, 28), np.float32)
    np.testing.assert_allclose(resized(mask, *size), loop_resized(mask, *size), atol=1e-7)


def test_a_mask_lies_in_its_box() -> None:
    full = frame_mask(np.ones((28, 28), np.float32), np.array([10, 20, 66, 76]), 100, 120)
    assert full.shape == (100, 120)
    assert full[10:66, 20:76].all(), "at the edge it is cut at one quarter of a cell: above one half"
    assert np.count_nonzero(full) == 56 * 56
    assert not frame_mask(np.ones((28, 28), np.float32), np.array([10, 20, 10, 76]), 100, 120).any()


HEIGHT, WIDTH = 90, 160
WINDOW = np.array([28, 0, 100, 128], np.float32)
"""Where a frame of 160 x 90 pixels lies in a square of 128."""


@pytest.mark.parametrize(
    ("given", "box"),
    [
        ((28, 0, 99, 127), (0, 0, 90, 160)),  # the whole frame: y2 and x2 are the last pixels
        ((28, 0, 60, 64), (0, 0, 41, 81)),  # in the corner
        ((60, 100, 99, 127), (40, 125, 90, 160)),  # at the other one
        ((50, 50, 50.2, 50.2), (28, 63, 29, 64)),  # one pixel
        ((50, 50, 49, 60), (28, 63, 27, 76)),  # nothing
        ((-300, -300, 400, 400), (0, 0, 90, 160)),  # larger than the frame
        ((120, 10, 127, 40), (90, 13, 90, 51)),  # below it, on the black
    ],
)
def test_boxes_and_masks_at_the_bounds(
    given: tuple[float, float, float, float], box: tuple[int, int, int, int]
) -> None:
    boxes = np.array([given], np.float32) / 127
    (found,) = frame_boxes(boxes, WINDOW, 128, HEIGHT, WIDTH)
    assert tuple(found) == tuple(loop_box(given)) == box
    mask = np.random.default_rng(4).random((28, 28), np.float32)
    y1, x1, y2, x2 = box
    expected = np.zeros((HEIGHT, WIDTH), bool)
    if y2 > y1 and x2 > x1:
        expected[y1:y2, x1:x2] = loop_resized(mask, y2 - y1, x2 - x1) >= 0.5
    assert np.array_equal(frame_mask(mask, found, HEIGHT, WIDTH), expected)


def loop_box(given: tuple[float, float, float, float]) -> list[int]:
    """Side by side: from the square's pixels to shares of the window, to the frame's pixels."""
    sides = []
    for i, side in enumerate(given):
        low, high = float(WINDOW[i % 2]), float(WINDOW[i % 2 + 2]) - 1
        frame = (HEIGHT, WIDTH)[i % 2]
        pixel = round((side - low) / (high - low) * (frame - 1)) + (i > 1)
        sides.append(min(max(pixel, 0), frame))
    return sides


@pytest.mark.parametrize(("share", "mask_shows_it"), [(0.6, False), (0.9, False), (0.999, True)])
def test_a_body_that_the_frame_cuts_off_is_known_though_its_mask_ends_before(
    share: float, mask_shows_it: bool
) -> None:
    mask = np.zeros((28, 28), np.float32)
    mask[:, 7:21] = share  # the middle half of the box, up to its last row
    box = np.array([120, 400, 720, 800])
    full = frame_mask(mask, box, 720, 1280)
    assert full[:700].any()
    assert bool(full[-1].any()) == mask_shows_it
    assert edge_pixels(mask, box, 720, 1280) == pytest.approx(200, abs=14)  # half a cell on either side
    assert edge_pixels(mask, box - [1, 0, 1, 0], 720, 1280) == 0, "one pixel away from the edge"
    assert edge_pixels(mask, np.array([0, 400, 600, 800]), 720, 1280) == pytest.approx(200, abs=14)
    assert edge_pixels(mask, np.array([100, 0, 600, 1280]), 720, 1280) == 0, "nothing at its left and right"
    sideways = np.ascontiguousarray(mask.T)
    for x1 in (0, 880):
        upright = np.array([100, x1, 500, x1 + 400])
        assert edge_pixels(sideways, upright, 720, 1280) == pytest.approx(200, abs=14)
    assert edge_pixels(mask, np.array([720, 400, 720, 800]), 720, 1280) == 0, "an empty box"
