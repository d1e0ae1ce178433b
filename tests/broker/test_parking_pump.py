"""The pump's thread by itself; in a real worker it is held to ``test_parking``."""

import logging
import threading

import pytest
from pydantic import SecretStr

from broker.parking_pump import pump
from broker.settings import load_settings


def test_broker_of_another_kind_without_shared_state_is_told_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = load_settings(broker_url=SecretStr("amqp://127.0.0.1:1//"))
    thread = threading.Thread(target=pump, args=(None, settings, threading.Event()), daemon=True)
    thread.start()
    thread.join(100)
    assert not thread.is_alive()
    (record,) = [r for r in caplog.records if r.name == "broker.pump_step"]
    assert record.levelno == logging.ERROR and record.exc_info is None
    assert "HARDPOSE_CONTROL_URL" in record.getMessage()
