"""Rules that want observations of devices before these have come: which resources of which devices an application
is to be told of whenever such a device registers or updates its registration. Pure but for their storage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.core.directory import Directory
from hub.model.device import Device
from hub.model.record import Kind, Record

# Devices of LwM2M often register objects and instances only; what is inside them they know themselves.
_CONTAINER = re.compile(r"/\d+(?:/\d+)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """Devices by id and type, resources by path; `device` and each path may end in `*`.

    None means any. No paths, or an empty list of them, means every observable resource; the two are kept apart
    because a rule is told back as it was given.
    """

    device: str | None = None
    type: str | None = None
    paths: tuple[str, ...] | None = None

    def fits(self, device: Device) -> bool:
        """Whether the rule speaks of this device."""
        if self.device is not None and not matches(self.device, device.id):
            return False
        return self.type is None or self.type == device.type

    def wanted(self, device: Device) -> set[str]:
        """The paths of a fitting device that the rule wants."""
        if not self.paths:
            return {resource.path for resource in device.resources if resource.observable}
        return {path for pattern in self.paths for path in _named(pattern, device)}


def matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, or begins as a pattern that ends in `*` does."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _named(pattern: str, device: Device) -> set[str]:
    if not pattern.startswith(("/", "*")):
        pattern = "/" + pattern  # resources are named with their slash
    found = {r.path for r in device.resources if r.observable and matches(pattern, r.path)}
    if not pattern.endswith("*") and not found and inside_container(device, pattern):
        found.add(pattern)
    return found


def inside_container(device: Device, path: str) -> bool:
    """Whether the device offers an object or instance that holds the path, and does not name the path itself."""
    if any(resource.path == path for resource in device.resources):
        return False
    return any(
        _CONTAINER.fullmatch(resource.path) and path.startswith(resource.path + "/") for resource in device.resources
    )


def observable(device: Device, path: str) -> bool | None:
    """Whether a path of the device can be observed; None if there is no such path.

    Objects and instances can be, where something in them can be, or where the device alone knows what is in them.
    """
    if not device.resources:
        return True
    if _CONTAINER.fullmatch(path):
        inside = [r for r in device.resources if r.path == path or r.path.startswith(path + "/")]
        if inside:
            return any(r.observable or _CONTAINER.fullmatch(r.path) for r in inside)
    exact = [resource for resource in device.resources if resource.path == path]
    if exact:
        return any(resource.observable for resource in exact)
    return True if inside_container(device, path) else None


class Rules:
    """The rules of every application, one record each, replaced as a whole."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._rules: dict[str, tuple[Rule, ...]] = {}

    def load(self) -> None:
        """Know the stored rules. Call after the directory was loaded."""
        for record in self._directory.records(Kind.RULE):
            self._rules[record.id] = tuple(_rule(entry) for entry in record.body["rules"])

    def of(self, application: str) -> tuple[Rule, ...]:
        """The application's rules, in the order given."""
        return self._rules.get(application, ())

    def wanted(self, application: str, device: Device) -> set[str]:
        """The paths of the device that the application's rules want."""
        found: set[str] = set()
        for rule in self.of(application):
            if rule.fits(device):
                found |= rule.wanted(device)
        return found

    async def replace(self, application: str, account: str, rules: Sequence[Rule]) -> None:
        """Put these in place of all; known from when they are on disk. Raises StorageFailed."""
        if rules:
            body = {"rules": [_entry(rule) for rule in rules]}
            await self._directory.put(Record(Kind.RULE, application, account, body))
            self._rules[application] = tuple(rules)
        else:
            await self._directory.delete(Kind.RULE, application)
            self._rules.pop(application, None)


def _entry(rule: Rule) -> dict[str, Any]:
    return {"device": rule.device, "type": rule.type, "paths": None if rule.paths is None else list(rule.paths)}


def _rule(entry: Mapping[str, Any]) -> Rule:
    paths = entry["paths"]
    return Rule(entry["device"], entry["type"], None if paths is None else tuple(paths))
