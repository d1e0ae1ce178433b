"""Secrets from files, passwords filled into URLs, and keys of an S3 server."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from s3_server import AWS, s3_server
from sqlalchemy import make_url

from broker.artifacts import Artifacts
from broker.errors import SettingsError
from broker.secret_files import with_password
from broker.settings import SECRET_VARIABLES, load_settings

WORD = "s3cret-word"
NAMES = (
    "BROKER_URL", "CONTROL_URL", "CATALOG_URL", "API_TOKENS", "FLOWER_AUTH", "DOWNLOAD_PROXY",
    "BROKER_PASSWORD", "CONTROL_PASSWORD", "CATALOG_PASSWORD", "ARTIFACTS_KEY_ID", "ARTIFACTS_SECRET_KEY",
)  # fmt: skip


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Writes a secret into a file and names it."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name.lower()
        path.write_bytes(data)
        monkeypatch.setenv(f"HARDPOSE_{name}_FILE", str(path))
        return path

    return write


def test_the_secrets_are_those_that_we_mean() -> None:
    assert {f"HARDPOSE_{name}" for name in NAMES} == SECRET_VARIABLES


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("ARTIFACTS")])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])  # as printf, echo and Windows write it
def test_every_secret_may_lie_in_a_file(name: str, end: bytes, secret, monkeypatch) -> None:
    value = "redis://host/0" if name.endswith("URL") else f" {WORD} "
    secret(name, value.encode() + end)
    assert getattr(load_settings(), name.lower()).get_secret_value() == value
    monkeypatch.setenv(f"HARDPOSE_{name}_FILE", "")  # as a child is told that there is none
    assert getattr(load_settings(), name.lower()) is None


def test_a_value_and_a_file_are_refused_and_an_empty_value_is_none(secret, monkeypatch) -> None:
    secret("BROKER_URL", b"redis://file/0")
    monkeypatch.setenv("HARDPOSE_BROKER_URL", f"redis://:{WORD}@value/0")
    with pytest.raises(SettingsError, match="HARDPOSE_BROKER_URL and HARDPOSE_BROKER_URL_FILE") as caught:
        load_settings()
    assert WORD not in str(caught.value)
    monkeypatch.setenv("HARDPOSE_BROKER_URL", "")
    assert load_settings().broker == "redis://file/0"


def test_the_command_line_beats_a_file_and_a_file_beats_the_toml(secret, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text('broker_url = "redis://toml/0"\n')
    monkeypatch.setenv("HARDPOSE_CONFIG", str(tmp_path / "h.toml"))
    assert load_settings().broker == "redis://toml/0"
    secret("BROKER_URL", b"redis://file/0")
    assert load_settings().broker == "redis://file/0"
    assert load_settings(broker_url="redis://line/0").broker == "redis://line/0"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\n", "empty"),  # what `echo "$UNSET" >` leaves
        (b"\xff\xfe" + WORD.encode(), "not text"),
        (WORD.encode() * 100_000, "too large"),  # another file, named by mistake
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(data: bytes | None, why: str, secret) -> None:
    path = secret("FLOWER_AUTH", data or b"")
    if data is None:
        path.unlink()
    with pytest.raises(SettingsError, match=why) as caught:
        load_settings()
    assert str(path) in str(caught.value) and "HARDPOSE_FLOWER_AUTH_FILE" in str(caught.value)
    chain = [caught.value, caught.value.__cause__]
    assert not any(WORD in repr(error) for error in chain)


def test_a_folder_is_no_secret(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARDPOSE_API_TOKENS_FILE", str(tmp_path))
    with pytest.raises(SettingsError, match="Is a directory"):
        load_settings()


def test_what_is_no_secret_is_not_read_from_a_file(secret) -> None:
    secret("API_HOST", b"0.0.0.0")
    with pytest.raises(SettingsError, match="HARDPOSE_API_HOST is no secret"):
        load_settings()


def test_a_child_gets_the_value_in_place_of_the_file(secret, tmp_path: Path) -> None:
    """In every way in which we start one: our environment, and over it the settings'."""
    secret("BROKER_URL", b"redis://user@host/0\n")
    secret("BROKER_PASSWORD", b"p@ss word\n")
    secret("API_TOKENS", b"lab:read:0123456789abcdef\n")
    given = load_settings()
    child = {**os.environ, **given.environment()}
    ask = (
        "from broker.settings import load_settings as l; s = l();"
        "print(s.broker, s.api_tokens, sorted(s.environment()))"
    )
    line = [sys.executable, "-c", ask]
    done = subprocess.run(line, env=child, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("redis://user:p%40ss%20word@host/0 None "), done.stderr
    assert "api_tokens" in given.model_fields_set


WITH_PASSWORD = [
    ("redis://host:6379/0", "redis://:a%2Fb@host:6379/0"),
    ("rediss://worker@host/0", "rediss://worker:a%2Fb@host/0"),
    ("redis://worker:@host/0", "redis://worker:a%2Fb@host/0"),  # an empty one is none
    ("redis://:own@host/0", "redis://:own@host/0"),  # its own stays
    ("redis+sentinel://u@a:1,b:2/main/0", "redis+sentinel://u:a%2Fb@a:1,b:2/main/0"),
    ("amqps://worker@host:5671/vhost", "amqps://worker:a%2Fb@host:5671/vhost"),
    ("postgresql+psycopg://u@[::1]:1/d?s=no", "postgresql+psycopg://u:a%2Fb@[::1]:1/d?s=no"),
    ("postgresql+psycopg://u@/d?host=/run/p@x", "postgresql+psycopg://u:a%2Fb@/d?host=/run/p@x"),  # a socket
    ("redis://host?db=1", "redis://:a%2Fb@host?db=1"),
    ("sqlite:////tmp/c.sqlite", "sqlite:////tmp/c.sqlite"),  # no host, so no password
    ("memory://", "memory://"),
    ("nonsense", "nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "filled"), WITH_PASSWORD)
def test_a_password_is_filled_into_a_url_that_has_none(url: str, filled: str) -> None:
    assert with_password(url, "a/b") == filled


@given(st.text(min_size=1, alphabet=st.characters(min_codepoint=1, exclude_categories=["Cs"])))
def test_every_password_arrives_as_it_is(password: str) -> None:
    """At the three that read our URLs."""
    url = with_password("redis://user@host:6379/0", password)
    assert unquote(str(urlsplit(url).password)) == password
    assert redis.connection.parse_url(url)["password"] == password
    catalog = make_url(with_password("postgresql+psycopg://user@host/books", password))
    assert (catalog.username, catalog.password, catalog.host) == ("user", password, "host")


def test_all_three_urls_get_theirs(secret) -> None:
    for name in ("BROKER", "CONTROL", "CATALOG"):
        secret(f"{name}_PASSWORD", f"{name}-{WORD}\n".encode())
    settings = load_settings(
        broker_url="amqp://u@h//", control_url="redis://h/0", catalog_url="postgresql+psycopg://u@h/d"
    )
    assert settings.broker == f"amqp://u:BROKER-{WORD}@h//"
    assert settings.control_url.get_secret_value() == f"redis://:CONTROL-{WORD}@h/0"
    assert settings.catalog == f"postgresql+psycopg://u:CATALOG-{WORD}@h/d"
    assert WORD not in repr(settings) and WORD not in settings.model_dump_json()
    assert load_settings().broker_url is None  # a password alone makes no URL


def test_half_of_the_keys_is_refused(secret) -> None:
    secret("ARTIFACTS_KEY_ID", b"key")
    with pytest.raises(SettingsError, match="HARDPOSE_ARTIFACTS_SECRET_KEY"):
        load_settings()


def test_the_keys_of_an_s3_server_come_from_files(secret, monkeypatch, tmp_path: Path) -> None:
    secret("ARTIFACTS_KEY_ID", AWS["AWS_ACCESS_KEY_ID"].encode())
    secret("ARTIFACTS_SECRET_KEY", AWS["AWS_SECRET_ACCESS_KEY"].encode())
    for name in AWS:
        monkeypatch.setenv(name, "wrong" if "KEY" in name else AWS[name])  # ours come first
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT", endpoint)
        store = Artifacts.of(load_settings(artifacts_url="s3://frames/keys"))
        store.put("a", b"one")
        assert pickle.loads(pickle.dumps(store)).get("a") == b"one"
        assert AWS["AWS_SECRET_ACCESS_KEY"] not in repr(vars(store))


def test_a_folder_needs_no_keys_and_takes_no_harm_of_them(secret, tmp_path: Path) -> None:
    keys = {"artifacts_key_id": "key", "artifacts_secret_key": WORD}
    for url in (tmp_path.as_uri(), "memory:///"):
        Artifacts.of(load_settings(artifacts_url=url, **keys)).put("a", b"one")
