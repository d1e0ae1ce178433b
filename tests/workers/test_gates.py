"""What a job takes in, decided from what a site states."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.intake import Intake
from broker.settings import Settings
from workers.downloads import errors
from workers.downloads.contracts import Metadata
from workers.downloads.gates import check, freely_licensed

PLAIN: dict[str, Any] = {
    "video_id": "youtube:abc",
    "link": "https://www.youtube.com/watch?v=abc",
    "title": "A dance",
    "uploader": "Dancers",
    "uploader_id": "@dancers",
    "channel_id": "UC0123456789",
}


def stated(**changes: Any) -> Metadata:
    return Metadata(**{**PLAIN, **changes})


def test_video_of_which_nothing_is_known_passes_a_job_that_asks_for_nothing(settings: Settings) -> None:
    check(stated(), Intake(), settings)


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("Creative Commons Attribution license (reuse allowed)", True),  # YouTube
        ("CC BY-SA 3.0", True),  # Wikimedia
        ("by-nc cc-by-nc", True),  # Vimeo's code, spelt out
        ("CC0", True),  # no rights reserved
        ("https://creativecommons.org/publicdomain/zero/1.0/", True),  # an address
        ("Public Domain Mark", True),  # Flickr
        ("unknown", False),  # the site states none
        ("Standard YouTube License", False),  # YouTube
        ("", False),  # nothing at all
        ("All rights reserved; accbyline", False),  # the letters inside a word
    ],
)
def test_licence_gate(licence: str, free: bool, settings: Settings) -> None:
    assert freely_licensed(licence) is free
    check(stated(licence=licence), Intake(licences="any"), settings)
    if free:
        check(stated(licence=licence), Intake(licences="cc"), settings)
    else:
        with pytest.raises(errors.LicenceRefused):
            check(stated(licence=licence), Intake(licences="cc"), settings)


@pytest.mark.parametrize(
    ("denied", "refused"),
    [
        ("@Dancers", True),  # a handle, in other case
        ("dancers", True),  # the name, or the handle without its sign
        ("uc0123456789", True),  # the id
        (" Dancers ", True),  # blanks from a list
        ("Dancer", False),  # only a part of the name
        ("", False),  # an empty line of a list denies nobody
    ],
)
def test_deny_list(denied: str, refused: bool, settings: Settings) -> None:
    intake = Intake(denied_channels=("somebody else", denied))
    if refused:
        with pytest.raises(errors.ChannelDenied):
            check(stated(), intake, settings)
    else:
        check(stated(), intake, settings)


def test_video_without_a_channel_is_on_no_deny_list(settings: Settings) -> None:
    check(stated(uploader="", uploader_id="", channel_id=""), Intake(denied_channels=("", "@")), settings)


@given(st.dates(), st.dates())
def test_day_gate_is_the_order_of_days(published: date, since: date) -> None:
    intake, metadata = Intake(since=since), stated(upload_date=published.isoformat())
    if published >= since:
        check(metadata, intake, Settings())
    else:
        with pytest.raises(errors.PublishedTooEarly):
            check(metadata, intake, Settings())


def test_unknown_day_is_refused_only_where_days_count(settings: Settings) -> None:
    check(stated(upload_date=""), Intake(), settings)
    with pytest.raises(errors.PublishedTooEarly, match="does not say"):
        check(stated(upload_date=""), Intake(since=date(2020, 1, 1)), settings)


@pytest.mark.parametrize(
    ("seconds", "of_job", "refused"),
    [
        (60.0, None, False),  # within the settings' bound
        (4 * 3600.0 + 1, None, True),  # over the settings' bound
        (4 * 3600.0 + 1, 5 * 3600.0, True),  # a job cannot raise it
        (60.0, 59.0, True),  # over the job's
        (60.0, 60.0, False),  # at the job's
        (None, 59.0, False),  # not stated: the file itself is looked at
    ],
)
def test_length_gate(seconds: float | None, of_job: float | None, refused: bool, settings: Settings) -> None:
    intake = Intake(max_duration_seconds=of_job)
    if refused:
        with pytest.raises(errors.VideoTooLong):
            check(stated(duration_seconds=seconds), intake, settings)
    else:
        check(stated(duration_seconds=seconds), intake, settings)


def test_size_gate(settings: Settings) -> None:
    check(stated(size_bytes=settings.max_video_bytes), Intake(), settings)
    with pytest.raises(errors.VideoTooLarge):
        check(stated(size_bytes=settings.max_video_bytes + 1), Intake(), settings)


def test_live_stream_is_no_video(settings: Settings) -> None:
    with pytest.raises(errors.LiveStream):
        check(stated(live=True), Intake(), settings)
