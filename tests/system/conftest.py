"""What the tests of the review page share: a browser, and an API over 5,000 frames."""

from collections.abc import Iterator
from typing import Any

import pytest
from chromium import Watch, chromium
from many_frames import fill
from review_page import FRAMES, MOST_MILLISECONDS, Opener, Served

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.settings import load_settings

LIMIT_SECONDS = 900
"""More than anything within a test waits for (``hardpose_process.PATIENCE_SECONDS``)."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of many processes may wait longer than others: on a busy machine each of them takes its time."""
    for item in items:
        if item.get_closest_marker("system") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def review_api(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("review") / "state"
    home.mkdir()
    settings = load_settings(home=home)
    fill(settings.catalog, frames=FRAMES, videos=50, jobs=4, artifacts=Artifacts(settings.artifacts))
    server = Served(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def review_catalog(review_api: Served) -> Iterator[Catalog]:
    catalog = Catalog(load_settings(home=review_api.home).catalog)
    yield catalog
    catalog.dispose()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def opened(browser: Any, review_api: Served, watch: Watch) -> Iterator[Opener]:
    """Opens the page as a reviewer in a browser of his own; in the end no page may have done wrong."""
    contexts = []

    def open_page(
        query: str = "", reviewer: str | None = None, url: str = review_api.url, **options: Any
    ) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        watch.on(context)
        if watch.script:
            context.add_init_script(watch.script)
        if reviewer:
            remember = f"localStorage.setItem('hardpose.reviewer', {reviewer!r})"
            context.add_init_script(f"if (location.protocol === 'http:') {remember}")
        page = context.new_page()
        page.set_default_timeout(MOST_MILLISECONDS)
        page.goto(url + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watch.errors == []
    hosts = {host for host in watch.hosts if host}
    assert len(hosts) >= 1
    assert all(host.startswith("127.0.0.1:") for host in hosts)
