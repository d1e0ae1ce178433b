import hashlib
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import http_server
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from broker.errors import NotFound, SettingsError, WeightsError
from workers import bringing, weights_link
from workers.added import AddedWeights, history, newest, remember
from workers.bringing import bring
from workers.cards import ModelCard, OfficialFile
from workers.downloads import fetch as fetching
from workers.downloads.errors import (
    BadLink,
    DownloadTimeout,
    NotFoundOnServer,
    PrivateAddress,
    UnsupportedScheme,
)
from workers.errors import ModelMismatch, WeightsDamaged
from workers.stored import stored_files
from workers.weights import WeightsStore
from workers.weights_link import WeightsLinks

HERE = ("127.0.0.0/8",)
BODY_MD5 = hashlib.md5(http_server.BODY).hexdigest()


def card(*official, suffixes=(".mp4",)):
    return ModelCard(
        title="T", licence="L", licence_url="u", must_accept=False, terms="t", citation="c", obtain="o",
        official=official, suffixes=suffixes, untried="",
    )  # fmt: skip


def accept(path):
    return f"{path.stat().st_size} bytes"


def refuse(path):
    raise WeightsDamaged(f"{path} is no network, {path.name} neither.", "Give one.")


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "weights", HERE)


def brought(store, given, check=accept, about=None, **links):
    return bring(store, "net", about or card(), str(given), check, WeightsLinks(HERE, **links))


def kept(store):
    return sorted(p.name for p in store.folder.rglob("*") if p.is_file() and p.suffix != ".lock")


# --- files -------------------------------------------------------------------------------------------


def test_a_file_is_kept_by_its_content(store, tmp_path):
    given = tmp_path / "net.mp4"
    given.write_bytes(b"numbers")
    told = []
    found = brought(store, given, moved=lambda *bytes_: told.append(bytes_))
    assert (found.ref.file, found.ref.source, found.ref.size) == ("net.mp4", "added:net/net.mp4", 7)
    assert found.version == f"custom-{hashlib.sha256(b'numbers').hexdigest()[:8]}"
    assert (found.official, found.given_from, found.found, found.fresh) == (False, "net.mp4", "7 bytes", True)
    assert store.path(found.ref).read_bytes() == b"numbers" == given.read_bytes()
    assert told == [(7, 7)]
    assert not brought(store, given).fresh
    assert [file.hashed() for file in stored_files(store)] == [found.ref.sha256]


def test_a_damaged_copy_is_replaced_by_bringing_the_file_again(store, tmp_path):
    given = tmp_path / "net.mp4"
    given.write_bytes(b"numbers")
    ref = brought(store, given).ref
    store.cached(ref).write_bytes(b"NUMBERS")
    with pytest.raises(WeightsError, match="pinned") as caught:
        store.verify(ref)
    assert "hardpose models add net --from FILE" in caught.value.remedy
    brought(store, given)
    store.verify(ref)


def test_what_is_refused_is_not_kept_and_named_as_it_was_given(store, tmp_path):
    given = tmp_path / "photo.png"
    given.write_bytes(b"\x89PNG")
    with pytest.raises(WeightsDamaged) as caught:
        brought(store, given, refuse)
    assert caught.value.cause == "photo.png is no network, photo.png neither."
    assert "Nothing was kept" in caught.value.remedy
    assert kept(store) == []
    assert list((store.folder / bringing.FOLDER).iterdir()) != []  # the lock alone


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing.mp4", "There is no weights file"),  # a typing error
        (".", "is a folder"),
        ("file:///nowhere/net.mp4", "There is no weights file /nowhere/net.mp4"),
        ("\udce9.mp4", "There is no weights file"),  # a name that is no UTF-8
        ("s3://bucket/net.mp4?key=sesame", "s3://bucket/net.mp4 is neither a path nor"),
    ],
)
def test_a_file_that_is_not_one_is_named(given, said, store):
    with pytest.raises(NotFound, match=re.escape(said)) as caught:
        brought(store, given)
    caught.value.cause.encode()
    assert kept(store) == []


def test_a_file_beyond_all_networks_is_not_copied(store, tmp_path, monkeypatch):
    monkeypatch.setattr(bringing, "MAX_BYTES", 3)
    (tmp_path / "film.mp4").write_bytes(b"long")
    with pytest.raises(WeightsError, match="4 bytes"):
        brought(store, tmp_path / "film.mp4")


def test_a_weights_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "net.mp4").write_bytes(b"numbers")
    (tmp_path / "taken").touch()
    with pytest.raises(SettingsError, match="taken") as caught:
        brought(WeightsStore(tmp_path / "taken"), tmp_path / "net.mp4")
    assert "choose another folder" in caught.value.remedy


