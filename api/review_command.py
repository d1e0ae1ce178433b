"""``hardpose review``: the review page over the home folder of a run, whether anything else runs or not."""

import os
import socket
import sys
import webbrowser
from typing import Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home
from broker.errors import NotFound
from broker.settings import Settings

LOOPBACK = "127.0.0.1"


@guarded
def review(
    home: Home = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default 8642, or any if taken.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Look at the hard frames of a run in the browser, and keep or reject them."""
    settings = read_settings(home=home, api_host=LOOPBACK, api_port=port)
    _require_catalog(settings)
    from api.http.server import serve
    from api.http.whereabouts import running

    there = running(settings.home)
    if there is not None:
        typer.echo(f"An API runs on this folder already: {there}  review: {there}/review/")
        _open(f"{there}/review/", browser)
        return
    if port is None and _taken(settings.api_port):
        settings = settings.model_copy(update={"api_port": 0})
    serve(settings, lambda url: _open(f"{url}/review/", browser))


def _require_catalog(settings: Settings) -> None:
    """Raises ``NotFound`` unless there is one: looking must not make one in whatever folder this is."""
    from api.local import has_catalog

    if not has_catalog(settings):
        raise NotFound(
            f"There is nothing to review in {settings.home.absolute()}.",
            "Name the folder with --home or HARDPOSE_HOME: for `hardpose run --out DIR` it is DIR/state.",
        )


def _taken(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex((LOOPBACK, port)) == 0


def _open(url: str, wanted: bool) -> None:
    """Opens a window if there is a screen: without one, Python would start a browser inside the terminal."""
    screen = sys.platform in ("darwin", "win32") or any(
        name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if wanted and screen:
        webbrowser.open(url)


def register(cli: typer.Typer) -> None:
    """Adds the command to ``hardpose``."""
    cli.command("review")(review)
