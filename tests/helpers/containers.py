"""Starts services of docker-compose.yml without Docker, each as the container that Docker would make of it.

A service gets a host of its own (network namespace) with an address on each of its networks; it knows by
name the services with which it shares one, and reaches no other. It runs as its image's user without any
capability, on a read-only root with its own volumes, tmpfs and secrets, and with the environment that its
image and the file give it and no other. What is not here: the images themselves (programs of this machine
stand in for what they hold), other people's entry points, and limits of memory, CPUs and processes.
"""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose_file import ROOT, mounts, read_dockerfile
from hardpose_process import PATIENCE_SECONDS
from namespaces import Hosts, hosts
from postgres_server import find_postgres, server_user
from s3_server import find_weed

from broker.valkey import die_with_parent, server_binary

HELPERS = Path(__file__).parent
SUBNET = "10.79"
VISITOR = "visitor"
"""A machine outside: what is published is on its loopback, and it is all the internet that there is."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OURS, THEIRS = "/opt/hardpose/bin", "/opt/stand-ins"
POSTGRES = """#!/bin/sh
# What the entry point of the image postgres does with its variables.
set -eu
data=/var/lib/postgresql/data
if [ ! -s $data/PG_VERSION ]; then
  {bin}/initdb -D $data -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" -A scram-sha-256 -E UTF8 -N
  echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
  echo "CREATE DATABASE $POSTGRES_DB" | {bin}/postgres --single -D $data postgres
