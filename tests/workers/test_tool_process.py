"""The process of a downloader: what it may do, what it knows, and how it ends.

What runs in it here is a yt-dlp plugin of the test's: code that a real plugin or extractor could hold.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fake_site import serving, watch
from hypothesis import given
from hypothesis import strategies as st
from patience import longer_and_longer, until

from broker.errors import DiskFull, HardposeError, MissingDependency, SettingsError
from workers.downloads import errors
from workers.downloads.contracts import FetchLimits, Metadata, Unwatched
from workers.downloads.tool.child import ToolRequest
from workers.downloads.tool.process import ToolOptions, run_tool
from workers.downloads.tool.result import TOLERANCE_BYTES, checked_file, rebuilt

LINK = "https://www.youtube.com/watch?v=0123456789a"
PLUGIN = """
import json, os, shutil, signal, socket, sqlite3, subprocess, sys, time
from pathlib import Path
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

class DeedIE(InfoExtractor):
    _VALID_URL = r"https://www\\.youtube\\.com/watch\\?v=0123456789a"

    def _real_extract(self, url):
        home = Path(os.environ["HOME"])
        outside = Path({outside!r})
        params = self._downloader.params
        deno = params["js_runtimes"].get("deno", {{}}).get("path")
{deed}
        raise ExtractorError("Private video", expected=True)
