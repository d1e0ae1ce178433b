"""One pair of colours for the masks: in the reports, in the API's overlay and on the review page."""

import re
from pathlib import Path

import api.review
from tasks import mask_colours


def test_the_review_page_has_the_same_colours() -> None:
    sheet = (Path(api.review.__file__).parent / "base.css").read_text(encoding="utf-8")
    written = re.findall(r"--(teacher|device|both): (#[0-9a-f]{6});", sheet)
    colours = (mask_colours.TEACHER, mask_colours.DEVICE, mask_colours.BOTH)
    assert written == list(zip(("teacher", "device", "both"), map(mask_colours.css, colours), strict=True))
