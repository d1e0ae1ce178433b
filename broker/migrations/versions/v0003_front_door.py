"""The front door: counts kept with analyses, facts and reviews of frames, exports, forgotten videos."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns with defaults, and tables; the counts of what is booked already are made here."""
    _columns()
    _reviews()
    _exports()


def _columns() -> None:
    op.add_column("jobs", sa.Column("priority", sa.String(8)))
    op.add_column("jobs", sa.Column("cancelled_at", sa.String(32)))
    for name in ("segments", "done", "failed"):
        op.add_column("analyses", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.add_column("analyses", sa.Column("funnel", sa.Text))
    op.add_column("analyses", sa.Column("seconds", sa.Text))
    op.add_column("frames", sa.Column("pose_class", sa.String(32)))
    op.add_column("frames", sa.Column("doubt", sa.Float(53)))
    op.add_column("frames", sa.Column("review", sa.String(16), nullable=False, server_default="open"))


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("video_id", sa.String(200), nullable=False),
        sa.Column("recipe_id", sa.String(64), nullable=False),
        sa.Column("time_ms", sa.Integer, nullable=False),
        sa.Column("reviewer", sa.String(100), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_index("ix_reviews_video_id", "reviews", ["video_id", "recipe_id", "time_ms"])


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(64), primary_key=True),
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
        sa.Column("video_id", sa.String(200), primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("together", sa.String(200), nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("video_id", sa.String(200), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
    )
    op.create_index("ix_erasures_video_id", "erasures", ["video_id"])
