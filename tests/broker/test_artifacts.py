"""The artifact store: on a folder, in memory (copied like a remote store), and on S3 where there is one."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3_server import AWS, free_port, s3_server

from broker.artifacts import ArtifactKeyError, Artifacts, ArtifactsUnreachable, check_key
from broker.errors import Action, ArtifactMissing, SettingsError
from broker.local_copies import PREFIX


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """One test body, every kind of store."""
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        for name, value in (AWS | {"AWS_ENDPOINT": endpoint}).items():
            monkeypatch.setenv(name, value)
        return Artifacts(f"s3://frames/{tmp_path.name}", temp_dir=tmp_path / "temp")
    url = "memory:///" if request.param == "memory" else (tmp_path / "a folder é").as_uri()
    return Artifacts(url, temp_dir=tmp_path / "temp")


def test_what_is_put_is_there_until_it_is_deleted(store: Artifacts) -> None:
    store.put("frames/a/000000001.jpg", b"one")
    store.put("frames/a/000000001.jpg", b"one")
    store.put("frames/b/000000002.jpg", b"")
    assert store.get("frames/a/000000001.jpg") == b"one"
    assert store.get("frames/b/000000002.jpg") == b""
    assert store.exists("frames/a/000000001.jpg")
    assert not store.exists("frames/a")
    assert store.keys() == ["frames/a/000000001.jpg", "frames/b/000000002.jpg"]
    assert store.keys("frames/b/") == ["frames/b/000000002.jpg"]
    store.delete("frames/a/000000001.jpg")
    store.delete("frames/a/000000001.jpg")
    assert not store.exists("frames/a/000000001.jpg")


def test_a_missing_artifact_is_named(store: Artifacts) -> None:
    for ask in (store.get, lambda key: store.local_path(key).__enter__()):
        with pytest.raises(ArtifactMissing, match="nowhere/at/all"):
            ask("nowhere/at/all")


def test_a_prefix_is_a_folder_not_a_beginning(store: Artifacts) -> None:
    for key in ("a/b/1", "a/b/2", "a/bc/3"):
        store.put(key, b"x")
    assert store.delete_prefix("a/b") == 2
    assert store.keys("a") == ["a/bc/3"]
    assert store.delete_prefix("a/b") == 0


def test_a_big_file_goes_in_and_comes_out(store: Artifacts, tmp_path: Path) -> None:
    source = tmp_path / "video.mp4"
    source.write_bytes(os.urandom(1024) * 40 * 1024)  # 40 MiB: several parts, several ranges
    store.put_file("sources/v.mp4", source)
    with store.local_path("sources/v.mp4") as path:
        assert path.suffix == ".mp4"
        assert path.read_bytes() == source.read_bytes()


def test_put_file_of_nothing_says_so(store: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("a", tmp_path / "missing")


def test_a_folder_store_gives_its_own_file(tmp_path: Path) -> None:
    store = Artifacts(str(tmp_path / "plain path"))
    store.put("a/b.bin", b"x")
    with store.local_path("a/b.bin") as path:
        assert path == tmp_path / "plain path" / "a" / "b.bin"
    assert path.exists()
    assert pickle.loads(pickle.dumps(store)).get("a/b.bin") == b"x"


def test_copies_are_shared_kept_few_and_removed(tmp_path: Path) -> None:
    store = Artifacts("memory:///", temp_dir=tmp_path)
    for n in range(4):
        store.put(f"v{n}.mp4", bytes([n]))
    with store.local_path("v0.mp4") as first, store.local_path("v0.mp4") as second:
        assert first == second, "two segments of one video share a copy"
        for n in range(1, 4):
            with store.local_path(f"v{n}.mp4") as path:
                assert path.read_bytes() == bytes([n])
        assert first.exists(), "a copy in use stays, however many came after it"
    folder = first.parent
    assert len(list(folder.iterdir())) == 2
    with store.local_path("v3.mp4") as path:
        store.delete("v3.mp4")
        assert path.exists(), "a reader keeps its copy of what is deleted"
    assert not path.exists()
    del store
    assert not folder.exists()


def test_copies_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from broker.artifacts import Artifacts\n"
        "store = Artifacts('memory:///', temp_dir=Path(sys.argv[1])); store.put('a', b'x')\n"
        "with store.local_path('a'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1, "the test needs a real leftover"
    store = Artifacts("memory:///", temp_dir=tmp_path)
    store.put("a", b"y")
    with store.local_path("a") as path:
        assert list(tmp_path.glob(f"{PREFIX}*")) == [path.parent]


@pytest.mark.parametrize(
    "key",
    [
        "",  # nothing
        "/etc/passwd",  # absolute
        "a/../../b",  # leaves the store
        "a//b",  # an empty part
        "a/./b",  # two names for one artifact
        "a/",  # a folder
        "a\\b",  # a separator on another system
        "a#1",  # obstore's name of a file being written
        "a%2e%2e",  # decoded by some stores
        "a\nb",  # a control character
    ],
)
def test_keys_that_could_leave_the_store_are_refused(tmp_path: Path, key: str) -> None:
    store = Artifacts(str(tmp_path / "store"))
    with pytest.raises(ArtifactKeyError, match="relative key"):
        store.put(key, b"x")
    with pytest.raises(ArtifactKeyError):
        store.get(key)
    assert store.keys() == []


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\#%", exclude_categories=["C"]), min_size=1
)


@given(parts=st.lists(NAMES.filter(lambda n: n not in (".", "..") and len(n) < 40), min_size=1, max_size=4))
def test_every_key_that_passes_can_be_stored(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    store = Artifacts(str(tmp_path_factory.getbasetemp() / "keys"))
    store.delete_prefix("")
    key = check_key("/".join(parts))
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert store.keys() == [key]
    with store.local_path(key) as path:
        assert path.read_bytes() == key.encode()
    shutil.rmtree(tmp_path_factory.getbasetemp() / "keys")


@given(key=st.text())
def test_no_key_leaves_the_folder(key: str) -> None:
    root = Path("/store")
    try:
        path = root / check_key(key)
    except ArtifactKeyError:
        return
    assert os.path.normpath(path) == str(path) and root in path.parents


def test_writers_of_one_key_never_show_half_of_it(tmp_path: Path) -> None:
    store = Artifacts(str(tmp_path / "store"))
    wanted = {bytes([n]) * 3_000_000 for n in range(3)}
    store.put("k", min(wanted))
    seen_enough, written = threading.Event(), []

    def write(data: bytes) -> None:
        while not seen_enough.is_set():
            store.put("k", data)
            written.append(data[0])

    with ThreadPoolExecutor(len(wanted)) as writers:
        writing = [writers.submit(write, data) for data in wanted]
        try:
            looks = 0
            while looks < 30 or len(written) < 30:
                assert store.get("k") in wanted
                looks += 1
        finally:
            seen_enough.set()
        for each in writing:
            each.result()
    assert store.keys() == ["k"]


def full_disk_works() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


FULL = """
import sys
from pathlib import Path
from broker.artifacts import Artifacts
from broker.errors import DiskFull
store = Artifacts(sys.argv[1])
store.put("small", b"x")
def fails(put):
    try:
        put()
    except DiskFull as error:
        assert sys.argv[1] in error.cause and "HARDPOSE_ARTIFACTS_URL" in error.remedy, error
        return
    raise SystemExit("no error")
