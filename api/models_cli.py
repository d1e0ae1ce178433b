"""``hardpose models ...``: what is installed, whose weights have to be brought, and bringing them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from api.exit_codes import ExitCode
from api.guard import guarded, read_settings
from api.options import Json, NothingGiven

models_cli = typer.Typer(
    help="The models: those in use, all that are installed, and weights that you bring.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name, as `models list` prints it.")]

P = ParamSpec("P")
R = TypeVar("R")


def command(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Registers a command below ``hardpose models`` whose typed errors become exit statuses."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        return models_cli.command(name)(guarded(function))

    return register


@models_cli.callback()
@guarded
def models(
    context: typer.Context,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download what is missing.")] = False,
    as_json: Json = False,
) -> None:
    """Models of the configured recipe: version, weights, licence, whether they are here. See also `list`."""
    if context.invoked_subcommand is not None:
        if fetch or as_json:
            raise NothingGiven(
                f"--fetch and --json before {context.invoked_subcommand!r} belong to no command.",
                f"Write options behind it: hardpose models {context.invoked_subcommand} ... --json.",
            )
        return
    from api.models import print_models
    from tasks.runtime import Runtime

    print_models(Runtime(read_settings()), fetch, as_json)


@command("list")
def list_models(as_json: Json = False) -> None:
    """Every installed model: whether it is in use, whether its weights are here, its licence."""
    from api.models_list import model_rows, print_rows

    print_rows(model_rows(read_settings()), as_json)


@command("show")
def show(name: Name, as_json: Json = False) -> None:
    """Where a model comes from, its licence and citation, its options, and how to obtain its weights."""
    from api.models_show import print_models_named

    print_models_named(read_settings(), name, as_json)


@command("add")
def add(
    name: Name,
    given: Annotated[str, typer.Option("--from", metavar="FILE|URL", help="The weights.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the licence that `models show` names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the weights of a model: checked strictly, kept by content, converted once."""
    from api.models_add import add_weights, print_added

    print_added(add_weights(read_settings(), name, given, accept_licence), as_json)


@command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="A model; without it everything that is stored.")] = None,
    as_json: Json = False,
) -> None:
    """Hash every stored weights file again; ends with 4 when one is damaged."""
    from api.models_verify import check_stored, print_checks

    checks = check_stored(read_settings(), name)
    print_checks(checks, as_json)
    raise typer.Exit(ExitCode.OK if all(check.ok for check in checks) else ExitCode.ENVIRONMENT)


@command("export")
def export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.onnx", help="The file to write.")],
    precision: Annotated[
        str | None, typer.Option(help="fp32 or fp16; without it as the settings say.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the network of a model as an ONNX file that runs without hardpose."""
    from api.models_export import export_model, print_exported

    print_exported(export_model(read_settings(), name, to, precision, force), as_json)
