"""Prometheus' own linter; a missing one is a skip at home and a failure where tests are promised to run."""

import os
import shutil
import subprocess

import pytest


def lint(text: str) -> None:
    """Fails the test with what ``promtool check metrics`` has against an exposition."""
    program = shutil.which("promtool")
    if program is None:
        reason = "no promtool: install Debian's package prometheus"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
