"""From a link to its video, by the first downloader that can: the file itself, then the tools of sites."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from broker.errors import Action, HardposeError
from broker.settings import Settings, Tool
from workers.downloads import local
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Watcher
from workers.downloads.errors import DownloadError, NotAVideo, ToolMissing, UnsupportedSite
from workers.downloads.links import is_remote, refuse_password, storable
from workers.downloads.sites import canonical, is_youtube
from workers.downloads.tool.process import PACKAGES, ToolOptions, run_tool

ALL_SITES: tuple[Tool, ...] = ("ytdlp",)
"""The tools that know other sites than YouTube."""


def fetch(
    link: str, folder: Path, limits: FetchLimits, settings: Settings, watcher: Watcher
) -> Fetched | Listing:
    """Gets the video of ``link``, or the links of its playlist or channel.

    A path, a ``file:`` URL and the address of a media file are fetched as they are; a page is given to the
    tools in the order of the settings. The next tool is tried only when one no longer understands the site:
    what it does say of a video, a private one for example, the next would say as well.

    Args:
        link: as given by the user.
        folder: of this link alone, on a disk with room; what an earlier call left there is continued.
        limits: of this fetch, all tools together.
        settings: for the tools, their order, the operator's proxy and cookies.
        watcher: follows it.

    Raises:
        DownloadError: by kind; ``tool`` and ``tool_version`` say whose finding it is.
        DiskFull: no room in ``folder``.
        SettingsError: the operator's proxy cannot be used.
        Exception: what ``watcher`` raises, unchanged.
    """
    deadline = time.monotonic() + limits.timeout_seconds
    refuse_password(link)
    if is_youtube(link):
        names = settings.downloads.tools
    else:
        try:
            return _direct(link, folder, limits, watcher)
        except NotAVideo:
            if not is_remote(link):
                raise
        names = tuple(name for name in settings.downloads.tools if name in ALL_SITES)
    ask = _Ask(link, folder, limits, settings, watcher, deadline)
    return _by_tools(names, ask)


def installed_tools(settings: Settings) -> list[tuple[str, str]]:
    """Name and version of each configured tool that is installed here, in the order of the settings."""
    return [
        (PACKAGES[name], found)
        for name in settings.downloads.tools
        if (found := _installed(name)) is not None
    ]


def tool_options(tool: Tool, settings: Settings) -> ToolOptions:
    """What ``tool`` takes from the settings."""
    wanted = settings.downloads
    upstream = settings.download_proxy.get_secret_value() if settings.download_proxy else None
    if tool != "ytdlp":
        return ToolOptions({"client": wanted.pytube_client}, upstream=upstream)
    values = {
        "format": wanted.format,
        "player_clients": list(wanted.player_clients),
        "extractor_args": wanted.extractor_args,
    }
    return ToolOptions(values, settings.download_cookies, upstream)


def _installed(name: Tool) -> str | None:
    try:
        return version(PACKAGES[name])
    except PackageNotFoundError:
        return None


def _direct(link: str, folder: Path, limits: FetchLimits, watcher: Watcher) -> Fetched:
    if is_remote(link):
        watcher.asking(local.TOOL)
    try:
        return local.fetch(link, folder, limits, watcher.moved)
    except HardposeError as error:
        error.tool, error.tool_version = local.TOOL, version("hardpose")
        raise


@dataclass(frozen=True)
class _Ask:
    """What every tool is asked; ``deadline`` in seconds of the monotonic clock."""

    link: str
    folder: Path
    limits: FetchLimits
    settings: Settings
    watcher: Watcher
    deadline: float

    def of(self, name: Tool) -> Fetched | Listing:
        self.watcher.asking(PACKAGES[name])
        left = replace(self.limits, timeout_seconds=max(self.deadline - time.monotonic(), 1.0))
        options = tool_options(name, self.settings)
        found = run_tool(name, canonical(self.link), self.folder, left, options, self.watcher)
        return replace(found, source=storable(self.link)) if isinstance(found, Fetched) else found


def _by_tools(names: Sequence[Tool], ask: _Ask) -> Fetched | Listing:
    first: DownloadError | None = None
    for name in names:
        if _installed(name) is None:
            continue
        try:
            return ask.of(name)
        except DownloadError as error:
            if error.action != Action.OUTDATED_TOOL:
                raise
            ask.watcher.outdated(error)
            first = first or error
    raise first or _no_tool(ask.link, ask.settings)


def _no_tool(link: str, settings: Settings) -> DownloadError:
    wanted = ", ".join(PACKAGES[name] for name in settings.downloads.tools)
    if is_youtube(link) or "ytdlp" in settings.downloads.tools:
        return ToolMissing(
            f"The link is a site's page, and none of its downloaders is installed here ({wanted}).",
            "Install them with pip install 'hardpose[sites]', or give the direct link of a video file.",
        )
    return UnsupportedSite(
        f"The link leads to a page, and the configured downloaders ({wanted}) know YouTube only.",
        "Add ytdlp to HARDPOSE_DOWNLOADS__TOOLS, or give the direct link of a video file.",
    )
