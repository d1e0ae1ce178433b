import pytest

from tasks.dataset.text import public_source, safe_cell


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
    ],
)
def test_what_of_a_source_is_made_public(source: str, public: str) -> None:
    assert public_source(source) == public
