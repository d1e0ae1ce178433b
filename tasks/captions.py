"""What a task is about, in a line: for Flower, and for whoever reads a worker's log.

Titles and links are the words of strangers, and a link may hold a secret: each is shown as all may see it.
"""

from broker.messages import Failure, Segment, SegmentResult, Verdict
from broker.printable import printable
from tasks.dataset.text import public_source, public_text
from workers.sampling import plan_segments

LONGEST_TITLE = 60
LONGEST_LINK = 200
LONGEST_REASON = 800
SHOWN_VERDICTS = (Verdict.HARD, Verdict.EASY)


def link_caption(job_id: str, position: int, link: str) -> str:
    """``link 3 of job 1a2b: https://youtu.be/...``, counted from one, without secrets and folders."""
    return f"link {position + 1} of job {job_id}: {_line(public_source(link), LONGEST_LINK)}"


def title_caption(title: str) -> str:
    """``“Title”``, cut."""
    return f"“{_line(title, LONGEST_TITLE) or 'without a title'}”"


def segment_caption(segment: Segment) -> str:
    """``“Title” 0:40–1:00 (3/12), job 1a2b``."""
    of = len(plan_segments(segment.video.duration_ms, segment.recipe.sampling.segment_seconds))
    stretch = f"{_clock(segment.start_ms)}–{_clock(segment.end_ms)}"
    where = f"({segment.index + 1}/{of}), job {segment.job_id}"
    return f"{title_caption(segment.video.title)} {stretch} {where}"


def result_caption(result: SegmentResult) -> str:
    """What the stages have made of a segment so far: ``160 examined, 12 kept`` or ``..., 3 hard, 9 easy``."""
    parts = [f"{result.examined} examined"]
    for verdict in SHOWN_VERDICTS:
        count = sum(keeper.verdict == verdict for keeper in result.keepers)
        parts += [f"{count} {verdict}"] if count else []
    if result.open or len(parts) == 1:
        parts.insert(1, f"{len(result.open)} kept")
    return ", ".join(parts)


def next_caption(result: SegmentResult) -> str:
    """Of the task that goes on with ``result``."""
    return f"{segment_caption(result.segment)}: {result_caption(result)}"


def failure_caption(failure: Failure, *sources: str) -> str:
    """``code: cause -> remedy``; ``sources`` are links and paths that it may name, shown without secrets."""
    return public_line(f"{failure.code}: {failure.cause} -> {failure.remedy}", *sources)


def public_line(text: str, *sources: str) -> str:
    """``text``, which may name ``sources``, as one line that everyone may read."""
    return _line(public_text(text, *sources), LONGEST_REASON)


def _clock(ms: int) -> str:
    """``m:ss``, ``h:mm:ss``; tenths where a segment does not begin at a full second."""
    minutes, seconds = divmod(ms / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{seconds:04.1f}" if ms % 1000 >= 50 else f"{int(seconds):02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _line(text: str, longest: int) -> str:
    """``text`` as one line of at most ``longest`` characters."""
    line = " ".join(printable(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
