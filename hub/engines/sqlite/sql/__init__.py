"""SQL by name: the statements of this engine live in the files beside this module, never in Python.

A block begins with `-- name: word` and ends before the next; comment lines right below the name explain it. Files are
read once, at import. `schema_steps` gives the numbered steps of the schema in order.
"""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_STEP = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


def load(group: str) -> dict[str, str]:
    """The statements of one file by name; ValueError if a name comes twice."""
    text = (resources.files(__name__) / f"{group}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{group}.sql has two statements called {name}")
        statements[name] = body.strip()
    return statements


def schema_steps() -> list[tuple[int, str]]:
    """(number, script) of every schema step, ascending; the numbers run from 1 without a hole."""
    steps: list[tuple[int, str]] = []
    for entry in (resources.files(__name__) / "schema").iterdir():
        found = _STEP.match(entry.name)
        if found:
            steps.append((int(found[1]), entry.read_text("utf-8")))
    steps.sort()
    if [number for number, _ in steps] != list(range(1, len(steps) + 1)):
        raise ValueError("the schema steps are not numbered from 1 without a hole")
    return steps
