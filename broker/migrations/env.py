"""Run by Alembic: works on the connection that ``broker.database`` hands over, inside its transaction."""

from alembic import context

from broker.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
