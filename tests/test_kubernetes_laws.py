"""How the manifests scale, and who reaches whom: laws that no schema knows."""

import pytest
from kustomized import Document
from manifests import OVERLAYS, Overlay, environment, of_kind, overlay_of, pods, selects

from broker.recipe import Stage
from broker.settings import load_settings
from workers.process import DOWNLOAD_THREADS

PROMETHEUS_TRIGGER = {
    "serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "authModes",
    "namespace", "customHeaders", "unsafeSsl", "queryParameters", "timeout",
}  # fmt: skip
"""What KEDA's documentation of the trigger `prometheus` names; its schema takes any word."""


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    return overlay_of(request.param, tmp_path_factory.mktemp("overlay"))


# --- scaling ---


def test_no_busy_worker_is_one_too_many(overlay: Overlay) -> None:
    scaled = of_kind(overlay, "ScaledObject")
    assert set(scaled) == {f"worker-{q}" for q in ("download", "pose", "mask", "compare", "export")}
    deployments = of_kind(overlay, "Deployment")
    for name, document in scaled.items():
        spec, queue = document["spec"], name.removeprefix("worker-")
        (trigger,) = spec["triggers"]
        assert trigger["type"] == "prometheus"
        assert set(trigger["metadata"]) <= PROMETHEUS_TRIGGER
        told = trigger["metadata"]
        both = f'hardpose_queue_messages{{queue="{queue}"}} + hardpose_running_messages{{queue="{queue}"}}'
        assert told["query"] == f"max({both})"
        assert trigger["metricType"] == "AverageValue"
        at_once = DOWNLOAD_THREADS if queue == Stage.DOWNLOAD else 1
        for running in range(1, 40):  # replicas = ceil(value / threshold), KEDA through the HPA
            asked = -(-running // int(told["threshold"]))
            assert asked * at_once >= running
        assert told["ignoreNullValues"] == "false"
        assert "fallback" not in spec
        assert "replicas" not in deployments[name]["spec"], "each kubectl apply would undo KEDA's number"
        keeps_books = queue in ("download", "compare")
        assert spec["minReplicaCount"] >= (1 if keeps_books else 0)
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert behaviour["stabilizationWindowSeconds"] >= 300
        assert spec["cooldownPeriod"] > load_settings().hard_time_limit
    assert deployments["worker-me"]["spec"]["replicas"] == 1


# --- the network ---

PLACES = {"HARDPOSE_BROKER_URL": "valkey", "AWS_ENDPOINT": "s3", "HARDPOSE_CATALOG_URL": "postgres"}


def test_everything_is_closed_unless_it_is_opened(overlay: Overlay) -> None:
    closed = of_kind(overlay, "NetworkPolicy")["nothing-else"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_each_pod_reaches_what_its_settings_name_and_nothing_else(overlay: Overlay) -> None:
    running = pods(overlay)
    for name, (labels, pod) in running.items():
        needed = {place for key, place in PLACES.items() if key in environment(overlay, pod)}
        if name in ("worker-download", "weights"):
            needed.add("internet")
        if name == "prometheus":
            needed = {each for each, (own, _) in running.items() if own.get("has-metrics") or each == "api"}
        assert _reached(overlay, labels) == needed, name


def _reached(overlay: Overlay, labels: dict[str, str]) -> set[str]:
    """What is open to a pod at both ends, names of the cluster not counted."""
    found = set()
    for policy in _policies(overlay, labels, "Egress"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                if {port["port"] for port in rule["ports"]} == {53}:  # names
                    assert peer.get("ipBlock", {"cidr": "169.254.20.10/32"}) == {"cidr": "169.254.20.10/32"}
                elif "ipBlock" in peer:
                    found.add("internet")
                else:
                    found |= _let_in(overlay, labels, peer["podSelector"], rule["ports"])
    return found


def _let_in(overlay: Overlay, caller: dict[str, str], selector: Document, ports: list[Document]) -> set[str]:
    found = set()
    for name, (labels, pod) in pods(overlay).items():
        if not selects(selector, labels):
            continue
        listened = {port["containerPort"] for port in pod["containers"][0]["ports"]}
        for policy in _policies(overlay, labels, "Ingress"):
            for rule in policy["spec"].get("ingress", []):
                peers = [peer["podSelector"] for peer in rule["from"] if "podSelector" in peer]
                open_here = {p["port"] for p in rule["ports"]} & {p["port"] for p in ports} & listened
                if open_here and any(selects(peer, caller) for peer in peers):
                    found.add(name)
    return found


def _policies(overlay: Overlay, labels: dict[str, str], kind: str) -> list[Document]:
    return [
        policy
        for policy in of_kind(overlay, "NetworkPolicy").values()
        if kind in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], labels)
    ]


def test_a_model_worker_reaches_broker_and_artifacts_alone(overlay: Overlay) -> None:
    for queue in ("pose", "mask", "me"):
        labels, _ = pods(overlay)[f"worker-{queue}"]
        assert _reached(overlay, labels) == {"valkey", "s3"}


def test_the_internet_is_not_the_cluster(overlay: Overlay) -> None:
    (rule,) = of_kind(overlay, "NetworkPolicy")["reaches-internet"]["spec"]["egress"]
    blocks = [peer["ipBlock"] for peer in rule["to"]]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(blocks[0]["except"])


def test_only_api_and_flower_are_open_to_people(overlay: Overlay) -> None:
    outside = {
        name
        for name, (labels, _) in pods(overlay).items()
        for policy in _policies(overlay, labels, "Ingress")
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
        if "hardpose-front-door" in peer.get("namespaceSelector", {}).get("matchLabels", {})
    }
    assert outside == {"api", "flower"}
    assert all(
        s["spec"].get("type", "ClusterIP") == "ClusterIP" for s in of_kind(overlay, "Service").values()
    )
