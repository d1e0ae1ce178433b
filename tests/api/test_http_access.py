"""Who gets in: tokens, sessions, roles, names of hosts, foreign pages; on a real socket."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import PATIENCE, served
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.http import sessions
from api.http.access import Access, Role, is_loopback
from api.http.app import create_api
from broker.embedded import EmbeddedBroker
from broker.errors import SettingsError
from broker.settings import Settings, load_settings

ANA, EVE, REX, ROOT = (f"{name}-{'0123456789abcdef' * 2}" for name in ("ana", "eve", "rex", "root"))
TOKENS = f"ana:read:{ANA} eve:enqueue:{EVE} rex:review:{REX} root:admin:{ROOT}"
PUBLIC = {"/healthz", "/readyz", "/session"}


def with_tokens(settings: Settings, tokens: str = TOKENS, **changes: object) -> Settings:
    return settings.model_copy(update={"api_tokens": SecretStr(tokens), **changes})


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker) -> Settings:
    home = tmp_path_factory.mktemp("access") / "state"
    return load_settings(
        home=home, broker_url=server.url, namespace="access", api_requests_per_minute=100_000
    )


@pytest.fixture(scope="module")
def guarded(books: Settings) -> Iterator[str]:
    with served(with_tokens(books)) as url:
        yield url


@pytest.fixture(scope="module")
def open_api(books: Settings) -> Iterator[str]:
    with served(books) as url:
        yield url


class Forgetful(httpx.Client):
    """Keeps connections and no cookies; ``httpx.get`` would read the machine's certificates each time."""

    def send(self, *args: Any, **given: Any) -> httpx.Response:
        self.cookies.clear()
        return super().send(*args, **given)


http = Forgetful(verify=False, timeout=PATIENCE)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def routes(settings: Settings) -> list[tuple[str, str]]:
    found = [
        (method.upper(), path)
        for path, methods in create_api(settings).openapi()["paths"].items()
        for method in methods
    ]
    assert len(found) >= 20
    return found


def test_without_a_token_there_is_nothing_but_health_and_the_pages(books: Settings, guarded: str) -> None:
    for method, path in routes(with_tokens(books)):
        answer = http.request(method, guarded + path.replace("{", "").replace("}", ""))
        if path not in PUBLIC:
            assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in"), path
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert http.get(f"{guarded}/openapi.json").status_code == 401
    assert http.get(f"{guarded}/no/such/thing").status_code == 401
    assert http.get(f"{guarded}/healthz").json() == {"status": "ok"}
    ready = http.get(f"{guarded}/readyz").json()
    assert ready["ready"] and not any(part["cause"] for part in ready["parts"].values())
    assert http.get(f"{guarded}/docs/").status_code == http.get(f"{guarded}/review/").status_code == 200
    assert http.get(f"{guarded}/review/__init__.py").status_code == 404


@pytest.mark.parametrize(
    ("token", "method", "path", "status"),
    [
        (ANA, "GET", "/jobs", 200),
        (ANA, "POST", "/jobs", 403),  # before the body is looked at
        (ANA, "POST", "/jobs/x/cancel", 403),
        (EVE, "GET", "/jobs", 200),  # enqueue includes read
        (EVE, "POST", "/jobs/x/cancel", 404),
        (EVE, "POST", "/jobs/x/retry", 404),
        (EVE, "DELETE", "/jobs/x", 403),  # deleting takes more than starting
        (REX, "GET", "/jobs", 200),
        (REX, "POST", "/jobs/x/cancel", 403),
        (ROOT, "DELETE", "/jobs/x", 404),
        (ROOT, "POST", "/jobs/x/cancel", 404),  # admin includes all
        (ANA[:-1], "GET", "/jobs", 401),
        (ANA + "x", "GET", "/jobs", 401),
        ("x", "GET", "/jobs", 401),
    ],
)
def test_roles(guarded: str, token: str, method: str, path: str, status: int) -> None:
    answer = http.request(method, guarded + path, headers=bearer(token))
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "code", "remedy"} <= answer.json().keys()


def test_a_session_of_a_browser(guarded: str) -> None:
    with httpx.Client(base_url=guarded, timeout=PATIENCE) as browser:
        assert browser.get("/session").status_code == 401
        assert browser.post("/session", json={"token": "wrong" * 5}).status_code == 401
        answer = browser.post("/session", json={"token": REX})
        assert answer.json() == {"name": "rex", "roles": ["read", "review"], "open": False}
        said = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; ")) and "Secure" not in said
        assert REX not in said
        assert browser.get("/session").json()["name"] == "rex"
        foreign = {"Origin": "https://evil.example"}
        refused = browser.post("/jobs/x/retry", headers=foreign)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_page")
        assert browser.delete("/session", headers={"Origin": guarded}).status_code == 204
        assert browser.get("/session").status_code == 401
    secure = http.post(f"{guarded}/session", json={"token": REX}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in secure.headers["set-cookie"].split("; ")


def test_no_cookie_but_ours_is_a_session(monkeypatch: pytest.MonkeyPatch, books: Settings) -> None:
    access = Access.of(with_tokens(books))
    ana = access.by_token(ANA)
    assert ana is not None
    cookie = sessions.issue(access, ana)
    reader = sessions.read(access, cookie)
    assert reader is not None and (reader.name, reader.roles, reader.by_browser) == ("ana", {Role.READ}, True)
    renewed = Access.of(with_tokens(books, TOKENS.replace(ANA, ANA[::-1])))
    assert sessions.read(renewed, cookie) is None  # the token was changed
    name, expiry, signature = cookie.split(".")
    assert sessions.read(access, f"{name}.{int(expiry) + 1}.{signature}") is None
    monkeypatch.setattr(time, "time", lambda: float(expiry) + 1)
    assert sessions.read(access, cookie) is None


@given(st.text() | st.builds(".".join, st.lists(st.text(max_size=8), min_size=3, max_size=3)))
def test_cookies_of_any_kind_are_read_without_an_error(cookie: str) -> None:
    access = Access.of(load_settings(api_tokens=TOKENS))
    assert sessions.read(access, cookie) is None


def test_an_open_api_takes_nothing_from_foreign_pages(open_api: str) -> None:
    assert http.get(f"{open_api}/session").json()["open"] is True
    jobs = f"{open_api}/jobs/x/cancel"
    assert http.post(jobs).status_code == 404  # a program
    assert http.post(jobs, headers={"Origin": open_api, "Sec-Fetch-Site": "same-origin"}).status_code == 404
    for page in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a sandboxed frame
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": open_api},  # another port of this machine
        {"Origin": "http://[broken"},
    ):
        assert http.post(jobs, headers=page).json()["code"] == "foreign_page", page


