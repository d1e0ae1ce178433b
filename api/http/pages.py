"""The pages: the review page, and one that shows the OpenAPI description without anybody else's assets."""

import os
import stat
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

ROOM = Path(__file__).parent.parent
FOLDERS = {"/review": ROOM / "review", "/docs": ROOM / "http" / "docs_page"}
"""Where each page is mounted; its ``index.html`` names scripts and styles beside it."""


SUFFIXES = frozenset({".html", ".css", ".js", ".svg", ".png", ".ico", ".webmanifest"})
"""What a page is made of; the folders are packages too, whose modules are nobody's business."""


class Page(StaticFiles):
    """A folder of files that a browser asks for again: they change with the release, their names do not."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """See ``StaticFiles``; only folders and files of ``SUFFIXES`` are there."""
        full, found = super().lookup_path(path)
        if found is not None and stat.S_ISREG(found.st_mode) and Path(full).suffix not in SUFFIXES:
            return "", None
        return full, found

    def file_response(self, *args: Any, **given: Any) -> Response:
        """See ``StaticFiles``."""
        response = super().file_response(*args, **given)
        response.headers.setdefault("Cache-Control", "no-cache")
        return response


def mount_pages(app: FastAPI) -> None:
    """Adds the pages, and sends whoever opens the bare address to the review page."""
    for path, folder in FOLDERS.items():
        if folder.is_dir():
            app.mount(path, Page(directory=folder, html=True), name=path.strip("/"))

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("review/" if FOLDERS["/review"].is_dir() else "docs/")
