"""``docker-compose.yml`` as docker-compose itself reads it, and the Dockerfiles behind its images."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
IMAGES = ROOT / "deploy" / "images"
NO_ENV = str(ROOT / "deploy" / "env.example")
"""In place of a developer's .env: all of it is commented out."""
SCHEMA = "compose/config/compose_spec.json"
"""Of the Compose specification, in Debian's package docker-compose (1.29.2, of 2021). Later keys it lacks:
``name``, ``include``, ``develop``, ``gpus``, ``depends_on.required``, ``healthcheck.start_interval``,
``deploy.resources.limits.pids``, and secrets from the environment. None of these is used."""


def missing(reason: str) -> None:
    """A skip at home, a failure where tests are promised to run."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def read_compose(*files: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What ``docker-compose config`` makes of ``files``: merged, filled in, paths absolute; every profile.

    Raises:
        ValueError: docker-compose refuses them; its words.
    """
    program = shutil.which("docker-compose")
    if program is None:
        missing("no docker-compose: install Debian's package docker-compose")
    line = [str(program), "--project-directory", str(ROOT), "--env-file", NO_ENV]
    for name in files or (COMPOSE,):
        line += ["-f", str(name)]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    env = {**kept, **(variables or {})}
    done = subprocess.run([*line, "config"], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    # It writes what can be read again: a dollar is doubled.
    found: dict[str, Any] = yaml.safe_load(done.stdout.replace("$$", "$"))
    for service in found["services"].values():  # a variable that nobody has set does not reach a container
        given = service.get("environment", {}).items()
        service["environment"] = {name: value for name, value in given if value is not None}
    return found


@cache
def compose_schema() -> dict[str, Any]:
    """The Compose specification's JSON schema."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", "import compose.config as c; print(c.__path__[0])"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    path = Path(done.stdout.strip(), "compose_spec.json")
    if done.returncode or not path.exists():
        missing(f"no {SCHEMA}: install Debian's package docker-compose")
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def faults(document: object) -> list[str]:
    """What the schema says is wrong."""
    validator = jsonschema.Draft7Validator(compose_schema())
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


@dataclass(frozen=True)
class Mount:
    """A volume of a service; one without a source is the container's own."""

    source: str
    target: str
    writable: bool


def mounts(service: Mapping[str, Any]) -> list[Mount]:
    """The volumes of a service, written as ``source:target:mode`` or as a target alone."""
    found = []
    for volume in service.get("volumes", []):
        source, target, mode = [*str(volume).split(":"), "", ""][:3] if ":" in volume else ("", volume, "")
        found.append(Mount(source, target, mode != "ro"))
    return found


@dataclass(frozen=True)
class Image:
    """What a Dockerfile's last stage says, and the arguments of all."""

    arguments: Mapping[str, str | None]
    bases: tuple[str, ...]
    environment: Mapping[str, str]
    user: str
    folder: str
    entrypoint: tuple[str, ...]
    runs: tuple[str, ...]
    copied: tuple[str, ...] = field(default=())
    """What is copied from the build's context."""


def read_dockerfile(path: Path) -> Image:
    """A small reader of the instructions that ours have; another one is an error."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    arguments: dict[str, str | None] = {}
    environment: dict[str, str] = {}
    bases, runs, copied = [], [], []
    last = {"USER": "", "WORKDIR": "/", "ENTRYPOINT": "[]"}
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, rest = line.partition(" ")
        match instruction:
            case "ARG":
                name, mark, default = rest.partition("=")
                arguments[name] = default if mark else None
            case "FROM":
                bases.append(rest.split()[0])
                environment, last = {}, {"USER": "", "WORKDIR": "/", "ENTRYPOINT": "[]"}
            case "ENV":
                environment |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "RUN":
                runs.append(rest)
            case "COPY":
                copied += [] if rest.startswith("--from") else rest.split()[:-1]
            case "USER" | "WORKDIR" | "ENTRYPOINT":
                last[instruction] = rest
            case _:
                raise ValueError(f"{path}: {instruction}")
    return Image(
        arguments, tuple(bases), environment, last["USER"], last["WORKDIR"],
        tuple(json.loads(last["ENTRYPOINT"])), tuple(runs), tuple(copied),
    )  # fmt: skip