fi
exec {bin}/postgres -D $data -c listen_addresses='*' -c fsync=off "$@"
"""


@dataclass
class Container:
    """A service that was started."""

    name: str
    process: "subprocess.Popen[bytes]"
    service: Mapping[str, Any]
    log: Path
    line: list[str]
    environment: dict[str, str]

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Containers:
    """Services by name; everything is ended with the ``with`` of ``containers``."""

    folder: Path
    document: Mapping[str, Any]
    net: Hosts
    places: Mapping[str, str]
    """Hosts of the services, by their short names."""
    running: dict[str, Container] = field(default_factory=dict)
    others: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, name: str, service: Mapping[str, Any] | None = None) -> Container:
        """Starts the service ``name``, or ``service`` in its place."""
        service = service or self.document["services"][name]
        image = self._image(service)
        user = uid_of(service.get("user") or image["user"])
        line = [*user_arguments(user), *image["entrypoint"], *service.get("command", [])]
        plan = {
            "root": str(self.folder / "roots" / f"{name}-{len(list(self.folder.glob('*.log')))}"),
            "read_only": service["read_only"],
            "tmpfs": dict(tmpfs(entry, image["environment"]) for entry in service["tmpfs"]),
            "binds": [*self._programs(), *self._volumes(service, name, user), *self._secrets(service)],
            "folder": image["folder"],
            "line": line,
            "environment": {**image["environment"], **service.get("environment", {})},
        }
        Path(plan["root"]).mkdir(parents=True)
        file = Path(plan["root"]).with_suffix(".json")
        file.write_text(json.dumps(plan))
        log = self.folder / f"{Path(plan['root']).name}.log"
        inside = ["unshare", "--mount", sys.executable, str(HELPERS / "container_root.py"), str(file)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.net.line(self.places[name], inside),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=die_with_parent(),
            )  # fmt: skip
        made = Container(name, process, service, log, line, plan["environment"])
        self.running[name] = made
        return made

    def start_all(self, names: Sequence[str], seconds: float = 600) -> None:
        """Starts ``names`` as Compose does, each when what it depends on is well, and waits until all are.

        Raises:
            AssertionError: a service has ended, or is not well in time; its words.
        """
        waiting, well = list(names), set[str]()
        deadline = time.monotonic() + seconds
        while not set(names) <= well:
            for name in [each for each in waiting if self._may_start(each, well)]:
                self.start(name)
                waiting.remove(name)
            for name, made in self.running.items():
                ends = "healthcheck" not in made.service
                code = made.process.poll()
                assert code is None or (ends and code == 0), (name, code, made.said()[-3000:])
                if name not in well and (code == 0 if ends else self.healthy(made)):
                    well.add(name)
            unwell = {name: made.said()[-1000:] for name, made in self.running.items() if name not in well}
            assert not unwell or time.monotonic() < deadline, (waiting, unwell)
            time.sleep(0.3)

    def _may_start(self, name: str, well: set[str]) -> bool:
        wanted = self.document["services"][name].get("depends_on", {})
        return set(wanted) <= well

    def healthy(self, made: Container) -> bool:
        """What the service's own health check says, run where the service runs."""
        return listens(made) and self.inside(made, health_line(made.service)).returncode == 0

    def inside(self, made: Container, line: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Runs ``line`` in the container as ``docker exec`` does: same user, files, hosts and environment."""
        user = uid_of(made.service.get("user") or self._image(made.service)["user"])
        enter = [
            "nsenter",
            "--target",
            str(made.process.pid),
            "--mount",
            "--net",
            "--root",
            "/usr/bin/setpriv",
        ]
        return subprocess.run(
            [*enter, *user_arguments(user), *line],
            env=made.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip

    def visit(self, *line: str | Path) -> "subprocess.CompletedProcess[str]":
        """Runs ``line`` on the machine outside."""
        words = self.net.line(VISITOR, [str(word) for word in line])
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    def serve(self, *line: str | Path) -> None:
        """Starts a program on the machine outside."""
        words = self.net.line(VISITOR, [str(word) for word in line])
        quiet = subprocess.DEVNULL
        self.others.append(subprocess.Popen(words, stdout=quiet, stderr=quiet, preexec_fn=die_with_parent()))

    def publish(self) -> None:
        """The published ports of all services."""
        words = []
        for name, service in self.document["services"].items():
            for port in service.get("ports", []) if name in self.places else []:
                host, outer, inner = published(port)
                words += [host, outer, address(self.document, name, "front"), inner]
        self.serve(sys.executable, HELPERS / "published.py", *words)

    def stop(self, name: str) -> int:
        """As ``docker compose stop``, and says how the service ended."""
        made = self.running.pop(name)
        made.process.terminate()
        return made.process.wait(PATIENCE_SECONDS)

    def _image(self, service: Mapping[str, Any]) -> dict[str, Any]:
        entry, environment = service.get("entrypoint", []), {"PATH": f"{THEIRS}:{PATH}"}
        if "build" not in service:
            return {"user": "", "folder": "/", "entrypoint": entry, "environment": environment}
        image = read_dockerfile(ROOT / service["build"]["dockerfile"])
        environment = {name: text.replace("$PATH", PATH) for name, text in image.environment.items()}
        return {
            "user": image.user,
            "folder": image.folder,
            "entrypoint": entry or list(image.entrypoint),
            "environment": environment,
        }

    def _programs(self) -> list[tuple[str, str, bool]]:
        """This Python, the checkout, and what stands in for what the images hold."""
        prefixes = {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parents[1]), str(ROOT)}
        stand_ins = self.folder / "stand-ins"
        pairs = [(path, path) for path in sorted(prefixes) if not path.startswith("/usr")]
        pairs += [(str(stand_ins / "ours"), OURS), (str(stand_ins / "theirs"), THEIRS)]
        pairs += [
            (str(path), str(path)) for path in (server_binary().parent, Path(find_weed()).resolve().parent)
        ]
        return [(source, target, False) for source, target in pairs]

    def _volumes(self, service: Mapping[str, Any], name: str, user: int) -> list[tuple[str, str, bool]]:
        found = []
        for number, mount in enumerate(mounts(service)):
            source = Path(mount.source)
            if not source.is_absolute():
                source = self.folder / "volumes" / (mount.source or f"{name}-{number}")
                if not source.exists():  # a new volume takes over the owner of the image's folder
                    source.mkdir(parents=True)
                    os.chown(source, user, user)
            found.append((str(source), mount.target, mount.writable))
        return found

    def _secrets(self, service: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
        names = [each["source"] if isinstance(each, dict) else each for each in service.get("secrets", [])]
        files = self.document["secrets"]
        return [(files[name]["file"], f"/run/secrets/{name}", False) for name in names]


def tmpfs(entry: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Where a tmpfs lies, and its options.

    Over a folder that the image has, Docker gives it that folder's mode and root as its owner, not the
    documented 1777 (moby/moby#39466); our images make their folders with 755, others theirs for everyone.
    """
    target, _, options = entry.partition(":")
    mode = "mode=755" if target in environment.values() and target != "/tmp" else "mode=1777"
    return target, ",".join(filter(None, [mode, options]))


def listens(made: Container) -> bool:
    """Whether anything listens on the service's host: before, its check would only cost the others' time."""
    sockets = Path(f"/proc/{made.process.pid}/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[3] == "0A" for line in sockets)  # TCP_LISTEN (Linux, include/net/tcp_states.h)


def health_line(service: Mapping[str, Any]) -> list[str]:
    """The command line of a service's health check."""
    kind, *words = service["healthcheck"]["test"]
    return list(words) if kind == "CMD" else ["/bin/sh", "-c", *words]


def uid_of(user: str) -> int:
    """The number of a user of an image; PostgreSQL's programs want one that this machine knows."""
    name = user.split(":")[0]
    if name == "postgres":
        return pwd.getpwnam(server_user() or "postgres").pw_uid
    return {"valkey": 999}.get(name) or int(name)


def user_arguments(user: int) -> list[str]:
    """For setpriv: that user, no other group, and no capability, now or later."""
    return [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]


def published(port: Any) -> tuple[str, str, str]:
    """Host, published port and port of a container."""
    if isinstance(port, dict):
        return port.get("host_ip", "0.0.0.0"), str(port["published"]), str(port["target"])
    host, outer, inner = re.fullmatch(r"([\d.]+):(\d+):(\d+)(?:/tcp)?", str(port)).groups()  # type: ignore[union-attr]
    return host, outer, inner


def address(document: Mapping[str, Any], name: str, network: str) -> str:
    """Of a service, or of the visitor, on a network."""
    number = 2 + [*sorted(document["services"]), VISITOR].index(name)
    return f"{SUBNET}.{1 + sorted(document['networks']).index(network)}.{number}"


def networks_of(document: Mapping[str, Any], name: str) -> set[str]:
    if name == VISITOR:
        return {"front", "outside"}
    return set(document["services"][name].get("networks", ["default"]))


@contextmanager
def containers(folder: Path, document: Mapping[str, Any], names: Sequence[str]) -> Iterator[Containers]:
    """Hosts for the services ``names`` and for a visitor; no service runs yet.

    Raises:
        NotPermitted: this machine does not let us.
    """
    places = {name: f"c{number}" for number, name in enumerate(sorted(names))} | {VISITOR: VISITOR}
    addresses = {
        place: [f"{address(document, name, network)}/24" for network in sorted(networks_of(document, name))]
        for name, place in places.items()
    }
    with ExitStack() as stack:
        net = stack.enter_context(hosts(addresses))
        made = Containers(folder, document, net, places)
        _make_stand_ins(folder / "stand-ins")
        for name, place in places.items():
            etc = Path("/etc/netns", f"{net.prefix}-{place}")
            etc.mkdir(parents=True)
            stack.callback(shutil.rmtree, etc)
            (etc / "hosts").write_text(_hosts_file(document, name, names))
        stack.callback(_end, made)
        yield made


def _hosts_file(document: Mapping[str, Any], name: str, names: Sequence[str]) -> str:
    lines = ["127.0.0.1 localhost"]
    for other in names:
        shared = networks_of(document, name) & networks_of(document, other)
        lines += [f"{address(document, other, network)} {other}" for network in sorted(shared)[:1]]
    return "\n".join(lines) + "\n"


def _make_stand_ins(folder: Path) -> None:
    binaries = find_postgres()
    assert binaries is not None
    script = '#!/bin/sh\nexec {} "$@"\n'
    texts = {
        "ours/python": script.format(shlex.quote(sys.executable)),
        "ours/hardpose": script.format(f"{shlex.quote(sys.executable)} -P -m api.cli"),
        "theirs/valkey-server": script.format(server_binary()),
        "theirs/valkey-cli": script.format("redis-cli"),
        "theirs/weed": script.format(Path(find_weed()).resolve()),
        "theirs/postgres": POSTGRES.format(bin=binaries),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _end(made: Containers) -> None:
    for process in made.others:
        process.terminate()
    for each in reversed(made.running.values()):
        each.process.send_signal(signal.Signals[each.service.get("stop_signal", "SIGTERM")])
    for process in [*made.others, *(each.process for each in made.running.values())]:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
