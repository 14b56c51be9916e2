"""LwM2M devices over CoAP, behind the adapter contract.

Here is one attempt at one call, and the life of the parts: registrar.py (who is there), inbound.py (what comes),
transfer.py (what goes), observing.py, endpoint.py (the socket), dtls.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar

from adapters.lwm2m.endpoint import Endpoint, UdpEndpoint
from adapters.lwm2m.exchange import Owner, Unanswered
from adapters.lwm2m.operation import METHODS, operation
from adapters.lwm2m.parts import Parts
from adapters.lwm2m.response import response_of
from adapters.lwm2m.settings import LwM2MSettings, read
from hub.model.device import Presence
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    Busy,
    Capabilities,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Observation,
    ObserveSpec,
)

log = logging.getLogger("hub.adapter.lwm2m")


def create(settings: Mapping[str, Any]) -> LwM2MAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    wanted = read(settings)
    if wanted.dtls and find_spec("mbedtls") is None:
        raise ValueError("dtls: its library is not installed (extra `dtls`)")
    return LwM2MAdapter(wanted)


class LwM2MAdapter:
    """All LwM2M devices of a hub. `endpoint` takes the place of the UDP socket where there shall be none."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: LwM2MSettings, endpoint: Endpoint | None = None) -> None:
        self._settings = settings
        self._endpoint: Endpoint = endpoint or UdpEndpoint(
            settings.host, settings.port, settings.next_ports, settings.receive_buffer
        )
        self.capabilities = Capabilities(
            role=frozenset({"serve"}),
            methods=frozenset(METHODS),
            idempotent_methods=frozenset({"GET", "PUT", "DELETE", "FETCH", "IPATCH"}),
            observe="native",
            presence="explicit",
            per_device_inflight=settings.inflight,
            total_inflight=settings.total,
            retransmits=True,
            no_response=True,
            late_answers=False,  # from another port it is nobody's; while its device stays, it is awaited
            sleepy=True,
            max_payload=settings.max_payload,
            attempt_timeout=settings.attempt_timeout.total_seconds(),
        )
        self._parts: Parts | None = None

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Know the registrations of before, then open the port. Raises CannotListen when it cannot be had."""
        if self._parts is not None:
            return
        parts = Parts(ctx, self._settings, self._endpoint)
        parts.recall()
        parts.doors.open(parts.inbound.heard)
        self._parts = parts
        log.info("CoAP on UDP ports %s of %s", parts.doors.ports, self._settings.host)
        if self._settings.open and not ctx.settings.get("account"):
            log.warning("open = true without an account: no device will be taken in")

    async def stop(self, grace: float) -> None:
        """Fail open calls, close the port, leave no task. Devices keep their registrations."""
        parts, self._parts = self._parts, None
        if parts is None:
            return
        parts.exchanges.fail(lambda delivery: NotConnected("the hub is stopping", delivery=delivery))
        parts.doors.close()
        await parts.stop()

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a format, a size. What a device has is its to say."""
        operation(req, (), self._settings.max_payload)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        parts = self._parts
        if parts is None:
            raise NotConnected("the adapter is not started", delivery=Delivery.NOT_SENT)
        registration = parts.registry.at(req.device)
        wanted = operation(req, () if registration is None else registration.root, self._settings.max_payload)
        if registration is None or registration.asleep:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        if req.deadline <= parts.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        if registration.free <= 0:
            registration.asked = True
            raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
        if not parts.room.free(req.device):
            raise Busy("too many calls are under way", delivery=Delivery.NOT_SENT)
        if req.options.get("no_response"):
            parts.transfers.tell(registration, wanted.code, *parts.formats.unanswered(registration, wanted))
            return DeviceResponse(200, native={"sent": True})
        registration.slots.open += 1
        parts.room.take()
        owner = Owner(req.device, req.call_id, wanted.path)
        told: Mapping[str, str] = {}
        try:
            if wanted.readable:
                answer = await parts.formats.read(registration, wanted, req.deadline, owner)
            elif wanted.senml is not None:
                answer, told = await parts.formats.write(registration, wanted, req.deadline, owner)
            else:
                answer = await parts.transfers.run(
                    registration, wanted.code, wanted.options, wanted.payload, req.deadline, owner
                )
        except Unanswered as error:
            parts.reach.unanswered(registration, error.asked)
            raise
        finally:
            registration.done()
            parts.room.give()
        response = response_of(answer, wanted)
        return replace(response, native={**response.native, **told}) if told else response

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Start an observation; see the contract and observing.py."""
        parts = self._parts
        registration = None if parts is None else parts.registry.at(spec.device)
        if parts is None or registration is None or registration.asleep:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        if deadline <= parts.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        return await parts.observing.observe(registration, spec, deadline)

    # -- the rest of the contract ---------------------------------------------------------------

    def presence(self, device: str) -> Presence:
        """Online or asleep while registered, else offline."""
        registration = None if self._parts is None else self._parts.registry.at(device)
        if registration is None:
            return Presence.OFFLINE
        return Presence.ASLEEP if registration.asleep else Presence.ONLINE

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        parts = self._parts
        registration = None if parts is None else parts.registry.at(device)
        if parts is None or registration is None or registration.asleep:
            return 0
        if registration.free <= 0:
            registration.asked = True
            return 0
        return min(registration.free, parts.room.free(device))

    def expel(self, device: str) -> None:
        """Forget the registration of a device that the hub does not have any more."""
        if self._parts is not None:
            self._parts.registrar.expel(device)

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while there is no room for further devices."""
        parts = self._parts
        if parts is None:
            return {"state": "down"}
        return {
            "state": "degraded" if len(parts.registry) >= self._settings.devices else "up",
            **parts.doors.health(),
            "devices": len(parts.registry),
            "open": len(parts.exchanges),
            "retransmissions": parts.exchanges.retransmissions,
            "malformed": parts.inbound.malformed,
            "refused": parts.registrar.refused,
            "shed": parts.notifications.shed + parts.inbound.shed,
        }

    # -- for the rig ----------------------------------------------------------------------------

    def call_of(self, token: bytes) -> str | None:
        """The call whose request went out with this token, for the tests' double, which cannot know it."""
        owner = None if self._parts is None else self._parts.exchanges.owner_of(token)
        return None if owner is None else owner.call_id
