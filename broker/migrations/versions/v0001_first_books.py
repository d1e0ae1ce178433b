"""The first books: recipes, jobs, links, videos, analyses, segments, frames."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _jobs() -> None:
    op.create_table(
        "recipes",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("json", sa.Text, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("recipe_id", sa.String(64), sa.ForeignKey("recipes.id"), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_jobs_recipe_id", "jobs", ["recipe_id"])


def _videos() -> None:
    op.create_table(
        "videos",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("json", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("uploader", sa.Text, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "links",
        sa.Column("job_id", sa.String(200), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("video_id", sa.String(200), sa.ForeignKey("videos.id")),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_links_video_id", "links", ["video_id"])


def _analyses() -> None:
    op.create_table(
        "analyses",
        sa.Column("video_id", sa.String(200), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("recipe_id", sa.String(64), sa.ForeignKey("recipes.id"), primary_key=True),
    )
    op.create_table(
        "segments",
        sa.Column("video_id", sa.String(200), primary_key=True),
        sa.Column("recipe_id", sa.String(64), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start_ms", sa.Integer, nullable=False),
        sa.Column("end_ms", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ticket", sa.String(32), nullable=False),
        sa.Column("funnel", sa.Text),
        sa.Column("drops", sa.Text),
        sa.Column("seconds", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["video_id", "recipe_id"], ["analyses.video_id", "analyses.recipe_id"]),
    )


def _frames() -> None:
    op.create_table(
        "frames",
        sa.Column("video_id", sa.String(200), primary_key=True),
        sa.Column("recipe_id", sa.String(64), primary_key=True),
        sa.Column("time_ms", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.Column("iou", sa.Float(53)),
        sa.Column("phash", sa.String(16), nullable=False),
        sa.Column("keeper", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["video_id", "recipe_id"], ["analyses.video_id", "analyses.recipe_id"]),
    )
    op.create_index("ix_frames_verdict", "frames", ["verdict"])
    op.create_index("ix_frames_iou", "frames", ["iou"])


def upgrade() -> None:
    """Makes all tables; constraint names come from the naming convention of ``broker.tables``."""
    _jobs()
    _videos()
    _analyses()
    _frames()
