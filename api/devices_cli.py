"""``hardpose devices``: the devices that are known, and what is tried on them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from api.devices_replay import register as register_replay
from api.guard import guarded, read_settings
from api.options import Home, Json, NothingGiven
from api.printable import counted, printable

devices_cli = typer.Typer(
    help="Devices under test: who they are, whether they are there, what they were judged on.",
    invoke_without_command=True,
)

P = ParamSpec("P")
R = TypeVar("R")


def command(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Registers a command below ``hardpose devices`` whose typed errors become exit statuses."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        return devices_cli.command(name)(guarded(function))

    return register


@devices_cli.callback()
@guarded
def devices(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """All devices, as `devices list` shows them, unless another command follows."""
    if context.invoked_subcommand is None:
        _list(home, as_json)
    elif home is not None or as_json:
        raise NothingGiven(
            f"Options before {context.invoked_subcommand!r} belong to no command.",
            f"Write them behind it: hardpose devices {context.invoked_subcommand} ... --json.",
        )


@command("list")
def list_known(home: Home = None, as_json: Json = False) -> None:
    """Every device: firmware, driver, queue, what waits, its units and when they were last heard of."""
    _list(home, as_json)


def _list(home: Path | None, as_json: bool) -> None:
    from api.devices_list import list_devices, print_devices
    from api.local import attach

    print_devices(*list_devices(attach(read_settings(home=home))), as_json)


@command("test")
def test(
    page: Annotated[Path, typer.Argument(metavar="ME.TOML", help="The page that describes the device.")],
    as_json: Json = False,
) -> None:
    """Show a device the known picture, as its worker does at its start; names the line that is wrong."""
    from workers.device_start import tested_apart
    from workers.devices.description import load_description

    said = tested_apart(read_settings(device=page), load_description(page))
    typer.echo(json.dumps(said) if as_json else "\n".join(_test_lines(said)))


def _test_lines(said: dict[str, Any]) -> list[str]:
    batch = f", in a call of {said['batch']}" if said["batch"] > 1 else ""
    return [
        f"{printable(said['name'])} {printable(said['firmware'])} ({said['driver']}) sees the known person.",
        f"  IoU with the known mask {said['iou']:.3f}; {said['share']:.1%} of the picture is person",
        f"  answers {said['answer_width']} x {said['answer_height']} pixels "
        f"in {said['milliseconds']:.1f} ms a picture{batch}",
        *(f"  perhaps: {printable(warning)}" for warning in said["warnings"]),
    ]


@command("forget")
def forget(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Its name, as `devices list` prints it.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Forget the units of a device that are not there any more; what was judged by it stays."""
    from api.local import attach
    from broker.control import Control
    from broker.device_register import DeviceRegister

    gone = DeviceRegister(Control.of(attach(read_settings(home=home)))).forget(name)
    typer.echo(
        json.dumps({"device": name, "units": gone}) if as_json else f"{counted(gone, 'unit')} forgotten"
    )


register_replay(devices_cli)
