"""What the tests of deploy/kubernetes share: the overlays as a cluster would get them."""

import os
from pathlib import Path

import yaml
from kustomized import Document, build, pods_of

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "bearer")
SECRETS = {
    "broker_password": "b" * 24,
    "catalog_password": "c" * 24,
    "artifacts_key_id": "d" * 24,
    "artifacts_secret_key": "e" * 24,
    "s3_identities": "{}",
    "api_tokens": "lab:read:" + "f" * 24,
    "flower_auth": "lab:" + "g" * 24,
    "metrics_token": "h" * 24,
}
"""The files that deploy/secrets.sh makes; the README puts them into one Secret."""

Overlay = list[Document]


def overlay_of(name: str, folder: Path) -> Overlay:
    """All documents of an overlay.

    Args:
        name: of the overlay; ``bearer`` is the README's, with a Prometheus that the cluster has already.
        folder: an empty one.
    """
    if name != "bearer":
        return build(KUBERNETES / "overlays" / name)
    near = os.path.relpath(KUBERNETES, folder)
    told = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "hardpose",
        "resources": [f"{near}/base", f"{near}/stores"],
        "components": [f"{near}/components/bearer-prometheus"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(told))
    return build(folder)


def of_kind(overlay: Overlay, *kinds: str) -> dict[str, Document]:
    """The documents of some kinds by their names; there is one at least."""
    found = {d["metadata"]["name"]: d for d in overlay if d["kind"] in kinds}
    assert found, kinds
    return found


def pods(overlay: Overlay) -> dict[str, tuple[dict[str, str], Document]]:
    """``name -> (labels, specification)`` of everything that runs."""
    found = {
        document["metadata"]["name"]: (document["spec"]["template"]["metadata"]["labels"], pod)
        for document in overlay
        for pod in pods_of(document)
    }
    assert len(found) > 10
    return found


def ours(overlay: Overlay) -> dict[str, tuple[dict[str, str], Document]]:
    """Those of them that run hardpose."""
    found = {name: each for name, each in pods(overlay).items() if "hardpose" in image_of(each[1])}
    assert len(found) == 9
    return found


def image_of(pod: Document) -> str:
    """Of a pod's only container."""
    (container,) = pod["containers"]
    return str(container["image"])


def containers_of(pod: Document) -> list[Document]:
    """Of a pod, those that run before the others included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(overlay: Overlay, pod: Document) -> dict[str, str]:
    """What a container of ours finds in its environment."""
    (container,) = pod["containers"]
    maps, found = of_kind(overlay, "ConfigMap"), dict[str, str]()
    for source in container.get("envFrom", []):
        found.update(maps[source["configMapRef"]["name"]]["data"])
    return found | {each["name"]: each["value"] for each in container.get("env", [])}


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses what has these labels."""
    matched = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "In" for each in expressions)
    return matched and all(labels.get(each["key"]) in each["values"] for each in expressions)
