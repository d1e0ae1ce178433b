"""Exports: ordered, watched, and downloaded, in parts where the line is bad."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.http.access import Role
from api.http.dependencies import CallerHere, Here, requires
from api.http.paging import PageAsked
from api.http.problems import problem, problems, status_of
from api.http.ranges import RangeBeyond, matches, part_of
from broker.errors import ArtifactMissing, HardposeError
from broker.exports import ExportSpec, ExportView
from broker.frame_views import Page
from broker.views import State

router = APIRouter(tags=["exports"])
READER = [requires(Role.READ)]
ZIP = "application/zip"
ExportId = Annotated[
    str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["export-0123456789abcdef"])
]
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The zip file.",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {
        "description": "The part of it that `Range` asks for.",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The file is the one that `If-None-Match` names."},
}


class ExportNotReady(HardposeError):
    """The file of an export that is not done."""

    code = "export_not_ready"


@router.post("/exports", status_code=202, summary="Order an export", dependencies=[requires(Role.ENQUEUE)])
def order_export(
    spec: ExportSpec,
    here: Here,
    request: Request,
    response: Response,
    caller: CallerHere,
) -> ExportView:
    """Queues an export. A worker of the queue `export` makes it; `Location` says where it can be watched.

    The same order on the same books gives the same bytes.
    """
    from broker.app import create_app
    from tasks.exports.order import send_export

    view = here.catalog.exports.create(spec, caller.name)
    try:
        with create_app(here.settings) as app:
            send_export(app, here, view.id)
    except BaseException:
        here.catalog.exports.delete(view.id)  # nobody would ever make it
        raise
    response.headers["Location"] = request.url_for("show_export", export_id=view.id).path
    return view


@router.get("/exports", summary="List exports", dependencies=READER)
def list_exports(asked: Annotated[PageAsked, Query()], here: Here) -> Page[ExportView]:
    """Exports, the newest first."""
    return here.catalog.exports.page(asked.limit, asked.cursor)


@router.get("/exports/{export_id}", summary="Show an export", dependencies=READER)
def show_export(export_id: ExportId, here: Here) -> ExportView:
    """One export: its order, its state, and what it holds once it is done."""
    return here.catalog.exports.get(export_id)


@router.delete(
    "/exports/{export_id}",
    summary="Delete an export",
    dependencies=[requires(Role.ADMIN)],
)
def delete_export(export_id: ExportId, here: Here) -> ExportView:
    """Removes the order and its file. One that is being made is not booked when it ends."""
    view = here.catalog.exports.delete(export_id)
    if view.artifact is not None:
        here.artifacts.delete(view.artifact)
    return view


@router.get(
    "/exports/{export_id}/file",
    summary="Download an export",
    dependencies=READER,
    response_class=Response,
    responses=FILE | problems(416),
)
@router.head("/exports/{export_id}/file", dependencies=READER, include_in_schema=False)
def download_export(
    export_id: ExportId,
    here: Here,
    request: Request,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The zip file of an export that is done. `Range` and `If-Range` fetch a part, so `curl -C -` goes on.

    The `ETag` is the file's sha256.
    """
    key, size, headers = _file(here.catalog.exports.get(export_id))
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if here.artifacts.size(key) != size:
        raise ArtifactMissing(f"The file of {export_id} is not the one that was made.", "Order it again.")
    try:
        part = part_of(size, range_, if_range, headers["ETag"])
    except RangeBeyond as error:
        beyond = {"Content-Range": f"bytes */{size}"}
        return problem(status_of(error), error.code, error.cause, error.remedy, headers=beyond)
    start, end = (part.start, part.end) if part else (0, size)
    headers |= {"Content-Length": str(end - start)} | ({"Content-Range": part.content_range} if part else {})
    pieces: Iterator[bytes] = iter(()) if request.method == "HEAD" else here.artifacts.pieces(key, start, end)
    return StreamingResponse(pieces, 206 if part else 200, headers, ZIP)


def _file(view: ExportView) -> tuple[str, int, dict[str, str]]:
    """The key and the size of the file, and the headers that every answer about it has.

    Raises:
        ExportNotReady: there is none (yet).
    """
    if view.state != State.DONE or view.artifact is None or view.size_bytes is None:
        if view.failure is not None:
            raise ExportNotReady(f"{view.id} has failed: {view.failure.cause}", view.failure.remedy)
        raise ExportNotReady(f"{view.id} is {view.state}.", f"Ask GET /exports/{view.id} until it is done.")
    name = f"hardpose-{view.spec.format}-{view.id}.zip"
    headers = {
        "ETag": f'"{view.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return view.artifact, view.size_bytes, headers
