"""The part of ``hardpose doctor`` about sites: downloaders, their JavaScript runtime, proxy and cookies."""

import os
import shutil
import stat
import sysconfig
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from api.findings import Finding
from broker.errors import SettingsError
from broker.settings import Settings

OLD_DAYS = 60
"""yt-dlp has about a release a month, because sites change as often; its version is its day."""
RUNTIMES = ("deno",)
"""Those that give a site's script no files and no network. Node, which yt-dlp knows too, is not one."""
EXTRA = "pip install 'hardpose[sites]'"


def site_findings(settings: Settings) -> list[Finding]:
    """Looks at what downloads from sites need. Without it files and direct links work as ever."""
    findings = [
        _ytdlp(datetime.now(UTC).date()),
        _runtime(),
        _package("yt-dlp-ejs", "yt-dlp's own scripts for that runtime"),
        _package("pytubefix", "the second downloader for YouTube"),
    ]
    return findings + list(_proxy(settings)) + list(_cookies(settings))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _package(name: str, purpose: str) -> Finding:
    here = _version(name)
    detail = f"{here}: {purpose}" if here else f"not installed: {purpose}"
    return Finding(name, here is not None, detail, EXTRA, optional=True)


def _ytdlp(today: date) -> Finding:
    """Whether yt-dlp is here and of these months."""
    finding = _package("yt-dlp", "videos, playlists and channels of sites")
    day = _released(_version("yt-dlp") or "")
    if day is None or (today - day).days <= OLD_DAYS:
        return finding
    age = f"{finding.detail}; {(today - day).days} days old, and sites change every month or two"
    return Finding("yt-dlp", False, age, "pip install -U yt-dlp yt-dlp-ejs", optional=True, warning=True)


def _released(text: str) -> date | None:
    try:
        year, month, day = map(int, text.split(".")[:3])
        return date(year, month, day)
    except ValueError:  # a development version has a name of its own
        return None


def _runtime() -> Finding:
    """Deno, beside this Python or on the PATH; it is not started."""
    what, scripts = "JavaScript runtime", sysconfig.get_path("scripts")
    for name in RUNTIMES:
        path = shutil.which(name, path=scripts) or shutil.which(name)
        if path:
            known = _version(name) if Path(path).parent == Path(scripts) else None
            return Finding(what, True, f"{name} {known}" if known else f"{name} ({path})", optional=True)
    detail = "none found; without it yt-dlp gets few of YouTube's formats, or none"
    return Finding(what, False, detail, "pip install 'hardpose[javascript]', or install Deno", optional=True)


def _proxy(settings: Settings) -> Iterator[Finding]:
    if settings.download_proxy is None:
        return
    from workers.downloads.net.upstream_proxy import UpstreamProxy

    try:
        proxy = UpstreamProxy.parse(settings.download_proxy.get_secret_value())
    except SettingsError as error:
        yield Finding("download proxy", False, error.cause, error.remedy)
        return
    yield Finding("download proxy", True, f"{proxy.scheme}://{proxy.host}:{proxy.port}")
    if settings.downloads.egress == "default":
        yield Finding(
            "egress name",
            False,
            "sites see the proxy's address, but its rate and breaker are those of 'default'",
            "Set HARDPOSE_DOWNLOADS__EGRESS to a name for that address.",
            optional=True,
            warning=True,
        )


def _cookies(settings: Settings) -> Iterator[Finding]:
    path, what = settings.download_cookies, "cookies"
    if path is None:
        return
    if not path.is_file() or not os.access(path, os.R_OK):
        detail = f"{path.absolute()} is not there, or cannot be read"
        yield Finding(what, False, detail, "Set HARDPOSE_DOWNLOAD_COOKIES to a cookies.txt, or to nothing.")
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        detail = f"others on this machine may read {path.absolute()}: whoever has it is logged in"
        yield Finding(what, False, detail, f"chmod 600 {path.absolute()}", optional=True, warning=True)
        return
    yield Finding(what, True, f"{path.absolute()}; they put the account at risk")
