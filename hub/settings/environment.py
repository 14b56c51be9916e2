"""`HUB__SECTION__KEY` variables laid over the table that was read from the file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from hub.settings.schema import Settings, SettingsError, Table, fields_of

PREFIX = "HUB__"


def overlay(table: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put every `HUB__` variable into `table`; returns path -> variable, so that mistakes can be blamed rightly.

    Variables are upper case and know no hyphens: a key of the file that reads alike is the one meant.
    Raises SettingsError for a name that has no section and key, or that leads through a plain value.
    """
    variables: dict[str, str] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        steps = variable[len(PREFIX) :].lower().split("__")
        if len(steps) < 2 or not all(steps):
            raise SettingsError(f"{variable}: such a variable is named HUB__SECTION__KEY")
        inner = table
        path: list[str] = []
        for step in steps[:-1]:
            path.append(_spelled(inner, step))
            found = inner.setdefault(path[-1], {})
            if not isinstance(found, dict):
                raise SettingsError(f"{variable}: {'.'.join(path)} is not a table")
            inner = found
        path.append(_spelled(inner, steps[-1]))
        inner[path[-1]] = _value(environ[variable], _kind(path))
        variables[".".join(path)] = variable
    return variables


def _spelled(table: Mapping[str, Any], step: str) -> str:
    for key in table:
        if key.lower().replace("-", "_") == step.replace("-", "_"):
            return key
    return step


def _kind(path: list[str]) -> Any:
    kind: Any = Settings
    for step in path:
        if isinstance(kind, type) and issubclass(kind, Table):
            kind = fields_of(kind).get(step)
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return None
    return kind


def _value(text: str, kind: Any) -> Any:
    """The variable's text where text is wanted; otherwise a TOML value, if it is one."""
    if kind is str or get_origin(kind) is Literal or (get_origin(kind) is UnionType and str in get_args(kind)):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
