"""Lists of frames: whatever is asked, both databases answer what a few lines of Python would."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples_of_books import RECIPE, a_keeper, a_plan, a_result, a_video, planned
from sqlalchemy import create_engine, delete, insert, text

from broker.catalog import Catalog
from broker.cursors import pack
from broker.database import Database
from broker.errors import NotFound
from broker.frame_views import (
    BadCursor,
    BadFrameId,
    Facets,
    FrameFacts,
    FrameFilter,
    FrameId,
    FrameView,
    Order,
    PoseClass,
    Review,
)
from broker.messages import Verdict
from broker.recipe import ModelSpec
from broker.tables import AnalysisRow, FrameRow, JobRow, LinkRow, RecipeRow, VideoRow

Books = tuple[Catalog, Database]
OTHER = RECIPE.model_copy(update={"device_model": ModelSpec(name="m", version="2")})
VIDEOS = ("youtube:Za", "youtube:a_b", "youtube:aB", "youtube:ab", "youtube:a-c")
"""In an English locale their order is another than by code points."""
JOBS = {"one": (RECIPE, VIDEOS[:3]), "two": (OTHER, VIDEOS[1:]), "three": (RECIPE, VIDEOS[2:4])}
VERDICTS = (Verdict.HARD, Verdict.EASY, Verdict.TEACHER_DOUBT)
POSES = (PoseClass.UPRIGHT_FRONT, PoseClass.BENT, PoseClass.LYING)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Books with jobs and videos, and no frames; PostgreSQL in a locale that orders as dictionaries do."""
    if request.param == "sqlite":
        yield from filled(f"sqlite:///{tmp_path_factory.mktemp('books') / 'catalog.sqlite'}")
        return
    server = request.getfixturevalue("postgres")
    name = f"t{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        english = "LOCALE_PROVIDER icu ICU_LOCALE 'en' TEMPLATE template0"
        connection.execute(text(f"CREATE DATABASE {name} {english}"))
    url = f"{server.rpartition('/')[0]}/{name}"
    yield from filled(url)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def filled(url: str) -> Iterator[Books]:
    catalog, database = Catalog(url), Database(url)
    catalog.migrate()
    rows: dict[Any, list[dict[str, Any]]] = {
        RecipeRow: [{"id": each.id, "json": each.model_dump(mode="json")} for each in (RECIPE, OTHER)],
        VideoRow: [video_row(name) for name in VIDEOS],
        JobRow: [
            {"id": job, "recipe_id": recipe.id, "created_at": f"2026-01-0{n}"}
            for n, (job, (recipe, _)) in enumerate(JOBS.items(), 1)
        ],
        LinkRow: [
            {
                "job_id": job,
                "position": n,
                "link": video,
                "state": "done",
                "video_id": video,
                "updated_at": "x",
            }
            for job, (_, videos) in JOBS.items()
            for n, video in enumerate((*videos, videos[0]))
        ],
        AnalysisRow: [{"video_id": v, "recipe_id": r.id} for v in VIDEOS for r in (RECIPE, OTHER)],
    }
    for table, values in rows.items():
        database.write(lambda connection, t=table, v=values: connection.execute(insert(t), v))  # type: ignore[misc]
    yield catalog, database
    catalog.dispose()
    database.dispose()


def video_row(name: str) -> dict[str, Any]:
    video = a_video(id=name, title=f"Title of {name}")
    said = video.model_dump(include={"id", "source", "title", "uploader", "licence", "duration_ms"})
    return {**said, "json": video.model_dump(mode="json")}


numbers = st.one_of(
    st.none(), st.sampled_from((0.0, 0.07, 0.29, 0.57, 0.58, 0.9999999999999999, 1.0)), st.floats(0, 1)
)
frame_rows = st.lists(
    st.fixed_dictionaries(
        {
            "video_id": st.sampled_from(VIDEOS),
            "recipe_id": st.sampled_from((RECIPE.id, OTHER.id)),
            "time_ms": st.integers(0, 3),
            "verdict": st.sampled_from(VERDICTS).map(str),
            "iou": numbers,
            "doubt": numbers,
            "pose_class": st.sampled_from((None, *map(str, POSES))),
            "review": st.sampled_from(Review).map(str),
        }
    ),
    max_size=20,
    unique_by=lambda row: (row["video_id"], row["recipe_id"], row["time_ms"]),
)


