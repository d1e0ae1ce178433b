"""Everything that people give by mistake: each fails alone, with its cause and remedy; the rest finishes."""

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import http_server
import pytest
from hardpose_process import TOGETHER, Ended, command, environment, hardpose, only_job
from make_video import turn, write_huge, write_sound, write_steady, write_video

from api.exit_codes import ExitCode
from broker.views import JobView, LinkView, State
from workers.embedded_weights import DETECTOR

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server() -> Iterator[http_server.Server]:
    with http_server.running() as running:
        yield running


BAD = {
    "missing.mp4": "file_missing",  # no such path
    "empty.mp4": "empty_file",  # 0 bytes
    "text.mp4": "not_a_video",  # a text with a video's name
    "cut.mp4": "video_truncated",  # the second half is missing
    "sound.mp4": "no_video_stream",  # no picture in it
    "8k.avi": "video_too_large",  # 7680 x 4320
    "folder": "empty_folder",  # a folder that holds no video
    "missing-on-server.mp4": "http_404",
    "html.mp4": "unsupported_site",  # a page in which no downloader finds a video
    "metadata.mp4": "private_address",  # http://169.254.169.254/metadata.mp4
    "clip.mp4": "unsupported_scheme",  # ftp:
}
GOOD = ("steady.mp4", "one-frame.mp4", "variable.mp4", "turned.mp4")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, server: http_server.Server) -> tuple[Ended, JobView]:
    """One run over all of it."""
    folder = tmp_path_factory.mktemp("bad")
    write_steady(folder / "steady.mp4", 40, 20)
    write_steady(folder / "one-frame.mp4", 1, 25)
    write_video(folder / "variable.mp4", [0, 10, 500, 510, 1700, 1900], Fraction(1, 1000))
    turn(write_steady(folder / "turned.mp4", 20, 10, size=(96, 48)), 90)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a video\n" * 100)
    whole = (folder / "steady.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(folder / "sound.mp4")
    write_huge(folder / "8k.avi", 7680, 4320)
    (folder / "folder").mkdir()
    links = [folder / name for name in (*GOOD, *list(BAD)[:7])]
    remote = ["http://169.254.169.254/metadata.mp4", "ftp://127.0.0.1/clip.mp4"]
    remote += [server.url("missing-on-server.mp4"), server.url("html.mp4")]
    env = {**TOGETHER, "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.0/8"]'}
    ended = hardpose("run", *links, *remote, "--out", folder / "out", env=env)
    return ended, only_job(folder / "out" / "state")


def link_named(job: JobView, name: str) -> LinkView:
    (link,) = [link for link in job.links if Path(link.link).name == name]
    return link


def test_the_exit_status_says_that_some_failed(run: tuple[Ended, JobView]) -> None:
    assert run[0].code == ExitCode.SOME_FAILED, run[0].stderr


@pytest.mark.parametrize(("name", "code"), BAD.items())
def test_each_fails_alone_with_cause_and_remedy(run: tuple[Ended, JobView], name: str, code: str) -> None:
    ended, job = run
    link = link_named(job, name)
    assert link.state == State.FAILED
    assert link.failure is not None
    assert link.failure.code == code
    assert link.failure.cause
    assert link.failure.remedy
    assert f"failed ({code}): {link.link}" in ended.stdout


@pytest.mark.parametrize("name", GOOD)
def test_the_odd_but_sound_ones_finish(run: tuple[Ended, JobView], name: str) -> None:
    link = link_named(run[1], name)
    assert link.state == State.DONE, link.failure
    assert link.funnel().check().examined >= 1


def test_frames_are_counted_by_time_whatever_the_frame_rate(run: tuple[Ended, JobView]) -> None:
    counts = {name: link_named(run[1], name).funnel().examined for name in GOOD}
    # Eight candidates a second: 2 s at 20 fps give 16; one frame gives one; 2 s at 10 fps give 16;
    # six frames at odd times give six at most.
    assert counts["steady.mp4"] == 16
    assert counts["one-frame.mp4"] == 1
    assert counts["turned.mp4"] == 16
    assert 4 <= counts["variable.mp4"] <= 6


def test_a_rotated_clip_is_upright(run: tuple[Ended, JobView]) -> None:
    video = link_named(run[1], "turned.mp4").video
    assert video is not None
    assert (video.width, video.height) == (48, 96)


def test_a_full_disk_fails_one_video_and_not_the_others(clips: dict[str, Path], tmp_path: Path) -> None:
    small = write_steady(tmp_path / "small.mp4", 20, 10)
    large = clips["SinglePerson_cam03"]
    room = small.stat().st_size + large.stat().st_size // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={room} none {disk} || exit 99; exec "$@"'
    line = ["unshare", "-m", "sh", "-c", mount, "sh"]
    line += command("run", large, small, "--out", tmp_path / "out")
    env = environment({**TOGETHER, "HARDPOSE_ARTIFACTS_URL": disk.as_uri()})
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=600, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode in (1, 99) and "hardpose" not in done.stderr:
        pytest.skip(f"a private file system is not permitted here: {done.stderr.strip()[:100]}")
    job = only_job(tmp_path / "out" / "state")
    assert done.returncode == ExitCode.SOME_FAILED, done.stderr
    assert link_named(job, "small.mp4").state == State.DONE
    failure = link_named(job, large.name).failure
    assert failure is not None
    assert failure.code == "disk_full"


def test_weights_with_a_wrong_hash_end_the_run(tmp_path: Path, clips: dict[str, Path]) -> None:
    ref = DETECTOR
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / f"{ref.sha256}.tflite").write_bytes(b"\0" * ref.size)  # the right name and size, other bytes
    env = {"HARDPOSE_WEIGHTS_DIR": str(weights)}
    ended = hardpose("run", clips["MultiPerson_cam01"], "--out", tmp_path, env=env)
    assert ended.code == ExitCode.ENVIRONMENT, ended.stderr
    assert f"weights: The stored weights {ref.file}" in ended.stderr
    assert "Delete the file" in ended.stderr
