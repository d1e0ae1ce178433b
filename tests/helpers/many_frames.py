"""Fills a catalog with tens of thousands of frames in seconds, all alike to what the work itself leaves.

Written as rows, not through ``Catalog``: booking 50,000 frames segment by segment would take minutes. Sums,
funnels, reviews and links agree with each other as the books would have them.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from samples_of_books import FAILURE, RECIPE, SPEC, a_video

from broker.artifacts import Artifacts
from broker.database import Database
from broker.frame_views import PoseClass
from broker.messages import Video
from broker.recipe import ModelSpec, Recipe

WIDTH, HEIGHT = 320, 180
RECIPES: tuple[Recipe, ...] = tuple(
    RECIPE.model_copy(update={"device_model": ModelSpec(name=SPEC.name, version=version)})
    for version in ("1", "2", "3")
)
PICTURES = 8
"""Frames share so many pictures: ``frames/many/0.jpg``, ``masks/many/0.png``, ``device/many/0.png`` ...."""
_PER_SEGMENT = 25
_DROPS = ("no_person", "several_people", "no_feet", "too_soon", "near_duplicate")
_POSES = [pose.value for pose in PoseClass]
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SHARED_JOBS = 5
"""One video in so many is in the next job, under its recipe, too."""


def fill(
    catalog_url: str,
    frames: int = 50_000,
    videos: int = 500,
    jobs: int = 12,
    seed: int = 0,
    artifacts: Artifacts | None = None,
) -> None:
    """Makes the tables and fills them; the same arguments leave the same rows.

    Jobs are ``job-00`` and so on, videos ``youtube:v00000`` and so on, of 320 x 180 pixels. A third of the
    frames is hard, some are the teacher's doubts, without an IoU; one in twenty has no pose class, one in
    twenty-five has decisions of reviewers. Some links have failed, wait, or are lists.

    Args:
        catalog_url: an empty database, SQLite or PostgreSQL.
        frames: how many, at least one for each video.
        videos: how many, at least one for each job.
        jobs: how many; they take turns with the three ``RECIPES``.
        seed: of all that is drawn.
        artifacts: where to put the pictures; none are put without.
    """
    database = Database(catalog_url)
    database.migrate()
    if artifacts is not None:
        put_pictures(artifacts)
    draw = random.Random(seed)
    tables = _Tables(draw)
    tables.jobs(jobs)
    pairs = tables.videos(videos, jobs)
    share, rest = divmod(frames, len(pairs))
    for number, (video, recipe) in enumerate(pairs):
        tables.analysis(video, recipe, share + (number < rest))
    _write(database, tables.rows)
    database.dispose()


def put_pictures(artifacts: Artifacts) -> None:
    """The pictures that all frames share: a grey picture with a figure, and two masks that differ."""
    import cv2

    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(PICTURES):
        figure = np.hypot(rows - 90, (columns - 160 + 8 * number) * 2) < 60
        device = np.hypot(rows - 90, (columns - 150 + 8 * number) * 2) < 50 + number
        picture = np.where(figure[..., None], (60, 120, 200), 90 + rows[..., None] // 2).astype(np.uint8)
        artifacts.put(f"frames/many/{number}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
        for folder, mask in (("masks", figure), ("device", device)):
            encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
            artifacts.put(f"{folder}/many/{number}.png", encoded)


@dataclass
class _Tables:
    """Rows by table, in the order in which they can be written."""

    draw: random.Random
    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {
            name: []
            for name in ("recipes", "jobs", "videos", "links", "analyses", "segments", "frames", "reviews")
        }
    )
    booked: dict[str, Video] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.points = [_keypoints(self.draw) for _ in range(200)]

    def jobs(self, count: int) -> None:
        for recipe in RECIPES:
            self.rows["recipes"].append({"id": recipe.id, "json": recipe.model_dump_json()})
        for n in range(count):
            row = {"id": f"job-{n:02}", "recipe_id": RECIPES[n % 3].id, "created_at": _time(n * 3600)}
            self.rows["jobs"].append(row | {"priority": ("high", None)[n % 4 > 0]})
            for position, state in enumerate(("done", "failed", "queued")[: 1 + n % 3]):
                link = {"link": f"https://example.org/{n}/{position}", "state": state}
                listed = {"listed": 40, "list_title": f"List {n}", "list_complete": True}
                more = (
                    listed
                    if state == "done"
                    else {"failure": FAILURE.model_dump_json()}
                    if position == 1
                    else {}
                )
                self._link(n, position, link | more)

    def _link(self, job: int, position: int, values: dict[str, Any]) -> None:
        same = {"job_id": f"job-{job:02}", "position": position, "updated_at": _time(job * 3600 + position)}
        self.rows["links"].append(same | values)

    def videos(self, count: int, jobs: int) -> list[tuple[str, str]]:
        """Books them; returns video and recipe of each analysis."""
        pairs = []
        next_at = Counter(dict.fromkeys(range(jobs), 3))
        for n in range(count):
            video = _video(n)
            self.booked[video.id] = video
            said = video.model_dump(include={"source", "title", "uploader", "licence", "duration_ms"})
            self.rows["videos"].append({"id": video.id, "json": video.model_dump_json(), **said})
            homes = {n % jobs, (n + 1) % jobs} if n % _SHARED_JOBS == 0 else {n % jobs}
            for job in sorted(homes):
                link = {"link": video.source, "state": "done", "video_id": video.id, "parent": 0}
                self._link(job, next_at[job], link)
                next_at[job] += 1
            pairs += [(video.id, RECIPES[recipe].id) for recipe in sorted({job % 3 for job in homes})]
        return pairs

    def analysis(self, video: str, recipe: str, frames: int) -> None:
        key = {"video_id": video, "recipe_id": recipe}
        sizes = [min(_PER_SEGMENT, frames - first) for first in range(0, frames, _PER_SEGMENT)]
        failed = int(self.draw.random() < 0.1)
        sums: Counter[str] = Counter()
        for index, size in enumerate(sizes):
            sums += self._segment(key, index, size)
        for index in range(len(sizes), len(sizes) + failed):
            row = self._segment_row(key, index, "failed")
            self.rows["segments"].append(row | {"failure": FAILURE.model_dump_json()})
        seconds = {"pose": 4.5 * len(sizes), "mask": 2.25 * len(sizes)}
        counts = {"segments": len(sizes) + failed, "done": len(sizes), "failed": failed}
        kept = {"funnel": _funnel(sums), "seconds": json.dumps(seconds), "updated_at": _time(86_400)}
        self.rows["analyses"].append(key | counts | kept)

    def _segment_row(self, key: dict[str, str], index: int, state: str) -> dict[str, Any]:
        span = {"start_ms": index * 20_000, "end_ms": (index + 1) * 20_000}
        return {**key, "index": index, **span, "state": state, "ticket": "t", "updated_at": _time(86_400)}

    def _segment(self, key: dict[str, str], index: int, size: int) -> Counter[str]:
        start, counts = index * 20_000, Counter[str]()
        for n in range(size):
            counts[self._frame(key, index, start + n * 500)] += 1
        drops = []
        for n in range(size, 140):
            verdict = _DROPS[n % len(_DROPS)]
            counts[verdict] += 1
            drops.append(f'{{"time_ms":{start + n * 140 + 1},"verdict":"{verdict}","value":0.125}}')
        done = {"funnel": _funnel(counts), "drops": f"[{','.join(drops)}]"}
        row = self._segment_row(key, index, "done")
        self.rows["segments"].append(row | done | {"seconds": '{"pose":4.5,"mask":2.25}'})
        return counts

    def _frame(self, key: dict[str, str], segment: int, time_ms: int) -> str:
        draw = self.draw
        luck, doubt = draw.random(), round(draw.random() ** 3, 6)
        iou = None if luck < 0.12 else draw.betavariate(2, 3) * 0.5 if luck < 0.45 else draw.uniform(0.5, 1)
        verdict = ("hard" if iou < 0.5 else "easy") if iou is not None else "teacher_doubt"
        verdict = "teacher_several" if luck < 0.04 else verdict
        value = doubt if iou is None else iou
        measured = {"verdict": verdict, "value": value, "iou": iou, "phash": f"{draw.getrandbits(64):016x}"}
        pose = None if draw.random() < 0.05 else draw.choice(_POSES)
        row = {**key, "time_ms": time_ms, "segment": segment, **measured}
        row |= {"keeper": self._keeper(time_ms, measured), "pose_class": pose, "doubt": doubt}
        self.rows["frames"].append(row | {"review": self._reviews(row)})
        return verdict

    def _keeper(self, time_ms: int, measured: dict[str, Any]) -> str:
        at = self.draw.randrange(PICTURES)
        plain = {
            "time_ms": time_ms,
            "box": [12.625, 4.25, 208.875, 176.5],
            "frame_key": f"frames/many/{at}.jpg",
            "mask_key": f"masks/many/{at}.png",
            "device_key": f"device/many/{at}.png",
            "measures": {"margin": 0.0625, "head": 0.875, "hands": 0.75, "feet": 0.5, "sharpness": 181.5},
        }
        text = json.dumps(plain | measured, separators=(",", ":"))
        return f'{text[:-1]},"keypoints":{self.draw.choice(self.points)}}}'

    def _reviews(self, frame: dict[str, Any]) -> str:
        if self.draw.random() >= 0.04:
            return "open"
        said = [self.draw.choice(("keep", "reject")) for _ in range(self.draw.randint(1, 2))]
        for reviewer, decision in zip(("ann", "bob"), said, strict=False):
            number = len(self.rows["reviews"]) + 1
            where = {name: frame[name] for name in ("video_id", "recipe_id", "time_ms")}
            event = {"number": number, "id": f"review-{number:08}", "reviewer": reviewer, "note": ""}
            self.rows["reviews"].append(event | where | {"decision": decision, "at": _time(90_000 + number)})
        return "disputed" if len(set(said)) == 2 else {"keep": "kept", "reject": "rejected"}[said[0]]


def _keypoints(draw: random.Random) -> str:
    points = [(draw.uniform(0, WIDTH), draw.uniform(0, HEIGHT), draw.random()) for _ in range(25)]
    return json.dumps(points, separators=(",", ":"))


def _video(number: int) -> Video:
    words = ("Handstand", "Ballet", "Capoeira", "Tänze", "Yoga", "Judo", "Hockey")
    return a_video(
        f"v{number:05}",
        id=f"youtube:v{number:05}",
        source=f"https://www.youtube.com/watch?v=v{number:05}",
        title=f"{words[number % len(words)]} lesson {number}, the whole of it",
        uploader=f"Club {number % 40}",
        licence=("unknown", "Creative Commons Attribution")[number % 2],
        width=WIDTH,
        height=HEIGHT,
        fps=25.0,
        duration_ms=600_000,
    )


def _funnel(counts: Counter[str]) -> str:
    return json.dumps({"examined": counts.total(), "verdicts": dict(counts)}, separators=(",", ":"))


def _time(seconds: int) -> str:
    return (_START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _write(database: Database, tables: dict[str, list[dict[str, Any]]]) -> None:
    postgres = database.engine().dialect.name == "postgresql"
    raw = database.engine().raw_connection()
    try:
        if not postgres:
            raw.cursor().execute("PRAGMA cache_size=-200000")  # kB: else indexes are written over and over
            raw.cursor().execute("BEGIN")
        for table, rows in tables.items():
            columns = list(dict.fromkeys(name for row in rows for name in row))
            values = [[row.get(name) for name in columns] for row in rows]
            names = ", ".join(f'"{name}"' for name in columns)
            if postgres:
                _copy(raw, f"COPY {table} ({names}) FROM STDIN", values)
            else:
                marks = ", ".join("?" * len(columns))
                raw.cursor().executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
        if postgres:
            raw.cursor().execute("SELECT setval('reviews_number_seq', (SELECT max(number) + 1 FROM reviews))")
        raw.commit()
    finally:
        raw.close()
    if postgres:
        # What autovacuum does within a minute or so of such a change; lists are read from indexes alone then.
        with database.engine().execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _copy(raw: Any, statement: str, values: Iterable[Sequence[Any]]) -> None:
    with raw.cursor().copy(statement) as copy:
        for row in values:
            copy.write_row(row)
