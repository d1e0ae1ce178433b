"""A container's file system and user without Docker: ``container_root.py PLAN.json`` becomes its program.

Run as root in a mount namespace of its own. The root is read-only: this machine's programs, the volumes, the
secrets and the tmpfs that the plan names, and nothing else.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "usr", "etc")
KERNEL = ("proc", "sys", "dev")


def main(plan: Path) -> None:
    wanted = json.loads(plan.read_text())
    root = Path(wanted["root"])
    mount("-t", "tmpfs", "-o", "mode=755", "root", root)
    for name in SYSTEM + KERNEL:
        if (source := Path("/", name)).is_symlink():
            (root / name).symlink_to(source.readlink())
        elif source.is_dir():
            bind(source, root / name, writable=name in KERNEL, kind="--rbind")
    for target, options in wanted["tmpfs"].items():
        below(root, target).mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", options, "tmpfs", below(root, target))
    for source, target, writable in wanted["binds"]:
        bind(Path(source), below(root, target), writable)
    if wanted["read_only"]:
        mount("-o", "remount,ro", root)
    os.chroot(root)
    os.chdir(wanted["folder"])
    os.execve("/usr/bin/setpriv", ["setpriv", *wanted["line"]], wanted["environment"])


def below(root: Path, target: str) -> Path:
    return root / target.lstrip("/")


def bind(source: Path, target: Path, writable: bool, kind: str = "--bind") -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(kind, source, target)
    if not writable:
        mount("-o", "remount,bind,ro", target)


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