@st.composite
def filters(draw: st.DrawFn) -> FrameFilter:
    def some(values: Any) -> tuple[Any, ...]:
        return tuple(draw(st.lists(st.sampled_from(values), max_size=2))) if draw(st.booleans()) else ()

    low, high = sorted((draw(st.floats(0, 1)), draw(st.sampled_from((0.29, 0.57, 0.58, 1.0)))))
    return FrameFilter(
        jobs=some((*JOBS, "none")),
        videos=some(("youtube:none", *VIDEOS)),
        verdicts=some(VERDICTS),
        poses=some(POSES),
        reviews=some(tuple(Review)),
        min_iou=draw(st.sampled_from((None, None, low))),
        below_iou=draw(st.sampled_from((None, None, high))),
    )


def in_jobs(row: dict[str, Any], jobs: tuple[str, ...]) -> bool:
    known = [JOBS[job] for job in jobs if job in JOBS]
    return any(row["recipe_id"] == recipe.id and row["video_id"] in videos for recipe, videos in known)


def asked(rows: list[dict[str, Any]], where: FrameFilter) -> list[dict[str, Any]]:
    """The filter, in Python."""
    tests: list[Callable[[dict[str, Any]], bool]] = [
        lambda row: not where.jobs or in_jobs(row, where.jobs),
        lambda row: not where.videos or row["video_id"] in where.videos,
        lambda row: not where.verdicts or row["verdict"] in where.verdicts,
        lambda row: not where.poses or row["pose_class"] in where.poses,
        lambda row: not where.reviews or row["review"] in where.reviews,
        lambda row: where.min_iou is None or (row["iou"] is not None and row["iou"] >= where.min_iou),
        lambda row: where.below_iou is None or (row["iou"] is not None and row["iou"] < where.below_iou),
    ]
    return [row for row in rows if all(test(row) for test in tests)]


def ordered(rows: list[dict[str, Any]], order: Order) -> list[dict[str, Any]]:
    """The order, in Python: by value, then by id, backwards if it goes down; without a value last."""
    by_id = sorted(rows, key=lambda row: (row["video_id"], row["recipe_id"], row["time_ms"]))
    if order is Order.TIME:
        return sorted(rows, key=lambda row: (row["video_id"], row["time_ms"], row["recipe_id"]))
    if order is Order.POSE:
        poses = [*map(str, PoseClass), None]
        return sorted(by_id, key=lambda r: (poses.index(r["pose_class"]), r["iou"] is None, r["iou"] or 0.0))
    name, down = order.removeprefix("-"), order.startswith("-")
    by_id = by_id[::-1] if down else by_id
    return sorted(by_id, key=lambda r: (r[name] is None, (r[name] or 0.0) * (-1 if down else 1)))


def walk(catalog: Catalog, where: FrameFilter, order: Order, limit: int) -> list[FrameView]:
    found: list[FrameView] = []
    cursor = None
    for _ in range(30):
        page = catalog.frames.page(where, order, limit, cursor)
        assert len(page.items) == limit or page.next is None
        found, cursor = [*found, *page.items], page.next
        if cursor is None:
            assert page.total == len(found)
            return found
    raise AssertionError("the list does not end")


def key(row: Any) -> str:
    return f"{row['video_id']}.{row['recipe_id']}.{row['time_ms']}"


def put(database: Database, rows: list[dict[str, Any]]) -> None:
    keeper = a_keeper(0).model_dump(mode="json")
    same = {"segment": 0, "value": None, "phash": "0" * 16, "keeper": keeper}

    def work(connection: Any) -> None:
        connection.execute(delete(FrameRow))
        if rows:
            connection.execute(insert(FrameRow), [row | same for row in rows])

    database.write(work)


@settings(max_examples=40)
@given(rows=frame_rows, where=filters(), order=st.sampled_from(Order), limit=st.integers(1, 7))
def test_pages_counts_and_streams_are_what_python_says(
    books: Books, rows: list[dict[str, Any]], where: FrameFilter, order: Order, limit: int
) -> None:
    catalog, database = books
    put(database, rows)
    expected = asked(rows, where)
    assert [frame.id for frame in walk(catalog, where, order, limit)] == list(
        map(key, ordered(expected, order))
    )
    assert catalog.frames.count(where) == len(expected)
    assert catalog.frames.facets(where) == counted(rows, where)
    streamed = [frame.id for frame in catalog.frames.each(where)]
    assert streamed == list(map(key, ordered(expected, Order.TIME)))


