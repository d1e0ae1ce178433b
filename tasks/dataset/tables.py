"""``frames.csv``, one provenance row a frame, and ``verdicts.csv``, one row an examined frame."""

from collections.abc import Iterator, Sequence

from broker.messages import Keeper, Verdict, Video
from broker.recipe import ModelSpec, Recipe
from broker.views import JobView
from tasks.dataset.selection import Shot, distinct_videos
from tasks.dataset.text import Cell, csv_bytes, public_source
from tasks.verdicts import VERDICTS

PROVENANCE = {
    "uploader_id": "uploader_id",
    "channel_id": "channel_id",
    "upload_date": "upload_date",
    "format_id": "format_id",
    "video_sha256": "sha256",
    "tool": "tool",
    "tool_version": "tool_version",
}
"""How a video was fetched and what its site states of it: name in the data set -> field of ``Video``."""

FRAME_COLUMNS = (
    "image", "video", "source", "title", "uploader", "time_ms", "source_licence",
    "pose_model", "pose_version", "pose_sha256", "pose_licence",
    "mask_model", "mask_version", "mask_sha256", "mask_licence",
    "device_model", "device_version", "device_sha256", "device_licence",
    "recipe", "iou", "verdict",
    *PROVENANCE,
)  # fmt: skip
"""The fixed columns of ``frames.csv``; every measured number follows in a column of its own."""

VERDICT_COLUMNS = ("video", "source", "time_ms", "verdict", "measure", "value", "fault")


def provenance(video: Video) -> dict[str, str]:
    """The columns of ``PROVENANCE`` for ``video``; empty where the site states nothing."""
    return {name: str(getattr(video, field)) for name, field in PROVENANCE.items()}


def frames_csv(written: Sequence[Shot], recipe: Recipe) -> bytes:
    """``frames.csv``: each frame of the data set, where it comes from, and what was measured on it."""
    names = sorted({name for shot in written for name in shot.keeper.measures})
    header = [*FRAME_COLUMNS, *(f"measure_{n}" if n in FRAME_COLUMNS else n for n in names)]
    models = [cell for m in (recipe.pose_model, recipe.mask_model, recipe.device_model) for cell in _model(m)]
    return csv_bytes(header, (_frame_row(shot, models, recipe.id, names) for shot in written))


def verdicts_csv(job: JobView) -> bytes:
    """``verdicts.csv``: what became of each examined frame of each video, and the value that decided it."""
    return csv_bytes(VERDICT_COLUMNS, _verdict_rows(job))


def _model(model: ModelSpec) -> list[Cell]:
    return [model.name, model.version, model.sha256, model.licence]


def _frame_row(shot: Shot, models: list[Cell], recipe: str, names: Sequence[str]) -> list[Cell]:
    video, keeper = shot.video, shot.keeper
    return [
        f"images/{shot.name}.jpg",
        video.id,
        public_source(video.source),
        video.title,
        video.uploader,
        keeper.time_ms,
        video.licence,
        *models,
        recipe,
        keeper.iou,
        str(keeper.verdict),
        *provenance(video).values(),
        *(keeper.measures.get(name) for name in names),
    ]


def _verdict_rows(job: JobView) -> Iterator[list[Cell]]:
    for video, link in distinct_videos(job):
        decided: list[tuple[int, str, str, float | None, str]] = []
        for segment in link.segments:
            decided += [
                (d.time_ms, str(d.verdict), measure_name(d.verdict), d.value, "") for d in segment.drops
            ]
            decided += [
                (k.time_ms, str(k.verdict), measure_name(k.verdict, k), k.value, k.fault)
                for k in segment.keepers
                if k.verdict is not None
            ]
        source = public_source(video.source)
        for row in sorted(decided, key=lambda row: row[:2]):
            yield [video.id, source, *row]


def measure_name(verdict: Verdict, keeper: Keeper | None = None) -> str:
    """The name of the number that decided ``verdict``.

    Where either of two may decide, it is the one whose value the keeper carries as the deciding one; a
    frame that never became a keeper was stopped by the pose stage, which is named first.
    """
    names = VERDICTS[verdict].measure.split(" or ")
    if keeper is not None:
        names = [n for n in names if keeper.measures.get(n) == keeper.value] or names
    return names[0]
