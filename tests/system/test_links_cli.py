"""Lists, rules and another try, as a user types them: real processes, a real broker, real clips."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hardpose_process import PATIENCE_SECONDS, TOGETHER, command, environment, hardpose, only_job, start
from make_video import write_steady

from api.exit_codes import ExitCode
from broker.intake import Intake
from broker.views import State

pytestmark = pytest.mark.system


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of a system that is up."""
    home = tmp_path / "state"
    process = start("up", "--home", home, "--flower-port", "0")
    assert process.stdout is not None
    assert any("is up" in line for line in process.stdout)
    yield home
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)


def test_a_run_takes_its_links_from_lists(tmp_path: Path) -> None:
    one, two = (write_steady(tmp_path / f"{name}.mp4", 20, 20 + n) for n, name in enumerate("ab"))
    table = tmp_path / "films.csv"
    table.write_text(f"title,film\nOne,{one}\nAgain,{one}\n")
    # fmt: off
    line = command(
        "run", "--list", table, "--column", "film", "--list", "-", "--out", tmp_path / "out", "--json",
        "--max-duration", "1m", "--deny-channel", "@nobody",
    )
    # fmt: on
    given = json.dumps({"film": str(two)})
    env = environment(TOGETHER)
    done = subprocess.run(line, input=given, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == ExitCode.OK, done.stderr
    job = only_job(tmp_path / "out" / "state")
    assert [link.link for link in job.links] == [str(one), str(two)]
    assert job.intake == Intake(max_duration_seconds=60, denied_channels=("@nobody",))


def test_other_rules_are_another_job_and_the_same_are_the_same(home: Path, tmp_path: Path) -> None:
    clip = write_steady(tmp_path / "a.mp4", 20, 20)

    def enqueued(*options: str) -> str:
        sent = hardpose("enqueue", clip, "--home", home, *options)
        assert sent.code == ExitCode.OK, sent.stderr
        return sent.stdout.strip()

    plain, cc = enqueued(), enqueued("--licence", "cc", "--deny-channel", "@b", "--deny-channel", "@A")
    assert plain != cc
    assert enqueued("--deny-channel", "@A", "--deny-channel", "@b", "--licence", "cc") == cc
    answer = json.loads(hardpose("status", "--home", home, "--json").stdout)
    assert [job["job_id"] for job in answer["jobs"]] == [plain, cc]
    assert answer["jobs"][1]["intake"] == {"licences": "cc", "denied_channels": ["@A", "@b"]}
    assert answer["downloads"]["broker"] == "answers"


def test_what_failed_is_tried_again_for_its_reason(home: Path, tmp_path: Path) -> None:
    clip, missing = write_steady(tmp_path / "a.mp4", 20, 20), tmp_path / "missing.mp4"
    job_id = hardpose("enqueue", clip, missing, "--home", home).stdout.strip()
    watched = hardpose("watch", job_id, "--home", home)
    assert watched.code == ExitCode.SOME_FAILED, watched.stderr
    typo = hardpose("retry", job_id, "--reason", "filemissing", "--home", home)
    assert typo.code == ExitCode.USAGE
    assert "file_missing (1), permanent (1)" in typo.stderr
    shutil.copy(clip, missing)
    again = hardpose("retry", "--reason", "file_missing", "--home", home)
    assert again.code == ExitCode.OK, again.stderr
    assert f"{job_id}: 1 link is tried again" in again.stdout
    watched = hardpose("watch", job_id, "--home", home)
    assert watched.code == ExitCode.OK, watched.stderr
    assert [link.state for link in only_job(home).links] == [State.DONE, State.DONE]
    assert "Nothing failed" in hardpose("retry", "--home", home).stdout


def test_a_try_without_a_system_that_runs_is_typed(tmp_path: Path) -> None:
    ended = hardpose("run", tmp_path / "missing.mp4", "--out", tmp_path, env=TOGETHER)
    assert ended.code == ExitCode.ALL_FAILED, ended.stderr
    again = hardpose("retry", "--home", tmp_path / "state")
    assert again.code == ExitCode.ENVIRONMENT
    assert "broker_unavailable" in again.stderr
    assert "hardpose up" in again.stderr
    assert only_job(tmp_path / "state").links[0].state == State.FAILED
    told = hardpose("status", "--home", tmp_path / "state")
    assert told.code == ExitCode.OK
    assert "1 failed" in told.stdout
    assert "rates and breakers are not known" in told.stdout
