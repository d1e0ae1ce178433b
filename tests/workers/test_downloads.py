import logging
import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import http_server
import pytest
from make_video import write_steady

from broker.errors import Action
from workers.downloads import fetch as fetching
from workers.downloads.contracts import FetchLimits
from workers.downloads.errors import (
    BadLink,
    DownloadTimeout,
    EmptyFile,
    EmptyFolder,
    FileMissing,
    FileUnreadable,
    NotAVideo,
    NotFoundOnServer,
    PrivateAddress,
    RefusedByServer,
    ServerBusy,
    TooManyRedirects,
    TooManyRequests,
    TransferCut,
    UnsupportedScheme,
    VideoTooLarge,
)
from workers.downloads.fetch import HttpLimits, fetch_url
from workers.downloads.local import expand_links, fetch
from workers.downloads.net.netguard import NetGuard, resolve
from workers.video import probe

LOCAL = FetchLimits(max_bytes=10**6, timeout_seconds=120, allow_networks=("127.0.0.0/8",))


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.01)


# --- http --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "connections"),
    [
        ("range.mp4", 1),  # a proper server
        ("plain.mp4", 1),  # no ranges
        ("no-length.mp4", 1),  # the body ends when the connection does
        ("busy.mp4", 3),  # 503 twice, then the file
        ("cut.mp4", 6),  # cut every 100,000 bytes, continued each time
        ("small-parts.mp4", 10),  # cut at 100,000, then 50,000 bytes in each range answer
        ("unknown-total.mp4", 3),  # a range answer that does not say how long the file is: from the start
        ("cut-no-range.mp4", 3),  # cut twice, and can only start over
        ("moved.mp4", 1),  # a redirect on the same host
        ("range.mp4?token=abc", 1),  # a query is part of the link
    ],
)
def test_the_file_arrives_whole(server, tmp_path, path, connections):
    fetched = fetch(server.url(path), tmp_path / "new" / "folder", LOCAL)
    assert fetched.path.read_bytes() == http_server.BODY
    assert server.count(path.partition("?")[0]) == connections
    assert (fetched.tool, fetched.temporary, fetched.path.suffix) == ("local", True, ".mp4")
    assert fetched.video_id == f"sha256:{fetched.sha256}"
    assert [p.name for p in fetched.path.parent.iterdir()] == ["download.mp4"]


def test_only_the_missing_part_is_asked_for_after_a_cut(server, tmp_path):
    fetch(server.url("cut.mp4"), tmp_path, LOCAL)
    ranges = [asked[1] for asked in server.asked]
    assert ranges == [None, *(f"bytes={n * http_server.CUT}-" for n in range(1, 6))]


def test_a_file_that_changes_between_two_connections_is_not_mixed(server, tmp_path):
    fetched = fetch(server.url("changed.mp4"), tmp_path, LOCAL)
    assert fetched.path.read_bytes() == http_server.BODY[::-1]


@pytest.mark.parametrize(
    ("path", "error", "action"),
    [
        ("html.mp4", NotAVideo, Action.PERMANENT),  # a page instead of the file
        ("empty.mp4", EmptyFile, Action.PERMANENT),  # nothing
        ("endless.mp4", VideoTooLarge, Action.PERMANENT),  # stopped at the byte limit
        ("nowhere.mp4", NotFoundOnServer, Action.PERMANENT),  # 404
        ("gone.mp4", NotFoundOnServer, Action.PERMANENT),  # 410
        ("secret.mp4", RefusedByServer, Action.PERMANENT),  # 403
        ("limited.mp4", TooManyRequests, Action.SESSION_POISONED),  # 429
        ("broken.mp4", ServerBusy, Action.TRANSIENT),  # 500 for ever
        ("always-cut.mp4", TransferCut, Action.TRANSIENT),  # never a byte
        ("loop.mp4", TooManyRedirects, Action.PERMANENT),  # in a circle
        ("inside.mp4", PrivateAddress, Action.PERMANENT),  # a redirect into a private network
        ("first-part.mp4", TransferCut, Action.TRANSIENT),  # a part is never called whole
        ("lost.mp4", BadLink, Action.PERMANENT),  # a redirect to something that is no address
        ("to-file.mp4", UnsupportedScheme, Action.PERMANENT),  # a redirect to a file of this machine
    ],
)
def test_a_bad_answer_has_its_type_and_action(server, tmp_path, path, error, action):
    with pytest.raises(error) as caught:
        fetch(server.url(path), tmp_path, LOCAL)
    assert caught.value.action is action
    assert caught.value.remedy
    assert "will be tried" not in caught.value.remedy
    assert "rate" not in caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_a_busy_server_is_asked_a_few_times_and_a_limiting_one_once(server, tmp_path):
    for path in ("broken.mp4", "limited.mp4"):
        with pytest.raises((ServerBusy, TooManyRequests)):
            fetch(server.url(path), tmp_path, LOCAL)
    assert server.count("broken.mp4") == fetching.MAX_TRIES
    assert server.count("limited.mp4") == 1


