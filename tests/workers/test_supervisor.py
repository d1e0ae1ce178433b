import sys
from pathlib import Path

import psutil
import pytest
from patience import until

from broker.errors import SettingsError
from broker.settings import load_settings
from workers.process import parse_queues, pool_arguments
from workers.supervisor import RESTARTS, Supervisor, WorkerDied, WorkerProcess


@pytest.fixture
def supervisor(tmp_path: Path):
    supervisor = Supervisor(load_settings(home=tmp_path))
    yield supervisor
    supervisor.stop(patience=0.2)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.fixture
def workers_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of ours, which end when they find no broker: before or after a test has looked at them."""
    stays = python("import time; time.sleep(999)")
    monkeypatch.setattr("workers.supervisor.hardpose_command", lambda: stays)


def over(worker: WorkerProcess) -> None:
    until(lambda: worker.process.poll() is not None, f"the end of {worker.name}")


def test_a_program_that_ends_is_started_again(supervisor: Supervisor) -> None:
    worker = supervisor.start_program(python("import sys; sys.exit(3)"), "short")
    first = worker.process.pid
    over(worker)
    assert supervisor.mend() == ["short"]
    assert worker.process.pid != first


def test_one_that_ends_for_ever_is_reported_with_its_log(supervisor: Supervisor) -> None:
    worker = supervisor.start_program(python("raise SystemExit('no such device')"), "hopeless")
    with pytest.raises(WorkerDied, match="no such device"):
        for _ in range(RESTARTS + 1):
            over(worker)
            supervisor.mend()
    assert worker.restarts == RESTARTS


def test_one_that_will_not_stop_is_killed(supervisor: Supervisor) -> None:
    deaf = "import signal, time\nfor s in (15, 3): signal.signal(s, signal.SIG_IGN)\n"
    deaf += "print('up', flush=True)\ntime.sleep(999)"
    worker = supervisor.start_program(python(deaf), "deaf")
    until(lambda: "up" in worker.log_file.read_text(), "its first word")
    supervisor.stop(patience=0.2)
    assert worker.process.wait(60) == -9


def test_each_worker_of_a_machine_serves_its_metrics_on_a_port_of_its_own(
    workers_that_stay: None, tmp_path: Path
) -> None:
    supervisor = Supervisor(load_settings(home=tmp_path, metrics_port=9464))
    try:
        workers = [supervisor.start_worker([queue]) for queue in ("pose", "mask")]
        seen = [psutil.Process(worker.process.pid).environ() for worker in workers]
    finally:
        supervisor.stop(patience=0.2)
    assert [variables["HARDPOSE_METRICS_PORT"] for variables in seen] == ["9464", "9465"]


def test_secrets_do_not_reach_the_command_line(workers_that_stay: None, tmp_path: Path) -> None:
    supervisor = Supervisor(load_settings(home=tmp_path, broker_url="redis://:s3cret@127.0.0.1:1/0"))
    try:
        process = psutil.Process(supervisor.start_worker(["pose"]).process.pid)
        assert "s3cret" in process.environ()["HARDPOSE_BROKER_URL"]  # it was handed over,
        assert "worker" in process.cmdline()
        assert not any("s3cret" in argument for argument in process.cmdline())  # but not for all to see
    finally:
        supervisor.stop(patience=0.2)


@pytest.mark.parametrize(
    ("queues", "pool"),
    [
        (["download"], "threads"),  # transfers only wait
        (["pose"], "prefork"),  # a model needs a process that can be killed
        (["pose+mask+me+compare"], "prefork"),
        (["download", "compare"], "prefork"),  # the stricter of the two
    ],
)
def test_pools(queues: list[str], pool: str) -> None:
    assert pool_arguments(parse_queues(queues))["pool_cls"] == pool


@pytest.mark.parametrize("name", ["", "poses", "mask+pose", "pose+me", "compare+download", "pose,mask"])
def test_a_queue_that_no_placement_has_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="There is no queue"):
        parse_queues([name])


def test_the_tokens_of_the_api_reach_only_who_serves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOSE_API_TOKENS", "ana:admin:0123456789abcdef")
    supervisor = Supervisor(load_settings(home=tmp_path, log_level="ERROR"))
    shown = "import os; print(os.environ.get('HARDPOSE_API_TOKENS'), os.environ['HARDPOSE_LOG_LEVEL'])"
    try:
        worker = supervisor.start_program(python(shown), "a-worker")
        api = supervisor.start_program(python(shown), "an-api", tokens=True)
        over(worker)
        over(api)
        assert worker.log_file.read_text() == "None ERROR\n"
        assert api.log_file.read_text() == "ana:admin:0123456789abcdef ERROR\n"
    finally:
        supervisor.stop(patience=0.2)
