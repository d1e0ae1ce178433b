"""A device behind a command, and all that a command can do wrong."""

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

import device_tool
import numpy as np
import pytest
from device_pages import opened
from patience import longer_and_longer, until
from PIL import Image

from workers.devices import command_run
from workers.devices.errors import (
    CommandFailed,
    DeviceAway,
    DeviceMisdescribed,
    NothingWritten,
    TooLate,
    UnreadableAnswer,
    WrongSize,
    WroteOutside,
)

SCRIPTS = Path(__file__).resolve().parents[2] / "deploy" / "device"
FAKES = {
    # As the real ones, for as much as the scripts use; the device is the folder DEVICE, and on if it says so.
    "adb": """#!/bin/sh
on_it() { echo "$1" | sed "s|/data/local/tmp|$DEVICE|g"; }
[ "$1" = -s ] && [ "$2" = me-2 ] || exit 2
[ -e "$DEVICE/on" ] || { echo "error: device 'me-2' not found" >&2; exit 1; }
case "$3" in
    get-state) echo device ;;
    push) cp -R "$4" "$(on_it "$5")" ;;
    pull) cp -R "$(on_it "$4")" "$5" ;;
    shell) sh -c "$(on_it "$4")" ;;
esac
""",
    "ssh": """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
[ "$1" = me-2 ] || exit 2
[ -e "$DEVICE/on" ] || { echo "ssh: connect to host me-2 port 22: No route to host" >&2; exit 255; }
TMPDIR="$DEVICE" sh -c "$2"
""",
}


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Where scratch folders are made; nothing of them may be left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def all_words_are_heard(monkeypatch):
    """However late the thread that listens comes to them; what keeps the pipe open is the exception here."""
    monkeypatch.setattr(command_run, "LISTEN_SECONDS", 60.0)


@pytest.fixture
def device(tmp_path):
    """A device with a tool beside its page, named by a relative path."""
    tool = tmp_path / "a tool.py"
    shutil.copy(device_tool.__file__, tool)

    def described(way, more="", **keys):
        run = f"'{sys.executable}' 'a tool.py' {way} {{input_dir}} {{output_dir}} {more}"
        return opened(tmp_path / "me.toml", "command", {"run": run}, **{"time_limit": 240.0, **keys})

    return described


def frame(red=200, height=6, width=8):
    image = np.full((height, width, 3), 30, np.uint8)
    image[: height // 2, :, 0] = red
    return image


def test_each_mask_belongs_to_its_picture(device):
    frames = [frame(red) for red in (10, 60, 110)]
    maps = device("good", batch=2).maps(frames)
    assert [m.tolist() for m in maps] == [f[:, :, 0].tolist() for f in frames]


def test_a_picture_is_sent_in_the_size_and_format_that_is_described(device):
    (answer,) = device("good", input=[16, 12], frames="jpeg").maps([frame(height=48, width=64)])
    assert answer.shape == (12, 16)


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("exit-1", CommandFailed, ("status 1", "the last words")),
        ("crash", CommandFailed, ("SIGABRT",)),
        ("exit-75", DeviceAway, ("device offline",)),  # EX_TEMPFAIL
        ("nothing", NothingWritten, ("000.png", "is nothing")),
        ("one-less", NothingWritten, ("001.png", "'mask.png'")),
        ("empty", UnreadableAnswer, ("000.png empty",)),
        ("truncated", UnreadableAnswer, ("no whole PNG",)),
        ("wrong-size", WrongSize, ("9 x 6", "8 x 6")),
        ("huge", UnreadableAnswer, ("more than",)),  # 10 GB, not read
        ("link", WroteOutside, ("link", "000.png")),
        ("link-to-input", WroteOutside, ("link",)),
        ("hard-link", WroteOutside, ("no plain file",)),
        ("fifo", WroteOutside, ("no plain file",)),  # which would wait for ever
        ("folder", WroteOutside, ("no plain file",)),
        ("beside", WroteOutside, ("'mask.png' beside",)),
        ("into-input", WroteOutside, ("'000_mask.png' in its input",)),
        ("over-input", WroteOutside, ("changed the picture 000.png",)),
        ("no-input", WroteOutside, ("changed the picture 000.png",)),
        ("linked-output", WroteOutside, ("another 'out'",)),
        ("gone", WroteOutside, ("folder is gone",)),
        ("deep", NothingWritten, ("is 'd'",)),  # deeper than Python removes
    ],
)
def test_what_is_no_mask_is_an_error_of_its_own(device, way, error, words):
    with pytest.raises(error) as caught:
        device(way, batch=2).maps([frame()] * (2 if way == "one-less" else 1))
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert said.isprintable() and len(said) < 700


@pytest.mark.parametrize("way", ["slow", "stubborn"])
def test_a_command_that_does_not_end_is_killed_with_its_children(device, way, monkeypatch):
    monkeypatch.setattr(command_run, "GRACE_SECONDS", 0.2)
    for limit in longer_and_longer(1.0):
        with pytest.raises(TooLate, match=rf"within {limit:g} s.*time_limit") as caught:
            device(way, time_limit=limit).maps([frame()])
        if found := re.search(r"child (\d+)", str(caught.value)):
            break  # else it was killed before it had a child
    until(lambda: not alive(int(found[1])), "the end of its child, which has minutes to live")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("way", ["leaves-a-child", "leaves-a-server"])