big = Path(sys.argv[2])
fails(lambda: store.put("one", b"x" * 3_000_000))
fails(lambda: store.put("many", b"x" * 30_000_000))
fails(lambda: store.put_file("file", big))
assert store.keys() == ["small"], store.keys()
left = [p for p in Path(sys.argv[1]).rglob("*") if p.is_file()]
assert len(left) == 1, left
print("checked")
"""


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    if not full_disk_works():
        pytest.skip("a small file system can only be mounted by root on Linux")
    big, place = tmp_path / "big", tmp_path / "mount"
    big.write_bytes(b"x" * 20_000_000)
    place.mkdir()
    script = 'mount -t tmpfs -o size=1m none "$0" && exec "$1" -c "$2" "$0" "$3"'
    command = ["unshare", "-m", "sh", "-c", script, str(place), sys.executable, FULL, str(big)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "checked", done.stderr


def test_a_file_size_limit_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"x" * 20_000_000)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "store"), str(big)],
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.stdout.strip() == "checked", done.stderr


def test_a_full_temporary_folder_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, resource; from pathlib import Path; from broker.artifacts import Artifacts\n"
        "from broker.errors import DiskFull\n"
        "store = Artifacts('memory:///', temp_dir=Path(sys.argv[1])); store.put('a', b'x' * 3_000_000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n    store.local_path('a').__enter__()\n"
        "except DiskFull as e:\n    assert sys.argv[1] in e.cause; print('checked')\n"
        "assert not [p for p in Path(sys.argv[1]).rglob('*') if p.is_file()]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert done.stdout.strip() == "checked", done.stderr


def test_an_unreachable_store_is_transient_and_its_secrets_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.artifacts.RETRY_SECONDS", 1)
    for name, value in (AWS | {"AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}"}).items():
        monkeypatch.setenv(name, value)
    store = Artifacts("s3://bucket/prefix")
    with pytest.raises(ArtifactsUnreachable, match="bucket") as caught:
        store.put("a", b"x")
    assert caught.value.action is Action.TRANSIENT
    assert "test-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/folder",  # not a store
        "s3://",  # no bucket
        "file:///proc/no/such",  # a folder that cannot be made
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="HARDPOSE_ARTIFACTS_URL"):
        Artifacts(url)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    code = (
        "import os, sys; from broker.artifacts import Artifacts\n"
        "store = Artifacts(sys.argv[1]); store.put('a', b'x')\n"
        "if os.fork() == 0:\n"
        "    try:\n        store.put('b', b'x')\n"
        "    except RuntimeError as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert "spawn" in done.stdout, done.stderr


def test_any_part_comes_in_pieces(store: Artifacts) -> None:
    data = bytes(range(256)) * 40
    store.put("exports/one.zip", data)
    store.put("exports/empty.zip", b"")
    assert store.size("exports/one.zip") == len(data)
    assert store.size("exports/empty.zip") == 0
    assert list(store.pieces("exports/empty.zip", 0, 0)) == []
    for start, end, step in ((0, len(data), 1000), (17, 18, 1000), (1000, 3000, 1000), (9999, len(data), 7)):
        pieces = list(store.pieces("exports/one.zip", start, end, step))
        assert b"".join(pieces) == data[start:end]
        assert {len(piece) for piece in pieces[:-1]} <= {step}
    with pytest.raises(ArtifactMissing, match="nowhere"):
        next(store.pieces("nowhere", 0, 5))
    with pytest.raises(ArtifactsUnreachable):
        list(store.pieces("exports/one.zip", 0, len(data) + 1))
    with pytest.raises(ArtifactKeyError):
        store.pieces("../outside", 0, 5)
