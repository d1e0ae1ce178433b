"""What every command of ``hardpose`` begins and ends with: settings, and typed errors as exit statuses."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from api.exit_codes import ExitCode
from api.options import FileThere, NothingGiven, UnknownReason
from api.printable import printable
from api.stopping import Interrupted
from broker.device_register import DeviceAlive
from broker.errors import HardposeError, JobRunning, MissingDependency, NotFound, SettingsError
from broker.settings import Settings, load_settings
from workers.downloads.errors import BadLink
from workers.downloads.lists import BadLinkList
from workers.errors import LicenceNotAccepted

WRONG_USAGE = (
    SettingsError, NotFound, BadLink, BadLinkList, NothingGiven, UnknownReason, LicenceNotAccepted, FileThere,
    JobRunning, DeviceAlive,
)  # fmt: skip
"""Errors of what was typed."""

P = ParamSpec("P")
R = TypeVar("R")


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` as the body of a command: its typed errors become a message and an exit status."""

    @wraps(function)
    def guard(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _typed_exit():
                return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            missing = MissingDependency(
                f"The package {error.name} is not installed.",
                "`hardpose doctor` says which extra brings it; pip install 'hardpose[all]' brings all.",
            )
            _fail(missing, ExitCode.ENVIRONMENT)
            raise

    return guard


def read_settings(**given: Any) -> Settings:
    """The settings of a command, its log on standard error.

    Args:
        **given: values from the command line; ``None`` means not given.

    Raises:
        SettingsError: a value cannot be used.
    """
    settings = load_settings(**given)
    logging.basicConfig(
        level=settings.log_level if "log_level" in settings.model_fields_set else "WARNING",
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    return settings


@contextmanager
def _typed_exit() -> Iterator[None]:
    """Turns typed errors into a message and an exit status; anything else stays a traceback."""
    try:
        yield
    except WRONG_USAGE as error:
        _fail(error, ExitCode.USAGE)
    except HardposeError as error:
        _fail(error, ExitCode.ENVIRONMENT)
    except (Interrupted, KeyboardInterrupt):
        typer.echo("Stopped. Nothing is lost: the same command goes on where this one stopped.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _fail(error: HardposeError, code: ExitCode) -> None:
    typer.echo(f"{error.code}: {printable(error.cause)}\n  -> {printable(error.remedy)}", err=True)
    raise typer.Exit(code) from error
