"""The statements behind ``broker.catalog``. Each works inside the transaction of the connection it gets."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.analysis_counts import recount
from broker.catalog_held import refuse_ended
from broker.catalog_views import no_link
from broker.errors import Action, NotFound, VideoForgotten
from broker.frame_views import FrameFacts
from broker.messages import Keeper, Segment, SegmentResult, Video
from broker.tables import AnalysisRow, Base, FrameRow, JobRow, LinkRow, SegmentRow, VideoRow
from broker.views import State

PLANNING_LOCK = 4_803_170_642
"""PostgreSQL advisory lock: shared by those who plan, alone with who ends or removes work."""


IDS_AT_ONCE = 500
"""In one statement; SQLite takes 32,766 parameters at most (its manual, "Implementation Limits")."""


def batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """``ids``, so many at a time as one statement takes."""
    yield from (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def plain(value: str) -> str:
    """``value`` as PostgreSQL takes it: no U+0000, no half of a surrogate pair."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _insert(connection: Connection, table: type[Base]) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def add(connection: Connection, table: type[Base], **values: Any) -> None:
    """Inserts the row unless its key is there."""
    connection.execute(_insert(connection, table).values(values).on_conflict_do_nothing())


def link(connection: Connection, job_id: str, position: int) -> ColumnElement[bool]:
    """Where the link is.

    Raises:
        NotFound: if it is nowhere.
    """
    where = and_(LinkRow.job_id == job_id, LinkRow.position == position)
    if connection.execute(select(LinkRow.position).where(where)).first() is None:
        raise no_link(job_id, position)
    return where


OWN_TOOLS = frozenset({"", "local"})
"""Of failures that a user can mend on his own machine: a missing file, a damaged one, a lost segment."""


def requeue_links(connection: Connection, job_id: str) -> None:
    """Queues what has failed or ended partial, but for a site's last word: asking anew costs a turn there."""
    ended = LinkRow.state.in_((State.FAILED, State.PARTIAL))
    failed = select(LinkRow.position, LinkRow.failure).where(LinkRow.job_id == job_id, ended)
    positions = [at for at, failure in connection.execute(failed) if not _last_word(failure)]
    if positions:
        again = update(LinkRow).where(LinkRow.job_id == job_id, LinkRow.position == bindparam("at_position"))
        again = again.values(state=State.QUEUED.value, failure=None, updated_at=now())
        connection.execute(again, [{"at_position": position} for position in positions])


def _last_word(failure: dict[str, Any] | None) -> bool:
    """Whether a site, or who forgot the video, has said for good that there will be none."""
    known = failure or {}
    if known.get("code") == VideoForgotten.code:
        return True
    return known.get("action") == Action.PERMANENT and known.get("tool", "") not in OWN_TOOLS


def lock_job(connection: Connection, job_id: str) -> None:
    """Makes all who add links to the job wait in line: two of them do not number the same link twice."""
    connection.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())


def append_links(connection: Connection, job_id: str, links: Sequence[str]) -> None:
    """Adds the links that the job does not have yet, by their text; call it under ``lock_job``.

    A link that is given twice is there twice. One that a list of the job has brought is the same link
    as the one that is given now.
    """
    has = Counter(connection.scalars(select(LinkRow.link).where(LinkRow.job_id == job_id)))
    fresh = []
    for link in links:
        if has[link]:
            has[link] -= 1
        else:
            fresh.append(link)
    _add_links(connection, job_id, fresh, parent=None)


def _add_links(connection: Connection, job_id: str, links: Sequence[str], parent: int | None) -> None:
    last = connection.scalar(select(func.max(LinkRow.position)).where(LinkRow.job_id == job_id))
    first, time_now = 0 if last is None else last + 1, now()
    same = {"job_id": job_id, "parent": parent, "state": State.QUEUED.value, "updated_at": time_now}
    rows = [same | {"position": position, "link": link} for position, link in enumerate(links, first)]
    if rows:
        connection.execute(_insert(connection, LinkRow), rows)


