"""The flow of ``docs/api.md`` with curl and a shell: the very text of the document, on a running system."""

import functools
import json
import re
import signal
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hardpose_process import PATIENCE_SECONDS, api_of, start

pytestmark = pytest.mark.system

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"


@pytest.fixture
def link(clips: dict[str, Path]) -> Iterator[str]:
    """A link to a sample clip with a hard frame in it."""
    clip = clips["SinglePerson_cam03"]
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(clip.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{clip.name}"
        server.shutdown()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    home = tmp_path / "state"
    process = start(
        *("up", "--home", home, "--flower-port", "0"), env={"HARDPOSE_ALLOW_NETWORKS": '["127.0.0.0/8"]'}
    )
    assert process.stdout is not None
    assert any("is up" in line for line in process.stdout)
    yield api_of(home)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)


def test_from_a_link_to_a_zip_file_with_curl_alone(api: str, link: str, tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    script, apis = re.subn(r"^API=.*$", f"API={api}", script, flags=re.MULTILINE)
    script, links = re.subn(r"^LINK=.*$", f"LINK={link}", script, flags=re.MULTILINE)
    assert (apis, links) == (1, 1)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "event: finished" in done.stdout
    (frame,) = json.loads((tmp_path / "frames.json").read_text())["items"]
    assert (frame["verdict"], frame["review"]) == ("hard", "open")
    assert (tmp_path / "overlay.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        names = archive.namelist()
    assert [name for name in names if name.endswith(".jpg")]
    assert "README.md" in names
