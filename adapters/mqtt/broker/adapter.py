"""Devices behind an MQTT broker, behind the adapter contract: the hub is one more client of the broker.

One connection carries calls, answers and statuses, another one what devices tell by themselves, so that answers never
wait behind telemetry that the disk cannot take. Each table of the configuration is one broker and one way of speaking.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar

from adapters.mqtt import topics
from adapters.mqtt.broker.calls import Calls
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice, PostedObservation
from adapters.mqtt.broker.devices import Devices
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.intake import Intake, tells
from adapters.mqtt.broker.link import Link
from adapters.mqtt.broker.pattern import Pattern, is_address, widest
from adapters.mqtt.broker.place import Place, place_of
from adapters.mqtt.broker.posts import FILTERS, NOT_HERE, RAW, Posts
from adapters.mqtt.broker.request import Declared, sending
from adapters.mqtt.broker.sessions import Sessions
from adapters.mqtt.broker.settings import BrokerSettings, read
from adapters.mqtt.broker.speaking import way_of
from adapters.mqtt.broker.way import Sending
from hub.model.device import Presence
from hub.ports.abilities import KnowsServices
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    BadRequest,
    Capabilities,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Observation,
    ObserveSpec,
    Unsupported,
)

NOTHING_YET = DeviceResponse(204)

log = logging.getLogger("hub.adapter.mqtt-broker")


def create(settings: Mapping[str, Any]) -> BrokerAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return BrokerAdapter(read(settings))


class BrokerAdapter:
    """All devices of one broker that are spoken to in one way."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        # A name that is made up anew at each start has nothing to come back to.
        self.client_id = settings.client_id or f"hub-{secrets.token_hex(8)}"
        self._replies = Pattern(settings.replies).fill(client=self.client_id)
        self._way = way_of(settings, self._replies)
        self._tells = bool(settings.telemetry) or settings.speak == "enos"
        self.capabilities = Capabilities(
            role=frozenset({"connect"}),
            methods=self._way.methods,
            idempotent_methods=self._way.idempotent,
            observe="native" if self._tells else "none",
            presence="inferred" if settings.presence.topic is None else "explicit",
            per_device_inflight=settings.window,
            total_inflight=settings.total,
            max_payload=settings.max_payload,
        )
        # What takes calls, and what runs tasks: these go on while the hub leaves.
        self._ctx: AdapterContext | None = None
        self._home: AdapterContext | None = None
        self.links: list[Link] = []
        self._devices: Devices | None = None
        self._calls: Calls | None = None
        self._intake: Intake | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._trouble = asyncio.Event()
        self.prepared = Sessions({})
        self._ignored = 0

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Make everything ready; the broker is connected to behind it. Raises ValueError for a missing secret."""
        if self._ctx is not None:
            return
        settings = self._settings
        place = place_of(settings, ctx)
        self._ctx = self._home = ctx
        self.prepared = Sessions(settings.sessions)
        if settings.version == 4:
            log.warning("%s: by version = 4 commands do not expire: a broker that keeps QoS 0 for devices that are "
                        "away has them run after their callers were told; most take version = 5", ctx.name)
        devices = self._devices = Devices(ctx, settings, self._gone, self._spawn)
        filters = [*self._way.filters()]
        if settings.presence.topic is not None:
            filters.append(Filter(settings.presence.topic.filter, 0))  # retained: it is read again after a break
        status = Pattern(settings.status).fill(client=self.client_id) if settings.status else ""
        session = settings.session if settings.client_id else 0
        link = Link(
            place, ctx.clock, self.client_id, filters=filters, echo=f"{self._replies}/echo", hear=self._hear,
            changed=self._changed, session=session, will=status, adopts=self._way.adopts, resumed=self.prepared.met,
        )  # fmt: skip
        self.links = [link]
        self._calls = Calls(
            ctx, link, self._way, devices, window=settings.window, total=settings.total, most=settings.max_message,
            expires=settings.version == 5, keeps=settings.keeps_qos0, spawn=self._spawn,
        )  # fmt: skip
        if self._tells:
            self.links.append(self._telemetry(ctx, place, session))
        for one in self.links:
            self._spawn(one.run(), f"connection {one.client_id}")
        if settings.sessions:
            self._spawn(self.prepared.run(place, ctx.clock, self._ready.wait, self._services), "sessions")

    def _telemetry(self, ctx: AdapterContext, place: Place, session: int) -> Link:
        """The connection for what devices tell. Hubs of a group share it: what the broker has given to one of them
        waits for that one, and only where the broker can be told for how long."""
        settings = self._settings
        if settings.group:
            session = settings.group_session if settings.client_id and settings.version == 5 else 0
        told = [rule.topic.filter for rule in settings.telemetry]
        told += FILTERS if settings.speak == "enos" else ()
        begin = f"$share/{settings.group}/" if settings.group else ""
        filters = [Filter(begin + one, optional=one in NOT_HERE) for one in widest(told)]
        link = Link(
            place, ctx.clock, f"{self.client_id}-intake", filters=filters,
            echo=f"{self._replies}/intake-echo", hear=self._told, changed=self._changed,
            session=session, resumed=self._let_in,
        )  # fmt: skip
        assert self._devices is not None
        posts = Posts(link.publish) if settings.speak == "enos" else None
        self._intake = Intake(
            ctx, settings, self._devices, posts, pause=link.pause, spawn=self._spawn,
            statuses=self.links[0].caught_up, keeps=session > 0,
        )  # fmt: skip
        return link

    def _let_in(self, resumed: bool) -> None:
        if self._intake is not None:
            self._intake.let_in(resumed)

    async def stop(self, grace: float) -> None:
        """Fail open calls at once, and leave the broker."""
        if self._ctx is None or self._devices is None or self._calls is None:
            return
        self._ctx = None
        self._ready.clear()
        self._calls.fail("the hub stops")
        if self._intake is not None and self._settings.group:
            # The others have the share from now on; what was given to this hub, only this hub can hold.
            await self.links[-1].withdraw(self._intake.idle, grace)
        self._home = None
        self._devices.close()
        tasks, self._tasks = self._tasks, set()
        links, self.links = self.links, []
        for link in links:
            await link.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, coro: Coroutine[Any, Any, None], name: str) -> None:
        if self._home is None:
            coro.close()
            return
        task = self._home.spawn(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connected(self) -> None:
        """Return once the broker is there."""
        await self._ready.wait()

    async def troubled(self) -> None:
        """Return once a connection to the broker is lost."""
        self._trouble.clear()
        if all(link.up for link in self.links):
            await self._trouble.wait()

    async def known(self, device: str, presence: Presence) -> None:
        """Return once a device is known to be so."""
        if self._devices is not None:
            await self._devices.until(device, presence)

    def _changed(self) -> None:
        """A connection came up or broke; calls depend on the first."""
        if self._ctx is None or self._devices is None or self._calls is None or not self.links:
            return
        up = self.links[0].up
        if any(link.up for link in self.links):
            for link in self.links:
                link.hurry()
        if all(link.up for link in self.links):
            self._ready.set()
        else:
            self._ready.clear()
            self._trouble.set()
        if up is not self._devices.up:
            self._devices.broker(up)
            if not up:
                self._calls.fail("the connection to the broker broke")

    def _gone(self, device: BrokerDevice) -> None:
        if self._calls is not None:
            self._calls.fail("the device is away", device)

    # -- in -------------------------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        if self._ctx is None or self._calls is None or self._devices is None:
            return
        fits = len(message.payload) <= self._settings.max_message
        # Statuses first: the answers of templates may come by a pattern that they match as well.
        if fits and self._devices.status(message):
            message.acknowledge()
        elif not self._calls.hear(message):
            self._ignored += 1
            message.acknowledge()

    def _told(self, message: Message) -> None:
        if self._home is not None and self._intake is not None:
            self._intake.hear(message)

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a size, an address that is no part of a topic."""
        try:
            self.judge_address(req.device)
        except ValueError as wrong:
            raise BadRequest(f"the address of the device {wrong}", delivery=Delivery.NOT_SENT) from None
        self._sending(req)

    def judge_address(self, address: str) -> None:
        """Raise ValueError for an address that no device here can have."""
        if not self._addresses(address):
            what = "<product key>/<device key>" if self._settings.levels == 2 else "one level of a topic"
            raise ValueError(f"is not {what}")

    def _addresses(self, device: str) -> bool:
        return is_address(device, self._settings.levels)

    def _sending(self, req: DeviceRequest) -> Sending:
        ctx, deadline = self._ctx, 0
        if ctx is not None:
            left = req.deadline - ctx.clock.monotonic()
            deadline = int((ctx.clock.now().timestamp() + left) * 1000)
        return sending(self._settings, self._way, req, deadline, self._services)

    def _services(self, address: str) -> Declared:
        return self._ctx.services(address) if isinstance(self._ctx, KnowsServices) else None

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        ctx, calls = self._ctx, self._calls
        if ctx is None or calls is None or not self._addresses(req.device):
            raise NotConnected("there is no such device", delivery=Delivery.NOT_SENT)
        sending = self._sending(req)
        self._there(req.device)
        if req.deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        return await calls.call(req, sending)

    def _there(self, address: str) -> Devices:
        """Raises NotConnected for a device that cannot be reached now; it is told when it can be."""
        devices = self._devices
        if self._ctx is None or devices is None or not self._addresses(address):
            raise NotConnected("there is no such device", delivery=Delivery.NOT_SENT)
        if devices.presence(address) is Presence.OFFLINE:
            devices.at(address).turned_away = True
            what = "device" if devices.up else "broker"
            raise NotConnected(f"the {what} is not there", delivery=Delivery.NOT_SENT)
        return devices

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Devices tell by themselves: an observation begins with the hub."""
        if not self._observable(spec.target):
            raise Unsupported("nothing is told of this target", delivery=Delivery.NOT_SENT)
        device = self._there(spec.device).at(spec.device)
        observation = PostedObservation(spec, device)
        older = device.observations.get(spec.target)
        if older is not None:
            older.active = False  # one of a target is enough
        device.observations[spec.target] = observation
        return NOTHING_YET, observation

    def _observable(self, target: str) -> bool:
        kind, _, name = target.strip("/").partition("/")
        if self._settings.speak == "enos" and (
            target == RAW or (kind in ("measurepoint", "event") and topics.is_service(name))
        ):
            return True
        return any(tells(rule, target) for rule in self._settings.telemetry)

    def expel(self, device: str) -> None:
        """The hub has no such device any more; should it have it again, it is told anew who is there."""
        if self._devices is not None:
            self._devices.forget(device)

    # -- the rest of the contract ---------------------------------------------------------------

    def presence(self, device: str) -> Presence:
        """What the device said last, or what can be told from hearing it; offline while the broker is."""
        return Presence.OFFLINE if self._ctx is None or self._devices is None else self._devices.presence(device)

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        if self._ctx is None or self._devices is None or self._calls is None or not self._addresses(device):
            return 0
        if self._devices.presence(device) is Presence.OFFLINE:
            # Whoever is turned away now is told when that changes.
            self._devices.at(device).turned_away = True
            return 0
        return self._calls.free(self._devices.find(device))

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Down without the broker, degraded while it brings only answers or only telemetry."""
        if self._ctx is None or self._devices is None or self._calls is None:
            return {"state": "down"}
        ups = [link.up for link in self.links]
        trouble = next((link.trouble for link in self.links if not link.up), "")
        intake = self._intake
        return {
            "state": "down" if not any(ups) else "up" if all(ups) and not self.prepared.missing else "degraded",
            "trouble": trouble,
            "client": self.client_id,
            "devices": len(self._devices),
            "open": len(self._calls),
            "losses": sum(link.losses for link in self.links),
            "ignored": self._ignored + self._calls.ignored + self._devices.ignored + (intake.ignored if intake else 0),
            "waiting": intake.pending if intake else 0,
            "shed": self._calls.shed + (intake.shed if intake else 0),
        }
