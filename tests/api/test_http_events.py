"""Progress as server-sent events: what is told and when, to how many, and how a stream ends."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import PATIENCE, served
from hardpose_process import environment
from redis_servers import until
from samples_of_books import FAILURE, a_result, planned

from api.http import events
from api.http.progress import POLL_SECONDS
from broker.catalog import Catalog
from broker.embedded import EmbeddedBroker
from broker.job_books import JobBooks
from broker.messages import Segment
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime

PATIENT_API = """
from api.http import server
server.GRACE_SECONDS = 100
from api.cli import main
main()
"""
"""The command, for a busy machine: what has to end by itself is not broken off after 5 seconds."""
TOKEN = "root-0123456789abcdef"


@pytest.fixture
def books(tmp_path: Path, server: EmbeddedBroker) -> Settings:
    name = re.sub("[^a-z0-9]", "", tmp_path.name.lower())
    return load_settings(home=tmp_path / "state", broker_url=server.url, namespace=f"events-{name}")


@pytest.fixture
def segments(books: Settings) -> list[Segment]:
    catalog = Runtime(books).catalog
    found = planned(catalog, 2)
    assert len(found) == 2
    return found


@pytest.fixture
def url(books: Settings, segments: list[Segment]) -> Iterator[str]:
    with served(books) as url:
        yield url


class Stream:
    """Reads events as a browser does (HTML standard, 9.2.6)."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        event = data = ""
        for line in self._lines:
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = line.removeprefix("data: ")
            elif not line and event:
                return event, json.loads(data)
        return "", {}


@contextmanager
def stream(url: str, job: str = "job", **headers: str) -> Iterator[Stream]:
    with (
        httpx.Client(verify=False, timeout=PATIENCE) as client,
        client.stream("GET", f"{url}/jobs/{job}/events", headers=headers) as response,
    ):
        yield Stream(response)


def test_a_job_is_followed_to_its_end(url: str, books: Settings, segments: list[Segment]) -> None:
    runtime = Runtime(books)
    with stream(url) as watched:
        assert watched.response.headers["content-type"].startswith("text/event-stream")
        name, first = watched.next()
        assert (name, first["state"], first["fraction"]) == ("progress", "running", 0.0)
        assert first["segments"] == {"total": 2, "done": 0, "failed": 0}
        assert first["eta_seconds"] is None and 0 <= first["seconds_since_progress"] < 600
        runtime.control.advance(segments[0], Stage.POSE)
        name, second = watched.next()
        assert (name, second["stages"]["pose"], second["fraction"]) == ("progress", 1, 0.125)
        runtime.catalog.settle_segment(a_result(segments[0]))
        name, third = watched.next()
        assert (third["verdicts"], third["examined"], third["hard"]) == ({"no_head": 1, "hard": 1}, 2, 1)
        assert third["fraction"] == 0.5 and third["eta_seconds"] is not None
        runtime.catalog.fail_segment(segments[1], FAILURE)
        name, last = watched.next()
        assert (name, last["state"], last["fraction"]) == ("finished", "partial", 1.0)
        assert last["segments"] == {"total": 2, "done": 1, "failed": 1}
        assert watched.next() == ("", {})  # the server ends it
    with stream(url, **{"Last-Event-ID": "nonsense"}) as again:
        assert again.next()[0] == "finished"


def test_no_stream_of_what_is_not_there(url: str) -> None:
    answer = httpx.get(f"{url}/jobs/none/events", timeout=PATIENCE)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_one_look_serves_all_and_who_goes_frees_the_place(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 5)
    looks = 0
    summary = JobBooks.summary

    def counted(self: JobBooks, job_id: str) -> Any:
        nonlocal looks
        looks += 1
        return summary(self, job_id)

    def open_streams() -> str:
        metrics: str = httpx.get(f"{url}/metrics", timeout=PATIENCE).text
        return re.findall(r"(?m)^hardpose_http_event_streams (\S+)$", metrics)[0]

    streams = [stream(url) for _ in range(5)]
    watched = [each.__enter__() for each in streams]
    assert [each.next()[0] for each in watched] == ["progress"] * 5
    with stream(url) as one_more:
        assert one_more.response.status_code == 429 and one_more.response.headers["retry-after"] == "5"
    monkeypatch.setattr(JobBooks, "summary", counted)
    began = time.monotonic()
    until(lambda: looks >= 3, "looks at the job")
    seen, took = looks, time.monotonic() - began
    assert seen <= 2 + took / POLL_SECONDS  # one at each end, and not five times as many
    for each in streams:
        each.__exit__(None, None, None)
    until(lambda: open_streams() == "0.0", "no stream outlives its client")

    def nobody_looks() -> bool:
        before = looks
        time.sleep(1.5 * POLL_SECONDS)
        return looks == before

    until(nobody_looks, "nobody watches, nobody looks")
    with stream(url) as back:
        assert back.next()[0] == "progress"


def test_a_deleted_job_and_a_catalog_that_is_away_are_told(
    url: str, books: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker.database import CatalogUnavailable

    def away(*_: object) -> Any:
        raise CatalogUnavailable("The catalog does not answer.", "Wait.")

    with stream(url) as watched:
        assert watched.next()[0] == "progress"
        with monkeypatch.context() as patch:
            patch.setattr(JobBooks, "summary", away)
            name, said = watched.next()
            assert (name, said["code"]) == ("unavailable", "catalog_unavailable")
        assert watched.next()[0] == "progress"
        Runtime(books).catalog.cancel_job("job")
        assert watched.next()[0] == "finished"


def test_hardpose_api_ends_in_order_with_open_streams_and_logs_no_token(
    books: Settings, segments: list[Segment]
) -> None:
    variables = {
        "HARDPOSE_HOME": str(books.home),
        "HARDPOSE_BROKER_URL": books.broker,
        "HARDPOSE_NAMESPACE": books.namespace,
        "HARDPOSE_API_TOKENS": f"root:admin:{TOKEN}",
        "HARDPOSE_LOG_LEVEL": "DEBUG",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PATIENT_API, "api", "--port", "0"],
        env=environment(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    addressed = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("API: "):
                addressed.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert addressed.wait(PATIENCE), lines
        url = next(line for line in lines if line.startswith("API: ")).split()[1]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, verify=False, headers=headers, timeout=PATIENCE) as client:
            assert client.get(f"/session?token={TOKEN}").status_code == 200
            assert client.post("/session", json={"token": [TOKEN]}).status_code == 422
        with stream(url, Authorization=f"Bearer {TOKEN}") as watched:
            assert watched.next()[0] == "progress"
            process.send_signal(signal.SIGTERM)
            assert watched.next() == ("", {})  # an end, not a broken connection
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    reader.join(PATIENCE)
    assert TOKEN not in "".join(lines) and "Traceback" not in "".join(lines)
    assert Catalog(books.catalog).work.summary("job").links
