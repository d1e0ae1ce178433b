"""The manifests in deploy/kubernetes, as far as they can be checked without a cluster."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from kustomized import Document, build
from manifests import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    SECRETS,
    Overlay,
    containers_of,
    environment,
    image_of,
    of_kind,
    ours,
    overlay_of,
    pods,
    selects,
)

from api.cli import cli
from broker.app import EXPORT_QUEUE
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from tasks.pipeline import link_limits
from tasks.placement import Placement
from workers.process import parse_queues

KEDA = ROOT / "tests" / "helpers" / "keda"
VERSIONS = ("1.31", "1.37")
"""Of Kubernetes: an older one and the newest that the package of schemas knows."""
MARGIN = 30
"""Seconds of grace beyond the longest task."""


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    return overlay_of(request.param, tmp_path_factory.mktemp("overlay"))


# --- schemas ---


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_fits_its_schema(tmp_path_factory: pytest.TempPathFactory, version: str) -> None:
    overlays = [overlay_of(name, tmp_path_factory.mktemp("overlay")) for name in OVERLAYS]
    texts = {json.dumps(document) for overlay in overlays for document in overlay}  # most are in all of them
    documents = [each for each in map(json.loads, texts) if not each["apiVersion"].startswith("keda.sh/")]
    assert len(documents) > 50
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_keda_takes_its_documents(overlay: Overlay) -> None:
    mine = [document for document in overlay if document["apiVersion"].startswith("keda.sh/")]
    assert len(mine) >= 5
    for document in mine:
        schema = json.loads((KEDA / f"{document['kind']}.json").read_text())
        jsonschema.validate(document, schema)


def test_a_wrong_word_is_seen() -> None:
    (found, *_) = build(KUBERNETES / "overlays" / "cpu")[-1:]
    scaled = next(d for d in build(KUBERNETES / "overlays" / "cpu") if d["kind"] == "ScaledObject")
    scaled["spec"]["maxReplicaCounts"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, json.loads((KEDA / "ScaledObject.json").read_text()))
    found["metadata"]["lables"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, VERSIONS[-1], strict=True)


def test_every_file_is_part_of_an_overlay() -> None:
    reached = {Path(p).name for o in ("cpu", "gpu") for p in _named(KUBERNETES / "overlays" / o)}
    reached |= {Path(p).name for p in _named(KUBERNETES / "components" / "bearer-prometheus")}
    by_hand = {"bring-weights.yaml"}
    files = {file.name for file in KUBERNETES.rglob("*.y*ml")}
    assert files - reached == {"kustomization.yaml"} | by_hand
    (pod,) = yaml.safe_load_all((KUBERNETES / "bring-weights.yaml").read_text())
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


def _named(folder: Path) -> Iterator[str]:
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    yield from (patch["path"] for patch in told.get("patches", []) if "path" in patch)
    yield from (file for each in told.get("configMapGenerator", []) for file in each["files"])
    for name in told.get("resources", []):
        yield name
        if (folder / name).is_dir():
            yield from _named(folder / name)


# --- settings and commands ---


def test_every_command_is_one_of_ours(overlay: Overlay) -> None:
    group: Any = typer.main.get_command(cli)
    context = group.make_context("hardpose", [], resilient_parsing=True)
    lines = [each["args"] for _, pod in ours(overlay).values() for each in containers_of(pod)]
    for line in lines:
        name, command, arguments = group.resolve_command(context, list(line))
        command.make_context(name, arguments)  # raises for an option or a value that it does not take


def test_every_queue_has_a_worker(overlay: Overlay) -> None:
    commands = [pod["containers"][0]["args"] for _, pod in ours(overlay).values()]
    queues = [command[1] for command in commands if command[0] == "worker"]
    assert parse_queues(queues) == tuple(queues)
    placement = Placement.parse(load_settings().placement)
    assert sorted(queues) == sorted([Stage.DOWNLOAD, *placement.queues, EXPORT_QUEUE])


def test_every_variable_is_a_setting_that_takes_its_value(
    overlay: Overlay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text)
    for name, (_, pod) in ours(overlay).items():
        given = environment(overlay, pod)
        mine = {key: value for key, value in given.items() if key.startswith("HARDPOSE_")}
        with monkeypatch.context() as patch:
            for key, value in mine.items():
                patch.setenv(key, value.replace("/run/secrets/hardpose", str(tmp_path)))
            settings = load_settings()
        fields = {key.removeprefix("HARDPOSE_").removesuffix("_FILE").lower() for key in mine}
        assert fields <= set(Settings.model_fields)
        if name != "weights":
            assert "broker_password" in fields
            assert f":{SECRETS['broker_password']}@valkey:6379" in settings.broker
        if "catalog_url" in fields:
            assert SECRETS["catalog_password"] in settings.catalog
        others = set(given) - set(mine)
        assert others <= {"AWS_ENDPOINT", "AWS_ALLOW_HTTP", "AWS_REGION"}


def test_secrets_are_files_and_only_those_that_are_needed(overlay: Overlay) -> None:
    for name, (_, pod) in pods(overlay).items():
        (container,) = pod["containers"]
        assert not [each for each in container.get("env", []) if "valueFrom" in each], name
        mounted = _mounted(pod)
        assert set(mounted) <= set(SECRETS), name
        words = json.dumps([container, environment(overlay, pod)])
        asked = set(re.findall(r"/run/secrets/hardpose/(\w+)", words))
        if name == "prometheus":
            asked = {"metrics_token"}  # named in prometheus.yml
        assert asked == set(mounted), name
        for secret in SECRETS.values():
            assert secret == "{}" or secret not in words
    made = (ROOT / "deploy" / "secrets.sh").read_text()
    assert all(name in made for name in SECRETS)


def _mounted(pod: Document) -> list[str]:
    volumes = [volume["secret"] for volume in pod.get("volumes", []) if "secret" in volume]
    assert all(volume["secretName"] == "hardpose" for volume in volumes)
    return [item["path"] for volume in volumes for item in volume["items"] if item["path"] == item["key"]]


def test_only_gpu_workers_get_gpus() -> None:
    found = ours(build(KUBERNETES / "overlays" / "gpu"))
    limits = {name: pod["containers"][0]["resources"]["limits"] for name, (_, pod) in found.items()}
    with_gpu = {name for name, limit in limits.items() if limit.get("nvidia.com/gpu") == "1"}
    assert with_gpu == {"worker-pose", "worker-mask"}
    for name in with_gpu:
        assert "hardpose-gpu-onnx" in image_of(found[name][1])
        assert found[name][1]["containers"][0]["args"][-2:] == ["--gpu", "0"]


# --- how they run ---


def test_nothing_runs_as_root_or_writes_its_image_or_talks_to_kubernetes(overlay: Overlay) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    extra = [*yaml.safe_load_all((KUBERNETES / "bring-weights.yaml").read_text())]
    for pod in [*(pod for _, pod in pods(overlay).values()), *(each["spec"] for each in extra)]:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a service's variables could pass for settings"
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            claims = {"data"} if "data" in mounts else set()
            init = {"secrets"} if container in pod.get("initContainers", []) else set()
            assert mounts == ({volume["name"] for volume in pod["volumes"]} | claims) - init


def test_all_that_is_written_has_a_volume(overlay: Overlay) -> None:
    for name, (_, pod) in ours(overlay).items():
        mounts = {m["mountPath"]: m.get("readOnly", False) for m in pod["containers"][0]["volumeMounts"]}
        home = "/var/lib/hardpose"
        assert {"/tmp", f"{home}/home", f"{home}/temp"} <= {path for path, read in mounts.items() if not read}
        needs_weights = name in ("api", "weights", "worker-pose", "worker-mask", "worker-me")
        assert (f"{home}/weights" in mounts) == needs_weights
        assert mounts.get(f"{home}/weights", name != "weights") is (name != "weights")


def test_a_worker_has_the_time_to_finish_what_it_is_at(overlay: Overlay) -> None:
    settings = load_settings()
    for name, (_, pod) in ours(overlay).items():
        if not name.startswith("worker-"):
            continue
        longest = settings.hard_time_limit
        if name == "worker-download":
            longest = link_limits(settings)["time_limit"]
        assert pod["terminationGracePeriodSeconds"] >= longest + MARGIN, name


def test_a_release_can_follow_another(overlay: Overlay) -> None:
    """What a second ``kubectl apply`` with other images meets."""
    deployments = of_kind(overlay, "Deployment")
    for name, (_, pod) in ours(overlay).items():
        if name == "weights":
            continue
        # A new pod may wait for what an old one holds until that one has ended.
        assert deployments[name]["spec"]["progressDeadlineSeconds"] > pod["terminationGracePeriodSeconds"]
        # Process 1 of a pid namespace does not hear SIGTERM unless it has asked for it, and inherits orphans.
        assert pod["shareProcessNamespace"] is True
    (job,) = of_kind(overlay, "Job").values()
    assert job["spec"]["ttlSecondsAfterFinished"] <= 3600, "its template cannot be changed"
    for budget in of_kind(overlay, "PodDisruptionBudget").values():
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_worker_waits_for_its_weights_and_fetches_none(overlay: Overlay) -> None:
    for name, (_, pod) in ours(overlay).items():
        waits = [each for each in pod.get("initContainers", []) if each["name"] == "weights"]
        assert bool(waits) == (name in ("worker-pose", "worker-mask", "worker-me")), name
        for each in waits:
            assert each["image"] == image_of(pod)
            (model,) = each["env"]
            where = model["valueFrom"]["configMapKeyRef"]
            assert model["name"] == where["key"] and where["key"] in environment(overlay, pod)
            (mount,) = [m for m in each["volumeMounts"] if m["name"] == "weights"]
            assert mount["readOnly"] is True


def test_everything_that_serves_is_looked_at(overlay: Overlay) -> None:
    for name, (_, pod) in pods(overlay).items():
        if name == "weights":
            continue
        (container,) = pod["containers"]
        stores = name in of_kind(overlay, "StatefulSet") and name != "prometheus"
        if stores or name.startswith("worker-"):  # a slow start is no death
            begins = container["startupProbe"]
            assert begins["periodSeconds"] * begins["failureThreshold"] >= 600
        ports = {port["containerPort"] for port in container["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            look = container[probe]
            assert "exec" in look or look["httpGet"]["port"] in ports, name
        if name.startswith("worker-"):
            assert container["livenessProbe"]["httpGet"]["path"] == "/metrics"
            assert container["startupProbe"]["httpGet"]["path"] == "/metrics", "it waits for a broker"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert str(*ports) == environment(overlay, pod)["HARDPOSE_METRICS_PORT"]


def test_every_name_leads_somewhere(overlay: Overlay) -> None:
    running = pods(overlay)
    labels = [each for each, _ in running.values()]
    claims = of_kind(overlay, "PersistentVolumeClaim")
    maps = of_kind(overlay, "ConfigMap")
    for document in overlay:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet"):
            own = spec["template"]["metadata"]["labels"]
            assert selects(spec["selector"], own)
            assert [each for each in labels if selects(spec["selector"], each)] == [own], "two select one pod"
        if document["kind"] in ("PodDisruptionBudget",):
            assert [each for each in labels if selects(spec["selector"], each)]
            assert spec["maxUnavailable"] == 1
        if document["kind"] == "Service":
            chosen = [
                pod for each, pod in running.values() if selects({"matchLabels": spec["selector"]}, each)
            ]
            assert chosen
            for port in spec["ports"]:
                for pod in chosen:
                    assert port["targetPort"] in [p["containerPort"] for p in pod["containers"][0]["ports"]]
        if document["kind"] == "ScaledObject":
            assert spec["scaleTargetRef"]["name"] in of_kind(overlay, "Deployment")
    for _, pod in running.values():
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
    disrupted = of_kind(overlay, "PodDisruptionBudget")
    assert set(disrupted) == set(ours(overlay)) - {"weights"}


def test_every_image_is_one_that_is_built_or_has_its_release(overlay: Overlay) -> None:
    built = {file.name.removesuffix(".Dockerfile") for file in (ROOT / "deploy" / "images").iterdir()}
    built |= {"compare"}  # cpu.Dockerfile with other extras, as in docker-compose.yml
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    compose = (ROOT / "docker-compose.yml").read_text()
    for name, (_, pod) in pods(overlay).items():
        image, _, tag = (
            image_of(pod).rpartition(":") if ":" in image_of(pod) else (image_of(pod), "", release)
        )
        if "hardpose" in image:
            assert image.rpartition("/")[2].removeprefix("hardpose-") in built, name
            assert tag == release
        else:
            assert f"{image}:{tag}" in compose, f"{name}: docker-compose.yml has another release"


def test_the_builder_of_these_tests_builds_what_kustomize_builds(tmp_path: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        # In CI too: Debian's (1.20) has a Kustomize without components, and CI installs from nowhere else.
        pytest.skip("no kubectl of 1.21 or later: the tests' own builder is not held against the real one")
    for name in OVERLAYS:
        folder = KUBERNETES / "overlays" / name
        if name == "bearer":
            folder = tmp_path
        mine = overlay_of(name, tmp_path)
        line = [program, "kustomize", str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        theirs = list(yaml.safe_load_all(done.stdout))
        assert _by_name(mine) == _by_name(theirs)


def _by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    found = {(document["kind"], document["metadata"]["name"]): _plain(document) for document in documents}
    assert len(found) == len(documents) > 50
    return found


def _plain(value: Any) -> Any:
    """Without what is empty, and without the order in which lists are merged."""
    if isinstance(value, dict):
        return {
            key: _plain(each)
            for key, each in value.items()
            if each not in ({}, [], None) or key == "emptyDir"
        }
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return sorted(map(_plain, value), key=lambda each: json.dumps(each, sort_keys=True))
    return value
