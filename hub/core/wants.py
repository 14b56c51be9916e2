"""Who wants to be told of which resource of which device, on disk and in memory.

A want is (application, device, path) with a life of its own; the wants of an application for a device are one record,
which outlives device and hub. What is done about a want is `observe.py`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hub.core.directory import Directory
from hub.core.rules import Rules
from hub.model.device import Device
from hub.model.record import Kind, Record

Owner = tuple[str, str]
"""A device by account and id."""

Watched = tuple[str, str, str]
"""A resource by account, device id and path."""


class Life(enum.Flag):
    """How long a want lasts; one that came in several ways lasts as long as any of them.

    LASTING: until it is taken back. REGISTRATION: until the device registers anew. RULE: while a rule of the
    application names it.
    """

    LASTING = 1
    REGISTRATION = 2
    RULE = 4


MOST_WANTS = 1000
"""Of an application, for one device."""

Wanted = dict[str, Life]
"""The wants of one application for one device, by path."""

Edit = Callable[[Wanted], None]


class Wants:
    """All wants. `unwanted` is called for each resource that nobody wants any more."""

    def __init__(self, directory: Directory, rules: Rules, unwanted: Callable[[Watched], None]) -> None:
        self._directory = directory
        self._rules = rules
        self._unwanted = unwanted
        self._wants: dict[Owner, dict[str, Wanted]] = {}
        self._lines: dict[tuple[Owner, str], tuple[asyncio.Lock, list[None]]] = {}

    def load(self) -> None:
        """Know the stored wants. Call after the directory and the rules were loaded."""
        for record in self._directory.records(Kind.WANT):
            owner = (record.account, str(record.body["device"]))
            wanted = {str(path): Life(life) for path, life in record.body["paths"].items()}
            self._know(owner, str(record.body["application"]), wanted, self._directory.device(*owner))

    def owners(self) -> list[Owner]:
        """The devices of which something is wanted."""
        return list(self._wants)

    def of(self, owner: Owner) -> dict[str, Wanted]:
        """What is wanted of a device, by application; not to be changed."""
        return self._wants.get(owner, {})

    def who(self, owner: Owner, path: str) -> list[str]:
        """The applications that want a resource, in order."""
        return sorted(application for application, wanted in self.of(owner).items() if path in wanted)

    def paths(self, device: Device) -> set[str]:
        """The resources of a device that anybody wants."""
        return {path for wanted in self.of((device.account, device.id)).values() for path in wanted}

    async def change(self, application: str, device: Device, edit: Edit) -> Wanted:
        """Change the wants of an application for a device, on disk first; returns how they were. Raises what
        `edit` raises, having changed nothing, and StorageFailed."""
        async with self.line((device.account, device.id), application):
            return await self.change_in_line(application, device, edit)

    async def change_in_line(self, application: str, device: Device, edit: Edit) -> Wanted:
        """As `change`, for one who holds the line."""
        owner = (device.account, device.id)
        before = dict(self.of(owner).get(application, {}))
        after = dict(before)
        edit(after)
        if after != before:
            record = _record(owner, application, after)
            if after:
                await self._directory.put(record)
            else:
                await self._directory.delete(Kind.WANT, record.id)
            self._know(owner, application, after, device)
        return before

    @asynccontextmanager
    async def line(self, owner: Owner, application: str) -> AsyncIterator[None]:
        """Changes of one record, one after the other."""
        lock, standing = self._lines.setdefault((owner, application), (asyncio.Lock(), []))
        standing.append(None)
        try:
            async with lock:
                yield
        finally:
            standing.pop()
            if not standing:
                del self._lines[owner, application]

    def forget_ruled(self, application: str, owner: Owner) -> None:
        """The application's rules changed: what only a rule wanted that is gone is wanted no more.

        Only memory changes. The record says more than is true until its next change; `load` looks at the rules too.
        """
        wanted = self.of(owner).get(application, {})
        if any(Life.RULE in life for life in wanted.values()):
            self._know(owner, application, wanted, self._directory.device(*owner))

    def _know(self, owner: Owner, application: str, wanted: Wanted, device: Device | None) -> None:
        """Take these wants into memory, less what only rules wanted that are gone meanwhile."""
        if any(Life.RULE in life for life in wanted.values()):
            ruled = set() if device is None else self._rules.wanted(application, device)
            kept = {path: life if path in ruled else life & ~Life.RULE for path, life in wanted.items()}
            wanted = {path: life for path, life in kept.items() if life}
        mine = self._wants.setdefault(owner, {})
        before = mine.get(application, {})
        if wanted:
            mine[application] = wanted
        else:
            mine.pop(application, None)
        if not mine:
            del self._wants[owner]
        for path in before.keys() - wanted.keys():
            if not self.who(owner, path):
                self._unwanted((*owner, path))


def _record(owner: Owner, application: str, wanted: Wanted) -> Record:
    account, device = owner
    paths = {path: life.value for path, life in wanted.items()}
    body = {"application": application, "device": device, "paths": paths}
    return Record(Kind.WANT, f"{application}/{device}", account, body)


def registered(ruled: set[str], anew: bool) -> Edit:
    """What a registration does to the wants of one application whose rules want `ruled`."""

    def edit(wanted: Wanted) -> None:
        ends = Life.RULE | Life.REGISTRATION if anew else Life.RULE
        for path in list(wanted):
            wanted[path] &= ~ends
        for path in sorted(ruled)[:MOST_WANTS]:
            wanted[path] = wanted.get(path, Life(0)) | Life.RULE
        for path in [path for path, life in wanted.items() if not life]:
            del wanted[path]

    return edit


def without(path: str, life: Life) -> Edit:
    """Ends one way of wanting a path; the others stay."""

    def edit(wanted: Wanted) -> None:
        left = wanted.pop(path, Life(0)) & ~life
        if left:
            wanted[path] = left

    return edit
