"""Thousands of requests that Schemathesis makes up from the OpenAPI document, with and without a token.

None may end in a 5xx, a status or a type that is not documented, or a body that breaks its schema; what
breaks the schema of a request must be refused, and so must whoever has no token. The requests are the same
each time.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from announced_devices import announce, device_spec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from painted_books import RECIPE, SPEC, a_video, frame_id, painted_books
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from api.http.app import create_api
from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.exports import ExportSpec
from broker.presence import Presence, WorkerCard
from broker.recipe import Stage
from broker.settings import load_settings

ADMIN = {"Authorization": "Bearer token-of-root-0123456789"}
MADE_UP, KNOWN = 18, 6
"""Requests of each operation and kind: with ids that are made up, and with those of things that there are."""
NEITHER = [positive_data_acceptance]
"""Not every link, cursor or id that a schema allows can be taken, so this check cannot hold."""
OPEN = {"GET /healthz", "GET /readyz", "POST /session", "DELETE /session"}
"""Answered without a token in a header."""
BODIES = {
    "POST /session": {"token": "token-of-root-0123456789"},
    "POST /jobs": {"links": ["https://videos.example/3.mp4"], "priority": "low"},
    "POST /replays": {"device": "me-1", "jobs": ["job1"]},
    "POST /reviews": {
        "decisions": [{"id": "decision-1", "frame_id": frame_id(2), "decision": "keep", "note": "é\n"}]
    },
}
"""What is not made up by chance: a token, a link, a frame."""


@dataclass
class System:
    """An API over books that hold something of everything."""

    schema: Any
    ids: Mapping[str, str]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker) -> Iterator[System]:
    given_settings = load_settings(
        home=tmp_path_factory.mktemp("schema"),
        broker_url=server.url,
        namespace="schema",
        api_tokens=SecretStr("root:admin:token-of-root-0123456789"),
        api_hosts=("testserver",),
        api_requests_per_minute=10_000_000,
    )
    catalog = painted_books(given_settings)
    export = a_finished_export(catalog, Artifacts(given_settings.artifacts))
    models = {Stage.POSE: SPEC, Stage.MASK: SPEC, Stage.ME: RECIPE.device_model}
    card = WorkerCard(name="all", host="h", pid=1, queues=("pose",), models=models, version="0", started=0.0)
    Presence(Control.of(given_settings)).announce(card)
    announce(Control.of(given_settings), device_spec("me-1"), pid=1)
    app = create_api(given_settings)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=ADMIN)
    ids = {"job_id": "job2", "video_id": a_video(1).id, "frame_id": frame_id(), "export_id": export}
    yield System(schema, ids)
    catalog.dispose()


def a_finished_export(catalog: Catalog, store: Artifacts) -> str:
    name, data = catalog.exports.create(ExportSpec(), "test").id, b"zip" * 1000
    store.put(f"exports/{name}.zip", data)
    catalog.exports.start(name)
    digest = hashlib.sha256(data).hexdigest()
    catalog.exports.finish(name, f"exports/{name}.zip", len(data), digest, {"train": 4}, [a_video(1).id])
    return name


def operations(schema: Any) -> list[Any]:
    """All of them; those that remove something come last."""
    found = [result.ok() for result in schema.get_all_operations()]
    return sorted(found, key=lambda operation: (operation.method.upper() == "DELETE", operation.path))


def sent(cases: st.SearchStrategy[Case], count: int, seen: Counter[tuple[str, bool, int]]) -> None:
    """Sends ``count`` of ``cases``, each with and without a token, and has every answer checked."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def send(case: Case) -> None:
        doubtful = NEITHER if surely_broken(case) else [*NEITHER, negative_data_rejection]
        for headers, excluded in ((ADMIN, doubtful), ({}, [*doubtful, ignored_auth])):
            answer = case.call(headers=dict(headers))
            seen[case.operation.label, bool(headers), answer.status_code] += 1
            case.validate_response(answer, headers=dict(headers), excluded_checks=excluded)

    send()


def surely_broken(case: Case) -> bool:
    """Whether what is wrong is in the path or in the body. In a query a list of one value is written as the
    value, and every number is a text, so that what was made up wrong may be right as it is sent; and a wrong
    Authorization is not sent, since ours is."""
    parts = (ParameterLocation.PATH, ParameterLocation.BODY)
    found = [case.meta.components.get(part) for part in parts] if case.meta else []
    return any(part.mode is GenerationMode.NEGATIVE for part in found if part is not None)


def can_break(operation: Any) -> bool:
    """Whether there is anything in a request of it that can be wrong."""
    return bool(operation.definition.raw.get("parameters") or operation.definition.raw.get("requestBody"))


def known_parts(operation: Any, ids: Mapping[str, str]) -> dict[str, Any]:
    """The parts of a request that name things that there are."""
    path = {name: value for name, value in ids.items() if f"{{{name}}}" in operation.path}
    body = BODIES.get(operation.label)
    return ({"path_parameters": path} if path else {}) | ({"body": body} if body else {})


def test_nothing_is_answered_that_is_not_documented_nor_anything_without_a_token(system: System) -> None:
    seen: Counter[tuple[str, bool, int]] = Counter()
    every = operations(system.schema)
    assert len(every) >= 25
    for operation in every:
        sent(operation.as_strategy(GenerationMode.POSITIVE), MADE_UP, seen)
        if can_break(operation):
            sent(operation.as_strategy(GenerationMode.NEGATIVE), MADE_UP, seen)
        known = known_parts(operation, system.ids)
        if known:
            sent(operation.as_strategy(GenerationMode.POSITIVE, **known), KNOWN, seen)
    assert sum(seen.values()) >= 2000
    unseen = {operation.label for operation in every} - {label for label, _, status in seen if status < 300}
    assert not unseen, "operations that were never seen to work"
    let_in = {label for label, known_caller, status in seen if status < 400 and not known_caller}
    assert let_in <= OPEN, "routes that answer whoever asks"
