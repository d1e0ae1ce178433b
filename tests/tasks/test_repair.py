"""Lost messages in a cluster, where no `hardpose up` looks for them: its workers do, one at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hardpose_process import hardpose, start
from make_video import write_video
from odd_models_package import install
from painted_books import RECIPE
from patience import until
from pydantic import SecretStr

from api.exit_codes import ExitCode
from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable
from broker.repair_orders import RepairOrders
from broker.settings import Settings, load_settings
from tasks.celery_repair import repair_all
from tasks.repair_pump import LossWatch, RepairPump
from tasks.runtime import Runtime


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Settings]:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield load_settings(home=tmp_path / "state", broker_url=broker.url)


@pytest.fixture
def runtime(system: Settings) -> Runtime:
    system.home.mkdir()
    return Runtime(system)


def forget(control: Control) -> None:
    with control.server() as server:
        server.flushall()


def book(runtime: Runtime, job_id: str, links: int) -> None:
    videos = [f"https://example.org/{job_id}-{number}.mp4" for number in range(links)]
    runtime.catalog.create_job(job_id, RECIPE, videos)


# --- who notices ---------------------------------------------------------------------------------


def test_a_lost_memory_is_told_once_whatever_else_is_sent_meanwhile(runtime: Runtime) -> None:
    with create_app(runtime.settings) as app:
        watches = [LossWatch(app, runtime, name) for name in ("a", "b", "c")]
        assert [watch.look() for watch in watches] == [None] * 3  # a new system has lost nothing
        assert [watch.look() for watch in watches] == [None] * 3
        for _ in range(2):
            forget(runtime.control)
            late = LossWatch(app, runtime, "late")  # a worker that starts after the loss knows of none
            assert late.look() is None
            app.send_task("hardpose.pose", queue="pose")  # the system is never without messages
            said = [watch.look() for watch in watches]
            assert said == ["the shared state has lost its memory", None, None]
            assert [watch.look() for watch in (*watches, late)] == [None] * 4
            assert runtime.control.messages(["download"]) == 1


def test_a_loss_that_could_not_be_told_is_told_later(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_app(runtime.settings) as app:
        watch = LossWatch(app, runtime, "a")
        watch.look()
        forget(runtime.control)

        def away(*given: object, **named: object) -> None:
            raise BrokerUnavailable("It is away.", "Wait.")

        with monkeypatch.context() as broken:
            broken.setattr(app, "send_task", away)
            with pytest.raises(BrokerUnavailable):
                watch.look()
        assert watch.look() == "the shared state has lost its memory"


def test_silence_is_noticed_by_one_and_by_another_when_that_is_gone(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.reconcile.LOOK_SECONDS", 0.0)
    with create_app(runtime.settings) as app:
        first, second = (LossWatch(app, runtime, name) for name in ("a", "b"))
        assert (first.look(), second.look()) == (None, None)
        for watch in (first, second):
            watch._quiet._seen -= 1000  # nothing for a long while
        assert second.look() is None  # the first is the one that looks
        assert first.look() == "there is no message"
        assert first.look() is None
        assert runtime.control.messages(["download"]) == 1
        with runtime.control.server() as server:
            server.delete(runtime.control.key("download"), "download")
            server.delete(runtime.control.key("repair:leader"))  # it is gone, and its time has run out
        assert second.look() == "there is no message"


@pytest.mark.parametrize(
    ("queues", "has"),
    [
        (["download"], True), (["compare"], True), (["pose+mask+me+compare"], True),
        (["pose", "download"], True),
        (["pose"], False), (["me"], False), (["me.board"], False), (["export"], False),
    ],
)  # fmt: skip
def test_only_workers_that_reach_the_catalog_look(queues: list[str], has: bool) -> None:
    assert RepairPump(None).serves(queues) == has


# --- what is mended ------------------------------------------------------------------------------


def test_what_is_open_is_sent_and_by_one_at_a_time(runtime: Runtime) -> None:
    book(runtime, "one", 3)
    book(runtime, "two", 2)
    with create_app(runtime.settings) as app:
        with RepairOrders(runtime.control).mending() as still:
            assert still is not None
            still()
            assert repair_all(app, runtime) is None
            assert runtime.control.messages(["download"]) == 0
        assert repair_all(app, runtime) == 5
        assert runtime.control.messages(["download"]) == 5
        assert repair_all(app, runtime) == 5  # again: the earlier ones are void
        with runtime.control.server() as server:
            tickets = len(server.keys(runtime.control.key("ticket:link:*")))
        assert tickets == 5


def test_a_lease_that_ran_out_is_no_error(runtime: Runtime) -> None:
    orders = RepairOrders(runtime.control)
    with orders.mending() as still:
        assert still is not None
        forget(runtime.control)
        still()
        with orders.mending() as other:
            assert other is not None


# --- a real worker -------------------------------------------------------------------------------


@pytest.mark.system
def test_the_workers_of_a_cluster_mend_a_redis_that_lost_its_memory(tmp_path: Path) -> None:
    """Segments wait for a pose worker that is not there yet when the server forgets them."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        env = {
            **install(tmp_path / "stranger"),
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(tmp_path / "state"),
            "HARDPOSE_POSE_MODEL": "nobody",
        }
        control = Control.of(load_settings(broker_url=SecretStr(broker.url)))
        video = write_video(tmp_path / "ramp.mp4", range(0, 500, 100))
        worker = start("worker", "download", "compare", env=env)
        try:
            sent = hardpose("enqueue", video, env=env)
            assert sent.code == ExitCode.OK, sent.stderr
            until(lambda: waits(control) and known(control), "the segment")
            forget(control)
            until(lambda: waits(control), "the segment again")
        finally:
            worker.terminate()
            log, _ = worker.communicate(timeout=120)
        assert log.count("the shared state has lost its memory: what is open is sent anew") == 1


def known(control: Control) -> bool:
    """Whether the worker has looked once."""
    with control.server() as server:
        return bool(server.exists(control.key("repair:leader")))


def waits(control: Control) -> bool:
    """Whether the one segment waits, and what has sent it is done with."""
    return control.lengths(["pose"]) == ({"pose": 1}, 0)