def test_a_drip_is_ended_by_the_time_limit(server, tmp_path):
    with pytest.raises(DownloadTimeout, match=r"0\.5 s"):
        fetch(server.url("slow.mp4"), tmp_path, FetchLimits(10**6, 0.5, ("127.0.0.0/8",)))


def test_an_announced_size_beyond_the_limit_is_refused_before_the_body(server, tmp_path):
    with pytest.raises(VideoTooLarge):
        fetch(server.url("plain.mp4"), tmp_path, FetchLimits(1000, 120, ("127.0.0.0/8",)))
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_this_machine_is_out_of_reach_by_default(server, tmp_path):
    with pytest.raises(PrivateAddress):
        fetch(server.url("plain.mp4"), tmp_path, FetchLimits())
    assert server.asked == []


def test_no_one_listens(tmp_path):
    with pytest.raises(ServerBusy, match="cannot be reached"):
        fetch("http://127.0.0.1:9/v.mp4", tmp_path, LOCAL)


def test_the_checked_address_is_the_one_used(server, tmp_path):
    # A name that no resolver knows: only the guard's own answer can lead to the server.
    asked = []

    def resolver(host, port):
        asked.append(host)
        return ["127.0.0.2", "127.0.0.1"] if host == "videos.example" else resolve(host, port)

    guard = NetGuard(("127.0.0.0/8",), resolver)
    url = f"http://videos.example:{server.server_port}/range.mp4"
    fetch_url(url, tmp_path / "v", HttpLimits(10**6, 120), guard)
    assert (tmp_path / "v").read_bytes() == http_server.BODY
    assert asked == ["videos.example"]  # once: a second answer could be another one
    assert server.asked[0][2] == f"videos.example:{server.server_port}"


def test_a_redirect_to_a_name_with_a_private_address_is_refused(server, tmp_path):
    answers = {"127.0.0.1": ["127.0.0.1"], "rebound.example": ["93.184.215.14", "192.168.1.1"]}
    guard = NetGuard(("127.0.0.0/8",), lambda host, port: answers[host])
    with pytest.raises(PrivateAddress, match=r"192\.168\.1\.1"):
        fetch_url(server.url("to-name.mp4"), tmp_path / "v", HttpLimits(10**6, 120), guard)
    assert server.count("range.mp4") == 0


def test_proxies_of_the_environment_are_not_used(server, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(server.url("plain.mp4"), tmp_path, LOCAL).path.stat().st_size == len(http_server.BODY)


def test_a_token_in_the_query_is_not_logged(server, tmp_path, caplog):
    for name in ("", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    fetch(server.url("busy.mp4?token=hunter2"), tmp_path, LOCAL)
    assert "interrupted" in caplog.text  # our own lines are still there
    assert "hunter2" not in caplog.text


# --- files -------------------------------------------------------------------------------------------


def test_a_local_file_stays_where_it_is(tmp_path):
    path = write_steady(tmp_path / "my dance.mp4", 3, 25)
    before = path.stat().st_mtime_ns
    for link in (str(path), path.as_uri()):
        fetched = fetch(link, tmp_path / "unused", LOCAL)
        assert (fetched.path, fetched.title, fetched.temporary) == (path, "my dance", False)
        assert fetched.source == link
    assert path.stat().st_mtime_ns == before
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("link", "error"),
    [
        ("absent.mp4", FileMissing),  # no such path
        ("a" * 5000, FileUnreadable),  # a name that no file can have
        (".", EmptyFolder),  # a folder without a video
        ("/dev/zero", FileUnreadable),  # endless
        ("empty.mp4", EmptyFile),  # 0 bytes
        ("large.mp4", VideoTooLarge),  # above the limit, without reading it
        ("ftp://a.example/v.mp4", UnsupportedScheme),  # not ours
        ("file://elsewhere/v.mp4", BadLink),  # another machine
        ("https://u:p@a.example/v.mp4", BadLink),  # a password
        ("ftp://u:p@a.example/v.mp4", BadLink),  # a password, before the scheme is looked at
        ("s3://bucket/v.mp4", UnsupportedScheme),  # a digit in the scheme
        ("svn+ssh://a.example/v.mp4", UnsupportedScheme),  # a plus in the scheme
        ("c://v.mp4", FileMissing),  # a drive is no scheme
        ("12:30.mp4", FileMissing),  # a colon makes no scheme
        ("https://[::1/v.mp4", BadLink),  # not parseable
        ("file://[::1/v.mp4", BadLink),  # not parseable
    ],
)
def test_bad_links_have_their_type(tmp_path, monkeypatch, link, error):
    monkeypatch.chdir(tmp_path)
    Path("empty.mp4").touch()
    with Path("large.mp4").open("wb") as large:
        large.truncate(LOCAL.max_bytes + 1)
    with pytest.raises(error):
        fetch(link, tmp_path / "f", LOCAL)


def test_links_are_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/two.MP4", "b/one.webm", "b/deep/three.mov", "b/notes.txt", "b/.hidden.mp4", "odd-name"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")
    url = "https://videos.example/watch?v=1"
    found = expand_links(["b", "odd-name", url, "file:///x.mp4", "absent.mp4", "b/notes.txt"])
    here = Path.cwd()
    assert found == [
        str(here / "b/deep/three.mov"),
        str(here / "b/one.webm"),
        str(here / "b/two.MP4"),
        str(here / "odd-name"),  # given by name: any name will do
        url,
        "file:///x.mp4",
        "absent.mp4",  # fails later, alone
        str(here / "b/notes.txt"),
    ]
    assert expand_links([]) == []


