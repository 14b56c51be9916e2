"""Where the configuration comes from: flags over `HUB__SECTION__KEY` over the TOML file over the defaults.

Everything wrong is told at once, with its path in the configuration or the name of its variable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from hub.settings.contradictions import contradictions
from hub.settings.environment import overlay
from hub.settings.schema import Settings, SettingsError, Table, did_you_mean, fields_of

_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


def load(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    text: str | None = None,
) -> Settings:
    """The settings, checked whole: types, names, references between tables, secrets that must be there.

    `flags` are section -> key -> value, None meaning not given. `text` stands for a file's content; relative
    paths then start where the process stands. Raises SettingsError with one line per mistake.
    """
    table = _parsed(file, text)
    variables = overlay(table, environ)
    for section, keys in (flags or {}).items():
        given = {key: value for key, value in keys.items() if value is not None}
        if given:
            table[section] = {**table.get(section, {}), **given}
    settings = _converted(table, variables, file.parent if file is not None else Path())
    wrong = contradictions(settings, environ)
    if wrong:
        raise SettingsError(*wrong)
    return settings


def _parsed(file: Path | None, text: str | None) -> dict[str, Any]:
    where = "the configuration" if file is None else str(file)
    try:
        if text is None:
            text = "" if file is None else file.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: is not TOML: {error}") from None


def _converted(table: Mapping[str, Any], variables: Mapping[str, str], folder: Path) -> Settings:
    """Table by table, because msgspec stops at the first mistake and does not say under which id it was."""
    kinds = fields_of(Settings)
    wrong = [f"{section}: no such table{did_you_mean(section, kinds)}" for section in table if section not in kinds]
    values: dict[str, Any] = {}
    for section, kind in kinds.items():
        if section not in table:
            continue
        given = table[section]
        if not isinstance(given, dict):
            wrong.append(f"{section}: must be a table")
        elif (entry_kind := _entries(kind)) is not None:
            values[section] = {id: _entry(f"{section}.{id}", entry, entry_kind, wrong) for id, entry in given.items()}
        else:
            values[section] = _entry(section, given, kind, wrong)
    if wrong:
        raise SettingsError(*(_blamed(line, variables) for line in wrong))
    return Settings(**values, folder=folder)


def _entries(kind: Any) -> type[Table] | None:
    """What stands under each id of a table of tables, None for any other kind of table."""
    entry = get_args(kind)[1] if get_origin(kind) is dict else None
    return entry if isinstance(entry, type) and issubclass(entry, Table) else None


def _entry(path: str, given: Any, kind: Any, wrong: list[str]) -> Any:
    if isinstance(given, dict) and isinstance(kind, type) and issubclass(kind, Table):
        known = fields_of(kind)
        unknown = [key for key in given if key not in known]
        wrong += [f"{path}.{key}: no such key{did_you_mean(key, known)}" for key in unknown]
        given = {key: value for key, value in given.items() if key in known}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        found = _MESSAGE.match(str(error))
        what, inner = (str(error), None) if found is None else (found["what"], found["path"])
        what = re.sub(r"^Object missing required field `(.*)`$", r"is missing the key \1", what)
        wrong.append(f"{path}{inner or ''}: {what[:1].lower()}{what[1:]}".replace("`", ""))
        return None


def _blamed(line: str, variables: Mapping[str, str]) -> str:
    """Name the variable instead of the path where the value came from the environment."""
    path, _, what = line.partition(": ")
    return f"{variables[path]} ({path}): {what}" if path in variables else line
