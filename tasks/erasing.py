"""Deleting a job, forgetting a video, and emptying the artifact store of what belonged to them.

The books first, then the workers, then the pixels: see ``broker.catalog_erase``. Whoever repeats a call
whose process was killed, and every start of ``hardpose up`` and of the API, goes on where it ended.
"""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from broker.control import Control
from broker.errors import HardposeError, NotFound, VideoForgotten
from broker.work_views import Erased
from tasks.cancelling import control_if_any, stop_links
from tasks.runtime import Runtime
from workers.downloads.files import file_sha256
from workers.downloads.links import exists, expand_links, has_scheme
from workers.downloads.sites import known_video_id

if TYPE_CHECKING:
    from broker.catalog_condemn import Condemned
    from broker.catalog_erase import Erasure

log = logging.getLogger(__name__)

TURN = "erasures:"
"""Name of the claim of whoever empties the store: one at a time."""
TURN_SECONDS = 6.0
"""For which it holds without renewal: so long waits who goes on where a killed process ended."""
RENEW_SECONDS = 1.5
PLACES = 100
"""That are emptied before the books hear of it: to write each down takes longer than to empty it."""
PATIENCE_SECONDS = 30.0
"""For which another process, that is emptying the store now, is waited for."""


def delete_job(runtime: Runtime, job_id: str) -> Erased:
    """Removes a job that has ended, and all that no other job refers to: videos, frames, reviews, exports.

    Raises:
        NotFound: there is no such job, and nothing is left of it.
        JobRunning: it has open work; cancel it first.
        BrokerUnavailable: a broker is configured and does not answer; nothing is changed.
    """
    control = control_if_any(runtime)
    try:
        condemned = runtime.catalog.erasing.delete_job(job_id)
    except NotFound:
        removed = finish(runtime)  # an earlier call was killed behind its first step
        if not removed:
            raise
        return Erased(artifacts=removed)
    return _carry_out(runtime, control, condemned)


def forget_video(runtime: Runtime, which: str, by: str, reason: str = "") -> Erased:
    """Removes a video, and every other one of the same bytes, and all that was made of them, for good.

    It is not fetched again by any job; those that had it keep a link that failed with the code ``forgotten``.

    Args:
        runtime: of this process.
        which: the video's id, or the link or the file as it was given.
        by: whose request it is booked under: a name, never a token.
        reason: in that person's words.

    Raises:
        NotFound: no job has had it.
        BrokerUnavailable: a broker is configured and does not answer; nothing is changed.
    """
    control = control_if_any(runtime)
    names, ids = _meant(which)
    books = runtime.catalog.erasing
    found = books.find([*names, *ids])
    failures = books.failures(names)
    if not found and (failures or any(runtime.catalog.claimed(each) for each in ids)):
        found = ids  # asked for, and not fetched yet
    if not found and VideoForgotten.code in failures:
        return Erased(artifacts=finish(runtime))
    if not found:
        raise NotFound(
            f"No job has had a video {', '.join(dict.fromkeys([*names, *ids]))}.",
            "Name the video's id, or its link or file as it was given; `hardpose status JOB` lists them.",
        )
    return _carry_out(runtime, control, books.forget(found, by, reason))


def allow_video(runtime: Runtime, which: str) -> list[str]:
    """Lets a forgotten video be taken in again; returns its id, and those that were forgotten with it.

    Raises:
        NotFound: it was not forgotten.
    """
    names, ids = _meant(which)
    return runtime.catalog.erasing.allow([*names, *ids])


def _meant(which: str) -> tuple[list[str], list[str]]:
    """The names under which the books may have what a user calls ``which``, and the ids that it tells of.

    Raises:
        BadLink: a password is in it.
    """
    if has_scheme(which) or not exists(Path(which)):
        names = list(dict.fromkeys([which, *expand_links([which])]))
        return names, [known for known in map(known_video_id, names) if known]
    path = Path(which)
    names = list(dict.fromkeys([which, str(path.absolute())]))
    return names, [f"sha256:{file_sha256(path)}"] if path.is_file() else []


def _carry_out(runtime: Runtime, control: Control | None, condemned: "Condemned") -> Erased:
    if control is not None:
        # Before the store is emptied: a stage that ends later removes what it has written itself.
        control.void_tickets(condemned.tickets)
        stop_links(control, list(condemned.links))
    return condemned.counts.model_copy(update={"artifacts": finish(runtime)})


def finish(runtime: Runtime, patience: float = PATIENCE_SECONDS) -> int:
    """Empties every place of the artifact store that the books have condemned; returns how many files went.

    Args:
        runtime: of this process.
        patience: seconds for which another process that is at it is waited for.

    Raises:
        ArtifactsUnreachable, ArtifactsForbidden: call it again, or start the system again.
    """
    books, owner, removed = runtime.catalog.erasing, secrets.token_hex(8), 0
    deadline = time.monotonic() + patience
    while books.pending(limit=1):
        if not runtime.catalog.claim(TURN, owner, TURN_SECONDS):
            if time.monotonic() > deadline:
                log.warning("another process is emptying the artifact store")
                break
            time.sleep(0.2)
            continue
        try:
            # Asked now that it is our turn: what another one has emptied may be in use again.
            removed += _empty(
                runtime, books.pending(limit=PLACES), lambda: runtime.catalog.claim(TURN, owner, TURN_SECONDS)
            )
        finally:
            runtime.catalog.release(TURN, owner)
    return removed


def finish_left(runtime: Runtime) -> None:
    """What a system does as it starts: goes on with removals whose process has ended before them."""
    try:
        if removed := finish(runtime, patience=0.0):
            log.warning("removed %d files that an earlier removal had left", removed)
    except HardposeError as error:
        log.error("an earlier removal cannot be finished now, it is tried at the next start: %s", error)


def _empty(runtime: Runtime, pending: "list[Erasure]", renew: Callable[[], bool]) -> int:
    """Empties these places, as long as the turn is ours: the names of a video that is back must be safe."""
    removed, renewed, emptied = 0, time.monotonic(), list[int]()

    def still_ours() -> bool:
        nonlocal renewed
        if time.monotonic() - renewed <= RENEW_SECONDS:
            return True
        renewed = time.monotonic()
        return renew()

    for erasure in pending:
        for key in _keys(runtime, erasure.place):
            if not still_ours():
                return removed
            runtime.artifacts.delete(key)
            removed += 1
        if not still_ours():
            return removed
        if erasure.place.endswith("/"):
            runtime.artifacts.prune(erasure.place)
        emptied.append(erasure.number)
    runtime.catalog.erasing.emptied(emptied)
    return removed


def _keys(runtime: Runtime, place: str) -> list[str]:
    if place.endswith("/"):
        return runtime.artifacts.keys(place)
    return [place] if runtime.artifacts.exists(place) else []
