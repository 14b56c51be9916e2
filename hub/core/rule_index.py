"""The rules of an application in the form in which they are asked: for one device, all that it is wanted of, at once.

A rule is looked at when it is put, not when a device comes. What is left to do for a device is a look-up of its id and
type and one walk through its resources, however many rules there are. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable

from hub.core.rule import Rule
from hub.model.device import Device

MOST_MIXTURES = 256
"""Of paths of several rules that fitted some device and are kept for the next."""

# Devices of LwM2M often register objects and instances only; what is inside them they know themselves.
CONTAINER = re.compile(r"/\d+(?:/\d+)?")
SLASHES = re.compile("/{2,}")


class RuleIndex:
    """Rules by the devices that they speak of."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._patterns: list[set[str]] = []
        self._named: dict[str, dict[str | None, int]] = {}
        self._begun: dict[str, dict[str | None, int]] = {}
        for rule in rules:
            name = "*" if rule.device is None else rule.device
            place, key = (self._begun, name[:-1]) if name.endswith("*") else (self._named, name)
            number = place.setdefault(key, {}).setdefault(rule.type, len(self._patterns))
            if number == len(self._patterns):
                self._patterns.append(set())
            self._patterns[number].update(map(_rooted, rule.paths or ("*",)))
        self._lengths = sorted({len(begin) for begin in self._begun})
        self._mixtures: dict[tuple[int, ...], _Paths] = {}

    def wanted(self, device: Device) -> set[str]:
        """The paths of the device that its fitting rules want."""
        fitting = self._fitting(device)
        return self._paths(fitting).of(device) if fitting else set()

    def _fitting(self, device: Device) -> tuple[int, ...]:
        places = [self._named.get(device.id)]
        places += [self._begun.get(device.id[:length]) for length in self._lengths]
        types = (None,) if device.type is None else (None, device.type)
        return tuple(place[type] for place in places if place is not None for type in types if type in place)

    def _paths(self, fitting: tuple[int, ...]) -> _Paths:
        paths = self._mixtures.get(fitting)
        if paths is None:
            paths = _Paths(set().union(*(self._patterns[number] for number in fitting)))
            if len(self._mixtures) >= MOST_MIXTURES:
                self._mixtures.clear()
            self._mixtures[fitting] = paths
        return paths


class _Paths:
    """Patterns, each once: whole paths with the containers that may hold them, and beginnings of which none begins
    as another does."""

    __slots__ = ("_begins", "_whole")

    def __init__(self, patterns: set[str]) -> None:
        begins: list[str] = []
        for begin in sorted(pattern[:-1] for pattern in patterns if pattern.endswith("*")):
            if not begins or not begin.startswith(begins[-1]):
                begins.append(begin)
        self._begins = begins
        self._whole = {pattern: _holders(pattern) for pattern in patterns if not pattern.endswith("*")}

    def of(self, device: Device) -> set[str]:
        """The paths of a device that are meant."""
        offered = {resource.path for resource in device.resources}
        listed = sorted({resource.path for resource in device.resources if resource.observable})
        found = self._whole.keys() & set(listed)
        for path, holders in self._whole.items():
            if path not in offered and not offered.isdisjoint(holders):
                found.add(path)
        for begin in self._begins:
            at = bisect_left(listed, begin)
            while at < len(listed) and listed[at].startswith(begin):
                found.add(listed[at])
                at += 1
        return found


def _rooted(pattern: str) -> str:
    """Resources are named with their slash, and one at a time, as in the addresses of requests."""
    return SLASHES.sub("/", pattern if pattern.startswith(("/", "*")) else "/" + pattern)


def _holders(path: str) -> tuple[str, ...]:
    """The objects and instances that a path lies in."""
    parts = path.split("/")
    ways = ("/".join(parts[:length]) for length in (2, 3) if len(parts) > length)
    return tuple(way for way in ways if CONTAINER.fullmatch(way))
