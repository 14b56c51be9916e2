"""Secrets that the configuration names: given as they are, from a file, or from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hub.settings.schema import SettingsError


def one_of(
    path: str, given: str | None, file: str | None, env: str | None, folder: Path, environ: Mapping[str, str]
) -> str | None:
    """The secret at `path` (`keys.ops.key`), None when none of the three forms is there.

    `given` may itself be `file:PATH` or `env:NAME`. Relative paths start from `folder`. Raises SettingsError
    for two forms at once, a file that cannot be read, a variable that is not set, an empty secret.
    """
    forms = [
        reference
        for reference in (given, None if file is None else f"file:{file}", None if env is None else f"env:{env}")
        if reference is not None
    ]
    if not forms:
        return None
    if len(forms) > 1:
        raise SettingsError(f"{path}: give only one of {path}, {path}_file, {path}_env")
    reference = forms[0]
    try:
        value = read(reference, folder, environ) if reference.startswith(("file:", "env:")) else reference
    except KeyError as error:
        raise SettingsError(f"{path}: {error.args[0]}") from None
    if not value:
        raise SettingsError(f"{path}: is empty")
    return value


def read(reference: str, folder: Path, environ: Mapping[str, str]) -> str:
    """What `env:NAME` or `file:PATH` holds, without the line end of a file. KeyError says in words what is missing."""
    form, _, name = reference.partition(":")
    if form == "env":
        if name not in environ:
            raise KeyError(f"the environment variable {name} is not set")
        return environ[name]
    if form == "file":
        try:
            return (folder / Path(name).expanduser()).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise KeyError(f"the file {name} cannot be read: {why}") from None
    raise KeyError("a secret is named env:NAME or file:PATH")
