"""The core as one value: what dialects, delivery and the composition root hold on to.

`running()` is its life: engine, directory and open calls are loaded first, then adapters start, then calls
are sent and requests taken; at the end the order is reversed. `drain` comes before the end.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from hub.core.access import Access
from hub.core.cache import Cache
from hub.core.calls import Calls
from hub.core.channels import Channels
from hub.core.context import Context
from hub.core.devices import known_by
from hub.core.directory import Directory
from hub.core.dispatch import Dispatch
from hub.core.intake import Intake
from hub.core.limits import Limits
from hub.core.observe import Observing
from hub.core.presence import PresenceBook
from hub.core.products import Products
from hub.core.reads import Reads
from hub.core.recovery import Recovery
from hub.core.stats import Stats
from hub.core.sweep import Sweep
from hub.core.tasks import Tasks
from hub.core.unanswered import Unanswered
from hub.model.call import Call
from hub.model.device import Device
from hub.model.errors import CannotListen, Unavailable
from hub.model.event import Event
from hub.model.ids import new_incarnation
from hub.ports.abilities import Expels, SendsAway, TellsGateways
from hub.ports.adapter import Adapter
from hub.ports.clock import Clock
from hub.ports.engine import Engine

ADAPTER_GRACE = 1.0
ADAPTER_START = 10.0
OUTBOX = "outbox"
"""The bell's topic for delivery rows that were written."""

log = logging.getLogger("hub")


