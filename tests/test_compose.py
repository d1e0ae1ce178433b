"""docker-compose.yml and its images, as far as they can be checked without Docker.

``tests/system/test_compose_services.py`` starts the services of the profile ``cpu`` from the same file.
"""

import json
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from a_prometheus import promtool
from compose_file import COMPOSE, IMAGES, ROOT, faults, mounts, read_compose, read_dockerfile

from api.cli import cli
from api.flower import flower_login
from api.http.access import Access, Role
from broker.app import EXPORT_QUEUE
from broker.recipe import Stage
from broker.settings import SECRET_VARIABLES, Settings, load_settings
from tasks.placement import Placement
from workers.process import parse_queues

BY_OTHERS = {"valkey", "postgres", "s3", "prometheus", "grafana"}
AWS = {"AWS_ENDPOINT", "AWS_REGION", "AWS_ALLOW_HTTP"}
"""Which obstore reads."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return read_compose()


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["services"]
    assert len(found) >= 15
    return found


@pytest.fixture(scope="module")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    assert set(services) >= BY_OTHERS
    return {name: service for name, service in services.items() if name not in BY_OTHERS}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The secrets that the recipe makes."""
    folder = tmp_path / "secrets"
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", folder], check=True, capture_output=True)
    return folder


def of_profile(services: dict[str, Any], *profiles: str) -> set[str]:
    return {name for name, service in services.items() if set(profiles) & set(service["profiles"])}


def command_of(service: dict[str, Any]) -> list[str]:
    """Of our own program, what the entry point adds included."""
    line = [*service.get("entrypoint", ["hardpose"]), *service["command"]]
    assert line[0] == "hardpose"
    return line[1:]


# --- the file itself ---


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, ROOT / "deploy/compose/open-grafana.yml")])
def test_the_file_is_valid_by_the_compose_specification(files: tuple[Path, ...]) -> None:
    merged = read_compose(*files)
    merged.pop("version", None)  # docker-compose 1.29 puts it in
    assert faults(merged) == []
    for name in files:
        raw = yaml.safe_load(name.read_text())
        if name != COMPOSE:
            assert faults(raw) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "readonly: true"),  # a key that there is not
        ("restart: unless-stopped", "restart: [unless-stopped]"),  # a wrong type
        ("condition: service_healthy", "condition: service_healty"),
        ("capabilities: [gpu]", "capability: [gpu]"),
    ],
)
def test_a_fault_is_found(right: str, wrong: str, tmp_path: Path) -> None:
    text = COMPOSE.read_text()
    assert right in text
    file = tmp_path / "docker-compose.yml"
    file.write_text(text.replace(right, wrong))
    with pytest.raises(ValueError, match=re.escape(wrong.split(":")[0]) + "|healty|valid"):
        read_compose(file)


def test_every_profile_is_a_whole_system(services: dict[str, Any]) -> None:
    assert {profile for service in services.values() for profile in service["profiles"]} == {
        "cpu", "gpu", "monitoring", "tools",
    }  # fmt: skip
    wanted = sorted([Stage.DOWNLOAD, *Placement.parse(load_settings().placement).queues, EXPORT_QUEUE])
    for profile in ("cpu", "gpu"):
        chosen = of_profile(services, profile)
        lines = [command_of(services[name]) for name in chosen if name.startswith("worker-")]
        queues = [queue for line in lines for queue in parse_queues(line[1:2])]
        assert sorted(queues) == wanted, profile
        assert chosen >= {"valkey", "postgres", "s3", "weights", "api", "flower"}
        for name in chosen:  # nothing waits for what another profile starts
            assert set(services[name].get("depends_on", {})) <= chosen
    assert of_profile(services, "monitoring") == {"prometheus", "grafana"}


