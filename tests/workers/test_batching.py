"""Batches: every item gets its result, in order, whatever does not fit into memory."""

import logging
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.batching import Batches
from workers.errors import OutOfMemory

FULL = (OutOfMemory("The GPU is full.", "Take a larger one."), MemoryError())


@given(
    items=st.lists(st.integers(), max_size=40),
    size=st.integers(-1, 20),
    fits=st.integers(1, 20),
    fails=st.lists(st.booleans(), min_size=1, max_size=10),
    error=st.sampled_from(FULL),
)
def test_one_result_for_each_item_in_order(items, size, fits, fails, error) -> None:
    """Batches of up to ``fits`` items always work; larger ones fail as ``fails`` says."""
    seen: list[int] = []
    pattern = cycle(fails)

    def work(batch):
        assert 1 <= len(batch) <= batches.size
        seen.append(len(batch))
        if len(batch) > fits and next(pattern):
            raise error
        return [item * 2 for item in batch]

    batches = Batches("net", size)
    first = batches.size
    assert batches.run(items, work) == [item * 2 for item in items]
    assert 1 <= batches.size <= first
    assert sum(seen) >= len(items)


def test_the_size_stays_halved(caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[int] = []

    def work(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise OutOfMemory("The GPU is full.", "")
        return list(batch)

    batches = Batches("net", 16)
    with caplog.at_level(logging.WARNING):
        assert batches.run(range(16), work) == list(range(16))
    assert sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"net: a batch of {size} does not fit into memory, going on with {size // 2} (The GPU is full.)"
        for size in (16, 8, 4)
    ]
    sizes.clear()
    assert batches.run(range(3), work) == [0, 1, 2]
    assert sizes == [2, 1]  # what did not fit once is not tried again


@pytest.mark.parametrize("error", FULL)
def test_an_item_that_does_not_fit_alone_is_an_error(error: Exception) -> None:
    def work(batch):
        if 7 in batch:
            raise error
        return list(batch)

    batches = Batches("net", 4)
    with pytest.raises(type(error)):
        batches.run(range(10), work)
    assert batches.size == 1


def test_other_errors_pass_and_change_nothing() -> None:
    def work(batch):
        raise ValueError("no image")

    batches = Batches("net", 4)
    with pytest.raises(ValueError, match="no image"):
        batches.run(range(10), work)
    assert batches.size == 4


def test_nothing_is_asked_for_no_items() -> None:
    assert Batches("net", 4).run([], lambda batch: pytest.fail("was asked")) == []


def test_a_model_that_loses_a_result_is_found_out() -> None:
    with pytest.raises(AssertionError, match="net gave 3 results for 4 items"):
        Batches("net", 4).run(range(8), lambda batch: list(batch)[1:])
