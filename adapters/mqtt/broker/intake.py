"""What devices tell by themselves becomes notifications, by rules or in EnOS words. QoS 1 is acknowledged once the hub
holds it; while too much waits for the disk, nothing more is read of this connection. Answers have another one.

Telling something makes no device: what nobody has declared, and what did not say that it is online, is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice
from adapters.mqtt.broker.devices import Devices
from adapters.mqtt.broker.echo import SETTLE
from adapters.mqtt.broker.final import is_final
from adapters.mqtt.broker.inbox import Held, Told, Value
from adapters.mqtt.broker.posts import Posts
from adapters.mqtt.broker.settings import BrokerSettings
from adapters.mqtt.broker.tables import Telemetry
from hub.model.errors import HubError, UnknownDevice
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

PAUSE = 1.0

log = logging.getLogger("hub.adapter.mqtt-broker")


class Intake:
    """Deals with messages of one connection, those of a device one after the other.

    `statuses` returns when every status is heard that was sent by now: they come by another connection, and what a
    device tells must not overtake that it came. It takes for how many seconds at most that is waited for while that
    connection is away, None for as long as it takes. `keeps`: the broker keeps a session, and sends what was not
    acknowledged on a connection again on the next one, if it still has the session.
    """

    def __init__(
        self, ctx: AdapterContext, settings: BrokerSettings, devices: Devices, posts: Posts | None, *,
        pause: Callable[[bool], None], spawn: Callable[[Coroutine[Any, Any, None], str], None],
        statuses: Callable[[float | None], Awaitable[None]], keeps: bool,
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._settings = settings
        self._devices = devices
        self._posts = posts
        self._pause = pause
        self._spawn = spawn
        self._statuses = statuses
        self._keeps = keeps
        self._busy: dict[BrokerDevice, Held | None] = {}  # with what is being told
        self._verdict = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._heard = 0
        # Devices that say online are made by that, where they have an account to be made in.
        self._made = bool(ctx.settings.get("account")) and settings.presence.topic is not None
        self.pending = 0
        self._paused = False
        self.shed = 0
        self.ignored = 0

    def hear(self, message: Message) -> None:
        """Take in a message."""
        self._heard += 1
        post = None if self._posts is None else self._posts.read(message)
        told = post.told if post is not None else self._by_rule(message)
        if told is None or message.retained or len(message.payload) > self._settings.max_message:
            self.ignored += 1
            message.acknowledge()
            if post is not None and not message.retained:
                post.answer()
            return
        known = self._devices.find(told[0][0])
        if message.qos or post is not None or known is None or not known.confirmed or known.inbox is not None:
            # What is not certain that the hub wants it, it is asked; and what came first is told first.
            if not message.qos and post is None and self.pending + 1 >= self._settings.pending:
                self.shed += 1
                return
            device = self._devices.offered(told[0][0])
            if device is None:
                self.ignored += 1
                message.acknowledge()
            else:
                self._line_up(device, told, message, None if post is None else post.answer)
            return
        for address, values in told:
            if self._ctx.emit(self._event(address, values)):
                self._devices.heard(address)
            else:
                self.shed += 1

    def _by_rule(self, message: Message) -> Sequence[Told] | None:
        for rule in self._settings.telemetry:
            places = rule.topic.read(message.topic)
            if places is not None:
                kind = rule.type or message.one("content_type")
                return [(_filled(rule.device, places), [(_filled(rule.path, places), message.payload, kind)])]
        return None

    def _event(self, address: str, values: Sequence[Value]) -> DeviceEvent:
        known = self._devices.find(address)
        observed = known is not None and any(path in known.observations for path, _, _ in values)
        attrs: dict[str, Any] = {"observed": observed, "max_age": self._settings.max_age or None}
        now = self._ctx.clock.monotonic()
        if len(values) == 1:
            path, payload, kind = values[0]
            return DeviceEvent(EventKind.NOTIFICATION, address, now, path, payload, kind, attrs=attrs)
        return DeviceEvent(EventKind.NOTIFICATION, address, now, attrs={**attrs, "values": tuple(values)})

    # -- what must be held ----------------------------------------------------------------------

    def _line_up(
        self, device: BrokerDevice, told: Sequence[Told], message: Message, answer: Callable[[], None] | None
    ) -> None:
        self.pending += 1
        self._idle.clear()
        if self.pending >= self._settings.pending and not self._paused:
            self._paused = True
            self._pause(True)
        held = Held(told, message, answer)
        if device.inbox is not None:
            device.inbox.append(held)
            return
        device.inbox = deque([held])
        self._busy[device] = None
        self._spawn(self._work(device), "telemetry")

    async def _work(self, device: BrokerDevice) -> None:
        inbox = device.inbox
        assert inbox is not None
        try:
            while inbox:
                if self._comes_again(inbox[0]):
                    await self._verdict.wait()
                    continue
                held = self._busy[device] = inbox.popleft()
                try:
                    await self._deal(held)
                finally:
                    self._less(1)
        finally:
            device.inbox = None
            del self._busy[device]
            self._devices.leave(device)

    async def _deal(self, held: Held) -> None:
        try:
            await self._told(held, None if held.message.qos or held.answer is not None else SETTLE)
            if held.answer is not None and not held.again:
                held.answer()
        except Exception:
            # Whatever is wrong with this one would be so again, and others wait behind it.
            log.exception("what a device told could not be dealt with")
            self.ignored += 1
        held.message.acknowledge()

    def _less(self, messages: int) -> None:
        self.pending -= messages
        if not self.pending:
            self._idle.set()
        if self._paused and self.pending <= self._settings.pending // 2:
            self._paused = False
            self._pause(False)

    async def idle(self) -> int:
        """Return when nothing waits any more of what was heard, with how many messages that were."""
        await self._idle.wait()
        return self._heard

    # -- over connections -----------------------------------------------------------------------

    def _comes_again(self, held: Held) -> bool:
        """Whether the broker may send it again: told now, it would be told twice."""
        return self._keeps and not held.lasting and held.message.gone

    def let_in(self, resumed: bool) -> None:
        """There is another connection. What was not acknowledged on the last one comes again by it, if the broker still
        had the session; else it is here and nowhere else."""
        for device, telling in self._busy.items():
            inbox = device.inbox
            assert inbox is not None
            doubtful = [held for held in (*inbox, telling) if held is not None and self._comes_again(held)]
            for held in doubtful:
                held.again, held.lasting = resumed, not resumed
            if resumed and doubtful:
                kept = [held for held in inbox if not held.again]
                dropped = len(inbox) - len(kept)
                inbox.clear()
                inbox.extend(kept)
                self._less(dropped)
        self._verdict.set()
        self._verdict = asyncio.Event()

    async def _told(self, held: Held, patience: float | None) -> None:
        """Return once the hub holds it all, or will never want it. While it cannot, it waits."""
        for address, values in held.told:
            if values and not await self._taken(held, address, values) and not (
                await self._there(address, patience) and await self._taken(held, address, values)
            ):
                self.ignored += 1
                self._devices.unknown(address)

    async def _taken(self, held: Held, address: str, values: Sequence[Value]) -> bool:
        """Whether the hub took it, or refused it for what it says; it has no such device otherwise."""
        while not held.again:
            try:
                await self._ctx.accept(self._event(address, values))
            except UnknownDevice:
                return False
            except HubError as failure:
                if is_final(failure):
                    log.info("what a device told was not taken: %s", failure)
                    self.ignored += 1
                    return True
                await self._ctx.clock.sleep_until(self._ctx.clock.monotonic() + PAUSE)
            else:
                self._devices.heard(address)
                return True
        return True

    async def _there(self, address: str, patience: float | None) -> bool:
        """Whether it came by now, the device that the hub did not have a moment ago."""
        if await self._devices.settled(address):
            return True
        if not self._made:
            return False
        await self._statuses(patience)
        return await self._devices.settled(address)


def _filled(text: str, places: Any) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def tells(rule: Telemetry, target: str) -> bool:
    """Whether a rule can bring values of a path."""
    begin, place, end = rule.path.partition("{path}")
    return target == rule.path if not place else target.startswith(begin) and target.endswith(end)
