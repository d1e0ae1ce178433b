"""``report.html``: one page with everything in it, for people who decide whether the data set is good."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from broker.messages import Failure, Verdict
from broker.recipe import Recipe, Stage
from broker.views import JobView, LinkView
from tasks import mask_colours
from tasks.dataset.contact_sheet import ContactSheet
from tasks.dataset.credits import model_credits
from tasks.dataset.failure_groups import failure_groups, kind_of
from tasks.dataset.funnel_book import public_failure, stage_seconds, total_funnel
from tasks.dataset.histogram import Histogram
from tasks.dataset.selection import Selection, Shot, distinct_videos
from tasks.dataset.tables import measure_name
from tasks.dataset.text import public_source
from tasks.verdicts import VERDICTS

_FOLDER = Path(__file__).parent

KIND = {Verdict.HARD: "hard", Verdict.EASY: "easy", Verdict.TEACHER_DOUBT: "doubt", Verdict.FAILED: "failed"}
"""The colour of a verdict's bar; all others are grey."""


@dataclass(frozen=True)
class Row:
    """A bar of the funnel: ``share`` is in percent of the examined frames."""

    name: str
    count: int
    share: float
    text: str
    kind: str = "dropped"
    setting: str = ""


@dataclass(frozen=True)
class Card:
    """A picture of the contact sheet and what stands beneath it."""

    name: str
    image: str
    alt: str
    label: str
    time: str
    source: str


@dataclass(frozen=True)
class LinkRow:
    """A link as it was asked for, and what came of it."""

    number: int
    text: str
    href: str | None
    title: str
    uploader: str
    licence: str
    duration: str
    examined: int
    written: int
    state: str
    same_as: int | None
    holds: str = ""
    """Of a playlist or a channel: how many videos."""
    part_of: int | None = None
    """Number of the list that named it."""


def render_report(job: JobView, selection: Selection, sheet: ContactSheet) -> bytes:
    """The page as UTF-8: no script, nothing loaded from elsewhere, every text from outside escaped.

    Args:
        job: the job.
        selection: its frames.
        sheet: the thumbnails, complete.
    """
    style = mask_colours.STYLE + (_FOLDER / "report.css").read_text(encoding="utf-8")
    funnel = total_funnel(job)
    page = (
        page_environment(_FOLDER)
        .get_template("report.html")
        .render(
            style=Markup(style),  # noqa: S704 - our own file, not a user's text
            style_hash=csp_hash(style),
            job=job,
            recipe=job.recipe,
            models=model_credits(job.recipe),
            settings=_settings(job.recipe),
            videos=len(distinct_videos(job)),
            links=_links(job, selection),
            funnel=funnel,
            steps=_steps(job, selection),
            rows=_rows(job),
            reasons=sorted((r for r in _rows(job) if r.kind != "hard"), key=lambda r: -r.count),
            histogram=Histogram.of(_ious(job), job.recipe.comparison.iou_threshold),
            written=len(selection.written),
            left_out=selection.left_out,
            sheet_cards=[_hard_card(shot, sheet) for shot in sheet.hard_shots],
            shape=_shape(selection.written or selection.doubtful),
            doubtful=[_doubtful_card(shot, sheet) for shot in sheet.doubtful_shots],
            doubtful_total=len(selection.doubtful),
            failed=failure_groups(job),
            lost=_lost_segments(job),
            seconds=_seconds(job),
        )
    )
    return page.encode()


