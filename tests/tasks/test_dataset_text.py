from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dataset.text import public_source, public_text, safe_cell


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),  # the classic
        ("+1", "'+1"),  # starts a formula in a spreadsheet
        ("-1", "'-1"),  # the same
        ("@SUM(A1)", "'@SUM(A1)"),  # an old spreadsheet's formula
        ("\t=1", "'\t=1"),  # a tab is skipped before the formula is read
        ("a=1", "a=1"),  # harmless inside
        (-0.5, -0.5),  # a number is no text
        (None, None),  # an empty cell
    ],
)
def test_no_cell_is_a_formula(text: str | float | None, safe: str | float | None) -> None:
    assert safe_cell(text) == safe


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("https://example.org/watch?v=1", "https://example.org/watch?v=1"),  # a link as it is
        ("https://me:pass@example.org:8443/v", "https://example.org:8443/v"),  # without the password
        ("/home/ann/films/jump.mp4", "jump.mp4"),  # a path says whose machine it was
        (r"C:\Users\ann\jump.mp4", "jump.mp4"),  # on any system
        ("file:///home/ann/my%20jump.mp4", "my jump.mp4"),  # the same as an address
        ("jump.mp4", "jump.mp4"),  # a bare name
        ("https://a.org/w?v=1&list=2&t=9s", "https://a.org/w?v=1&list=2&t=9s"),  # parameters of a player
        ("https://a.org/w?v=%41+b&token=x&list=", "https://a.org/w?v=%41+b&list="),  # the rest to the byte
        ("https://a.org/v.mp4?X-Amz-Date=1&X-Amz-Signature=2", "https://a.org/v.mp4"),  # an S3 link
        (
            "https://a.org/v.mp4?x-goog-signature=2&alt=media",
            "https://a.org/v.mp4?alt=media",
        ),  # small letters
        ("https://a.org/v?sv=2022&sig=x%3D", "https://a.org/v?sv=2022"),  # Azure
        ("https://a.org/v?Policy=a&Signature=b&Key-Pair-Id=c&Expires=1", "https://a.org/v"),  # CloudFront
        ("https://a.org/v?Expires=1", "https://a.org/v?Expires=1"),  # no signature, so no part of one
        ("https://a.org/v?access%5Ftoken=x", "https://a.org/v"),  # a name in disguise
        ("https://a.org/v?key", "https://a.org/v"),  # a name without a value
        ("https://a.org/v?keyframe=7", "https://a.org/v?keyframe=7"),  # only begins like a secret
        ("https://a.org/v#access_token=x&t=3", "https://a.org/v#t=3"),  # after the hash mark too
        (
            "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL1&si=who&t=9s#a",
            "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        ),  # which video of YouTube, not who shared it
        (
            "https://youtu.be/dQw4w9WgXcQ?si=who",
            "https://youtu.be/dQw4w9WgXcQ",
        ),  # the id stands in the path
        (
            "https://www.youtube.com/playlist?si=who&list=PL1",
            "https://www.youtube.com/playlist?list=PL1",
        ),  # a playlist
        ("https://me:pass@[a.org/v?token=x", "https://[a.org/v"),  # no address at all
    ],
)
def test_what_of_a_source_is_made_public(source: str, public: str) -> None:
    assert public_source(source) == public


names = st.sampled_from(
    ["v", "list", "t", "sig", "Signature", "X-Amz-Date", "TOKEN", "key", "Expires", "a b"]
)
pairs = st.tuples(names, st.text("abc123%+=", max_size=5)).map("=".join)


@given(st.lists(pairs, max_size=6).map("&".join))
def test_what_is_public_stays_as_it_is(query: str) -> None:
    for host in ("example.org", "www.youtube.com"):
        once = public_source(f"https://{host}/v?{query}")
        assert public_source(once) == once


@pytest.mark.parametrize(
    ("text", "source", "public"),
    [
        ("There is no file /home/ann/a.mp4.", "/home/ann/a.mp4", "There is no file a.mp4."),  # a path
        ("No /home/ann/a b.mp4.", "file:///home/ann/a%20b.mp4", "No a b.mp4."),  # the path of an address
        ("No file:///home/ann/a%20b.mp4.", "/home/ann/a b.mp4", "No a b.mp4."),  # the address of a path
        ("No file:/home/ann/a.mp4.", "/home/ann/a.mp4", "No a.mp4."),  # its short form
        (f"No {Path('films/a.mp4').absolute()}.", "films/a.mp4", "No a.mp4."),  # a path made absolute
        ("No (films/a.mp4).", "films/a.mp4", "No (a.mp4)."),  # as it was given
        (
            "https://u:p@a.org/v?token=x is gone",
            "https://u:p@a.org/v?token=x",
            "https://a.org/v is gone",
        ),  # link
        (
            "sent to https://b.org/v?sig=x&v=1",
            "https://a.org/v",
            "sent to https://b.org/v?v=1",
        ),  # another link
        ("The video is private.", "https://a.org/v", "The video is private."),  # nothing to hide
        ("Nothing.", "", "Nothing."),  # an empty link is found nowhere
    ],
)
def test_what_of_a_message_is_made_public(text: str, source: str, public: str) -> None:
    assert public_text(text, source) == public
