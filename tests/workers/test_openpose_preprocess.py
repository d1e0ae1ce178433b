"""What OpenPose's networks are given: its size, where a pixel of the frame lies in it, its values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contracts import Image
from workers.errors import ImageFailed
from workers.pose.openpose.preprocess import network_size, prepare

side = st.integers(1, 8) | st.integers(1, 3000)


@pytest.mark.parametrize(
    ("frame", "limit", "wanted"),
    [
        ((1280, 720), 656, (656, 368)),  # 654.2 rounds up to a multiple of 16
        ((1920, 1080), 0, (656, 368)),
        ((640, 480), 656, (496, 368)),  # 490.7
        ((720, 1280), 656, (208, 368)),  # upright
        ((368, 368), 656, (368, 368)),
        ((2560, 1080), 656, (656, 368)),  # wider than the limit: made smaller
        ((2560, 1080), 0, (880, 368)),  # without the limit: 872.3
        ((3, 3000), 656, (16, 368)),  # never narrower than one step
    ],
)
def test_the_network_has_the_frame_s_shape(
    frame: tuple[int, int], limit: int, wanted: tuple[int, int]
) -> None:
    assert network_size(*frame, net_height=368, max_net_width=limit) == wanted


def test_a_picture_that_no_network_can_hold_fails_alone() -> None:
    assert network_size(65500, 1, 368, 656) == (656, 368)
    with pytest.raises(ImageFailed, match="65500 x 1 pixels"):
        network_size(65500, 1, 368, 0)


def frame(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(1, 256, (height, width, 3)).astype(np.uint8)


def test_a_frame_of_the_network_s_size_passes_unchanged() -> None:
    image = frame(32, 64)
    prepared = prepare([image], 32, 64)
    assert prepared.to_frame == 1.0
    assert prepared.net_size == (64, 32)
    assert prepared.images.dtype == np.float32
    wanted = image[:, :, ::-1].transpose(2, 0, 1) / 256 - 0.5  # blue first
    np.testing.assert_array_equal(prepared.images[0], wanted.astype(np.float32))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((720, 1280), 719 / 367),  # fills the height: pixel 719 lies in pixel 367
        ((1080, 1920), 1919 / 652),  # scaled by 367 / 1079 it has 653.05 x 367.3 pixels, so 653 x 367
    ],
)
def test_the_way_back_starts_from_whole_pixels(size: tuple[int, int], wanted: float) -> None:
    assert prepare([np.zeros((*size, 3), np.uint8)], 368, 656).to_frame == pytest.approx(wanted, rel=1e-9)


def test_the_rest_is_black() -> None:
    prepared = prepare([frame(100, 20)], 32, 0)
    assert prepared.images.shape == (1, 3, 32, 16)
    # 20 columns at scale 31 / 99 end at column 5.9.
    np.testing.assert_array_equal(prepared.images[0, :, :, 7:], -0.5)
    assert (prepared.images[0, :, :, :6] > -0.5).all()


def test_several_frames_are_each_what_one_alone_is() -> None:
    images = [frame(50, 70), frame(50, 70)[::-1].copy(), frame(50, 70)[:, ::-1].copy()]
    together = prepare(images, 48, 656)
    assert len(together.images) == 3
    for number, image in enumerate(images):
        np.testing.assert_array_equal(together.images[number], prepare([image], 48, 656).images[0])


@given(side, side)
def test_the_first_pixel_stays_and_the_last_one_comes_back(width: int, height: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[0, 0] = 255
    prepared = prepare([image], 64, 128)
    net_width, net_height = prepared.net_size
    assert (net_width % 16, net_height) == (0, 64)
    assert prepared.to_frame > 0
    assert prepared.images[0, 0, 0, 0] == np.float32(255 / 256 - 0.5)
    # The frame fills the input in one direction, and a pixel there comes back inside the frame. A side
    # of few pixels is rounded by up to half of one on the way.
    reach = (net_width - 1) * prepared.to_frame, (net_height - 1) * prepared.to_frame
    assert reach[0] >= 0.95 * (width - 1) - 2 or reach[1] >= 0.95 * (height - 1) - 2


@pytest.mark.parametrize("size", [(720, 1280), (96, 128), (400, 300)])
def test_a_dot_is_found_where_it_was(size: tuple[int, int]) -> None:
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    y, x = int(height * 0.6), int(width * 0.3)
    image[y - 6 : y + 7, x - 6 : x + 7] = 255
    prepared = prepare([image], 176, 656)
    rows, columns = np.nonzero(prepared.images[0, 0] > 0)
    found = np.array([columns.mean(), rows.mean()]) * prepared.to_frame
    np.testing.assert_allclose(found, (x, y), atol=0.6 * prepared.to_frame)