def test_what_a_command_leaves_running_is_not_waited_for(device, way, tmp_path, monkeypatch):
    monkeypatch.setattr(command_run, "LISTEN_SECONDS", 0.2)
    threads = threading.active_count()
    assert len(device(way).maps([frame()])) == 1
    left = int((tmp_path / "left").read_text())  # it has minutes to live
    until(lambda: threading.active_count() <= threads, "the end of our threads")
    if way == "leaves-a-server":
        assert alive(left)
        os.kill(left, signal.SIGKILL)
    until(lambda: not alive(left), "the end of what it has left")


def test_a_command_may_say_a_lot(device):
    assert device("talks").maps([frame(99)])[0].max() == 99


def test_no_shell_reads_the_command_and_it_sees_no_setting_of_ours(device, tmp_path, monkeypatch):
    monkeypatch.setenv("HARDPOSE_BROKER_URL", "rediss://:hunter2@broker")
    device("environment", "'$HOME; touch {output_dir}/x' `id` {other}").maps([frame()])
    folder, _, _, inputs, outputs, *words = (tmp_path / "environment").read_text().split("\n")
    assert folder == str(tmp_path)
    assert words[:3] == [f"$HOME; touch {outputs}/x", "`id`", "{other}"]
    assert Path(inputs).name == "in" and Path(inputs).parent == Path(outputs).parent
    assert not [word for word in words if "hunter2" in word or word.startswith("HARDPOSE_")]
    assert f"TMPDIR={Path(inputs).parent / 'tmp'}" in words


def test_its_folders_are_private(tmp_path, scratch):
    script(tmp_path / "look", f'#!/bin/sh\nstat -c %a "$1" "$1/.." > {tmp_path}/modes; exit 3\n')
    with pytest.raises(CommandFailed, match="status 3"):
        opened(
            tmp_path / "me.toml", "command", {"run": "./look {input_dir} {output_dir}"}, time_limit=240.0
        ).maps([frame()])
    assert (tmp_path / "modes").read_text().split() == ["700", "700"]


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("no-such-tool {input_dir} {output_dir}", "'no-such-tool' is not there"),
        ("./page.sh {input_dir} {output_dir}", "'./page.sh' is not there"),  # not executable
        ("tool '{input_dir} {output_dir}", "command.run"),  # an open quote
        ("tool {input_dir}", "command.run"),  # nowhere to write to
    ],
)
def test_a_command_that_cannot_be_started_is_found_at_start(tmp_path, run, words):
    (tmp_path / "page.sh").write_text("#!/bin/sh\n")
    with pytest.raises(DeviceMisdescribed, match=words) as caught:
        opened(tmp_path / "me.toml", "command", {"run": run})
    assert "line 5" in str(caught.value)


def test_a_program_that_is_gone_is_a_device_that_is_away(tmp_path):
    program = script(tmp_path / "tool", "#!/bin/sh\n")
    device = opened(tmp_path / "me.toml", "command", {"run": "./tool {input_dir} {output_dir}"})
    program.unlink()
    with pytest.raises(DeviceAway, match="No such file"):
        device.maps([frame()])


@pytest.mark.parametrize("tool", ["adb", "ssh"])
def test_a_device_over_a_script_of_ours(tmp_path, monkeypatch, tool):
    path, unit = tmp_path / "bin", tmp_path / "unit"
    path.mkdir()
    unit.mkdir()
    script(path / tool, FAKES[tool])
    draws = script(path / "segment", "")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DEVICE", str(unit))
    run = f"{SCRIPTS}/segment-over-{tool}.sh me-2 {{input_dir}} {{output_dir}}"
    device = opened(tmp_path / "me.toml", "command", {"run": run}, batch=8, time_limit=240.0)
    with pytest.raises(DeviceAway):
        device.maps([frame()])
    (unit / "on").touch()
    script(draws, "#!/bin/sh\necho out of memory >&2; exit 4\n")
    with pytest.raises(CommandFailed, match=r"status 4.*out of memory"):
        device.maps([frame()])
    script(draws, f'#!/bin/sh\nexec "{sys.executable}" "{device_tool.__file__}" good "$@"\n')
    assert [m.max() for m in device.maps([frame(red) for red in (70, 140, 210)])] == [70, 140, 210]
    assert [each.name for each in unit.iterdir()] == ["on"]  # nothing is left on the device


def test_masks_of_a_call_that_was_killed_are_not_taken_for_those_of_the_next(tmp_path, monkeypatch):
    """It left its folder on the device, and process numbers come again."""
    unit = tmp_path / "unit"
    unit.mkdir()
    (unit / "on").touch()
    script(tmp_path / "adb", FAKES["adb"])
    script(tmp_path / "segment", "#!/bin/sh\n")  # draws nothing
    Image.new("L", (8, 6), 255).save(tmp_path / "old.png")
    left = f"mkdir -p {unit}/hardpose-$$/out && cp {tmp_path}/old.png {unit}/hardpose-$$/out/000.png"
    script(tmp_path / "again", f'#!/bin/sh\n{left}\nexec {SCRIPTS}/segment-over-adb.sh "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DEVICE", str(unit))
    run = "./again me-2 {input_dir} {output_dir}"
    with pytest.raises(NothingWritten):
        opened(tmp_path / "me.toml", "command", {"run": run}, time_limit=240.0).maps([frame()])
