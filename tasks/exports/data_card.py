"""``README.md`` of an export: what it is, how it was made, what it holds, and how it is used and cited."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broker.exports import ExportFormat, Split
from broker.messages import Verdict
from tasks.dataset.credits import Credit, model_credits
from tasks.dataset.text import public_source
from tasks.exports.choice import TABLES, Choice
from tasks.exports.layouts import LAYOUT, LOADING
from tasks.exports.picked import SPLITS

WITH_MASKS = """, with the mask that a strong network (the teacher) has drawn of it
and, where there is one, the mask of a device that is tried against it"""
"""Not said of tables, which hold no pictures."""
DOUBTED = frozenset(Verdict) - {Verdict.EASY, Verdict.HARD}


def data_card(choice: Choice, facts: Mapping[str, Any]) -> str:
    """The card, Markdown.

    Args:
        choice: the frames.
        facts: what the format's writer has measured.
    """
    recipes = list(choice.recipes.values())
    credits = model_credits(recipes[0]) if recipes else []
    parts = [
        _what(choice),
        _counts(choice),
        _layout(choice, facts),
        _models(credits),
        _sources(choice),
        _limits(choice),
        _citing(credits),
    ]
    return "\n\n".join(parts) + "\n"


def _what(choice: Choice) -> str:
    """What it is and how it was made."""
    recipes = ", ".join(f"`{name}`" for name in choice.recipes) or "none"
    jobs = ", ".join(f"`{_cell(job)}`" for job in choice.jobs) or "none"
    asked = choice.spec.frames.model_dump(mode="json", exclude_defaults=True)
    masks = "" if choice.spec.format in TABLES else WITH_MASKS
    bounds = "; ".join(f"{name}: {_listed(value)}" for name, value in asked.items()) or "none"
    return f"""# Frames of persons with masks

{len(choice.frames):,} frames of {len(choice.videos):,} videos. Each shows one whole person, as far as the
networks see it{masks}. Made
with hardpose: videos were sampled by time, frames kept that show exactly one whole person, the teacher drew
the mask, the device drew its own, and both were compared (IoU).

Asked for: {bounds}. Frames that repeat another one, in any video, are left out; so are frames that
reviewers have rejected, unless asked for. Jobs: {jobs}. Recipes: {recipes}."""


def _counts(choice: Choice) -> str:
    frames, counts = choice.frames, choice.counts
    rows = [("split", frame.split) for frame in frames]
    rows += [("arm", str(frame.arm)) for frame in frames]
    rows += [("verdict", str(frame.verdict)) for frame in frames]
    rows += [("pose", str(frame.pose_class or "not classed")) for frame in frames]
    rows += [("review", str(frame.review)) for frame in frames]
    order = ("split", "arm", "verdict", "pose", "review")
    counted = sorted(Counter(rows).items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0]))
    told = [(by, name, f"{count:,}") for (by, name), count in counted]
    text = "## Counts\n\n" + _table(("by", "", "frames"), told)
    text += f"\n\nLeft out as repeated: {counts['left_out']:,}; "
    text += f"without a teacher's mask: {counts['without_mask']:,}."
    text += " The arm `hard` holds the frames that were asked for, whatever their verdict."
    if choice.spec.control:
        text += (
            f" Control frames: {choice.spec.control:,} asked for, {counts['control']:,} found."
            " They were drawn at random from the other kept frames (easy or hard)."
        )
    return text


def _layout(choice: Choice, facts: Mapping[str, Any]) -> str:
    form = choice.spec.format
    split, seed = choice.spec.split, choice.spec.seed
    text = f"## Layout\n\n{LAYOUT[form]}.\n\n```python\n{LOADING[form]}\n```"
    if form not in TABLES:
        text += "\n\n`frames.csv` has a row a frame with all that was measured."
    text += "\n\n`export.json` holds the order and the counts, `SHA256SUMS` the hash of every file.\n\n"
    shares = ", ".join(f"{name} {getattr(split, name):.4g}" for name in SPLITS)
    text += (
        "All frames are in `train`: no split was asked for."
        if split == Split()
        else f"The split is by video ({shares}; seed {seed}): each draws its place from its id, so a later "
        "export with the same seed moves none; shares are met over many videos only."
    )
    if met := facts.get("polygon_iou"):
        text += (
            f"\n\nPolygons meet the masks with an IoU of {met['median']} (median), {met['min']} at the least."
        )
    return text


def _models(credits: Sequence[Credit]) -> str:
    rows = [
        (c.role, c.does, f"{c.model.name} {c.model.version}", c.model.licence, c.model.sha256)
        for c in credits
    ]
    return "## Models\n\n" + _table(("role", "does", "model", "licence", "sha256 of the weights"), rows)


def _sources(choice: Choice) -> str:
    counts = Counter(frame.video.id for frame in choice.frames)
    rows = [
        (v.title, v.uploader or "not stated", v.licence, public_source(v.source), v.id, f"{counts[v.id]:,}")
        for v in choice.videos
    ]
    head = ("title", "by", "licence", "source", "video", "frames")
    return (
        "## Sources and licences\n\nA frame is under the licence of its video, as its site states it; the "
        "masks are under what the models' licences allow. Whoever passes frames on has to name title, maker, "
        "source and licence.\n\n" + _table(head, rows)
    )


def _limits(choice: Choice) -> str:
    form = choice.spec.format
    lines = [
        "No mask was drawn or corrected by hand: where the teacher errs, so does the mask. `doubt` says how "
        "uncertain it is, 0 to 1; `review` what people have said of the frame.",
        "Frames show exactly one whole person, head, hands and feet in sight: no groups, no half bodies.",
        "A split keeps the frames of a video together; the same person, in another video, may be in another "
        "split.",
        "The hard arm is where the device fails, which is no picture of the world: do not estimate a "
        "device's quality from it alone.",
        "Pose classes are decided from keypoints by rules, not by people.",
        "People are to be seen; they have not been asked. A video that is removed from hardpose is missing "
        "from later exports, not from this copy.",
    ]
    if any(frame.verdict in DOUBTED for frame in choice.frames):
        lines.append(
            "Frames of other verdicts than easy and hard are in: on those the teacher was in doubt, or saw "
            "several people or a cut body. Do not train on them unseen."
        )
    if form == ExportFormat.YOLO_SEG and not choice.of("val"):
        lines.append(
            "There is no validation split, which Ultralytics wants: export with a split such as 80/20/0."
        )
    return "## Known limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _citing(credits: Iterable[Credit]) -> str:
    named = [f"- {c.model.name} ({c.role}): {c.citation}" for c in credits if c.citation]
    own = "- hardpose, by its version and this export's `export.json`; the videos as above."
    return "## How to cite\n\n" + "\n".join([own, *named])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text from users and sites, on one line, without a meaning to Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _listed(value: Any) -> str:
    return ", ".join(_cell(str(each)) for each in value) if isinstance(value, list) else _cell(str(value))
