"""Rules that want observations of devices before these have come: which resources of which devices an application
is to be told of whenever such a device registers or updates its registration. Pure but for their storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.core.directory import Directory
from hub.core.rule import Rule
from hub.core.rule_index import CONTAINER, RuleIndex
from hub.model.device import Device
from hub.model.record import Kind, Record


def inside_container(device: Device, path: str) -> bool:
    """Whether the device offers an object or instance that holds the path, and does not name the path itself."""
    if any(resource.path == path for resource in device.resources):
        return False
    return any(
        CONTAINER.fullmatch(resource.path) and path.startswith(resource.path + "/") for resource in device.resources
    )


def observable(device: Device, path: str) -> bool | None:
    """Whether a path of the device can be observed; None if there is no such path.

    Objects and instances can be, where something in them can be, or where the device alone knows what is in them.
    """
    if not device.resources:
        return True
    if CONTAINER.fullmatch(path):
        inside = [r for r in device.resources if r.path == path or r.path.startswith(path + "/")]
        if inside:
            return any(r.observable or CONTAINER.fullmatch(r.path) for r in inside)
    exact = [resource for resource in device.resources if resource.path == path]
    if exact:
        return any(resource.observable for resource in exact)
    return True if inside_container(device, path) else None


class Rules:
    """The rules of every application, one record each, replaced as a whole."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._indexes: dict[str, RuleIndex] = {}

    def load(self) -> None:
        """Know the stored rules. Call after the directory was loaded."""
        for record in self._directory.records(Kind.RULE):
            self._know(record.id, tuple(_rule(entry) for entry in record.body["rules"]))

    def of(self, application: str) -> tuple[Rule, ...]:
        """The application's rules, in the order given."""
        return self._rules.get(application, ())

    def wanted(self, application: str, device: Device) -> set[str]:
        """The paths of the device that the application's rules want."""
        index = self._indexes.get(application)
        return set() if index is None else index.wanted(device)

    async def replace(self, application: str, account: str, rules: Sequence[Rule]) -> None:
        """Put these in place of all; known from when they are on disk. Raises StorageFailed."""
        if rules:
            body = {"rules": [_entry(rule) for rule in rules]}
            await self._directory.put(Record(Kind.RULE, application, account, body))
            self._know(application, tuple(rules))
        else:
            await self._directory.delete(Kind.RULE, application)
            self._rules.pop(application, None)
            self._indexes.pop(application, None)

    def _know(self, application: str, rules: tuple[Rule, ...]) -> None:
        self._rules[application] = rules
        self._indexes[application] = RuleIndex(rules)


def _entry(rule: Rule) -> dict[str, Any]:
    return {"device": rule.device, "type": rule.type, "paths": None if rule.paths is None else list(rule.paths)}


def _rule(entry: Mapping[str, Any]) -> Rule:
    paths = entry["paths"]
    return Rule(entry["device"], entry["type"], None if paths is None else tuple(paths))
