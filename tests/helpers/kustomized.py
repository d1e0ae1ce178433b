"""Builds a Kustomization of ours without the program, as far as ours go; what else it names is refused.

Understood: resources, components, namespace, patches (strategic merge, with lists merged by their keys; add
and replace of JSON 6902), images, configMapGenerator of files without a hash in the name.
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KNOWN = {
    "apiVersion", "kind", "namespace", "resources", "components", "patches", "images", "generatorOptions",
    "configMapGenerator",
}  # fmt: skip
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists that Kubernetes merges by a key (patchMergeKey of its API types); all others are replaced."""
CLUSTER_WIDE = ("Namespace",)


def build(folder: Path) -> list[Document]:
    """The documents that ``kubectl apply -k FOLDER`` would send."""
    told = _read(folder)
    found = [document for name in told.get("resources", []) for document in _resource(folder, name)]
    found += [_config_map(folder, each, told) for each in told.get("configMapGenerator", [])]
    for name in told.get("components", []):
        part = (folder / name).resolve()
        assert _read(part)["kind"] == "Component"
        inner = _read(part)
        found += [document for each in inner.get("resources", []) for document in _resource(part, each)]
        _change(found, part, inner)
    _change(found, folder, told)
    names = [(d["kind"], d["metadata"]["name"]) for d in found]
    assert len(names) == len(set(names)), "two documents have one name"
    return found


def _read(folder: Path) -> Document:
    told: Document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(told) <= KNOWN, f"{folder}: {set(told) - KNOWN} is not understood here"
    return told


def _resource(folder: Path, name: str) -> list[Document]:
    place = (folder / name).resolve()
    if place.is_dir():
        return build(place)
    assert place.is_relative_to(folder.resolve()), f"{place}: kustomize reads no file outside {folder}"
    return [document for document in yaml.safe_load_all(place.read_text()) if document]


def _config_map(folder: Path, told: Document, whole: Document) -> Document:
    assert whole["generatorOptions"] == {"disableNameSuffixHash": True}
    assert set(told) <= {"name", "files", "options"}
    files = [folder / name for name in told["files"]]
    assert all(file.resolve().is_relative_to(folder.resolve()) for file in files)
    metadata = {"name": told["name"], "labels": told.get("options", {}).get("labels", {})}
    data = {file.name: file.read_text() for file in files}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _change(found: list[Document], folder: Path, told: Document) -> None:
    for patch in told.get("patches", []):
        _patch(found, folder, patch)
    for document in found:
        if told.get("namespace") and document["kind"] not in CLUSTER_WIDE:
            document["metadata"]["namespace"] = told["namespace"]
        if told.get("namespace") and document["kind"] == "Namespace":
            document["metadata"]["name"] = told["namespace"]
        for pod in pods_of(document):
            for image in told.get("images", []):
                _rename(pod, image)


def _patch(found: list[Document], folder: Path, told: Document) -> None:
    text = (folder / told["path"]).read_text() if "path" in told else told["patch"]
    patch = yaml.safe_load(text)
    target = told.get("target") or {"kind": patch["kind"], "name": patch["metadata"]["name"]}
    assert set(target) <= {"kind", "name"}
    chosen = [
        document
        for document in found
        if document["kind"] == target["kind"]
        and re.fullmatch(target.get("name", ".*"), document["metadata"]["name"])
    ]
    assert chosen, f"the patch {told} changes nothing"
    for document in chosen:
        if isinstance(patch, list):
            for step in patch:
                _step(document, step)
        else:
            body = {
                key: value for key, value in patch.items() if key not in ("apiVersion", "kind", "metadata")
            }
            merged = merge(document, body)
            document.clear()
            document.update(merged)


def _step(document: Document, step: Document) -> None:
    *way, last = step["path"].strip("/").split("/")
    place: Any = document
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    assert step["op"] in ("add", "replace")
    assert step["op"] == "add" or last in place, f"{step['path']} is not there to be replaced"
    place[last] = copy.deepcopy(step["value"])


def merge(base: Any, patch: Any, name: str = "") -> Any:
    """A strategic merge: maps by key, some lists by the key of their elements, all else replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {
            **base,
            **{key: merge(base[key], value, key) if key in base else value for key, value in patch.items()},
        }
    key = MERGE_KEYS.get(name)
    if key and isinstance(base, list) and isinstance(patch, list):
        by_key = {each[key]: each for each in base}
        for each in patch:
            by_key[each[key]] = merge(by_key[each[key]], each) if each[key] in by_key else each
        return copy.deepcopy(list(by_key.values()))
    return copy.deepcopy(patch)


def pods_of(document: Document) -> list[Document]:
    """The pod specifications in a document, if it has any."""
    if document["kind"] == "Pod":
        return [document["spec"]]
    if document["kind"] in ("Deployment", "StatefulSet", "Job"):
        return [document["spec"]["template"]["spec"]]
    return []


def _rename(pod: Document, image: Document) -> None:
    assert set(image) <= {"name", "newName", "newTag", "digest"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        name, _, tag = container["image"].partition(":")
        if name == image["name"]:
            container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
