"""Secrets whose files others than their owner can read: no reason not to start, but one to be told of."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub.settings.schema import Settings, Table, fields_of

_OTHERS = 0o077


def exposed(settings: Settings) -> list[str]:
    """One line for each file with a secret that its group or everybody can read; files that are not there are passed
    over. The seal key is not among them: with such a one the hub does not start."""
    lines = []
    for path, file in _files("", settings, settings.folder):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            continue
        if mode & _OTHERS:
            lines.append(f"{path}: the file {file} can be read by others (mode {mode:04o}); use chmod 600")
    return lines


def _files(path: str, value: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Table):
        for name in fields_of(type(value)):
            # An adapter reads its secrets where the process stands.
            start = Path() if path == "" and name == "adapters" else folder
            yield from _files(f"{path}.{name}".lstrip("."), getattr(value, name), start)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _files(f"{path}.{name}", inner, folder)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _files(f"{path}[{index}]", inner, folder)
    elif isinstance(value, str) and value:
        if value.startswith("file:"):
            yield path, folder / Path(value.removeprefix("file:")).expanduser()
        elif path == "tls.key" or (path.endswith("_file") and path != "storage.seal_key_file"):
            yield path, folder / Path(value).expanduser()
