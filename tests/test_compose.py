"""docker-compose.yml, as far as it can be checked without Docker: commands, settings, secrets, ports."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from api.cli import cli
from api.flower import flower_login
from broker.app import EXPORT_QUEUE
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from tasks.placement import Placement
from workers.process import parse_queues

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "VALKEY_PASSWORD": "w" * 24,
    "POSTGRES_PASSWORD": "x" * 24,
    "HARDPOSE_API_TOKENS": "lab:read+enqueue:" + "y" * 24,
    "HARDPOSE_FLOWER_AUTH": "lab:" + "z" * 24,
}
NO_ENV = ROOT / "deploy" / "env.example"
"""In place of a developer's .env: its values are empty, so that it sets nothing."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(found) >= {"valkey", "postgres", "api", "flower", "download", "pose", "mask", "me", "compare"}
    return found


@pytest.fixture(scope="module")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    found = {name: service for name, service in services.items() if "build" in service}
    assert len(found) == len(services) - 2
    return found


def filled(value: str) -> str:
    return re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: SECRETS.get(found[1], found[2]), str(value))


def test_every_command_is_one_of_ours_with_options_that_it_has(ours: dict[str, Any]) -> None:
    group: Any = typer.main.get_command(cli)
    context = group.make_context("hardpose", [], resilient_parsing=True)
    for service in ours.values():
        name, command, arguments = group.resolve_command(context, list(service["command"]))
        command.make_context(name, arguments)  # raises for an option or a value that it does not take


def test_every_queue_has_a_worker(ours: dict[str, Any]) -> None:
    queues = [queue for s in ours.values() if s["command"][0] == "worker" for queue in s["command"][1:]]
    assert parse_queues(queues) == tuple(queues)
    assert sorted(queues) == sorted(
        [Stage.DOWNLOAD, *Placement.parse(load_settings().placement).queues, EXPORT_QUEUE]
    )


def test_every_variable_is_a_setting_that_takes_its_value(
    ours: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for service in ours.values():
        given = {name: filled(value) for name, value in service["environment"].items()}
        mine = {name: value for name, value in given.items() if name.startswith("HARDPOSE_")}
        assert len(mine) > 3
        assert {name.removeprefix("HARDPOSE_").lower() for name in mine} <= set(Settings.model_fields)
        with monkeypatch.context() as patch:
            for name, value in mine.items():
                patch.setenv(name, value)
            settings = load_settings()
        if service["command"][0] == "flower":
            assert flower_login(settings, tmp_path) == SECRETS["HARDPOSE_FLOWER_AUTH"]
    example = (ROOT / "deploy" / "env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == set(SECRETS)


def test_nothing_is_open_to_the_network_and_no_secret_is_in_an_argument(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api", "flower"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    for service in services.values():
        line = str(service.get("command", ""))
        assert "${" not in line and not any(name in line.replace("$$", "") for name in SECRETS)
        assert service["restart"] == "unless-stopped"
        assert "build" in service or re.fullmatch(r"[a-z/]+:\d[\w.-]*", service["image"])
    assert services["flower"]["mem_limit"]


def test_every_image_is_built_with_extras_that_there_are(ours: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for service in ours.values():
        assert set(service["build"]["args"]["EXTRA"].split(",")) <= set(extras)
        assert (ROOT / service["build"]["dockerfile"]).exists()
        if "HARDPOSE_CATALOG_URL" in service["environment"]:
            assert "postgres" in service["build"]["args"]["EXTRA"].split(",")


def compose(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("docker-compose")
    if program is None:
        reason = "no docker-compose: install Debian's package docker-compose"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    line = [program, "-f", str(ROOT / "docker-compose.yml"), "--env-file", str(NO_ENV), "config"]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(line, env={**kept, **environment}, capture_output=True, text=True, check=False)


def test_docker_compose_reads_it() -> None:
    done = compose(SECRETS)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) >= {"valkey", "postgres", "api", "flower", "export"}


def test_without_its_secrets_nothing_starts() -> None:
    done = compose({name: value for name, value in SECRETS.items() if name != "HARDPOSE_FLOWER_AUTH"})
    assert done.returncode != 0
    assert "HARDPOSE_FLOWER_AUTH" in done.stderr
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        used = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert used and all(each.startswith(":?") and len(each) > 10 for each in used), name
