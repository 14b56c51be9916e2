"""A rule of an application: what it wants to be told of, whenever such a device registers or updates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Devices by id and type, resources by path; `device` and each path may end in `*`.

    None means any. No paths, or an empty list of them, means every observable resource; the two are kept apart
    because a rule is told back as it was given.
    """

    device: str | None = None
    type: str | None = None
    paths: tuple[str, ...] | None = None