def counted(rows: list[dict[str, Any]], where: FrameFilter) -> Facets:
    def but(**changes: Any) -> list[dict[str, Any]]:
        return asked(rows, where.model_copy(update=changes))

    ious = [row["iou"] for row in but(min_iou=None, below_iou=None) if row["iou"] is not None]
    below = [sum(iou < n / 100 for iou in ious) for n in range(100)] + [len(ious)]
    poses = Counter(PoseClass(row["pose_class"]) for row in but(poses=()) if row["pose_class"])
    return Facets(
        total=len(asked(rows, where)),
        verdicts=dict(Counter(Verdict(row["verdict"]) for row in but(verdicts=()))),
        poses=dict(poses),
        reviews=dict(Counter(Review(row["review"]) for row in but(reviews=()))),
        iou=tuple(after - before for before, after in pairwise(below)),
    )


def test_a_frame_with_all_that_is_known_of_it(catalog: Catalog) -> None:
    first, second = planned(catalog, 2)
    facts = {first.start_ms + 10: FrameFacts(pose_class=PoseClass.BENT, doubt=0.25)}
    catalog.settle_segment(a_result(first), facts)
    catalog.settle_segment(a_result(second))
    catalog.create_job("again", RECIPE, ["ab.mp4"])
    catalog.plan_video("again", 0, a_video(), a_plan(a_video(), 2, "again"))
    catalog.create_job("other", OTHER, ["ab.mp4"])
    catalog.plan_video("other", 0, a_video(), a_plan(a_video(), 2, "other", OTHER))
    frame = catalog.frames.get(f"{a_video().id}.{RECIPE.id}.10")
    assert (frame.keeper, frame.video, frame.recipe) == (a_keeper(10), a_video(), RECIPE)
    assert (frame.jobs, frame.decisions, frame.review) == (("job", "again"), (), Review.OPEN)
    assert (frame.title, frame.width, frame.height, frame.segment) == ("Clip", 64, 48, 0)
    assert (frame.pose_class, frame.doubt) == (PoseClass.BENT, 0.25)
    (late,) = catalog.frames.unclassed()
    assert late.time_ms == second.start_ms + 10
    told = {FrameId.parse(late.id): FrameFacts(pose_class=PoseClass.LYING)}
    gone = {FrameId.parse("youtube:no.0.1"): FrameFacts(pose_class=PoseClass.LYING)}
    assert catalog.frames.class_frames(told | gone) == 1
    assert catalog.frames.unclassed() == []
    assert catalog.frames.get(late.id).pose_class is PoseClass.LYING


def test_a_stream_in_several_batches(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.frame_books.BATCH", 2)
    for segment in planned(catalog, 5):
        catalog.settle_segment(a_result(segment))
    stream = catalog.frames.each(FrameFilter())
    first = next(stream)
    catalog.start_link("job", 0)  # a write while the stream is open: no transaction is held
    rest = list(stream)
    assert [frame.time_ms for frame in (first, *rest)] == [10, 20_010, 40_010, 60_010, 80_010]
    assert {frame.recipe.id for frame in rest} == {RECIPE.id}


def test_what_is_nowhere_and_what_is_nonsense(catalog: Catalog) -> None:
    for segment in planned(catalog, 3):
        catalog.settle_segment(a_result(segment))
    for no_id in ("", "a.b", "a.b.x", "a.b.-1", "a.b.9999999999", "a..1", "a.b.¹", "a\0.b.1", "\ud800.b.1"):
        with pytest.raises(BadFrameId):
            catalog.frames.get(no_id)
    with pytest.raises(NotFound):
        catalog.frames.get("youtube:x.y.1")
    good = catalog.frames.page(FrameFilter(), Order.IOU, 1).next
    assert good is not None
    assert catalog.frames.page(FrameFilter(), Order.IOU, 1, good).items
    with pytest.raises(BadCursor):
        catalog.frames.page(FrameFilter(), Order.DOUBT, 1, good)
    for limit in (0, 501, -1):
        with pytest.raises(ValueError, match="1 to 500"):
            catalog.frames.page(FrameFilter(), limit=limit)


@given(
    cursor=st.one_of(
        st.text(max_size=40), st.lists(st.one_of(st.integers(), st.floats(), st.text()), max_size=6)
    )
)
def test_a_made_up_cursor_is_refused(books: Books, cursor: Any) -> None:
    catalog, _ = books
    try:
        text_of_it = cursor if isinstance(cursor, str) else pack("frames iou", cursor)
    except ValueError:
        return  # not even JSON
    try:
        catalog.frames.page(FrameFilter(), Order.IOU, 1, text_of_it or "-")
    except BadCursor:
        return
    run, *parts = cursor
    assert (run, [type(part) for part in parts]) in (
        (0, [float, str, str, int]),
        (0, [int, str, str, int]),
        (1, [str, str, int]),
    )
