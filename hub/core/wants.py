"""Who wants to be told of which resource of which device, on disk and in memory.

A want is (application, device, path) with a life of its own; the wants of an application for a device are one record,
which outlives device and hub. What is done about a want is `observe.py`.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio.lowlevel

from hub.core.directory import Directory
from hub.core.rules import Rules
from hub.model.device import Device
from hub.model.errors import HubError
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

MOST_GONE = 65_536
"""Of an application: resources that rules ended and that are to be taken back."""

TURN = 1000
"""Steps of a long walk before others have a turn."""

AT_ONCE = 64
"""Records that are written beside each other, so that they share commits."""

Wanted = dict[str, Life]
"""The wants of one application for one device, by path."""

Edit = Callable[[Wanted], None]


class Wants:
    """All wants. `unwanted` is called for each resource that nobody wants any more.

    What memory has is what the record on disk says, less what only rules wanted that are gone meanwhile. While such a
    record says more than is true it is `_stale`, and is written before the rules change once more. `_gone` is what
    ended by rules and was not taken back yet, as far as is known, by application; what is wanted again is not in it.
    """

    def __init__(self, directory: Directory, rules: Rules, unwanted: Callable[[Watched], None]) -> None:
        self._directory = directory
        self._rules = rules
        self._unwanted = unwanted
        self._wants: dict[Owner, dict[str, Wanted]] = {}
        self._stale: dict[str, set[Owner]] = {}
        self._gone: dict[str, OrderedDict[tuple[str, str], None]] = {}
        self._told: dict[Owner, list[Device]] = {}
        self._lines: dict[str, dict[Owner, tuple[asyncio.Lock, list[None]]]] = {}

    def load(self) -> None:
        """Know the stored wants. Call after the directory and the rules were loaded."""
        for record in self._directory.records(Kind.WANT):
            owner = (record.account, str(record.body["device"]))
            wanted = {str(path): Life(life) for path, life in record.body["paths"].items()}
            self._keep_ruled(owner, str(record.body["application"]), wanted)

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

    @contextmanager
    def telling(self, device: Device) -> Iterator[None]:
        """Rules are judged by what a registration says of a device, before the directory knows it."""
        owner = (device.account, device.id)
        told = self._told.setdefault(owner, [])
        told.append(device)
        try:
            yield
        finally:
            told.remove(device)
            if not told:
                self._told.pop(owner, None)

    async def change(self, application: str, owner: Owner, edit: Edit) -> Wanted:
        """Change the wants of an application for a device, on disk first; returns how they were. Raises what
        `edit` raises, having changed nothing, and StorageFailed."""
        async with self.line(owner, application):
            return await self.change_in_line(application, owner, edit)

    async def change_in_line(self, application: str, owner: Owner, edit: Edit) -> Wanted:
        """As `change`, for one who holds the line."""
        before = dict(self.of(owner).get(application, {}))
        after = dict(before)
        edit(after)
        record = _record(owner, application, after)
        stored = self._directory.record(Kind.WANT, record.id)
        if record.body["paths"] != (stored.body["paths"] if stored is not None else {}):
            # Until it is known what became of the write.
            self._stale.setdefault(application, set()).add(owner)
            if after:
                await self._directory.put(record)
            else:
                await self._directory.delete(Kind.WANT, record.id)
        self._fresh(application, owner)
        self._know(owner, application, after)
        return before

    @asynccontextmanager
    async def line(self, owner: Owner, application: str) -> AsyncIterator[None]:
        """Changes of one record, one after the other."""
        lines = self._lines.setdefault(application, {})
        lock, standing = lines.setdefault(owner, (asyncio.Lock(), []))
        standing.append(None)
        try:
            async with lock:
                yield
        finally:
            standing.pop()
            if not standing:
                del lines[owner]
                if not lines:
                    self._lines.pop(application, None)

    # Rules that change.

    async def settle(self, application: str) -> None:
        """Write what the application's rules ended and disk still says, at the latest before other rules are known:
        they may name it again, and it is wanted by a registration only. Raises StorageFailed."""
        while stale := list(self._stale.get(application, ()))[:AT_ONCE]:
            writes = (self.change(application, owner, _as_it_is) for owner in stale)
            for failure in await asyncio.gather(*writes, return_exceptions=True):
                if isinstance(failure, HubError):
                    raise failure
                if isinstance(failure, BaseException):
                    raise RuntimeError("wants could not be written") from failure

    async def forget_ruled(self, application: str, account: str) -> None:
        """The application's rules changed: what only a rule wanted that is gone is wanted no more, but `gone`.

        Only memory changes: there may be very many devices. `load` looks at the rules too.
        """
        done = 0
        # All of which the application wants something or is about to, and more.
        about = (owner for owner in self._lines.get(application, ()) if owner not in self._wants)
        for owner in [*self._wants, *about]:
            done += await self._forget_ruled(application, owner) if owner[0] == account else 1
            if done >= TURN:
                done = 0
                await anyio.lowlevel.checkpoint()

    async def _forget_ruled(self, application: str, owner: Owner) -> int:
        """The same for one device; how many steps that took, about."""
        if application not in self.of(owner) and owner not in self._lines.get(application, ()):
            return 1
        async with self.line(owner, application):
            wanted = self.of(owner).get(application, {})
            device = self._keep_ruled(owner, application, wanted)
            return 50 + len(wanted) + (0 if device is None else len(device.resources))

    def gone(self, application: str) -> list[tuple[str, str]]:
        """Devices and paths that only rules of the application wanted that are gone, and that were not taken back; of
        very many the last."""
        return list(self._gone.get(application, ()))

    def taken_back(self, application: str) -> None:
        """All of `gone` was."""
        self._gone.pop(application, None)

    def _keep_ruled(self, owner: Owner, application: str, wanted: Wanted) -> Device | None:
        """Take these wants into memory, less what only rules wanted that are gone; the device as it was judged."""
        told = self._told.get(owner)
        device = told[-1] if told else self._directory.held_device(*owner)
        kept = wanted
        if any(Life.RULE in life for life in wanted.values()):
            ruled = set() if device is None else self._rules.wanted(application, device)
            judged = {path: life if path in ruled else life & ~Life.RULE for path, life in wanted.items()}
            kept = {path: life for path, life in judged.items() if life}
        self._know(owner, application, kept)
        if kept != wanted:
            self._stale.setdefault(application, set()).add(owner)
        if ended := wanted.keys() - kept.keys():
            gone = self._gone.setdefault(application, OrderedDict())
            gone.update(((owner[1], path), None) for path in ended)
            while len(gone) > MOST_GONE:
                gone.popitem(last=False)
        return device

    def _fresh(self, application: str, owner: Owner) -> None:
        stale = self._stale.get(application)
        if stale is not None:
            stale.discard(owner)
            if not stale:
                del self._stale[application]

    def _know(self, owner: Owner, application: str, wanted: Wanted) -> None:
        mine = self._wants.setdefault(owner, {})
        before = mine.get(application, {})
        if wanted:
            mine[application] = wanted
        else:
            mine.pop(application, None)
        if not mine:
            del self._wants[owner]
        if gone := self._gone.get(application):
            for path in wanted:
                gone.pop((owner[1], path), None)
        for path in before.keys() - wanted.keys():
            if not self.who(owner, path):
                self._unwanted((*owner, path))


def _as_it_is(wanted: Wanted) -> None:
    """Nothing new: only what memory has is to be on disk."""


def _record(owner: Owner, application: str, wanted: Wanted) -> Record:
    account, device = owner
    paths = {path: life.value for path, life in wanted.items()}
    body = {"application": application, "device": device, "paths": paths}
    return Record(Kind.WANT, f"{application}/{device}", account, body)


def registered(wanted: Wanted, ruled: set[str], anew: bool) -> None:
    """What a registration does to the wants of one application whose rules want `ruled`."""
    ends = Life.RULE | Life.REGISTRATION if anew else Life.RULE
    for path in list(wanted):
        wanted[path] &= ~ends
    for path in sorted(ruled)[:MOST_WANTS]:
        wanted[path] = wanted.get(path, Life(0)) | Life.RULE
    for path in [path for path, life in wanted.items() if not life]:
        del wanted[path]


def without(path: str, life: Life) -> Edit:
    """Ends one way of wanting a path; the others stay."""

    def edit(wanted: Wanted) -> None:
        left = wanted.pop(path, Life(0)) & ~life
        if left:
            wanted[path] = left

    return edit