def test_what_can_be_scaled_has_nothing_of_which_there_is_one(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert "container_name" not in service and "hostname" not in service
        if name.startswith("worker-"):
            assert "ports" not in service
            shared = {mount.target for mount in mounts(service) if mount.source and mount.writable}
            assert shared == set(), "workers share nothing that they write to but the artifact store"
            assert "/var/lib/hardpose/temp" in {mount.target for mount in mounts(service)}


# --- commands, variables, secrets ---


def test_every_command_is_one_of_ours_with_options_that_it_has(ours: dict[str, Any]) -> None:
    group: Any = typer.main.get_command(cli)
    context = group.make_context("hardpose", [], resilient_parsing=True)
    for service in ours.values():
        name, command, arguments = group.resolve_command(context, command_of(service))
        command.make_context(name, arguments)  # raises for an option or a value that it does not take


def test_every_variable_is_a_setting_that_takes_its_value(
    ours: dict[str, Any], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, service in ours.items():
        variables = dict(service.get("environment", {}))
        if "build" in service:
            variables |= read_dockerfile(ROOT / service["build"]["dockerfile"]).environment
        secrets = {each["source"] if isinstance(each, dict) else each for each in service.get("secrets", [])}
        assert {v.removesuffix("_FILE") for v in variables if v.endswith("_FILE")} <= SECRET_VARIABLES
        files = {v: text for v, text in variables.items() if v.endswith("_FILE")}
        assert {Path(text).name for text in files.values()} == secrets, name
        assert all(text.startswith("/run/secrets/") for text in files.values())
        mine = {v for v in variables if v.startswith("HARDPOSE_")}
        assert {v.removesuffix("_FILE").removeprefix("HARDPOSE_").lower() for v in mine} <= set(
            Settings.model_fields
        )
        assert {v for v in variables if v.startswith("AWS_")} <= AWS
        with monkeypatch.context() as patch:
            for variable in mine:
                text = variables[variable]
                patch.setenv(variable, str(made / Path(text).name) if variable in files else text)
            settings = load_settings()
        if name == "api":
            roles = {holder.caller.name: holder.caller.roles for holder in Access.of(settings).holders}
            assert roles == {"prometheus": {Role.READ}, "admin": set(Role)}
        if name == "flower":
            assert flower_login(settings, made).startswith("hardpose:")
        if name.startswith("worker"):
            assert settings.broker.startswith("redis://:") and settings.artifacts_secret_key
            assert ("HARDPOSE_CATALOG_URL" in mine) == (":" in settings.catalog.partition("://")[2])


def test_the_recipe_for_secrets_makes_all_and_overwrites_none(document: dict[str, Any], made: Path) -> None:
    wanted = {Path(secret["file"]).name for secret in document["secrets"].values()}
    assert {path.name for path in made.iterdir()} == wanted == set(document["secrets"])
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    texts = {path.name: path.read_text() for path in made.iterdir()}
    words = re.findall(r"[0-9a-f]{48}", " ".join(texts.values()))
    assert len(set(words)) == 8 and all(len(text) >= 48 for text in texts.values())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 for path in made.iterdir())
    assert texts["metrics_token"] in texts["api_tokens"]
    (identity,) = json.loads(texts["s3_identities"])["identities"]
    assert identity["credentials"] == [
        {"accessKey": texts["artifacts_key_id"], "secretKey": texts["artifacts_secret_key"]}
    ]
    (made / "flower_auth").unlink()
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", made], check=True, capture_output=True)
    again = {path.name: path.read_text() for path in made.iterdir()}
    assert {name for name in again if again[name] != texts[name]} == {"flower_auth"}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    example = (ROOT / "deploy" / "env.example").read_text()
    assert all(line.startswith("#") for line in example.splitlines() if line)
    offered = set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)) - {"COMPOSE_PROFILES"}
    taken = re.findall(r"(?<!\$)\$\{(\w+)|^  (HARDPOSE_\w+):$", COMPOSE.read_text(), re.MULTILINE)
    assert offered == {filled or passed for filled, passed in taken}
    assert "deploy/secrets/" in ignored and ".env" in ignored