class HubState(enum.Enum):
    """Where the hub's own life stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Hub:
    """Everything below the dialects, composed. `adapters` maps a name to (adapter, its settings)."""

    def __init__(
        self,
        engine: Engine,
        adapters: Mapping[str, tuple[Adapter, Mapping[str, Any]]],
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self.clock = clock
        self.engine = engine
        self.limits = limits or Limits()
        self.incarnation = new_incarnation()
        self.stats = Stats()
        self.state = HubState.STARTING
        self.adapters: dict[str, Adapter] = {}
        self.broken: dict[str, str] = {}
        self._configured = dict(adapters)
        self._contexts: dict[str, Context] = {}
        self._tasks = Tasks()
        self.directory = Directory(engine.directory, clock, self.limits)
        self.directory.on_left = self._expel
        self.directory.on_back = lambda device: self._order(device, "enable")
        self.directory.on_displaced = self._forget_place
        self.directory.on_new_secret = self._doubt
        self.access = Access(self.directory, clock, self.limits, self.stats)
        self.access.homes = _homes(adapters)
        self.channels = Channels(engine.log, self.limits, clock)
        self.cache = Cache(clock, self.limits.cache_entries, self.limits.cache_bytes)
        self.dispatch = Dispatch(engine.journal, self.adapters, clock, self.incarnation, self.stats, self.cache)
        self.dispatch.ends.name_of = self._name_of
        self.dispatch.ends.on_deliveries = lambda: engine.bell.ring(OUTBOX)
        self.observe = Observing(self.directory, self.adapters, engine.log, clock, self.cache)
        self.presence = PresenceBook(self.directory, self.dispatch, self.observe, clock, self.stats)
        self.dispatch.silent = self.presence.silent
        self.calls = Calls(engine.journal, self.dispatch, clock)
        self.intake = Intake(
            engine.journal, self.directory, self.access, self.channels, self.dispatch, self.adapters, clock,
            self.incarnation, self.limits, self.stats,
        )
        self.products = self.intake.products = Products(self.directory)
        self.unanswered = Unanswered(self.intake, self.directory, self.adapters, self.cache, clock)
        self.reads = Reads(self.intake, self.adapters, clock)
        self.sweep = Sweep(engine, self.dispatch, self.presence, clock, self.limits)

    @asynccontextmanager
    async def running(self, declare: Any = None) -> AsyncIterator[Hub]:
        """Live from here to the end of the block. `declare(hub)` is awaited once the directory is loaded, before
        any device may come: it brings in what the configuration declares.

        Raises Locked, Damaged, StorageFailed when the engine cannot start, CannotListen when an adapter has no port.
        """
        await self.engine.start(self._committed)
        try:
            await self.directory.load()
            if declare is not None:
                await declare(self)
            self.observe.load()
            self.presence.load()
            recovery = Recovery(self.dispatch)
            # Adapters are known before the calls are, since lanes are the adapters' words, but start after them.
            self.adapters.update({name: adapter for name, (adapter, _) in self._configured.items()})
            await recovery.load()
            self.presence.block_disabled()
            try:
                await self._start_adapters()
                self.dispatch.go(self._tasks)
                recovery.go()
                self.observe.go(self._tasks)
                self._tasks.create_task(self.sweep.run(), name="sweep")
                self.intake.closed = None
                self.state = HubState.READY
                yield self
            finally:
                await self._wind_up()
        finally:
            await self.directory.settle()
            await self.engine.stop()
            self.state = HubState.STOPPED

    def adapters_for(self, account: str) -> frozenset[str]:
        """The adapters that devices of an account may be put on: its own, and those that belong to no account."""
        return frozenset(name for name in self.adapters if self.access.homes.get(name, account) == account)

    def _name_of(self, call: Call) -> str | None:
        device = self.directory.at(call.adapter, call.address)
        return None if device is None else device.name

    def _expel(self, device: Device) -> None:
        now = self.directory.held_device(device.account, device.id)
        if now is None or now.adapter != device.adapter:
            self._order(device, "delete")
        elif now.disabled and not device.disabled:
            self._order(device, "disable")
        adapter, place = self.adapters.get(device.adapter), (device.adapter, device.address)
        if (now is None or (now.adapter, now.address) != place) and self._vacant(device):
            # Before the adapter gives up what is under way: that is not for whoever comes to this place next.
            self.dispatch.left(place)
        if now is not None and now.disabled and known_by(now) == known_by(device) and isinstance(adapter, SendsAway):
            adapter.send_away(device.address)
        elif self._vacant(device):
            self._forget_place(device)
        if now is not None and (now.adapter, now.address) != place:
            self.presence.moved(device)
        elif now is not None and not now.disabled:
            self.presence.doubted(now)

    def _order(self, device: Device, verb: str) -> None:
        adapter, identity = self.adapters.get(device.adapter), device.aliases.get("product-device")
        if identity is not None and isinstance(adapter, TellsGateways):
            owner = self.directory.held_by_alias("product-device", identity)
            if owner is None or (owner.account, owner.id) == (device.account, device.id):
                adapter.order(identity, verb)

    def _forget_place(self, device: Device) -> None:
        adapter = self.adapters.get(device.adapter)
        if isinstance(adapter, Expels):
            adapter.expel(device.address)

    def _vacant(self, device: Device) -> bool:
        """Whether nobody else has the place of a device; a disabled one keeps its own only until somebody wants it."""
        owner = self.directory.held_at(device.adapter, device.address)
        return owner is None or (owner.account, owner.id) == (device.account, device.id)

    def _doubt(self, device: Device) -> None:
        adapter = self.adapters.get(device.adapter)
        if isinstance(adapter, SendsAway):
            adapter.send_away(device.address)
        elif isinstance(adapter, Expels) and "serve" in adapter.capabilities.role:
            adapter.expel(device.address)
        else:
            return
        self.presence.doubted(device)

    def _committed(self, events: Sequence[Event]) -> None:
        self.stats.events += len(events)
        self.channels.on_commit(events)

    async def drain(self, grace: timedelta) -> None:
        """Take nothing more, send nothing more, and let attempts under way end, for at most `grace`.

        Those who wait for an ending are told how their call stands. Nothing accepted is lost: what has not ended
        goes on at the next start.
        """
        if self.state is not HubState.READY:
            return
        self.state = HubState.DRAINING
        self.intake.closed = Unavailable("the hub is going down", code="draining", retry_after=1)
        self.dispatch.halt()
        self.observe.halt()
        await self.dispatch.quiet(self.clock.monotonic() + grace.total_seconds())
        self.calls.wake_waiters()

    async def _start_adapters(self) -> None:
        async with asyncio.TaskGroup() as starting:
            started = [starting.create_task(self._start_adapter(name)) for name in list(self.adapters)]
        for task in started:
            deaf = task.result()
            if deaf is not None:
                raise deaf

    async def _start_adapter(self, name: str) -> CannotListen | None:
        """Start one adapter; one that fails shows in the health and stops nobody else, unless it cannot listen: its
        devices would knock at a closed door for ever (decisions L1)."""
        adapter, settings = self._configured[name]
        context = self._contexts[name] = Context(self, name, settings)
        try:
            async with asyncio.timeout(ADAPTER_START):
                await adapter.start(context)
        except Exception as error:
            if not isinstance(error, CannotListen):
                log.exception("adapter %s did not start", name)
            self.broken[name] = type(error).__name__
            await context.close()
            del self.adapters[name]
            return error if isinstance(error, CannotListen) else None
        return None

    async def _wind_up(self) -> None:
        self.state = HubState.DRAINING
        self.intake.closed = Unavailable("the hub is going down", code="draining", retry_after=1)
        self.dispatch.halt()
        self.observe.halt()
        self.calls.wake_waiters()
        async with asyncio.TaskGroup() as stopping:
            for name, adapter in self.adapters.items():
                stopping.create_task(self._stop_adapter(name, adapter))
        self.dispatch.ends.close()
        await self._tasks.close()
        self.dispatch.close()

    async def _stop_adapter(self, name: str, adapter: Adapter) -> None:
        try:
            async with asyncio.timeout(2 * ADAPTER_GRACE):
                await adapter.stop(ADAPTER_GRACE)
        except Exception:
            log.exception("adapter %s did not stop", name)
        await self._contexts[name].close()


def _homes(adapters: Mapping[str, tuple[Adapter, Mapping[str, Any]]]) -> dict[str, str]:
    """Adapter -> the account that it belongs to, where its settings name one."""
    named = ((name, settings.get("account")) for name, (_, settings) in adapters.items())
    return {name: account for name, account in named if isinstance(account, str)}
