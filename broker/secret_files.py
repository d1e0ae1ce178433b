"""Secrets that lie in files, as Docker and Kubernetes mount them, and passwords that are filled into URLs.

``HARDPOSE_BROKER_URL_FILE=/run/secrets/broker_url``.
"""

import os
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from broker.errors import SettingsError

PREFIX, SUFFIX = "HARDPOSE_", "_FILE"
MOST_BYTES = 1024 * 1024
"""A secret is short; a larger file is another one, named by mistake."""


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is one that does not show, and so may lie in a file."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the files that the environment names. An empty name is none."""

    def __call__(self) -> dict[str, Any]:
        """The secrets by the names of their settings.

        Raises:
            SettingsError: a file cannot be used; a setting has both a value and a file; a setting that is no
                secret has a file.
        """
        given = {name.upper() for name, value in os.environ.items() if value}  # case does not count there
        found = {}
        for setting, field in self.settings_cls.model_fields.items():
            variable = f"{PREFIX}{setting.upper()}"
            if path := os.environ.get(f"{variable}{SUFFIX}"):
                _refuse(variable, is_secret(field), given)
                found[setting] = read_secret(f"{variable}{SUFFIX}", Path(path))
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: all are read at once."""
        raise NotImplementedError


def _refuse(variable: str, secret: bool, given: set[str]) -> None:
    if not secret:
        raise SettingsError(
            f"{variable}{SUFFIX} is set, and {variable} is no secret: it is not read from a file.",
            f"Set {variable} itself.",
        )
    if variable in given:
        raise SettingsError(
            f"Both {variable} and {variable}{SUFFIX} are set.", "Take one of them out of the environment."
        )


def read_secret(variable: str, path: Path) -> str:
    """The text of the file at ``path`` without the line's end that editors and ``echo`` leave behind it.

    Raises:
        SettingsError: it cannot be read, is empty, or is no text. The text itself is not shown.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise _unusable(variable, path, error.strerror or type(error).__name__) from error
    except UnicodeDecodeError:
        raise _unusable(variable, path, "it is not text in UTF-8") from None  # the error holds the secret
    text = text.rstrip("\r\n")
    if not text or len(data) > MOST_BYTES:
        raise _unusable(variable, path, "it is empty" if not text else "it is too large for a secret")
    return text


def _unusable(variable: str, path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"The file {path}, which {variable} names, cannot be used: {why}.",
        "Write the secret alone into it, in a line, so that the user of this process may read it.",
    )


def with_password(url: str, password: str) -> str:
    """``url`` with ``password`` in it, quoted (RFC 3986, section 3.2.1), if it names a host and no password.

    Example:
        >>> with_password("postgresql+psycopg://hardpose@db/hardpose", "a/b")
        'postgresql+psycopg://hardpose:a%2Fb@db/hardpose'
    """
    scheme, mark, rest = url.partition("://")
    end = next((n for n, letter in enumerate(rest) if letter in "/?#"), len(rest))
    user, _, hosts = rest[:end].rpartition("@")
    name, _, own = user.partition(":")
    if not mark or not rest[:end] or own:
        return url
    return f"{scheme}://{name}:{quote(password, safe='')}@{hosts}{rest[end:]}"
