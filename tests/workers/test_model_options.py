"""A model's options from what a user writes, with every kind of mistake."""

import pytest

from broker.errors import SettingsError
from broker.recipe import ModelSpec
from workers.options import with_options

SPEC = ModelSpec(
    name="net", version="1", options={"height": 368, "share": 0.5, "tiles": True, "precision": "fp32"}
)


def test_texts_are_read_as_the_defaults_type() -> None:
    given = {"height": "512", "share": "1", "tiles": "FALSE", "precision": "16"}
    read = with_options(SPEC, given).options
    assert read == {"height": 512, "share": 1.0, "tiles": False, "precision": "16"}
    assert [type(value) for value in read.values()] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("height", "abc", "Give a whole number; the default is 368."),
        ("height", "36.8", "Give a whole number"),
        ("share", "half", "Give a number"),
        ("tiles", "yes", "Give true or false"),
        ("hight", "512", "Known options: height, precision, share, tiles."),
    ],
)
def test_a_mistake_is_named_in_words(name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        with_options(SPEC, {name: value})
    assert remedy in caught.value.remedy