@pytest.mark.parametrize(
    ("link", "host"),
    [
        ("https://anna:hunter2@a.example/v.mp4", "a.example"),  # user and password
        ("https://hunter2@a.example:8443/v.mp4?x=1", "a.example"),  # a token as the user
        ("ftp://anna:hunter2@a.example/v.mp4", "a.example"),  # whatever the scheme
        (" https://anna:hunter2@a.example/v.mp4", "a.example"),  # pasted with a space
        ("https://anna:hun@ter2@a.example/v.mp4", "a.example"),  # an at sign in the password
        ("https://anna:hun/ter2@a.example/v.mp4", ""),  # a slash ends the host early
        ("https://anna:h@hun#ter2@a.example/v.mp4", ""),  # both: what looks like the host is password
        ("file://anna:hunter2@nas/v.mp4", "nas"),  # a file of another machine
    ],
)
def test_a_password_is_refused_before_anything_else(tmp_path, link, host):
    for refuse in (lambda: expand_links(["fine.mp4", link]), lambda: fetch(link, tmp_path, LOCAL)):
        with pytest.raises(BadLink, match="password") as caught:
            refuse()
        assert host in caught.value.cause
        for secret in ("anna", "hun", "ter2"):
            assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "link",
    [
        "https://a.example/@anna/v.mp4",  # an at sign in the path
        "https://a.example:8443/v?mail=a@b.example",  # or in the query
        "https://[2606:2800::1]:8443/@anna",  # an IPv6 host with a port
        "file:///home/anna@home/v.mp4",  # or in a file's path
        "anna@home.mp4",  # a file's name
    ],
)
def test_an_at_sign_is_no_password(link):
    assert expand_links([link]) == [link]


def test_a_name_that_is_no_utf8_is_found_fetched_and_opened(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/caf\xe9 100%.mp4"))
    odd.parent.mkdir()
    write_steady(tmp_path / "plain.mp4", 3, 25).rename(odd)
    for given in (str(odd.parent), str(odd), f"file://{odd.parent}/caf\udce9 100%25.mp4"):
        (link,) = expand_links([given])
        assert link.startswith("file:///")
        assert "caf%E9" in link
        fetched = fetch(link, tmp_path / "unused", LOCAL)
        assert fetched.path == odd
        assert fetched.title == "caf? 100%"
        for value in (value for value in astuple(fetched) if isinstance(value, str)):
            value.encode("utf-8")
        assert probe(fetched.path, 10**7, 60).width > 0
    assert fetch(str(odd), tmp_path, LOCAL).source == link.replace(" ", "%20")


@pytest.mark.parametrize(
    "link",
    [
        "absent-\udce9.mp4",  # no such file
        "file:///absent-\udce9.mp4",  # the same as a URL
        "s3://bucket/\udce9.mp4",  # not ours
        "half-\ud800.mp4",  # no bytes at all
    ],
)
def test_what_is_said_about_a_name_that_is_no_utf8_can_be_stored(tmp_path, link):
    (expanded,) = expand_links([link])
    expanded.encode("utf-8")
    for given in (link, expanded):
        with pytest.raises((FileMissing, UnsupportedScheme)) as caught:
            fetch(given, tmp_path, LOCAL)
        f"{caught.value}{caught.value.args}".encode()


# --- full disk ---------------------------------------------------------------------------------------

FETCH = (
    "import sys; from pathlib import Path; from broker.errors import DiskFull\n"
    "from workers.downloads.local import fetch; from workers.downloads.contracts import FetchLimits\n"
    "try: fetch(sys.argv[1], Path(sys.argv[2]), FetchLimits(10**7, 120, ('127.0.0.0/8',)))\n"
    "except DiskFull as error: print(error.code, error.remedy); sys.exit(7)\n"
)
ROOT = Path(__file__).parents[2]


def test_a_process_that_may_write_no_more_says_disk_full(server, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n" + FETCH
    command = [sys.executable, "-c", limited, server.url("plain.mp4"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout[:9]) == (7, "disk_full"), done.stderr


def test_a_really_full_disk_says_disk_full(server, tmp_path):
    mount = f'mount -t tmpfs -o size=128k none {tmp_path} || exit 9; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", FETCH]
    command += [server.url("plain.mp4"), str(tmp_path / "in")]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode in (9, 32) or done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"a private file system is not permitted here: {done.stderr.strip()[:100]}")
    assert (done.returncode, done.stdout[:9]) == (7, "disk_full"), done.stderr
