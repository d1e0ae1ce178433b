"""``hardpose api``: the HTTP API and the review page."""

from typing import Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home
from api.stopping import end_well_on_sigterm


@guarded
def serve_api(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default 8642; 0 for any.")] = None,
    home: Home = None,
) -> None:
    """Serve the HTTP API and the review page until told to stop."""
    from api.http.server import serve

    end_well_on_sigterm()
    serve(read_settings(home=home, api_host=host, api_port=port))


def register(cli: typer.Typer) -> None:
    """Adds the command to ``hardpose``."""
    cli.command("api")(serve_api)
