"""What the parts of the catalog stand on."""

from broker.database import Database


class OnDatabase:
    """A part of ``broker.catalog.Catalog``.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