def as_nobody(folder, tmp_path, line):
    """Runs ``line`` on the store ``s`` of ``folder`` as a user who may only read; what it prints."""
    code = (
        "import os, sys; from pathlib import Path; from broker.recipe import WeightsRef\n"
        "from broker.errors import HardposeError; from workers.weights import WeightsStore\n"
        f"s, ref = WeightsStore(Path({str(folder)!r})), WeightsRef.model_validate_json(sys.argv[1])\n"
        "os.getuid() or os.setuid(65534)\n"
        f"try: print({line})\n"
        "except HardposeError as error: print(error.code, error)\n"
    )
    store = WeightsStore(folder)
    (tmp_path / "net.mp4").write_bytes(b"numbers")
    ref = brought(store, tmp_path / "net.mp4").ref
    store.derived(ref, "net-1.onnx", lambda source, to: to.write_bytes(source.read_bytes()))
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, ref.model_dump_json()], capture_output=True, text=True, check=True
        )
    finally:
        folder.chmod(0o755)
    return done.stdout


@pytest.fixture
def open_folder():
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "weights"


def test_a_folder_that_may_only_be_read_serves_what_is_in_it(open_folder, tmp_path):
    told = as_nobody(open_folder, tmp_path, "s.derived(ref, 'net-1.onnx', None)")
    assert told.strip().startswith(str(open_folder)) and told.strip().endswith(".net-1.onnx")


def test_a_folder_that_may_only_be_read_is_named_when_something_has_to_be_made(open_folder, tmp_path):
    told = as_nobody(open_folder, tmp_path, "s.derived(ref, 'net-2.onnx', None)")
    assert told.startswith("bad_setting ")
    assert str(open_folder) in told


# --- links -------------------------------------------------------------------------------------------


def test_a_link_is_fetched_and_its_query_not_kept(store, server):
    found = brought(store, server.url("range.mp4?token=hunter2"))
    assert found.given_from == server.url("range.mp4")
    assert (found.ref.file, found.official) == ("range.mp4", False)
    assert store.path(found.ref).read_bytes() == http_server.BODY
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("nothing.mp4", NotFoundOnServer, "HTTP 404"),
        ("html.mp4", WeightsError, "HTML page instead of a weights file"),  # a page that asks to log in
        ("inside.mp4", PrivateAddress, "10.0.0.1"),  # redirected into a private network
    ],
)
def test_what_a_server_does_wrong_is_named_and_leaves_nothing(path, error, said, store, server):
    with pytest.raises(error, match=said):
        brought(store, server.url(path))
    assert kept(store) == []


def test_a_server_that_is_too_slow_is_given_up(store, server):
    with pytest.raises(DownloadTimeout, match=r"within 0\.5 s"):  # the file itself has no end
        brought(store, server.url("slow.mp4"), seconds=0.5)
    assert kept(store) == []  # no tag: nothing to go on from


def test_an_endless_file_ends(store, server, monkeypatch):
    monkeypatch.setattr(weights_link, "MAX_BYTES", 10**6)
    with pytest.raises(WeightsError, match="more than 1,000,000 bytes"):
        brought(store, server.url("endless.mp4"))
    assert kept(store) == []


def test_a_broken_transfer_goes_on_where_it_broke(store, server, monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.0)

    class Unplugged(KeyboardInterrupt):
        pass

    def unplug(received, total):
        if received >= http_server.CUT:
            raise Unplugged

    monkeypatch.setattr(fetching, "MOVED_EVERY_SECONDS", 0.0)
    with pytest.raises(Unplugged):
        brought(store, server.url("range.mp4"), moved=unplug)
    assert [name for name in kept(store) if name.startswith("range.mp4")] == ["range.mp4", "range.mp4.tag"]
    found = brought(store, server.url("range.mp4"))
    assert store.path(found.ref).read_bytes() == http_server.BODY
    (again,) = [asked for _, asked, _ in server.asked[1:]]
    assert again is not None  # a range
    assert int(again.removeprefix("bytes=").removesuffix("-")) >= http_server.CUT


def test_a_password_in_a_link_is_refused_before_anything(store):
    with pytest.raises(BadLink, match="password") as caught:
        brought(store, "https://ann:sesame@weights.example/net.mp4")
    assert "sesame" not in str(caught.value)
    assert not store.folder.exists()


# --- the authors' own file ---------------------------------------------------------------------------


def test_the_official_file_is_known_by_its_md5_whatever_it_is_called(store, tmp_path):
    given = tmp_path / "my copy.mp4"
    given.write_bytes(http_server.BODY)
    found = brought(
        store, given, about=card(OfficialFile("net_v1.mp4", "https://a.example/n", BODY_MD5.upper()))
    )
    assert (found.version, found.official, found.ref.file) == ("net_v1", True, "my_copy.mp4")


def test_the_published_address_may_not_give_another_file(store, server):
    url = server.url("range.mp4")
    with pytest.raises(WeightsError, match="authors publish 0000"):
        brought(store, url, about=card(OfficialFile("net.mp4", url, "0" * 32)))
    assert kept(store) == []