"""
"""Its end is one that a parent knows, so a test sees whether the deed was let through."""

Do = Callable[..., None]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("gold")
    return folder


@pytest.fixture
def do(tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> Do:
    """Runs a deed in the true child process."""

    def run(deed: str, seconds: float = 240.0, max_bytes: int = 10**6) -> None:
        code = PLUGIN.format(outside=str(outside), deed=textwrap.indent(textwrap.dedent(deed), " " * 8))
        plugin = tmp_path / "plugin" / "yt_dlp_plugins" / "extractor" / "deed.py"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
        limits = FetchLimits(max_bytes=max_bytes, timeout_seconds=seconds)
        run_tool("ytdlp", LINK, tmp_path / "fetch", limits, ToolOptions(), Unwatched())

    return run


def home(tmp_path: Path) -> Path:
    return tmp_path / "fetch" / "ytdlp" / "home"


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody has buried counts as ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def pids_of(tmp_path: Path) -> list[int]:
    """Of the two processes that ``STUBBORN`` makes of one, as soon as there are two."""
    file = home(tmp_path) / "pids"
    found = file.read_text().split() if file.exists() else []
    return [int(pid) for pid in found[:2]] if found[2:] == ["both"] else []


# --- what it may do ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deed",
    [
        "open(outside / 'new', 'w')",  # a new file
        "open(outside / 'precious', 'r+')",  # an old one
        "os.open(outside / 'new', os.O_CREAT | os.O_WRONLY)",  # below Python's files
        "os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=os.open(outside, os.O_RDONLY))",  # beside a path
        "os.symlink(outside, home / 'way'); open(home / 'way' / 'new', 'w')",  # through a link
        "open('../../outside/new', 'w')",  # by dots, from its own folder
        "(outside / 'new').mkdir()",
        "os.remove(outside / 'precious')",
        "os.remove('precious', dir_fd=os.open(outside, os.O_RDONLY))",
        "shutil.rmtree(outside)",
        "(home / 'mine').write_text('x'); os.rename(home / 'mine', outside / 'new')",  # out of the folder
        "os.rename(outside / 'precious', home / 'mine')",  # into it
        "os.link(outside / 'precious', home / 'mine')",  # a second name to write to
        "os.symlink('x', outside / 'new')",
        "os.chmod(outside / 'precious', 0o777)",
        "os.truncate(outside / 'precious', 0)",
        "sqlite3.connect(outside / 'new')",  # opens its file behind Python's back
        "subprocess.run(['/bin/true'])",  # any program
        "subprocess.run(['deno', '--version'])",  # the runtime's name, found by a PATH that may be changed
        "subprocess.run('true', shell=True)",
        "os.system('true')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.posix_spawnp('deno', ['deno'], {})",  # the runtime's name again
        "socket.create_connection(('127.0.0.1', 1))",  # a port that is not the proxy's
        "socket.socket(socket.AF_UNIX).connect('/run/some.sock')",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",  # a DNS question
        "socket.getaddrinfo('secret.example.org', 80)",  # a name can carry words away
        "socket.gethostbyname('secret.example.org')",
        "socket.socket().bind(('127.0.0.1', 0))",
    ],
)
def test_what_is_no_business_of_a_downloader_is_refused(do: Do, outside: Path, deed: str) -> None:
    with pytest.raises(errors.ExtractionFailed, match=r"is not allowed|^Confined"):  # 3.13 edits the text
        do(deed)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "gold"}


@pytest.mark.parametrize(
    "deed",
    [
        "(home / 'a').mkdir(); (home / 'a' / 'b').write_text('x'); shutil.rmtree(home / 'a')",
        "open(os.devnull, 'w').write('x')",
        "assert Path('/etc/hosts').read_text()",  # reading is how libraries find their data
        "proxy = params['proxy'].rpartition(':')[2]; socket.create_connection(('127.0.0.1', int(proxy)))",
        "done = subprocess.run([deno, 'run', '-'], input=b'console.log(6*7)', capture_output=True)\n"
        "assert b'42' in done.stdout",  # the JavaScript runtime
        "os.waitpid(os.posix_spawn(deno, [deno, '--version'], {}), 0)",  # as Popen does since Python 3.13
    ],
)
def test_what_a_downloader_needs_is_let_through(do: Do, deed: str) -> None:
    with pytest.raises(errors.VideoPrivate):
        do(deed)


def test_no_file_grows_far_over_the_bound(do: Do, tmp_path: Path) -> None:
    with pytest.raises(errors.VideoTooLarge):
        do("(home / 'big').open('wb').truncate(2**30)", max_bytes=1000)
    assert (home(tmp_path) / "big").stat().st_size == 0


def test_page_without_end_takes_no_more_memory_than_it_may(do: Do) -> None:
    with pytest.raises(errors.VideoTooLarge, match="2048 MiB of memory"):
        do("whole = bytearray(2**31)")


# --- what it knows -----------------------------------------------------------------------------------


def test_no_setting_and_no_secret_reaches_it(do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARDPOSE_BROKER_URL", "AWS_SECRET_ACCESS_KEY", "http_proxy", "LD_PRELOAD_NOT", "NETRC"):
        monkeypatch.setenv(name, "redis://:hunter2@127.0.0.1/0")
    with pytest.raises(errors.VideoPrivate):
        do(
            """
            seen = {"env": dict(os.environ), "argv": sys.orig_argv, "cwd": os.getcwd()}
            (home / "seen").write_text(json.dumps({**seen, "in": sys.stdin.read()}))
            """
        )
    text = (home(tmp_path) / "seen").read_text()
    seen = json.loads(text)
    assert "hunter2" not in text
    assert set(seen["env"]) <= {
        *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "DENO_NO_UPDATE_CHECK"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
    }
    assert (seen["env"]["HOME"], seen["cwd"]) == (str(home(tmp_path)), str(home(tmp_path).parent))
    assert (seen["in"], "hardpose:" in " ".join(seen["argv"])) == ("", False)


def test_what_it_prints_is_logged_without_the_proxys_password(
    do: Do, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "workers.downloads.tool.pipe"), pytest.raises(errors.VideoPrivate):
        do("print(json.dumps({'kind': 'fetched'})); print('to', params['proxy'], file=sys.stderr)")
    assert "to http://***@127.0.0.1:" in caplog.text
    assert '{"kind": "fetched"}' in caplog.text  # printed, and so no word of the protocol


@pytest.mark.parametrize(
    "text",
    [
        "no answer from https://rr1.test/videoplayback?ip=203.0.113.9&sig=hunter2",  # an address
        "HTTPSConnectionPool('rr1.test'): Max retries exceeded with url: /v?ip=203.0.113.9&sig=hunter2",
        "Unable to connect to proxy http://me:hunter2@127.0.0.1:1",  # a password
        "see <https://rr1.test/v#token=hunter2>",  # behind the query
    ],
)
def test_signed_addresses_and_passwords_are_in_no_failure_and_no_log(
    do: Do, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(HardposeError) as caught:
        do(f"print({text!r}); raise ExtractorError({text!r})")
    said = f"{caught.value.cause} {caught.value.remedy} {caplog.text}"
    assert "***" in caught.value.cause
    assert "hunter2" not in said
    assert "203.0.113.9" not in said


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("HARDPOSE_X is y.", "Set it right."),  # a client that pytubefix does not know
        MissingDependency("x is not installed.", "Install it."),
        DiskFull("No room.", "Free some."),
        errors.BotCheck("It wants a person.", "Wait."),
    ],
)
def test_error_of_the_child_arrives_as_what_it_was(error: HardposeError) -> None:
    back = rebuilt(error.code, error.cause, error.remedy)
    assert (type(back), back.args) == (type(error), error.args)


# --- how it ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),  # as the kernel does when memory runs out
        ("print('last words', file=sys.stderr, flush=True); os._exit(3)", "status 3: last words"),
        ("raise TypeError('what now')", "TypeError: what now"),  # raised past yt-dlp
        ("raise SystemExit(9)", "SystemExit: 9"),  # as an old script ends itself
        ("raise KeyError('player')", "KeyError"),  # wrapped by yt-dlp
    ],
)
def test_end_that_nobody_foresaw_is_an_outdated_tool(do: Do, deed: str, text: str) -> None:
    with pytest.raises(errors.ExtractionFailed) as caught:
        do(deed)
    assert text in caught.value.cause
    assert caught.value.tool == "yt-dlp"


STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([deno, "run", "-"], stdin=subprocess.PIPE)
child.stdin.write(b"while (true) {}")
child.stdin.close()
(home / "pids").write_text(f"{os.getpid()} {child.pid} both")
time.sleep(600)
"""


