"""The front door: counts kept with analyses, facts and reviews of frames, exports, forgotten videos."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns with defaults, and tables; the counts of what is booked already are made here."""
    if op.get_bind().dialect.name == "postgresql":
        _order_ids()
    _columns()
    _indexes()
    _reviews()
    _exports()
    _count()


_IDS = {
    "recipes": {"id": 64},
    "jobs": {"id": 200, "recipe_id": 64},
    "videos": {"id": 200},
    "links": {"job_id": 200, "video_id": 200},
    "claims": {"video_id": 200},
    "analyses": {"video_id": 200, "recipe_id": 64},
    "segments": {"video_id": 200, "recipe_id": 64},
    "frames": {"video_id": 200, "recipe_id": 64},
}


def _order_ids() -> None:
    """Orders ids by code points, as SQLite does, not by the server's locale: pages are cut by that order."""
    for table, columns in _IDS.items():
        changes = [
            f'ALTER COLUMN {name} TYPE varchar({length}) COLLATE "C"' for name, length in columns.items()
        ]
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")


def _id(length: int) -> Any:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _columns() -> None:
    op.add_column("jobs", sa.Column("priority", sa.String(8)))
    op.add_column("jobs", sa.Column("cancelled_at", sa.String(32)))
    for name in ("segments", "done", "failed"):
        op.add_column("analyses", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.add_column("analyses", sa.Column("funnel", sa.Text))
    op.add_column("analyses", sa.Column("seconds", sa.Text))
    op.add_column("analyses", sa.Column("updated_at", sa.String(32)))
    op.add_column("frames", sa.Column("pose_class", sa.String(32)))
    op.add_column("frames", sa.Column("doubt", sa.Float(53)))
    op.add_column("frames", sa.Column("review", sa.String(16), nullable=False, server_default="open"))


def _indexes() -> None:
    frame, filters = ["video_id", "recipe_id", "time_ms"], ["verdict", "pose_class", "review", "iou"]
    op.drop_index("ix_frames_verdict", "frames")
    op.drop_index("ix_frames_iou", "frames")
    op.create_index(
        "ix_frames_verdict", "frames", ["verdict", *frame, "pose_class", "review", "iou", "doubt"]
    )
    op.create_index("ix_frames_review", "frames", ["review", *frame, "verdict", "pose_class", "iou", "doubt"])
    op.create_index("ix_frames_iou", "frames", ["iou", *frame, "verdict", "pose_class", "review"])
    op.create_index("ix_frames_doubt", "frames", ["doubt", *frame, *filters])
    op.create_index("ix_frames_pose_class", "frames", ["pose_class", "iou", *frame, "verdict", "review"])
    op.create_index("ix_frames_time", "frames", ["video_id", "time_ms", "recipe_id", *filters, "doubt"])
    op.create_index("ix_segments_state", "segments", ["state", "video_id", "recipe_id", "index"])


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("video_id", _id(200), nullable=False),
        sa.Column("recipe_id", _id(64), nullable=False),
        sa.Column("time_ms", sa.Integer, nullable=False),
        sa.Column("reviewer", sa.String(100), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_video_id", "reviews", ["video_id", "recipe_id", "time_ms"])
    op.create_index("ix_reviews_reviewer", "reviews", ["reviewer", "number"])


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", _id(64), primary_key=True),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.Column("requested_by", sa.String(100), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("artifact", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("counts", sa.Text),
        sa.Column("videos", sa.Text),
    )
    op.create_table(
        "forgotten",
        sa.Column("video_id", _id(200), primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("together", _id(200), nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("video_id", _id(200), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
    )
    op.create_index("ix_erasures_video_id", "erasures", ["video_id"])


def _count() -> None:
    """The sums over the segments of each analysis, one analysis at a time: a catalog may be large."""
    bind = op.get_bind()
    of_it = sa.text(
        "SELECT state, funnel, seconds, updated_at FROM segments"
        ' WHERE video_id = :video AND recipe_id = :recipe ORDER BY "index"'
    )
    write = sa.text(
        "UPDATE analyses SET segments = :segments, done = :done, failed = :failed, funnel = :funnel,"
        " seconds = :seconds, updated_at = :updated_at WHERE video_id = :video AND recipe_id = :recipe"
    )
    for video, recipe in _analyses(bind):
        key = {"video": video, "recipe": recipe}
        bind.execute(write, _sums(bind.execute(of_it, key).all()) | key)


def _analyses(bind: sa.Connection) -> Iterator[tuple[str, str]]:
    first = "SELECT video_id, recipe_id FROM analyses{} ORDER BY video_id, recipe_id LIMIT 500"
    behind = " WHERE (video_id, recipe_id) > (:video, :recipe)"
    rows = bind.execute(sa.text(first.format(""))).all()
    while rows:
        yield from ((row[0], row[1]) for row in rows)
        last = {"video": rows[-1][0], "recipe": rows[-1][1]}
        rows = bind.execute(sa.text(first.format(behind)), last).all()


def _sums(segments: Any) -> dict[str, Any]:
    examined, verdicts, seconds = 0, dict[str, int](), dict[str, float]()
    done = [segment for segment in segments if segment.state == "done"]
    for segment in done:
        funnel = json.loads(segment.funnel or "{}")
        examined += funnel.get("examined", 0)
        for verdict, number in funnel.get("verdicts", {}).items():
            verdicts[verdict] = verdicts.get(verdict, 0) + number
        for stage, value in json.loads(segment.seconds or "{}").items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    return {
        "segments": len(segments),
        "done": len(done),
        "failed": sum(segment.state == "failed" for segment in segments),
        "funnel": json.dumps({"examined": examined, "verdicts": verdicts}, separators=(",", ":")),
        "seconds": json.dumps(seconds, separators=(",", ":")),
        "updated_at": max((segment.updated_at for segment in segments), default=None),
    }