def test_plain_http_asks_for_a_published_md5(store, monkeypatch):
    url = "http://93.184.216.34/net.mp4"  # a public address that is never asked
    with pytest.raises(UnsupportedScheme) as caught:
        brought(store, url)
    assert "give its path" in caught.value.remedy
    with pytest.raises(UnsupportedScheme):
        brought(store, url, about=card(OfficialFile("net.mp4", url)))

    guards = []

    def give(_url, part, _limits, guard, _moved):
        guards.append(guard)
        part.write_bytes(http_server.BODY)

    monkeypatch.setattr(weights_link, "fetch_url", give)
    found = brought(store, url, about=card(OfficialFile("net.mp4", url, BODY_MD5)))
    assert found.official
    assert [guard.plain_http for guard in guards] == [True]


def test_the_https_address_of_the_authors_is_believed_where_they_publish_no_md5(store, monkeypatch):
    monkeypatch.setattr(weights_link, "fetch_url", lambda _url, part, *_: part.write_bytes(b"numbers"))
    about = card(OfficialFile("net_v2.mp4", "https://a.example/net_v2.mp4"))
    found = brought(store, "https://a.example/net_v2.mp4", about=about)
    assert (found.version, found.official) == ("net_v2", True)
    assert not brought(store, "https://b.example/net_v2.mp4", about=about).official


# --- names -------------------------------------------------------------------------------------------


@for_all(st.text(min_size=1), st.sampled_from(["", "https://h.example/", "file:///"]))
def test_a_name_is_always_a_plain_one_that_the_model_reads(text, before):
    name = bringing._file_name(before + text, card(suffixes=(".caffemodel",)))
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,110}", name)
    assert name.lower().endswith(".caffemodel")


# --- what is remembered ------------------------------------------------------------------------------


def test_the_newest_weights_are_used_and_the_same_ones_stand_once(store, tmp_path):
    for text in (b"one", b"two", b"one"):
        (tmp_path / "net.mp4").write_bytes(text)
        found = brought(store, tmp_path / "net.mp4")
        remember(store.folder, AddedWeights("net", found.ref, found.version, False, "net.mp4"))
    assert [entry.ref.size for entry in history(store.folder, "net")] == [3, 3]
    assert store.path(newest(store.folder, "net").ref).read_bytes() == b"one"


def test_what_is_made_from_weights_is_hashed_too_and_forgotten_with_them(store, tmp_path):
    (tmp_path / "net.mp4").write_bytes(b"numbers")
    ref = brought(store, tmp_path / "net.mp4").ref
    made = store.derived(ref, "net-1.onnx", lambda source, to: to.write_bytes(source.read_bytes()[::-1]))
    files = stored_files(store)
    assert [(file.file, file.hashed() == file.expected) for file in files] == [
        ("net.mp4", True),
        ("net-1.onnx", True),
    ]
    made.write_bytes(b"changed")
    assert [file.hashed() == file.expected for file in stored_files(store)] == [True, False]
    store.forget(ref)
    assert kept(store) == []
    with pytest.raises(WeightsError, match="not on this machine"):
        store.path(ref)


def test_weights_in_use_that_are_gone_altogether_are_missed(store, tmp_path):
    (tmp_path / "net.mp4").write_bytes(b"numbers")
    found = brought(store, tmp_path / "net.mp4")
    remember(store.folder, AddedWeights("net", found.ref, found.version, False, "net.mp4"))
    store.forget(found.ref)
    (missing,) = stored_files(store)
    assert (missing.hashed(), "models add net" in missing.remedy) == ("missing", True)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[{}]", '[{"ref": {}}]', '[{"ref": 1}]'])
def test_a_memory_that_cannot_be_read_is_named(text, store):
    file = store.folder / "added" / "net.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(WeightsError, match=r"net\.json") as caught:
        newest(store.folder, "net")
    assert "add the weights again" in caught.value.remedy


def test_models_remembered_at_the_same_time_are_all_remembered(store, tmp_path):
    entries = []
    for number in range(6):
        (tmp_path / "net.mp4").write_bytes(b"%d" % number)
        found = brought(store, tmp_path / "net.mp4")
        entries.append(AddedWeights("net", found.ref, found.version, False, "net.mp4"))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda entry: remember(store.folder, entry), entries))
    assert {entry.ref.sha256 for entry in history(store.folder, "net")} == {e.ref.sha256 for e in entries}


def test_a_model_may_refuse_with_any_of_its_errors(store, tmp_path):
    def other(path):
        raise ModelMismatch(f"{path} holds another network.", "Give the right one.")

    (tmp_path / "net.mp4").write_bytes(b"numbers")
    with pytest.raises(ModelMismatch, match="another network"):
        brought(store, tmp_path / "net.mp4", other)
