"""Sites: the intake rules of a job, lists of links, and claims on videos."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns that may be NULL, so that the rows of before stay as they are, and one table."""
    op.add_column("jobs", sa.Column("intake", sa.Text))
    op.add_column("links", sa.Column("parent", sa.Integer))
    op.add_column("links", sa.Column("listed", sa.Integer))
    op.add_column("links", sa.Column("list_title", sa.Text))
    op.add_column("links", sa.Column("list_complete", sa.Boolean))
    op.create_table(
        "claims",
        sa.Column("video_id", sa.String(200), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("until", sa.Float(53), nullable=False),
    )