def list_link(
    connection: Connection, job_id: str, position: int, links: Sequence[str], title: str, complete: bool
) -> None:
    """Turns the link into a list, once, and adds those of ``links`` that the job does not have yet."""
    where = link(connection, job_id, position)
    lock_job(connection, job_id)
    refuse_ended(connection, where)
    if connection.scalar(select(LinkRow.listed).where(where)) is not None:
        return
    named = list(dict.fromkeys(plain(each) for each in links))
    has = set(connection.scalars(select(LinkRow.link).where(LinkRow.job_id == job_id)))
    _add_links(connection, job_id, [each for each in named if each not in has], parent=position)
    own = {"listed": len(named), "list_title": plain(title), "list_complete": complete, "video_id": None}
    own |= {"state": State.DONE.value, "failure": None, "updated_at": now()}
    connection.execute(update(LinkRow).where(where).values(own))


_SAID = ("source", "title", "uploader", "licence", "uploader_id", "channel_id", "upload_date")
_FETCHED_BY = ("tool", "tool_version", "format_id")


def _merged(known: Video, new: Video) -> Video:
    """What is known of a video after it was fetched again; see ``Catalog.plan_video``."""
    same_file = new.id.startswith("sha256:") or known.artifact == new.artifact
    first, second = (known, new) if same_file else (new, known)
    names = (*_SAID, *_FETCHED_BY) if same_file else _SAID
    said = {name: getattr(first, name) for name in names}
    unsaid = [name for name, value in said.items() if value in ("", Video.model_fields[name].default)]
    gaps = {name: getattr(second, name) for name in unsaid}
    return new.model_copy(update={**said, **gaps, "source": known.source})


def put_video(connection: Connection, video: Video) -> None:
    """Books the video, or brings it up to date."""
    add(connection, VideoRow, id=video.id, **_columns(video))
    where = VideoRow.id == video.id
    # Two who bring one video: the second sees what the first has written.
    lock = select(VideoRow.json).where(where).with_for_update(key_share=True)
    known = Video.model_validate(connection.execute(lock).scalar_one())
    if (merged := _merged(known, video)) != known:
        connection.execute(update(VideoRow).where(where).values(_columns(merged)))


def _columns(video: Video) -> dict[str, Any]:
    texts = {name: plain(getattr(video, name)) for name in ("source", "title", "uploader", "licence")}
    return {**texts, "duration_ms": video.duration_ms, "json": video.model_dump(mode="json")}


def among_others(connection: Connection) -> None:
    """Until its end no transaction that is ``alone`` goes on, and this one waits for those that do."""
    _advisory(connection, "pg_advisory_xact_lock_shared")


def alone(connection: Connection) -> None:
    """For what ends or removes work: nothing is planned meanwhile (on SQLite writers always are alone)."""
    _advisory(connection, "pg_advisory_xact_lock")


