"""The machine's own Chromium, driven by Playwright; every page is watched for what a page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    """Where Chromium is; skips the test where there is none, but fails it in CI."""
    found = os.environ.get("HARDPOSE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium, and CI has to have one")
        pytest.skip("no Chromium on this machine; name one with HARDPOSE_TEST_CHROMIUM")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watch:
    """What the pages of a context have done wrong."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    expected: tuple[str, ...] = ()
    """Parts of error messages that the test itself brings about."""
    script: str = ""
    """Runs in every page before its own."""

    def on(self, context: Any) -> None:
        """Watches every page of ``context``, also those that it opens later."""
        context.on("console", lambda message: message.type == "error" and self.note(message.text))
        context.on("weberror", lambda error: self.note(str(error.error)))
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def note(self, text: str) -> None:
        """An error of a page."""
        if not any(part in text for part in self.expected):
            self.errors.append(text)
