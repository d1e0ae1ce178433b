"""What has failed is counted by its error's code; a series that an alert watches is there from the start."""

import pytest
from celery.exceptions import Reject, Retry
from prometheus_client import REGISTRY

from broker.errors import FunnelMismatch
from broker.recipe import Stage
from tasks.counting import link_raised, segment_raised
from tasks.readable import LinkFailed
from workers.metrics import worker_metrics


def failures(code: str) -> float | None:
    return REGISTRY.get_sample_value("hardpose_failures_total", {"code": code})


@pytest.mark.parametrize(
    ("error", "code", "counted"),
    [
        (FunnelMismatch("3 frames, 2 verdicts", "report it"), "funnel_mismatch", 1),
        (ValueError("no error of ours"), "other", 1),
        (Retry("in a while"), "other", 0),  # it has not failed
        (Reject("away", requeue=True), "other", 0),
    ],
)
def test_a_failed_segment_is_counted_by_its_code(error: Exception, code: str, counted: int) -> None:
    worker_metrics()
    before = failures(code) or 0.0
    segment_raised((Stage.COMPARE,), error)
    assert (failures(code) or 0.0) - before == counted


def test_a_failed_link_is_counted_and_one_that_waits_is_not() -> None:
    before = failures("gone_video") or 0.0
    link_raised(LinkFailed("gone_video", "It is gone.", ""), parked=False)
    link_raised(LinkFailed("gone_video", "It waits.", ""), parked=True)
    assert failures("gone_video") == before + 1


def test_a_funnel_that_never_failed_is_a_zero() -> None:
    worker_metrics()
    assert failures("funnel_mismatch") is not None