def test_deadline_ends_it_and_all_that_it_started(do: Do, tmp_path: Path) -> None:
    for limit in longer_and_longer(6):
        with pytest.raises(errors.DownloadTimeout, match=f"within {limit:g} s"):
            do(STUBBORN, seconds=limit)
        if pids := pids_of(tmp_path):
            break  # else it was ended before it had come to its deed
    until(lambda: all(map(gone, pids)), "the end of both")


def test_it_goes_when_the_worker_is_killed(do: Do, tmp_path: Path) -> None:
    with pytest.raises(errors.VideoPrivate):
        do("pass")  # writes the plugin
    plugin = tmp_path / "plugin" / "yt_dlp_plugins" / "extractor" / "deed.py"
    plugin.write_text(plugin.read_text().replace("pass\n", textwrap.indent(STUBBORN, " " * 8).lstrip(), 1))
    program = f"""
from pathlib import Path
from workers.downloads.contracts import FetchLimits, Unwatched
from workers.downloads.tool.process import ToolOptions, run_tool
run_tool("ytdlp", {LINK!r}, Path({str(tmp_path / "fetch")!r}), FetchLimits(), ToolOptions(), Unwatched())
"""
    worker = subprocess.Popen([sys.executable, "-c", program])
    try:
        pids = until(lambda: pids_of(tmp_path), "its deed")
        assert all(psutil.pid_exists(pid) for pid in pids)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    until(lambda: all(map(gone, pids)), "the end of both")


class Refused(Exception):
    pass


def test_gate_that_says_no_leaves_the_media_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gate(Unwatched):
        def found(self, metadata: Metadata) -> None:
            time.sleep(0.5)  # long enough for a child that does not wait
            raise Refused(metadata.title)

    limits = FetchLimits(allow_networks=("127.0.0.0/8",), timeout_seconds=240)
    with serving(b"film" * 10_000) as site:
        monkeypatch.setenv("PYTHONPATH", site.pythonpath(tmp_path / "plugin"))
        with pytest.raises(Refused, match="Video good"):
            run_tool("ytdlp", watch("good"), tmp_path, limits, ToolOptions(), Gate())
        assert len(site.asked("/page/")) == 1
        assert site.asked("/media/") == []


# --- what is said between the two --------------------------------------------------------------------


def test_every_typed_error_arrives_as_itself() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DownloadError)
    ]
    assert len(kinds) > 35
    for kind in kinds:
        again = rebuilt(kind.code, "cause", "remedy")
        assert (type(again), again.cause, again.remedy) == (kind, "cause", "remedy")
    assert rebuilt("disk_full", "a", "b").code == "disk_full"
    assert type(rebuilt("of another version", "a", "b")) is errors.ExtractionFailed


@given(
    st.text(),
    st.dictionaries(st.text(), st.lists(st.text())),
    st.integers(0),
    st.none() | st.just(Path("/c")),
)
def test_request_arrives_as_it_was_sent(
    link: str, options: dict[str, list[str]], size: int, cookies: Path | None
) -> None:
    request = ToolRequest("ytdlp", link, Path("/f"), "http://u:p@127.0.0.1:1", 720, size, 9, options, cookies)
    line = request.to_json()
    assert line.count(b"\n") == 1
    assert ToolRequest.from_json(line) == request
    assert "u:p" not in repr(request)


# --- what comes back ---------------------------------------------------------------------------------


def stated(size: int | None) -> Metadata:
    return Metadata(video_id="site:a", link="", title="", size_bytes=size)


@pytest.mark.parametrize(
    ("content", "size", "kind"),
    [
        (b"", None, errors.EmptyFile),  # nothing
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><p>", None, errors.NotAVideo),  # a page behind a byte order mark
        (b"<html lang=de>", None, errors.NotAVideo),  # a page without a doctype
        (b"f" * 1001, None, errors.VideoTooLarge),  # over the bound
        (b"f" * 500, 500 + TOLERANCE_BYTES + 1, errors.TransferCut),  # shorter than stated
    ],
)
def test_file_that_cannot_be_the_video_is_removed(
    tmp_path: Path, content: bytes, size: int | None, kind: type[HardposeError]
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    with pytest.raises(kind):
        checked_file(path, tmp_path, stated(size), 1000)
    assert not path.exists()


def test_few_bytes_less_than_stated_are_no_cut(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"f" * 500)
    assert len(checked_file(tmp_path / "video.mp4", tmp_path, stated(500 + TOLERANCE_BYTES), 1000)) == 64


def test_file_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("gold")
    (folder / "way").symlink_to(secret)
    for path in (secret, folder / "way", folder / ".." / "secret", folder / "none", folder):
        with pytest.raises(errors.ExtractionFailed):
            checked_file(path, folder, stated(None), 1000)
    assert secret.read_text() == "gold"