def test_no_secret_is_in_an_environment_or_an_argument(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|AUTH|KEY", variable):
                assert str(value).startswith("/run/secrets/"), (name, variable)
            assert "@" not in str(value) or re.search(r"//\w+@", value), (name, variable)


# --- who may do what ---


def test_nothing_is_published_but_the_api_and_flower_on_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api", "flower"}
    raw = yaml.safe_load(COMPOSE.read_text())["services"]
    assert [raw[name]["ports"] for name in ("api", "flower")] == [
        ["127.0.0.1:8642:8642"],
        ["127.0.0.1:5555:5555"],
    ]
    assert not [
        name for name, service in services.items() if "network_mode" in service or "expose" in service
    ]


def test_nobody_is_root_and_nothing_can_be_written_that_is_not_said(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert "cap_add" not in service and "privileged" not in service
        assert "/tmp" in service["tmpfs"]
        user = service.get("user") or read_dockerfile(ROOT / service["build"]["dockerfile"]).user
        assert user.split(":")[0] not in ("", "0", "root"), name
        assert service["mem_limit"] and service["cpus"] <= 2 and service["pids_limit"]


def test_what_stays_up_is_started_again_and_asked_for_its_health(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name == "models":  # a tool
            continue
        assert service["restart"] == ("on-failure" if name == "weights" else "unless-stopped")
        if name != "weights":
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        if name.startswith("worker-"):
            seconds = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", service["stop_grace_period"])
            assert (
                seconds and 60 * int(seconds[1] or 0) + int(seconds[2] or 0) > load_settings().hard_time_limit
            )


def networks_of(service: dict[str, Any]) -> set[str]:
    return set(service.get("networks", ["default"]))


def test_everybody_reaches_what_his_settings_name_and_no_more(
    services: dict[str, Any], document: dict[str, Any]
) -> None:
    inner = {name for name, network in document["networks"].items() if (network or {}).get("internal")}
    assert set(document["networks"]) - inner == {"front", "outside"}
    for name, service in services.items():
        text = " ".join(map(str, service.get("environment", {}).values()))
        named = set(re.findall(r"(?:http|redis|psycopg)://(?:\w+@)?([a-z][a-z0-9-]*)[:/]", text))
        assert named <= set(services), name
        for other in named:
            assert networks_of(service) & networks_of(services[other]), (name, other)
        if name.startswith("worker-"):
            reached = {
                n for n in ("valkey", "s3", "postgres") if networks_of(service) & networks_of(services[n])
            }
            assert reached == named
    free = {name for name, service in services.items() if "outside" in networks_of(service)}
    assert free == {"weights", "models", "worker-download"}
    assert {name for name, service in services.items() if "front" in networks_of(service)} == {
        "api",
        "flower",
    }


def test_pose_and_mask_have_a_gpu_each(services: dict[str, Any]) -> None:
    slots = {}
    for name, service in services.items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        for device in devices:
            assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
            slots[name] = device["device_ids"]
    assert slots == {"worker-pose-gpu": ["0"], "worker-mask-gpu": ["1"]}
    chosen = read_compose(variables={"POSE_GPU": "GPU-5", "MASK_GPU": "3", "MASK_GPU_RUNTIME": "tensorflow"})
    mask = chosen["services"]["worker-mask-gpu"]
    assert mask["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["3"]
    assert mask["build"]["dockerfile"] == "deploy/images/gpu-tensorflow.Dockerfile"
    assert mask["image"] == "hardpose-gpu-tensorflow"


def test_options_of_models_reach_all_who_name_models(ours: dict[str, Any]) -> None:
    """The teacher runs on TensorFlow only if the jobs say so: the runtime is in the recipe."""
    naming = {name for name, service in ours.items() if "HARDPOSE_MASK_MODEL" in service["environment"]}
    assert naming >= {"api", "worker-download", "worker-compare", "worker-pose-gpu", "worker-mask-gpu"}
    assert not [name for name in ours if "HARDPOSE_MASK_OPTIONS" in ours[name]["environment"]]
    chosen = read_compose(variables={"HARDPOSE_MASK_OPTIONS": '{"runtime": "tensorflow"}'})["services"]
    for name in naming:
        given = chosen[name]["environment"]["HARDPOSE_MASK_OPTIONS"]
        assert load_settings(mask_options=json.loads(given)).mask_options == {"runtime": "tensorflow"}, name


# --- monitoring ---


def test_prometheus_reads_its_configuration(services: dict[str, Any], tmp_path: Path) -> None:
    mounted = {mount.target: mount.source for mount in mounts(services["prometheus"])}
    for target in ("/etc/prometheus/prometheus.yml", "/etc/prometheus/alerts.yaml"):
        shutil.copy(mounted[target], tmp_path)
    (tmp_path / "token").write_text("word")
    config = tmp_path / "prometheus.yml"
    text = config.read_text()
    config.write_text(text.replace("/run/secrets/metrics_token", str(tmp_path / "token")))
    done = subprocess.run(
        [promtool(), "check", "config", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = yaml.safe_load(text)["scrape_configs"]
    (workers,) = (job["dns_sd_configs"][0] for job in asked if "dns_sd_configs" in job)
    assert set(workers["names"]) == {name for name in services if name.startswith("worker-")}
    for name in (*workers["names"], "api", "flower"):
        assert networks_of(services[name]) & networks_of(services["prometheus"])


def test_grafana_finds_its_source_and_its_board(services: dict[str, Any]) -> None:
    mounted = {mount.target: Path(mount.source) for mount in mounts(services["grafana"])}
    folder = mounted["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards" / "hardpose.yaml").read_text())["providers"]
    (board,) = (target for target in mounted if target.startswith(provider["options"]["path"] + "/"))
    assert json.loads(mounted[board].read_text())["title"]


# --- images ---


def test_every_image_is_built_with_extras_that_there_are(ours: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {path.name.removesuffix(".Dockerfile") for path in IMAGES.iterdir()} == {
        "api", "download", "cpu", "gpu-onnx", "gpu-tensorflow", "device", "pyopenpose",
    }  # fmt: skip
    for path in IMAGES.iterdir():
        assert set(str(read_dockerfile(path).arguments["EXTRAS"]).split(",")) <= set(extras), path
    for name, service in ours.items():
        image = read_dockerfile(ROOT / service["build"]["dockerfile"])
        given = service["build"]["args"]
        assert set(given) <= set(image.arguments), name
        brought = (given.get("EXTRAS") or image.arguments["EXTRAS"]).split(",")
        assert ("HARDPOSE_CATALOG_URL" in service.get("environment", {})) <= ("postgres" in brought)
        assert ("flower" in command_of(service)) <= ("flower" in brought)


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.stem)
def test_an_image_is_small_pinned_and_nobody_s_root(path: Path) -> None:
    image = read_dockerfile(path)
    assert len(image.bases) == 2  # what builds it stays behind
    assert all(base in ("${PYTHON_IMAGE}", "${OPENPOSE_IMAGE}") for base in image.bases), "by argument"
    assert image.user == "8642" and image.entrypoint == ("hardpose",)
    (build, final) = image.runs
    assert "--no-cache" in build and "--constraint constraints.txt" in build and "useradd" in final
    folders = {image.environment[f"HARDPOSE_{name}"] for name in ("HOME", "TEMP_DIR", "WEIGHTS_DIR")}
    assert all(folder in final for folder in folders)
    for word in image.copied:
        assert (ROOT / word).exists()
    assert {
        name.removeprefix("HARDPOSE_").lower() for name in image.environment if "HARDPOSE" in name
    } <= set(Settings.model_fields)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert kept[0] == "*" and {f"!{word}" for word in image.copied} <= set(kept)


def test_an_openpose_of_ones_own_has_no_default() -> None:
    image = read_dockerfile(IMAGES / "pyopenpose.Dockerfile")
    assert image.arguments["OPENPOSE_IMAGE"] is None and image.bases[-1] == "${OPENPOSE_IMAGE}"
    assert not re.search("git clone|cmake|caffemodel", (IMAGES / "pyopenpose.Dockerfile").read_text())


def test_mounts_are_where_an_image_expects_them(ours: dict[str, Any]) -> None:
    for name, service in ours.items():
        environment = read_dockerfile(ROOT / service["build"]["dockerfile"]).environment
        writable = {mount.target for mount in mounts(service) if mount.writable}
        writable |= {entry.partition(":")[0] for entry in service["tmpfs"]}
        assert environment["HARDPOSE_HOME"] in writable and environment["HOME"] in writable, name
        if name.startswith("worker-") or name == "api":
            assert environment["HARDPOSE_TEMP_DIR"] in writable


def test_a_tmpfs_over_a_folder_of_ours_belongs_to_who_writes_in_it(ours: dict[str, Any]) -> None:
    """Docker would give it to root, with the mode of the image's folder (moby/moby#39466)."""
    for name, service in ours.items():
        image = read_dockerfile(ROOT / service["build"]["dockerfile"])
        for entry in service["tmpfs"]:
            target, _, options = entry.partition(":")
            if target != "/tmp":
                assert target in image.environment.values(), (name, target)
                assert f"uid={service.get('user') or image.user}" in options.split(","), (name, entry)