def page_environment(*folders: Path) -> Environment:
    """Templates out of ``folders``: everything is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = clock
    environment.filters["kind"] = kind_of
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


def clock(time_ms: int) -> str:
    """A time for people: ``1:02.5`` is one minute, two and a half seconds."""
    minutes, rest = divmod(time_ms, 60_000)
    return f"{minutes}:{rest / 1000:06.3f}".rstrip("0").rstrip(".")


def safe_href(source: str) -> str | None:
    """``source`` where it is a web address that may become a link, without its secrets; else None."""
    return public_source(source) if source.lower().startswith(("http://", "https://")) else None


def csp_hash(style: str) -> str:
    """What a Content-Security-Policy calls the one ``<style>`` of a page."""
    digest = hashlib.sha256(style.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _settings(recipe: Recipe) -> list[tuple[str, str]]:
    """Every number of the recipe by its full name, for example ``rule.min_confidence``."""
    groups = ("sampling", "rule", "duplicates", "teacher", "comparison")
    dumped = recipe.model_dump(mode="json", include=set(groups))
    return [(f"{group}.{name}", str(value)) for group in groups for name, value in dumped[group].items()]


def _links(job: JobView, selection: Selection) -> list[LinkRow]:
    first: dict[str, int] = {}
    rows = []
    for link in sorted(job.links, key=lambda each: each.position):
        same_as = first.get(link.video.id) if link.video else None
        if link.video and same_as is None:
            first[link.video.id] = link.position + 1
        rows.append(_link_row(link, selection, same_as))
    return rows


def _link_row(link: LinkView, selection: Selection, same_as: int | None) -> LinkRow:
    video = link.video
    written = sum(1 for shot in selection.written if video is not None and shot.video.id == video.id)
    return LinkRow(
        number=link.position + 1,
        text=public_source(link.link),
        href=safe_href(link.link),
        title=video.title if video else link.list_title,
        uploader=video.uploader if video else "",
        licence=video.licence if video else "",
        duration=clock(video.duration_ms) if video else "",
        examined=link.funnel().examined,
        written=written,
        state=str(link.state),
        same_as=same_as,
        holds=_holds(link),
        part_of=None if link.parent is None else link.parent + 1,
    )


def _holds(link: LinkView) -> str:
    if link.listed is None:
        return ""
    videos = f"{link.listed:,} video{'' if link.listed == 1 else 's'}"
    return f"a list of {videos}" if link.list_complete else f"the first {videos} of a longer list"


def _steps(job: JobView, selection: Selection) -> list[Row]:
    """The way from the examined frames to the written ones; each step is a part of the one before."""
    funnel = total_funnel(job)
    whole = sum(len(s.keepers) for _, link in distinct_videos(job) for s in link.segments)
    compared = funnel.of(Verdict.EASY, Verdict.HARD)
    steps = [
        ("examined", funnel.examined, "frames looked at", "dropped"),
        ("one whole person", whole, "passed the pose filter", "dropped"),
        ("sure teacher", compared, "have a teacher's mask without doubt, and a device's mask", "easy"),
        ("hard", funnel.of(Verdict.HARD), f"IoU below {job.recipe.comparison.iou_threshold:g}", "hard"),
        ("written", len(selection.written), "without near-duplicates across all videos", "hard"),
    ]
    return [Row(name, n, _percent(n, funnel.examined), text, kind) for name, n, text, kind in steps]


def _rows(job: JobView) -> list[Row]:
    funnel = total_funnel(job)
    return [
        Row(
            name=str(verdict),
            count=funnel.of(verdict),
            share=_percent(funnel.of(verdict), funnel.examined),
            text=VERDICTS[verdict].text,
            kind=KIND.get(verdict, "dropped"),
            setting=VERDICTS[verdict].setting,
        )
        for verdict in Verdict
        if funnel.of(verdict)
    ]


def _percent(count: int, whole: int) -> float:
    return round(100 * count / whole, 2) if whole else 0.0


def _ious(job: JobView) -> list[float]:
    keepers = [k for _, link in distinct_videos(job) for s in link.segments for k in s.keepers]
    return [k.iou for k in keepers if k.iou is not None and k.verdict in (Verdict.EASY, Verdict.HARD)]


def _hard_card(shot: Shot, sheet: ContactSheet) -> Card:
    iou = f"IoU {shot.keeper.iou or 0.0:.3f}"
    alt = (
        f"Frame at {clock(shot.keeper.time_ms)} of {shot.video.title}, {iou}."
        " Bottom left the teacher's mask, bottom right the device's."
    )
    return _card(shot, sheet, alt, iou)


def _doubtful_card(shot: Shot, sheet: ContactSheet) -> Card:
    measure = measure_name(Verdict.TEACHER_DOUBT, shot.keeper).replace("_", " ")
    label = f"{measure} {shot.keeper.value or 0.0:.2f}"
    alt = f"Frame at {clock(shot.keeper.time_ms)} of {shot.video.title}, {label}. Bottom left its mask."
    return _card(shot, sheet, alt, label)


def _shape(shots: Sequence[Shot]) -> str:
    """``tall`` when most frames are, so that portrait videos are not shown as stamps."""
    tall = sum(1 for shot in shots if shot.video.height > shot.video.width)
    return "tall" if 2 * tall > len(shots) else "wide"


def _card(shot: Shot, sheet: ContactSheet, alt: str, label: str) -> Card:
    source = shot.video.title or public_source(shot.video.source)
    return Card(shot.name, sheet.thumb(shot), alt, label, clock(shot.keeper.time_ms), source)


def _lost_segments(job: JobView) -> list[tuple[str, list[str], Failure]]:
    """Segments that failed while the rest of their video went on, those with one reason together."""
    found: dict[tuple[str, str, str], tuple[str, list[str], Failure]] = {}
    for video, link in distinct_videos(job):
        for segment in link.segments:
            if segment.failure is None:
                continue
            failure = public_failure(segment.failure, link)
            key = (video.id, failure.code, failure.cause)
            stretches = found.setdefault(key, (video.title, [], failure))[1]
            stretches.append(f"{clock(segment.start_ms)} to {clock(segment.end_ms)}")
    return list(found.values())


def _seconds(job: JobView) -> list[tuple[Stage, float, float]]:
    """Stage, seconds, and percent of the longest stage."""
    seconds = stage_seconds(job)
    longest = max(seconds.values(), default=1.0)
    return [
        (stage, taken, _percent(round(taken * 1000), round(longest * 1000)))
        for stage, taken in seconds.items()
    ]
