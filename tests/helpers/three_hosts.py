"""A coordinator, a GPU host and a device's host in network namespaces, with the servers that they want."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import trustme
from device_pages import write_page
from gate import Gate
from hardpose_process import PATIENCE_SECONDS, command, environment
from namespaces import Hosts, hosts

from broker.connection import Connection
from broker.valkey import die_with_parent

COORDINATOR, STORE, GPU, DEVICE = "10.78.1.1", "10.78.2.1", "10.78.1.2", "10.78.1.3"
"""The store's network has no way to the device."""
ADDRESSES = {
    "coordinator": (f"{COORDINATOR}/24", f"{STORE}/24"),
    "gpu": (f"{GPU}/24", "10.78.2.2/24"),
    "device": (f"{DEVICE}/24",),
}
PASSWORD = "only-for-this-test-0123456789"
BROKER = f"rediss://:{PASSWORD}@{COORDINATOR}:6390/0"
LEASE_SECONDS = 4
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_ENDPOINT": f"http://{STORE}:8333",
}


class _BySocket(Connection):
    """The hosts' networks end at their namespaces; a socket in the file system does not."""

    def __init__(self, path: Path) -> None:
        self._prefix = ""
        self._redis = redis.Redis(unix_socket_path=str(path), password=PASSWORD, decode_responses=True)


@dataclass
class System:
    """What runs on the hosts; everything is ended with the ``with`` of ``three_hosts``."""

    folder: Path
    net: Hosts
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def gate(self) -> Gate:
        """Of the device."""
        return Gate(self.folder / "notes")

    @property
    def broker(self) -> dict[str, str]:
        return {
            "HARDPOSE_BROKER_URL": BROKER,
            "HARDPOSE_BROKER_CA": str(self.folder / "ca.pem"),
            "HARDPOSE_VISIBILITY_TIMEOUT": str(LEASE_SECONDS),
            "HARDPOSE_LOG_LEVEL": "INFO",
        }

    @property
    def store(self) -> dict[str, str]:
        return AWS | {"HARDPOSE_ARTIFACTS_URL": "s3://frames/test"}

    def start(
        self, host: str, name: str, line: Sequence[str | Path], env: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.net.line(host, [str(word) for word in line]),
                stdout=log, stderr=log, cwd=self.folder, env=environment(env or {}),
                preexec_fn=die_with_parent(),
            )  # fmt: skip
        self.started.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def control(self) -> Connection:
        """Ours, from outside of the network."""
        return _BySocket(self.folder / "redis.sock")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ends = {name.stem: self.log(name.stem)[-1500:] for name in self.folder.glob("*.log")}
            assert time.monotonic() < deadline, (what, ends)
            time.sleep(0.1)


@contextmanager
def three_hosts(folder: Path) -> Iterator[System]:
    """The hosts with Redis (TLS, password) and S3 on the coordinator, and no worker yet."""
    with ExitStack() as stack:
        system = System(folder, stack.enter_context(hosts(ADDRESSES)))
        stack.callback(_end, system.started)
        _start_redis(system)
        _start_store(system)
        yield system


def start_workers(system: System, device_page: Path) -> None:
    """``download`` and ``compare`` on the coordinator, ``pose`` and ``mask`` on the GPU host, the device."""
    home = {"HARDPOSE_HOME": str(system.folder / "state")}
    common = system.broker | system.store
    system.start("coordinator", "books", command("worker", "download", "compare"), common | home)
    away = {"HARDPOSE_HOME": str(system.folder / "gpu-home")}
    system.start("gpu", "gpu", command("worker", "pose", "mask", "--gpu", "none"), common | away)
    own = {"HARDPOSE_HOME": str(system.folder / "device-home")}
    system.start("device", "device", command("worker", "--device", device_page), system.broker | own)


def gated_device(system: System, inner: Path) -> Path:
    """A device behind an HTTP server on its host that goes as far as ``system.gate`` lets it; its page."""
    script = Path(__file__).with_name("gated_reference.py")
    system.gate.notes.touch()
    system.gate.open()
    line = [sys.executable, script, inner, "9000", system.gate.notes]
    system.start("device", "server", line, {"PYTHONPATH": str(Path(__file__).parents[2])})
    return write_page(
        system.folder / "me.toml", "http", {"url": "http://127.0.0.1:9000/mask"},
        name="slow", queue="own", pixels="inline", input=[256, 256], time_limit=PATIENCE_SECONDS,
    )  # fmt: skip


def _start_redis(system: System) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(system.folder / "ca.pem"))
    authority.issue_cert(COORDINATOR).private_key_and_cert_chain_pem.write_to_path(
        str(system.folder / "broker.pem")
    )
    config = {
        "bind": COORDINATOR, "port": "0", "tls-port": "6390", "tls-auth-clients": "no",
        "tls-cert-file": "broker.pem", "tls-key-file": "broker.pem", "tls-ca-cert-file": "ca.pem",
        "unixsocket": "redis.sock", "requirepass": PASSWORD, "save": '""', "dir": str(system.folder),
    }  # fmt: skip
    text = "".join(f"{name} {value}\n" for name, value in config.items())
    (system.folder / "redis.conf").write_text(text)
    system.start("coordinator", "redis", ["redis-server", system.folder / "redis.conf"])
    system.wait(lambda: (system.folder / "redis.sock").exists(), "redis")


def _start_store(system: System) -> None:
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert weed is not None
    folder = system.folder / "s3"
    folder.mkdir()
    line = [weed, "mini", f"-dir={folder}", f"-ip={STORE}", f"-ip.bind={STORE}", "-s3.port=8333"]
    line += ["-webdav=false", "-admin.ui=false", "-bucket=frames"]
    system.start("coordinator", "store", line, AWS)
    # Asked on the host: its networks end there. The bucket is made a moment after the port opens.
    ask = (
        "import sys; from broker.artifacts import Artifacts; store = Artifacts(sys.argv[1]);"
        " store.put('ready', b''); store.delete('ready')"
    )
    line = system.net.line("coordinator", [sys.executable, "-c", ask, system.store["HARDPOSE_ARTIFACTS_URL"]])
    system.wait(lambda: subprocess.run(line, capture_output=True, env=environment(AWS)).returncode == 0, "S3")


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """The last that was started ends first: workers say goodbye to their broker."""
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
