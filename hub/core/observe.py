"""Wanted observations: who wants to be told of which resource, and the running observation that serves them all.

There is one observation per (device, path), whoever wants it, and one event per wanting application, all in one commit
(decisions H1). After a device registered the core renews its observations; an adapter only reports that one ended. The
wants themselves are `wants.py`, rules that make them `rules.py`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial

import anyio
import anyio.lowlevel

from hub.core.cache import Cache
from hub.core.channels import DEFAULT
from hub.core.directory import Directory
from hub.core.ending import backoff
from hub.core.owed import CANCELLED, LEFT, Owed
from hub.core.rule import Rule
from hub.core.rules import Rules, observable
from hub.core.running import Running
from hub.core.tasks import Tasks
from hub.core.values import Values
from hub.core.wants import MOST_WANTS, Life, Wanted, Wants, Watched, registered, without
from hub.core.writes import Writes
from hub.model.device import Device, Presence
from hub.model.errors import MethodNotAllowed, NotFound, StorageFailed, TooMany
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind
from hub.ports.adapter import (
    Adapter,
    Busy,
    CallError,
    DeviceEvent,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Observation,
    ObserveSpec,
    Unreachable,
)
from hub.ports.clock import Clock
from hub.ports.engine import ChannelLog

OBSERVE_TIME = 30.0
CANCEL_TIME = 10.0

TakenBack = Callable[[Sequence[tuple[str, str]]], Awaitable[None]]
"""Is told the devices and paths that only rules wanted that are gone."""

log = logging.getLogger("hub.observe")


class Observing:
    """Keeps the wanted observations running."""

    def __init__(
        self,
        directory: Directory,
        adapters: Mapping[str, Adapter],
        channel_log: ChannelLog,
        clock: Clock,
        cache: Cache | None = None,
    ) -> None:
        self.rules = Rules(directory)
        self._directory, self._adapters = directory, adapters
        self._log, self._clock = channel_log, clock
        self._values = Values(channel_log, Cache(clock) if cache is None else cache)
        self._owed = Owed(directory, channel_log, clock)
        self._wants = Wants(directory, self.rules, self._stop)
        self._rules_put = Writes()
        self._running: dict[Watched, Running] = {}
        self._tasks: Tasks | None = None

    # -- life -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Know the stored rules and wants. Call after the directory was loaded."""
        self.rules.load()
        self._wants.load()
        self._owed.load()

    def go(self, tasks: Tasks) -> None:
        """Begin to observe, for devices that are online already too."""
        self._tasks = tasks
        for owner in self._wants.owners():
            device = self._directory.device(*owner)
            if device is not None and device.presence is Presence.ONLINE:
                self.renew(device)
        for owner in self._owed.owners():
            tasks.create_task(self._owed.cancel(owner, self._wants.of(owner), CANCELLED), name="tell the unsubscribed")

    def halt(self) -> None:
        """Start nothing more."""
        self._tasks = None

    # -- wants ----------------------------------------------------------------------------------

    def wanted(self, application: str, device: Device) -> list[str]:
        """The paths of a device that the application wants, in order."""
        return sorted(self._wants.of((device.account, device.id)).get(application, ()))

    async def want(
        self, application: str, device: Device, path: str, life: Life = Life.LASTING, *, tell_again: bool = False,
        ref: str | None = None,
    ) -> bool:
        """Remember a want and start observing; True if it is new. Whoever is new is told the present value first,
        with `tell_again` an old one too. With a `ref` that is an outcome of this id, as is a refusal by the device.

        Raises NotFound for a resource that the device does not have, MethodNotAllowed for one that cannot be
        observed, TooMany when the application wants too much of this device, StorageFailed.
        """
        adapter = self._adapters.get(device.adapter)
        if adapter is not None and adapter.capabilities.observe == "none":
            raise MethodNotAllowed("this device offers no observation", code="not-observable")
        can = observable(device, path)
        if can is None:
            raise NotFound("no such resource", code="resource-not-found")
        if not can:
            raise MethodNotAllowed("this resource cannot be observed", code="not-observable")

        def add(wanted: Wanted) -> None:
            if path not in wanted and len(wanted) >= MOST_WANTS:
                raise TooMany(f"at most {MOST_WANTS} resources of a device", code="too-many-observations")
            wanted[path] = wanted.get(path, Life(0)) | life

        owner = (device.account, device.id)
        with self._owed.room(application, owner) if ref is not None else nullcontext():
            before = await self._wants.change(application, owner, add)
            if ref is not None:
                await self._owed.promise(application, device, path, ref)
        running = self._running.get((device.account, device.id, path))
        if running is None:
            self._start(device, path)
        elif ref is not None:
            if running.task is None:
                await self._owed.pay((device.account, device.id), path, running.last or DeviceResponse(200))
        elif running.last is not None and (path not in before or tell_again):
            await self._values.tell(device, path, running.last, [application])
        return path not in before

    async def unwant(self, application: str, device: Device, path: str | None = None) -> bool:
        """Forget a want of a device, or all of them; an observation ends with its last want. False if there was
        none. What is told for it is on disk then. Raises StorageFailed."""

        def remove(wanted: Wanted) -> None:
            if path is None:
                wanted.clear()
            else:
                wanted.pop(path, None)

        before = await self._wants.change(application, (device.account, device.id), remove)
        await self._unwanted(device, CANCELLED)
        await self._values.told((device.account, device.id))
        return bool(before) if path is None else path in before

    async def put_rules(
        self, application: str, account: str, rules: Sequence[Rule], taken_back: TakenBack | None = None
    ) -> None:
        """Replace the application's rules. New ones speak from a device's next registration or update on; what only a
        rule wanted that is gone now is wanted no more. `taken_back` is called with that before this returns; when that
        fails, or the hub ends before, once more when rules are put again. Raises what it raises, and StorageFailed."""
        async with self._rules_put.line(Kind.RULE, application):
            # First of all what is left from before: only what is written next knows of it after a restart.
            await self._take_back(application, taken_back)
            await self._wants.settle(application)
            await self.rules.replace(application, account, rules)
            await self._wants.forget_ruled(application, account)
            await self._values.told()
            await self._take_back(application, taken_back)

    async def _take_back(self, application: str, taken_back: TakenBack | None) -> None:
        gone = self._wants.gone(application)
        if gone and taken_back is not None:
            await taken_back(gone)
        self._wants.taken_back(application)

    @asynccontextmanager
    async def registering(self, device: Device, *, anew: bool) -> AsyncIterator[None]:
        """A registration (`anew`) or an update of one is about to be told, within the block: apply the rules to what
        it says, and end what lasts only until a registration. Raises StorageFailed.

        It comes before the telling, so that a want that answers the telling is not ended by it.
        """
        owner = (device.account, device.id)

        def apply(application: str, wanted: Wanted) -> None:
            registered(wanted, self.rules.wanted(application, device), anew)

        with self._wants.telling(device):
            known = self._wants.of(owner)
            applications = {application.id for application in self._directory.applications(device.account)}
            for application in sorted(applications | known.keys()):
                if application in known or self.rules.of(application):
                    # By the rules as they are when its turn comes.
                    await self._wants.change(application, owner, partial(apply, application))
                    await anyio.lowlevel.checkpoint()
            await self._unwanted(device, LEFT)
            yield

    async def left(self, device: Device) -> None:
        """The device's registration is over: who waits for the outcome of a subscription is told so."""
        await self._owed.cancel((device.account, device.id), {}, LEFT)

    async def _unwanted(self, device: Device, answer: DeviceResponse) -> None:
        owner = (device.account, device.id)
        await self._owed.cancel(owner, self._wants.of(owner), answer)

    # -- observations ---------------------------------------------------------------------------

    def renew(self, device: Device) -> None:
        """The device registered (again): whatever was observed before is gone, whatever is wanted is started."""
        for path in self._wants.paths(device):
            self._let_go((device.account, device.id, path))
        self.appeared(device)

    def appeared(self, device: Device) -> None:
        """The device was heard from: start what is wanted and does not run."""
        for path in self._wants.paths(device):
            self._start(device, path)

    def ended(self, device: Device, path: str) -> None:
        """An observation ended by itself: start it again while it is wanted and the device is there."""
        key = (device.account, device.id, path)
        self._let_go(key)
        if self._wants.who(key[:2], path) and device.presence is Presence.ONLINE:
            self._start(device, path)

    def _let_go(self, key: Watched) -> Running | None:
        running = self._running.pop(key, None)
        if running is not None and running.task is not None:
            running.task.cancel()
        return running

    def _stop(self, key: Watched) -> None:
        running = self._let_go(key)
        if running is not None and running.observation is not None and self._tasks is not None:
            self._tasks.create_task(_cancel(running.observation), name=f"end observation {key[2]}")

    def _start(self, device: Device, path: str) -> None:
        key = (device.account, device.id, path)
        if self._tasks is None or key in self._running or device.adapter not in self._adapters:
            return
        running = self._running[key] = Running()
        running.task = self._tasks.create_task(self._establish(key, running), name=f"observe {path}")

    async def _establish(self, key: Watched, running: Running) -> None:
        try:
            await self._try(key, running)
        except Exception:
            # An adapter's bug: it is tried again when the device shows up.
            log.exception("observing %s of device %s", key[2], key[1])
        finally:
            if running.observation is None and self._running.get(key) is running:
                del self._running[key]

    async def _try(self, key: Watched, running: Running) -> None:
        tries = 0
        owner, path = key[:2], key[2]
        while self._running.get(key) is running and self._wants.who(owner, path):
            device = self._directory.device(*owner)
            adapter = None if device is None else self._adapters.get(device.adapter)
            if device is None or adapter is None:
                break
            running.tried()
            try:
                response, observation = await adapter.observe(
                    ObserveSpec(device.address, path), self._clock.monotonic() + OBSERVE_TIME
                )
            except (NotConnected, Busy, Unreachable, DeviceTimeout) as error:
                if adapter.presence(device.address) in (Presence.ASLEEP, Presence.OFFLINE):
                    break  # it is tried again when the device shows up
                log.info("observing %s of device %s failed, trying again: %s", path, device.id, error)
                await self._clock.sleep_until(self._clock.monotonic() + backoff(tries))
                tries += 1
                continue
            except CallError as error:
                await self._refused(device, path, DeviceResponse(error.status, native={"error": error.code}))
                break
            if response.status >= 300:
                await _cancel(observation)
                await self._refused(device, path, response)
                break
            if running.begun(observation, response):
                self._values.remember(device, path, response)
            await self._first(device, path, running, response)
            return

    async def _first(self, device: Device, path: str, running: Running, value: DeviceResponse) -> None:
        """Pay what is owed, and tell the value unless a newer one was told before it."""
        try:
            owner = (device.account, device.id)
            told = await self._owed.pay(owner, path, running.last or value)
            if running.last is value:
                await self._values.tell(device, path, value, set(self._wants.who(owner, path)) - told)
        except StorageFailed as failure:
            log.warning("the first value of %s could not be stored: %s", path, failure)

    async def _refused(self, device: Device, path: str, answer: DeviceResponse) -> None:
        """The device will not be observed: those who subscribed for its registration are told so, and subscribe no
        more. Other wants stay and are tried again when the device shows up."""
        log.info("%s of device %s cannot be observed: %d", path, device.id, answer.status)
        owner = (device.account, device.id)
        for application in self._wants.who(owner, path):
            async with self._wants.line(owner, application):
                life = self._wants.of(owner).get(application, {}).get(path, Life(0))
                if Life.REGISTRATION not in life:
                    continue
                try:
                    if not await self._owed.pay(owner, path, answer, application):
                        body = self._owed.outcome(owner, f"{device.id}{path}", answer)
                        draft = EventDraft(f"{application}/{DEFAULT}", EventKind.COMPLETION, body)
                        await self._log.append([draft], {draft.channel: device.account})
                    await self._wants.change_in_line(application, owner, without(path, Life.REGISTRATION))
                except StorageFailed as failure:
                    log.warning("the refusal of %s could not be stored: %s", path, failure)

    # -- values ---------------------------------------------------------------------------------

    async def notified(self, device: Device, event: DeviceEvent) -> None:
        """Values came: tell every application that wants them; returns once that is on disk. Raises StorageFailed.

        Values that came together (`attrs["values"]`) are told in one commit, one event for each (decisions H3).
        """
        age, owner = event.attrs.get("max_age"), (device.account, device.id)
        together = event.attrs.get("values") or ((event.target or "", event.payload, event.content_type),)
        drafts: list[EventDraft] = []
        for path, payload, content_type in together:
            value = DeviceResponse(200, payload, content_type, age, event.attrs.get("native") or {})
            who, said = self._wants.who(owner, path), event.attrs.get("time")
            drafts += self._values.drafts(device, path, value, who, event.seq, said)
            if event.attrs.get("past"):
                continue
            running = self._running.get((*owner, path))
            if running is None or running.told(value, event.at):
                self._values.remember(device, path, value)
        await self._values.append(owner, drafts)


async def _cancel(observation: Observation) -> None:
    """End an observation that nobody wants; a device that cannot be told so is left to find out by itself."""
    try:
        with anyio.move_on_after(CANCEL_TIME):
            await observation.cancel()
    except CallError as error:
        log.info("an observation could not be ended: %s", error)