def _advisory(connection: Connection, function: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT {function}(:key)"), {"key": PLANNING_LOCK})


def lock(connection: Connection, video_id: str, recipe_id: str) -> None:
    """Makes all who change this analysis wait in line (on SQLite they already do)."""
    row = and_(AnalysisRow.video_id == video_id, AnalysisRow.recipe_id == recipe_id)
    connection.execute(select(AnalysisRow.video_id).where(row).with_for_update())


def _segments_of(video_id: str, recipe_id: str) -> ColumnElement[bool]:
    return and_(SegmentRow.video_id == video_id, SegmentRow.recipe_id == recipe_id)


def row_of(segment: Segment) -> ColumnElement[bool]:
    """Where the segment is."""
    return and_(_segments_of(segment.video.id, segment.recipe.id), SegmentRow.index == segment.index)


def ticket() -> str:
    """Larger than every one before it, as long as the machines' clocks agree; made under the lock."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def put_segments(
    connection: Connection, video_id: str, recipe_id: str, segments: Sequence[Segment]
) -> list[Segment]:
    """Plans anew what is not done, and returns it with new tickets.

    Rows that are not in the new plan go: an older plan of a file that has changed leaves nothing open.
    """
    mine = _segments_of(video_id, recipe_id)
    connection.execute(delete(SegmentRow).where(mine, SegmentRow.state != State.DONE))
    done = set(connection.scalars(select(SegmentRow.index).where(mine)))
    todo = [
        segment.model_copy(update={"ticket": ticket()}) for segment in segments if segment.index not in done
    ]
    rows = [
        {
            "video_id": video_id,
            "recipe_id": recipe_id,
            "index": segment.index,
            "start_ms": segment.start_ms,
            "end_ms": segment.end_ms,
            "state": State.QUEUED.value,
            "ticket": segment.ticket,
            "updated_at": now(),
        }
        for segment in todo
    ]
    if rows:
        connection.execute(_insert(connection, SegmentRow), rows)
    recount(connection, video_id, recipe_id)
    return todo


def standing(connection: Connection, segment: Segment) -> tuple[State, str]:
    """The segment's state and ticket, read under the lock of its analysis."""
    lock(connection, segment.video.id, segment.recipe.id)
    row = connection.execute(
        select(SegmentRow.state, SegmentRow.ticket).where(
            row_of(segment), SegmentRow.start_ms == segment.start_ms, SegmentRow.end_ms == segment.end_ms
        )
    ).first()
    if row is None:
        raise NotFound(
            f"The segment {segment.key} from {segment.start_ms} to {segment.end_ms} ms is not planned.",
            "Check that all workers use the same catalog (HARDPOSE_CATALOG_URL); then run the job again.",
        )
    return State(row.state), row.ticket


def done(result: SegmentResult) -> dict[str, Any]:
    """The columns of a segment that is done.

    Raises:
        FunnelMismatch: if the frames do not add up.
    """
    funnel = result.check_open().funnel()
    return {
        "state": State.DONE.value,
        "funnel": funnel.model_dump(mode="json"),
        "drops": [drop.model_dump(mode="json") for drop in result.drops],
        "seconds": {stage.value: seconds for stage, seconds in result.seconds.items()},
        "failure": None,
        "updated_at": now(),
    }


def put_frames(
    connection: Connection, segment: Segment, keepers: Sequence[Keeper], facts: Mapping[int, FrameFacts]
) -> None:
    """Books the frames that passed the full-body filter, with what was measured on them.

    Of a frame that is there already the reviews stay, and its facts unless there are new ones.
    """
    rows: list[dict[str, Any]] = [
        {
            "video_id": segment.video.id,
            "recipe_id": segment.recipe.id,
            "time_ms": keeper.time_ms,
            "segment": segment.index,
            "verdict": keeper.verdict,
            "value": keeper.value,
            "iou": keeper.iou,
            "phash": keeper.phash,
            "keeper": keeper.model_dump(mode="json"),
        }
        for keeper in keepers
    ]
    untold = [row for row in rows if row["time_ms"] not in facts]
    told = [row | _facts(facts[row["time_ms"]]) for row in rows if row["time_ms"] in facts]
    for rows in filter(None, (untold, told)):
        statement = _insert(connection, FrameRow)
        taken = {name: statement.excluded[name] for name in rows[0]}
        keys = ["video_id", "recipe_id", "time_ms"]
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=taken), rows)


def _facts(facts: FrameFacts) -> dict[str, Any]:
    return {"pose_class": facts.pose_class.value, "doubt": facts.doubt}


def settle_links(connection: Connection, video_id: str, recipe_id: str) -> bool:
    """If no segment is open, ends every link that points to this analysis.

    Returns:
        Whether no segment is open.
    """
    count = select(SegmentRow.state, func.count()).where(_segments_of(video_id, recipe_id))
    counted = connection.execute(count.group_by(SegmentRow.state))
    states = {State(row[0]): int(row[1]) for row in counted}
    if any(not state.final for state in states):
        return False
    failed = states.get(State.FAILED, 0)
    state = State.DONE if not failed else State.PARTIAL if states.get(State.DONE) else State.FAILED
    first = select(SegmentRow.failure).where(
        _segments_of(video_id, recipe_id), SegmentRow.state == State.FAILED
    )
    failure = connection.scalars(first.order_by(SegmentRow.index).limit(1)).first()
    jobs = select(JobRow.id).where(JobRow.recipe_id == recipe_id)
    links = update(LinkRow).where(LinkRow.video_id == video_id, LinkRow.job_id.in_(jobs))
    connection.execute(links.values(state=state.value, failure=failure, updated_at=now()))
    return True
