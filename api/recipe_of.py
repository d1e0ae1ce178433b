"""A recipe in a process of its own: ``python -m api.recipe_of`` reads the settings and prints it as JSON.

For the HTTP API, which imports no model: only a model's class knows its weights and its options. A device
that has announced itself is handed over as JSON on standard input, because the process is told no broker.
"""

import json
import os
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from broker.errors import HardposeError, MissingDependency, NotFound, SettingsError, WeightsError
from broker.recipe import ModelSpec, Recipe
from broker.settings import SECRET_VARIABLES, Settings, load_settings

SECONDS = 90.0
"""For a process that imports models from a cold disk."""
SECRETS = SECRET_VARIABLES | {"HARDPOSE_DOWNLOAD_COOKIES"}
"""Settings that a recipe needs nothing of."""
_KINDS = {kind.code: kind for kind in (NotFound, SettingsError, WeightsError, MissingDependency)}


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that make the process see ``settings`` without its secrets, and nothing else of ours."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("HARDPOSE_")}
    # Set values are in ``settings`` already, wherever they came from; read again they would win over it.
    return {**foreign, **variables_of(settings), "HARDPOSE_CONFIG": os.devnull}


def variables_of(settings: Settings) -> dict[str, str]:
    """``settings`` as variables, without its secrets."""
    return {name: value for name, value in settings.environment().items() if name not in SECRETS}


def recipe_apart(settings: Settings, device: ModelSpec | None = None) -> Recipe:
    """The recipe of ``settings``, found out in a process of its own.

    Args:
        settings: all but their secrets are handed over.
        device: in place of the one that they name.

    Raises:
        NotFound, MissingDependency, SettingsError, WeightsError: as ``Runtime.recipe``, of that process; or
            the settings are too long to be handed over.
    """
    command = [sys.executable, "-P", "-m", "api.recipe_of"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            command,
            env=environment_of(settings),
            capture_output=True,
            timeout=SECONDS,
            input=(device.model_dump_json() if device else "").encode(),
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except OSError as error:  # a variable has 128 KiB at most (Linux, execve(2))
        raise SettingsError(
            f"The recipe cannot be handed to a process: {error.strerror}.", "State fewer or shorter options."
        ) from error
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise MissingDependency(
            f"The models of the recipe could not be asked: {type(error).__name__}.",
            "`hardpose doctor` on the machine of the API says what is missing there.",
        ) from error
    if "recipe" in answer:
        return _read(answer["recipe"])
    raise _KINDS.get(answer["code"], SettingsError)(answer["cause"], answer["remedy"])


def _read(answer: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(answer)
    except ValidationError as error:
        raise SettingsError(
            f"The recipe cannot be used: {error.errors()[0]['msg']}.", "Correct it."
        ) from error


def main() -> None:
    """Prints ``{"recipe": ...}`` or the typed error as the last line of standard output."""
    from tasks.runtime import Runtime

    try:
        given = sys.stdin.read()
        device = ModelSpec.model_validate_json(given) if given else None
        answer: dict[str, Any] = {"recipe": Runtime(load_settings()).recipe(device).model_dump(mode="json")}
    except HardposeError as error:
        answer = {"code": error.code, "cause": error.cause, "remedy": error.remedy}
    except ModuleNotFoundError as error:
        missing = MissingDependency.code
        cause = f"The package {error.name} is not installed on the machine of the API."
        answer = {
            "code": missing,
            "cause": cause,
            "remedy": "Start a worker, or pip install 'hardpose[cpu]' there.",
        }
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
