"""How long the demo takes once its environment, weights and clips are there, and when it first speaks."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def measure() -> dict[str, Any]:
    """Runs the demo's command and times its first line and its end."""
    with tempfile.TemporaryDirectory(prefix="hardpose-bench-") as folder:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "demo", "--out", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.stdout is None:
            raise RuntimeError("the demo has no output")
        first = ""
        for line in process.stdout:  # what comes before the job's own line is about fetching
            if line.startswith("["):
                first = line
                break
        first_seconds = time.monotonic() - began
        rest = process.stdout.read()
        status = process.wait()
        images = len(list((Path(folder) / "dataset" / "images").glob("*.jpg")))
    return {
        "exit_status": status,
        "seconds": round(time.monotonic() - began, 1),
        "first_line_seconds": round(first_seconds, 2),
        "first_line": first.strip(),
        "images": images,
        "last_lines": rest.splitlines()[-3:],
    }
