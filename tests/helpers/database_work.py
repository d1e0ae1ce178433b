"""What questions cost a database, counted: the same on any machine, and however busy it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event

STEPS = 100
"""SQLite is looked at after so many instructions of its virtual machine."""


class DatabaseWork:
    """What all engines of this process are asked inside the ``with`` of ``database_work``.

    The unit is about a row that is looked at: on SQLite a tenth of the instructions of its virtual machine
    (SQLite documentation, "The SQLite Bytecode Engine"), on PostgreSQL the rows of all nodes of the plan as
    EXPLAIN ANALYZE has counted them.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._asked: list[tuple[Engine, str, Any]] = []

    def note(self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        """Called before each statement (SQLAlchemy's ``before_cursor_execute``)."""
        if connection.dialect.name == "sqlite":
            cursor.connection.set_progress_handler(self._look, STEPS)
        elif statement.lstrip().upper().startswith(("SELECT", "WITH")):
            self._asked.append((connection.engine, statement, parameters))

    def _look(self) -> int:
        self._looks += 1
        return 0

    def taken(self) -> int:
        """Rows since this was asked last."""
        looks, self._looks = self._looks, 0
        asked, self._asked = self._asked, []
        return looks * STEPS // 10 + sum(_rows(*each) for each in asked)


def _rows(engine: Engine, statement: str, parameters: Any) -> int:
    apart = create_engine(engine.url)
    try:
        raw = apart.raw_connection()
        cursor = raw.cursor()
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        (plan,) = cursor.fetchone()
        raw.close()
    finally:
        apart.dispose()
    return _of_plan((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


def _of_plan(node: dict[str, Any]) -> int:
    own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return int(own) + sum(map(_of_plan, node.get("Plans", ())))


@contextmanager
def database_work() -> Iterator[DatabaseWork]:
    """Counts what databases are asked meanwhile, by this process."""
    work = DatabaseWork()
    event.listen(Engine, "before_cursor_execute", work.note)
    try:
        yield work
    finally:
        event.remove(Engine, "before_cursor_execute", work.note)
