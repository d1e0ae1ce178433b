"""Options of the command line that several commands share, and what they say of the links of a job."""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import typer

from broker.errors import HardposeError
from broker.intake import Intake
from broker.priority import Priority
from workers.downloads.links import expand_links
from workers.downloads.lists import read_channels, read_links

Out = Annotated[Path, typer.Option(help="The data set goes to OUT/dataset, the state to OUT/state.")]
Home = Annotated[Path | None, typer.Option(help="Folder of the catalog, artifacts and embedded broker.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]
Threshold = Annotated[float | None, typer.Option(help="IoU below which a frame is hard (default 0.5).")]
Pose = Annotated[str | None, typer.Option(help="The pose model, as `hardpose models list` names it.")]
Masks = Annotated[str | None, typer.Option(help="The teacher, as `hardpose models list` names it.")]
Device = Annotated[
    str | None, typer.Option(help="Your device: a .tflite or .onnx file, its page (me.toml) or its name.")
]
Placement = Annotated[
    str | None, typer.Option(help='Which stages share a process: "pose+mask | me | compare".')
]
JobId = Annotated[str, typer.Argument(help="The job's id, as run and enqueue print it.")]
MaybeJobId = Annotated[str | None, typer.Argument(help="A job's id; without it all jobs.")]
Urgency = Annotated[
    Priority | None, typer.Option("--priority", help="Of the job's work on every queue (default normal).")
]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", help="Only what failed for this code or action, e.g. session_poisoned."),
]

R = TypeVar("R")

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", re.IGNORECASE | re.ASCII)
_CHANNEL_PAGE = re.compile(
    r"(?:https?://)?(?:www\.|m\.)?youtube\.com/(?:(?:channel|c|user)/|(?=@))([^/?#\s]+).*", re.IGNORECASE
)


class NothingGiven(HardposeError):
    """A job without links, or an option without the one that it belongs to."""

    code = "nothing_given"


class FileThere(HardposeError):
    """The file to write is there already."""

    code = "file_there"


class UnknownReason(HardposeError):
    """Nothing failed for the reason that was given."""

    code = "unknown_reason"


class LicenceRule(StrEnum):
    """``broker.intake.Licences`` as choices."""

    ANY = "any"
    CC = "cc"


def parse_duration(text: str) -> float:
    """Seconds of ``90``, ``10m``, ``1h30m`` or ``1h5m20s``.

    Raises:
        typer.BadParameter: it is none of these, or 0.
    """
    found = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in (found.groups() if found else ("", "", "")))
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise typer.BadParameter(f"{text!r} is no duration; write seconds, or 10m, or 1h30m.")
    return total


@dataclass(frozen=True)
class Asked:
    """The videos that a job is to look at, as the command line names them. See the help of each."""

    links: Annotated[
        list[str] | None,
        typer.Argument(help="Videos: files, folders, links to media, videos, playlists or channels."),
    ] = None
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="File with links: text, CSV or JSON lines; - is standard input."),
    ] = None
    column: Annotated[str | None, typer.Option(help="Column or key of the links in --list.")] = None
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most videos taken of each playlist or channel.")
    ] = None
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only videos that were published on that day or later."),
    ] = None
    max_duration: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="Longest video: seconds, or 10m, 1h30m."),
    ] = None
    max_height: Annotated[
        int | None, typer.Option(min=72, help="Largest format that is fetched, in pixels (default 720).")
    ] = None
    licence: Annotated[
        LicenceRule | None, typer.Option(help="cc: only videos under a Creative Commons licence.")
    ] = None
    deny_channel: Annotated[
        list[str] | None, typer.Option(help="Take nothing of this channel: its id, @handle, name or page.")
    ] = None
    deny_list: Annotated[
        list[Path] | None, typer.Option(help="File with channels to take nothing of, one a line.")
    ] = None

    def check(self) -> "Asked":
        """Returns itself.

        Raises:
            NothingGiven: there is no link and no list, or a column without a list.
        """
        if not self.links and not self.lists:
            raise NothingGiven("No video was given.", "Name files, folders or links, or --list FILE.")
        if self.column is not None and not self.lists:
            raise NothingGiven("--column says nothing without a list.", "Give the list with --list FILE.")
        return self

    def read(self) -> list[str]:
        """The links, then those of the lists; each once, folders expanded (see ``expand_links``).

        Raises:
            BadLinkList: a list cannot be read.
            BadLink: a link carries a password.
        """
        found = list(self.links or ())
        for name in self.lists or ():
            found += read_links("-" if name == "-" else Path(name), self.column)
        return expand_links(found)

    def intake(self, base: Intake) -> Intake:
        """``base`` with what was given in place of its fields. A channel that ``base`` denies stays denied.

        Raises:
            BadLinkList: the deny-list cannot be read.
        """
        denied = [*base.denied_channels, *(self.deny_channel or ())]
        for path in self.deny_list or ():
            denied += read_channels(path)
        given: dict[str, Any] = {
            "since": self.since.date() if self.since else None,
            "max_duration_seconds": self.max_duration,
            "max_height": self.max_height,
            "licences": self.licence.value if self.licence else None,
            "limit": self.limit,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        return base.model_copy(update={**changes, "denied_channels": channels(denied)})


def channels(names: Sequence[str]) -> tuple[str, ...]:
    """Channels in one order, each once without regard to case, and a channel's page as its id or handle.

    The same channels are the same rules, and so the same job.
    """
    found = {name.casefold(): name for name in map(_channel, names) if name}
    return tuple(found[key] for key in sorted(found))


def _channel(name: str) -> str:
    page = _CHANNEL_PAGE.fullmatch(name.strip())
    return unquote(page[1]) if page else name.strip()


def takes_links(function: Callable[..., R]) -> Callable[..., R]:
    """Gives a command the options of ``Asked``, and hands them to it as its first argument.

    Typer reads a command's signature; spelling these out in every command would be ten parameters each.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    hints = typing.get_type_hints(Asked, include_extras=True)
    options = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Asked)
    ]
    rest = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    names = [option.name for option in options]

    @wraps(function)
    def spread(**given: Any) -> R:
        return function(Asked(**{name: given.pop(name) for name in names}).check(), **given)

    signature = inspect.Signature([*options, *rest])
    spread.__signature__ = signature  # type: ignore[attr-defined]
    spread.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return spread
