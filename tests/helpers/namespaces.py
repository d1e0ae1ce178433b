"""Hosts of their own on one machine: network namespaces with a cable each to one switch (root, Linux)."""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import pytest

OURS = "hp"
"""How the names of our hosts begin; the process that has made them follows."""


class NotPermitted(Exception):
    """This machine does not let us make network namespaces."""


@dataclass(frozen=True)
class Hosts:
    """Hosts that see each other over a switch, and nothing else; each cable can be cut."""

    prefix: str

    def line(self, host: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs ``arguments`` on ``host``."""
        return ["ip", "netns", "exec", f"{self.prefix}-{host}", *arguments]

    def cut(self, host: str) -> None:
        """Nothing reaches ``host`` and nothing leaves it, and nobody is told."""
        _ip("-n", f"{self.prefix}-switch", "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        """The cable is whole again."""
        _ip("-n", f"{self.prefix}-switch", "link", "set", f"to-{host}", "up")


@contextmanager
def hosts(addresses: Mapping[str, Sequence[str]]) -> Iterator[Hosts]:
    """Hosts by name, each with addresses such as ``10.9.1.2/24``; taken away at the end, whatever happens.

    Raises:
        NotPermitted: not root, or the kernel refuses.
    """
    if os.geteuid() != 0:
        raise NotPermitted("network namespaces want root")
    _sweep()
    made = Hosts(f"{OURS}{os.getpid()}x{secrets.token_hex(3)}")
    with ExitStack() as stack:
        for name in ("switch", *addresses):
            _ip("netns", "add", f"{made.prefix}-{name}")
            stack.callback(_forget, f"{made.prefix}-{name}")
        switch = f"{made.prefix}-switch"
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name, given in addresses.items():
            _connect(made, name, given)
        yield made


def _connect(made: Hosts, name: str, addresses: Sequence[str]) -> None:
    host, switch = f"{made.prefix}-{name}", f"{made.prefix}-switch"
    _ip("-n", switch, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", host)
    _ip("-n", switch, "link", "set", f"to-{name}", "master", "bridge", "up")
    _ip("-n", host, "link", "set", "lo", "up")
    _ip("-n", host, "link", "set", "eth0", "up")
    for address in addresses:
        _ip("-n", host, "address", "add", address, "dev", "eth0")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _forget(namespace: str) -> None:
    """Its processes are ended by whoever has started them; the devices in it go with it."""
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _sweep() -> None:
    """Takes away the hosts of a test that was killed; those of one that runs are left alone."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name, maker in re.findall(rf"^({OURS}(\d+)x\S+)", listed, re.MULTILINE):
        if not psutil.pid_exists(int(maker)):
            _forget(name)


def require_programs(*names: str) -> None:
    """Skips at home, and fails in CI, where a program is not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
