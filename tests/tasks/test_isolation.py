"""No test depends on the shell it is started from."""

import os
import subprocess
import sys
from pathlib import Path

from broker.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = {"HARDPOSE_WEIGHTS_DIR", "HARDPOSE_SHARED_DATA", "HARDPOSE_CONFIG"}


def test_only_the_defaults_are_seen() -> None:
    left = {name for name in os.environ if name.startswith("HARDPOSE_") and "_TEST_" not in name}
    assert left <= KEPT
    assert not Path(os.environ["HARDPOSE_CONFIG"]).exists()
    assert load_settings().model_fields_set <= {"weights_dir"}


def test_settings_of_the_shell_change_nothing(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("threads = 3\n")
    env = {**os.environ, "HARDPOSE_CONFIG": str(config), "HARDPOSE_THREADS": "0"}
    one = f"{Path(__file__)}::{test_only_the_defaults_are_seen.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one]
    done = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
