"""What devices tell by themselves becomes notifications, by rules or in EnOS words. QoS 1 is acknowledged once the hub
holds it; while too much waits for the disk, nothing more is read of this connection. Answers have another one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice
from adapters.mqtt.broker.devices import Devices
from adapters.mqtt.broker.posts import Posts
from adapters.mqtt.broker.settings import BrokerSettings
from adapters.mqtt.broker.tables import Telemetry
from hub.model.errors import HubError, UnknownDevice
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

PAUSE = 1.0

Value = tuple[str, bytes, str | None]
"""Path, payload and content type of something that a device told."""
Told = tuple[str, Sequence[Value]]
"""A device and what it told."""


class Intake:
    """Deals with messages of one connection, those of a device one after the other."""

    def __init__(
        self, ctx: AdapterContext, settings: BrokerSettings, devices: Devices, posts: Posts | None, *,
        pause: Callable[[bool], None], spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._settings = settings
        self._devices = devices
        self._posts = posts
        self._pause = pause
        self._spawn = spawn
        self.pending = 0
        self._paused = False
        self.shed = 0
        self.ignored = 0

    def hear(self, message: Message) -> None:
        """Take in a message."""
        post = None if self._posts is None else self._posts.read(message)
        told = post.told if post is not None else self._by_rule(message)
        if told is None or message.retained or len(message.payload) > self._settings.max_message:
            self.ignored += 1
            message.acknowledge()
            if post is not None and not message.retained:
                post.answer()
            return
        if message.qos or post is not None:
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
        if self.pending >= self._settings.pending and not self._paused:
            self._paused = True
            self._pause(True)

        async def job() -> None:
            await self._held(told)
            message.acknowledge()
            if answer is not None:
                answer()

        if device.inbox is not None:
            device.inbox.append(job)
            return
        device.inbox = deque([job])
        self._spawn(self._work(device), "telemetry")

    async def _work(self, device: BrokerDevice) -> None:
        inbox = device.inbox
        assert inbox is not None
        try:
            while inbox:
                await inbox[0]()
                inbox.popleft()
                self.pending -= 1
                if self._paused and self.pending <= self._settings.pending // 2:
                    self._paused = False
                    self._pause(False)
        finally:
            device.inbox = None

    async def _held(self, told: Sequence[Told]) -> None:
        """Return once the hub holds it all, or will never want it. While it cannot, it waits."""
        for address, values in told:
            while values:
                try:
                    await self._ctx.accept(self._event(address, values))
                    self._devices.heard(address)
                    break
                except UnknownDevice:
                    self.ignored += 1
                    break
                except HubError:
                    await self._ctx.clock.sleep_until(self._ctx.clock.monotonic() + PAUSE)


def _filled(text: str, places: Any) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def tells(rule: Telemetry, target: str) -> bool:
    """Whether a rule can bring values of a path."""
    begin, place, end = rule.path.partition("{path}")
    return target == rule.path if not place else target.startswith(begin) and target.endswith(end)
