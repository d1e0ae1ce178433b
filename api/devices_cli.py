"""``hardpose devices``: the devices that are known, and what is tried on them."""

import typer

from api.devices_replay import register as register_replay

devices_cli = typer.Typer(help="Devices under test.", no_args_is_help=True)
register_replay(devices_cli)
