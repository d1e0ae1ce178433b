"""Pictures of frames, and parts of downloads, without a server."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted_books import DEVICE_BOX, HEIGHT, TEACHER_BOX, WIDTH, jpeg, pixels, png
from PIL import Image

from api.http import drawing
from api.http.kept_pictures import KeptPictures
from api.http.ranges import RangeBeyond, matches, part_of
from tasks import mask_colours

BIG = 10_000_000


def test_the_overlay_says_who_has_what() -> None:
    picture = pixels(drawing.overlay_picture(jpeg(), png(TEACHER_BOX), png(DEVICE_BOX), None, BIG)).astype(
        int
    )
    assert picture.shape == (HEIGHT, WIDTH, 3)
    missed, added, both, outside = (picture[200, x] for x in (220, 380, 300, 500))
    for seen, colour, share in (
        (missed, mask_colours.TEACHER, drawing.PAINT),
        (added, mask_colours.DEVICE, drawing.PAINT),
        (both, mask_colours.BOTH, drawing.PAINT_BOTH),
        (outside, (0, 0, 0), 0.0),
    ):
        wanted = np.full(3, 90) * (1 - share) + np.array(colour) * share
        assert np.abs(seen - wanted).max() <= 12, (seen, wanted)  # JPEG


@given(st.integers(1, 40), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_paint_touches_nothing_outside_both_masks(w: int, h: int, one: float, two: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (h, w, 3), np.uint8)
    teacher, device = random.random((h, w)) < one, random.random((h, w)) < two
    painted = drawing.paint(rgb, teacher, device)
    assert np.array_equal(painted[~teacher & ~device], rgb[~teacher & ~device])
    lone = teacher & ~device
    assert np.all(painted[lone][:, 0] >= np.minimum(rgb[lone][:, 0], mask_colours.TEACHER[0]))


@given(width=st.integers(64, 1920))
def test_a_picture_is_never_enlarged(width: int) -> None:
    frame = jpeg((300, 200))
    shown = Image.open(io.BytesIO(drawing.frame_picture(frame, width, BIG)))
    assert shown.size == (min(width, 300), round(200 * min(width, 300) / 300))
    mask = Image.open(io.BytesIO(drawing.mask_picture(png((0, 0, 9, 9), (300, 200)), width, BIG)))
    assert mask.size == shown.size and mask.mode == "L"


def test_a_frame_that_is_small_enough_stays_as_stored() -> None:
    assert drawing.frame_picture(jpeg(), None, BIG) == jpeg()
    assert drawing.frame_picture(jpeg(), WIDTH, BIG) == jpeg()
    assert drawing.mask_picture(png(TEACHER_BOX), 1920, BIG) == png(TEACHER_BOX)


@given(
    st.tuples(*[st.floats(-500, 1500)] * 4), st.integers(1, 900), st.integers(1, 900)
)  # a pose may lie partly outside, and a broken box anywhere
def test_the_surroundings_of_a_person_lie_within_the_frame(box: drawing.Box, w: int, h: int) -> None:
    left, top, right, bottom = drawing.surroundings((w, h), box)
    assert 0 <= left < right <= w
    assert 0 <= top < bottom <= h
    inside = 0 <= box[0] < box[2] <= w and 0 <= box[1] < box[3] <= h
    assert not inside or (left <= box[0] and top <= box[1] and right >= box[2] and bottom >= box[3])


@pytest.mark.parametrize("width", [None, 100])
def test_all_views_of_a_person_show_the_same_part(width: int | None) -> None:
    box = (220.0, 100.0, 340.0, 300.0)  # a margin of 30 all round
    wanted = (180, 260) if width is None else (100, 144)
    mask = png((190, 70, 280, 330))  # the left half of the crop
    shown = pixels(drawing.mask_picture(mask, width, BIG, box))
    assert shown.shape == wanted[::-1]
    half = wanted[0] // 2
    assert shown[:, : half - 1].min() == 255
    assert shown[:, half + 1 :].max() == 0
    frame = pixels(drawing.frame_picture(jpeg(), width, BIG, box))
    assert frame.shape == (*wanted[::-1], 3)
    other = png((95, 35, 140, 165), (WIDTH // 2, HEIGHT // 2))  # the same mask, stored at half the size
    overlay = pixels(drawing.overlay_picture(jpeg(), mask, other, width, BIG, box)).astype(int)
    assert overlay.shape == frame.shape
    both = 90 * (1 - drawing.PAINT_BOTH) + 255 * drawing.PAINT_BOTH
    assert np.abs(overlay[60, half // 2] - both).max() <= 12
    assert np.abs(overlay[60, half + half // 2] - 90).max() <= 12


def test_a_large_frame_is_cut_at_the_same_place_however_it_is_decoded() -> None:
    """A JPEG that is decoded at a quarter of its size shows the same person."""
    frame = np.full((1080, 1921, 3), 90, np.uint8)
    frame[300:900, 1200:1500] = 250
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=95)
    box = (1200.0, 300.0, 1500.0, 900.0)
    shown = pixels(drawing.frame_picture(out.getvalue(), 96, BIG, box)).astype(int)
    assert shown.shape == (round(780 * 96 / 480), 96, 3)
    inside = np.abs(shown - 250).max(axis=2) < 60
    assert np.flatnonzero(inside[78])[[0, -1]] == pytest.approx([18, 77], abs=1)
    assert np.flatnonzero(inside[:, 48])[[0, -1]] == pytest.approx([18, 137], abs=1)


def a_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",  # nothing
        b"GIF89a" + bytes(100),  # another format
        jpeg()[:2000],  # cut off
        png(TEACHER_BOX)[:60],  # cut off
        a_bomb(5000, 5000),  # more pixels than allowed
        a_bomb(60_000, 60_000),  # more than Pillow itself allows
    ],
)
def test_what_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(drawing.PictureDamaged):
        drawing.frame_picture(data, 64, BIG)
    with pytest.raises(drawing.PictureDamaged):
        drawing.overlay_picture(jpeg(), data, png(DEVICE_BOX), 64, BIG)


def test_kept_pictures_stay_within_their_bound() -> None:
    kept, made = KeptPictures(max_bytes=1000), []

    def make(name: str, size: int) -> bytes:
        return kept.get(name, lambda: made.append(name) or bytes(size))  # type: ignore[func-returns-value]

    for n in range(20):
        make(str(n), 100)
        make("0", 100)  # asked for again and again: it stays
    assert kept.held == 1000
    assert made == [str(n) for n in range(20)]
    make("1", 100)
    assert made[-1] == "1", "the least recently used has gone"
    make("large", 500)
    assert kept.held == 1000, "one that would push out many is not kept"
    kept.clear()
    assert kept.held == 0


@given(st.integers(0, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_part_is_what_the_range_says(size: int, first: int | None, last: int | None) -> None:
    data = bytes(range(size))
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        wanted = b"" if not last else data[-last:]
    else:
        wanted = data[first : None if last is None else last + 1]
    try:
        part = part_of(size, asked, None, '"x"')
    except RangeBeyond:
        assert wanted == b""
        return
    if part is None:  # what cannot be read asks for the whole
        assert (first is None and last is None) or (None not in (first, last) and last < first)  # type: ignore[operator]
        return
    assert data[part.start : part.end] == wanted != b""
    assert part.content_range == f"bytes {part.start}-{part.end - 1}/{size}"


@pytest.mark.parametrize("asked", [None, "", "bytes=", "bytes=1-2,4-5", "lines=1-2", "bytes=a-b", "bytes=-"])
def test_any_other_range_asks_for_the_whole(asked: str | None) -> None:
    assert part_of(10, asked, None, '"x"') is None


def test_a_part_of_another_file_is_not_given() -> None:
    assert part_of(10, "bytes=2-", '"x"', '"x"') is not None
    for other in ('"y"', 'W/"x"', "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert part_of(10, "bytes=2-", other, '"x"') is None


def test_etags_match_weakly_in_lists_and_by_star() -> None:
    assert matches('"a", W/"b"', '"b"') and matches("*", '"b"')
    assert not matches(None, '"b"') and not matches('"a"', '"b"')
