"""The database under the books: many processes at once, migrations, typed errors."""

import json
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from samples_of_books import RECIPE, a_keeper, a_plan, a_result, a_video, link_of, planned
from sqlalchemy import text
from together import run_together

from broker.catalog import Catalog
from broker.database import CatalogBroken, CatalogNewer, CatalogUnavailable, Database
from broker.errors import Action, DiskFull, SettingsError
from broker.messages import Keeper, Segment
from broker.tables import Base
from broker.views import State


def settle_all(catalog: Catalog, segments: list[Segment], offset: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        turned = segments[offset:] + segments[:offset]
        answers.put([catalog.settle_segment(a_result(segment)) for segment in turned])
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_of_eight_processes_exactly_one_settles_the_last_segment(catalog: Catalog) -> None:
    for name in ("aa", "bb", "cc"):
        segments = planned(catalog, 8, name, job_id=name)
        found = run_together(settle_all, 8, catalog, segments)
        assert [len(answer) for answer in found] == [8] * 8
        assert sum(sum(answer) for answer in found) == 1
        assert link_of(catalog, name).state is State.DONE
        assert catalog.job(name).funnel().examined == 16


def create_and_plan(catalog: Catalog, n: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        for _ in range(5):
            catalog.create_job("job", RECIPE, ["a", "b", "c"])
            todo = catalog.plan_video("job", n % 3, a_video(), a_plan(a_video(), 4))
        answers.put(len(todo))
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_processes_that_plan_one_video_at_once_agree(catalog: Catalog) -> None:
    assert run_together(create_and_plan, 6, catalog) == [4] * 6
    links = catalog.job("job").links
    assert [link.link for link in links] == ["a", "b", "c"]
    assert [len(link.segments) for link in links] == [4, 4, 4]


def migrate(url: str, _n: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        Catalog(url).migrate()
        answers.put("migrated")
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_five_processes_may_migrate_at_once(url: str) -> None:
    assert run_together(migrate, 5, url) == ["migrated"] * 5
    Catalog(url).create_job("job", RECIPE, ["a"])


def test_the_migrations_make_the_tables_of_the_code(catalog: Catalog, url: str) -> None:
    with Database(url).engine().connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_newer_catalog_is_refused(catalog: Catalog, url: str) -> None:
    Database(url).write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(CatalogNewer, match="9999"):
        catalog.migrate()


def test_a_catalog_without_tables_says_so(url: str, tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    with pytest.raises(CatalogBroken, match="hardpose run"):
        Catalog(url).job("job")


def test_an_error_takes_everything_back(catalog: Catalog, url: str) -> None:
    def work(connection: Any) -> None:
        connection.execute(text("DELETE FROM links"))
        raise KeyError("on the way")

    catalog.create_job("job", RECIPE, ["a"])
    with pytest.raises(KeyError):
        Database(url).write(work)
    assert len(catalog.job("job").links) == 1


def test_a_catalog_travels_as_its_url_and_shows_no_password(catalog: Catalog, url: str) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    assert pickle.loads(pickle.dumps(catalog)).job("job") == catalog.job("job")
    assert "a-secret-word" not in repr(Database(url))


def test_sqlite_writes_ahead_and_checks_its_references(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    catalog = Catalog(f"sqlite:///{file}")
    catalog.migrate()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(CatalogBroken, match="FOREIGN KEY"):
        Database(f"sqlite:///{file}").write(
            lambda c: c.execute(
                text("INSERT INTO jobs (id, recipe_id, created_at) VALUES ('j', 'no such recipe', 'now')")
            )
        )


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    database.migrate()

    def work(connection: Any) -> None:
        connection.execute(text("PRAGMA max_page_count = 1"))  # SQLite's own word for a disk this small
        connection.execute(text("CREATE TABLE big AS SELECT randomblob(100000) AS x"))

    with pytest.raises(DiskFull, match=r"catalog\.sqlite"):
        database.write(work)


def test_an_unreachable_server_is_transient_and_keeps_its_password() -> None:
    pytest.importorskip("psycopg", reason="needs the extra hardpose[postgres]")
    catalog = Catalog("postgresql://tester:a-secret-word@127.0.0.1:1/db")
    with pytest.raises(CatalogUnavailable) as caught:
        catalog.job("job")
    assert caught.value.action is Action.TRANSIENT
    assert "a-secret-word" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        "mysql://host/db",  # not supported
        "sqlite://",  # in memory: every process would have a catalog of its own
        "nonsense",  # no URL
    ],
)
def test_a_url_that_cannot_be_used_is_refused(bad: str) -> None:
    with pytest.raises(SettingsError, match="HARDPOSE_CATALOG_URL"):
        Catalog(bad)


def test_frames_can_be_asked_by_their_iou(catalog: Catalog, url: str) -> None:
    for segment in planned(catalog, 2):
        catalog.settle_segment(a_result(segment))
    query = text("SELECT time_ms, keeper FROM frames WHERE verdict = 'hard' AND iou < 0.3 ORDER BY time_ms")
    rows = Database(url).read(lambda c: [(row.time_ms, json.loads(row.keeper)) for row in c.execute(query)])
    assert [time for time, _ in rows] == [10, 20_010]
    assert Keeper.model_validate(rows[0][1]) == a_keeper(10)


def test_text_that_no_database_holds_is_a_typed_error(catalog: Catalog) -> None:
    """As an argument or a file's name may be that is no UTF-8."""
    for ask in (catalog.cancel_job, catalog.job, lambda name: catalog.erasing.find([name])):
        with pytest.raises(SettingsError, match=r"caf\\udce9"):
            ask("caf\udce9")