def test_a_foreign_page_has_nothing_of_an_open_api_loaded(open_api: str) -> None:
    for page in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):  # an <img>, a fetch
        refused = http.get(f"{open_api}/metrics", headers={**page, "Sec-Fetch-Mode": "no-cors"})
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_page"), page
        followed = {**page, "Sec-Fetch-Mode": "navigate"}  # a link to the review page
        assert http.get(f"{open_api}/review/", headers=followed).status_code == 200
    for ours in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
        assert http.get(f"{open_api}/jobs", headers=ours).status_code == 200, ours


def test_only_a_proxy_that_is_named_says_who_asks(books: Settings) -> None:
    said = {"X-Forwarded-Proto": "https"}
    for proxies, secure in ((("127.0.0.1",), True), (("10.0.0.0/8",), False)):
        with served(with_tokens(books, api_proxies=proxies)) as url:
            answer = http.post(f"{url}/session", json={"token": REX}, headers=said)
            assert ("Secure" in answer.headers["set-cookie"].split("; ")) is secure, proxies


def test_a_name_that_was_pointed_at_us_is_not_ours(books: Settings, open_api: str, guarded: str) -> None:
    for url in (open_api, guarded):
        refused = http.get(f"{url}/healthz", headers={"Host": "evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_host")
        assert http.get(f"{url}/healthz", headers={"Host": "localhost:1"}).status_code == 200
    named = with_tokens(books, api_host="0.0.0.0", api_hosts=("lab.example",))
    with served(named) as url:
        answers = {
            host: http.get(f"{url}/healthz", headers={"Host": host}).status_code
            for host in ("lab.example", "LAB.example:443", "10.1.2.3", "[::1]:8642", "evil.example", "[", "")
        }
    assert [status for host, status in answers.items()] == [200, 200, 200, 200, 400, 400, 400], answers


def test_every_answer_has_the_headers_of_a_careful_page(open_api: str) -> None:
    for path in ("/session", "/nothing", "/docs/", "/jobs?limit=0"):
        headers = http.get(open_api + path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers and "access-control-allow-origin" not in headers
        assert headers["cache-control"] == ("no-cache" if path == "/docs/" else "no-store")


def test_foreign_pages_read_only_where_they_are_named(books: Settings) -> None:
    with served(with_tokens(books, api_origins=("https://lab.example",))) as url:
        ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        good = http.options(f"{url}/jobs", headers={"Origin": "https://lab.example", **ask})
        assert (
            good.status_code == 200 and good.headers["access-control-allow-origin"] == "https://lab.example"
        )
        assert "access-control-allow-credentials" not in good.headers
        lab = {"Origin": "https://lab.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        assert http.get(f"{url}/jobs", headers=lab | bearer(ANA)).status_code == 200
        bad = http.options(f"{url}/jobs", headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in bad.headers


@pytest.mark.parametrize(
    "tokens",
    [
        "ana:read",  # no token
        "ana:read:sh0rt",
        f"ana:write:{ANA}",  # no such role
        f"ana:{ANA}:read",  # mixed up
        f"ana:read:{ANA} ana:admin:{ROOT}",  # one name twice
        f"ana:read:{ANA} eve:read:{ANA}",  # one token twice
        f":read:{ANA}",
        f"a/b:read:{ANA}",
        f"ana:read:{ANA[:-1]}é",  # no header carries it
    ],
)
def test_tokens_that_cannot_be_used_end_it_at_once_and_are_not_shown(tokens: str) -> None:
    with pytest.raises(SettingsError) as refused:
        create_api(load_settings(api_tokens=tokens))
    assert ANA[4:] not in str(refused.value) and "sh0rt" not in str(refused.value)


@given(st.lists(st.sampled_from(list(Role)), min_size=1, unique=True))
def test_roles_include_what_they_say(roles: list[Role]) -> None:
    access = Access.of(load_settings(api_tokens=f"ana:{'+'.join(roles)}:{ANA}"))
    caller = access.by_token(ANA)
    assert caller is not None and Role.READ in caller.roles and set(roles) <= caller.roles
    assert caller.roles == (set(Role) if Role.ADMIN in roles else {Role.READ, *roles})
    assert ANA not in repr(access)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.0.0.1.example.org")],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_hardpose_api_does_not_open_itself_to_others(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "api.cli", "api", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(
        [*command, "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2 and done.stderr.startswith("bad_setting: The API would be open to everybody")
    assert "HARDPOSE_API_TOKENS" in done.stderr and done.stdout == ""
