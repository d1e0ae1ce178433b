"""Alembic's scripts: how an older catalog becomes today's."""
