"""How much and how often: bodies, requests a minute, several processes, and what broken clients send."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from api_server import PATIENCE, served
from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from redis_servers import until

from broker.embedded import EmbeddedBroker
from broker.errors import NotFound
from broker.settings import Settings, load_settings

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are counted by the hour: a slow machine sends as many of them as any other within it. And a
    Redis or a client that stands still is not away."""
    monkeypatch.setattr("api.http.limits.RateLimitItemPerMinute", RateLimitItemPerHour)
    monkeypatch.setattr("api.http.limits.AWAY_TIMEOUT", PATIENCE)
    monkeypatch.setattr("api.http.limits.AWAY_SECONDS", 3600)
    monkeypatch.setattr("api.http.guards.BODY_SECONDS", PATIENCE)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker) -> Settings:
    home = tmp_path_factory.mktemp("limits") / "state"
    return load_settings(home=home, broker_url=server.url, namespace="limits", api_max_body_bytes=2048)


@pytest.fixture(scope="module")
def api(books: Settings) -> Iterator[httpx.Client]:
    with served(books) as url, client_of(url) as client:
        yield client


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, verify=False, timeout=PATIENCE)


def test_a_large_body_is_refused_whatever_it_says_of_itself(api: httpx.Client) -> None:
    order = b'{"links": ["http://127.0.0.1:9/%s"]}'
    stated = api.post("/jobs", content=order % (b"x" * 2048), headers=JSON)
    assert (stated.status_code, stated.json()["code"]) == (413, "too_large")

    def streamed(size: int) -> Iterator[bytes]:
        yield b'{"links": ["http://127.0.0.1:9/'
        yield from (b"x" * 100 for _ in range(size // 100))
        yield b'"]}'

    chunked = api.post("/jobs", content=streamed(4000), headers=JSON)
    assert (chunked.status_code, chunked.json()["code"]) == (413, "too_large")
    assert chunked.headers["content-type"] == "application/problem+json"
    assert api.post("/jobs", content=streamed(600), headers=JSON).status_code == 202


def test_a_length_that_lies_is_refused_before_the_body_is_read(api: httpx.Client) -> None:
    host, port = urlsplit(str(api.base_url)).hostname, urlsplit(str(api.base_url)).port
    with socket.create_connection((host, port), timeout=PATIENCE) as raw:
        raw.sendall(
            f"POST /jobs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {10**15}\r\n\r\n".encode()
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.guards.BODY_SECONDS", 0.3)
    host, port = urlsplit(str(api.base_url)).hostname, urlsplit(str(api.base_url)).port
    with socket.create_connection((host, port), timeout=PATIENCE) as raw:
        raw.sendall(
            f"POST /jobs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        answer = raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408") and b"application/problem+json" in answer


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b'{"links": []}', "text/plain", 415, "unsupported_media_type"),  # what a foreign form can send
        (b"links=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
        (b"{", "application/json", 422, "invalid_request"),
        (b"\xff\xfe{", "application/json", 400, "bad_request"),
        (b"[" * 2000, "application/json", 400, "bad_request"),
        (b"null", "application/json; charset=utf-8", 422, "invalid_request"),
        (b'{"links": ["http://a"], "surplus": 1}', "application/json", 422, "invalid_request"),
    ],
)
def test_bodies_that_are_none(api: httpx.Client, content: bytes, kind: str, status: int, code: str) -> None:
    answer = api.post("/jobs", content=content, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_processes_count_together_and_say_when_to_come_back(books: Settings) -> None:
    few = books.model_copy(update={"api_requests_per_minute": 5, "namespace": "few"})
    with served(few) as one, served(few) as other, httpx.Client(verify=False, timeout=PATIENCE) as client:
        answers = [client.get(f"{url}/session") for url in (one, other, one, other, one, other)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        last = answers[-1]
        assert last.json()["code"] == "rate_limited" and 1 <= int(last.headers["retry-after"]) <= 60
        assert client.get(f"{one}/healthz").status_code == 200  # whoever watches the process is not counted
        # Pictures have ten times as many, of their own.
        pictures = [client.get(f"{one}/frames/x/images/teacher").status_code for _ in range(51)]
        assert 429 not in pictures[:50] and pictures[50] == 429


def test_callers_are_counted_apart(books: Settings) -> None:
    tokens = "ana:read:ana-0123456789abcdef eve:read:eve-0123456789abcdef"
    few = load_settings(home=books.home, broker_url=books.broker, namespace="apart", api_tokens=tokens)
    few = few.model_copy(update={"api_requests_per_minute": 3})
    with served(few) as url, client_of(url) as client:

        def ask(name: str) -> int:
            return client.get(
                "/session", headers={"Authorization": f"Bearer {name}-0123456789abcdef"}
            ).status_code

        assert [ask("ana") for _ in range(4)] == [200, 200, 200, 429]
        assert ask("eve") == 200
        assert [ask("nobody") for _ in range(4)] == [401, 401, 401, 429]  # guesses are counted by address


def test_reading_goes_on_while_the_broker_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "redis://127.0.0.1:1/0"
    away = load_settings(home=tmp_path / "state", broker_url=nobody, api_requests_per_minute=4)
    asked: list[object] = []
    hit = MovingWindowRateLimiter.hit

    def counted(limiter: MovingWindowRateLimiter, *given: Any) -> bool:
        if not isinstance(limiter.storage, MemoryStorage):
            asked.append(given)
        return hit(limiter, *given)

    monkeypatch.setattr(MovingWindowRateLimiter, "hit", counted)
    with served(away) as url, client_of(url) as client:
        assert client.get("/jobs").json()["total"] == 0
        assert len(asked) == 1
        assert client.get("/jobs").status_code == 200 and len(asked) == 1  # it is not asked again for a while
        ready = client.get("/readyz")
        assert ready.status_code == 503 and "retry-after" in ready.headers
        parts = ready.json()["parts"]
        assert (
            parts["catalog"]["ok"]
            and parts["artifacts"]["ok"]
            and parts["broker"]["code"] == "broker_unavailable"
        )
        order = client.post("/jobs", json={"links": ["http://127.0.0.1:9/x"]})
        assert (order.status_code, order.json()["code"]) == (503, "broker_unavailable")
        assert client.get("/jobs").json()["total"] == 0  # nothing was half done
        assert client.get("/jobs").status_code == 429  # counted here meanwhile


def test_a_file_that_is_no_catalog_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with (
        served(load_settings(home=tmp_path)) as url,
        client_of(url) as client,
    ):
        for path in ("/jobs", "/frames", "/devices", "/exports/export-1/file"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "catalog_broken"), path
            assert "retry-after" in answer.headers
        assert client.get("/readyz").json()["parts"]["catalog"]["code"] == "catalog_broken"
        assert "hardpose_catalog_up 0.0" in client.get("/metrics").text


def test_a_slow_store_stops_nothing_else(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        asked.append(0)
        assert go_on.wait(PATIENCE)
        raise NotFound("Nothing.", "")

    asked: list[int] = []
    go_on = threading.Event()
    monkeypatch.setattr("broker.frame_books.FrameBooks.get", slow)
    with ThreadPoolExecutor(60) as many:
        try:
            pictures = [many.submit(api.get, f"/frames/f{n}/images/frame") for n in range(50)]
            until(lambda: len(asked) >= 8, "pictures that are asked for")
            assert api.get("/jobs", timeout=100).status_code == 200
        finally:
            go_on.set()
        assert {picture.result().status_code for picture in pictures} == {404}


def test_a_defect_is_answered_without_its_innards(
    books: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret innards")

    monkeypatch.setattr("broker.job_books.JobBooks.page", broken)
    with served(books) as url, client_of(url) as client:
        answer = client.get("/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "innards" not in answer.text and "default-src" in answer.headers["content-security-policy"]
    assert "secret innards" in caplog.text
