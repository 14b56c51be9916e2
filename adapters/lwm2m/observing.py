"""Observations from the hub's side: started, renewed with their old token after a restart, cancelled, remembered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from adapters.lwm2m.codec import Message, Options
from adapters.lwm2m.crew import Crew
from adapters.lwm2m.exchange import Owner, Unanswered
from adapters.lwm2m.memory import remember
from adapters.lwm2m.observe import Observed
from adapters.lwm2m.operation import Operation, operation
from adapters.lwm2m.option import OBSERVE, uint
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.response import response_of
from adapters.lwm2m.share import FairShare
from adapters.lwm2m.transfer import TOKEN, Transfers
from hub.ports.adapter import (
    AdapterContext,
    Busy,
    CallError,
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    EventKind,
    ObserveSpec,
    Unsupported,
)

# How long reading what is left of a long notification may take, and telling a device that it is no longer observed.
REST_TIME = 30.0
CANCEL_TIME = 5.0

log = logging.getLogger("hub.adapter.lwm2m")


class Observing:
    """Starts and stops observations; what they report is notifications.py. `unanswered` is told of devices that left
    something unanswered, and when they were asked that."""

    def __init__(
        self, ctx: AdapterContext, crew: Crew, registry: Registry, transfers: Transfers, share: FairShare,
        unanswered: Callable[[Registration, float], None],
    ) -> None:
        self._ctx = ctx
        self._crew = crew
        self._registry = registry
        self._transfers = transfers
        self.share = share
        self._unanswered = unanswered

    async def observe(
        self, registration: Registration, spec: ObserveSpec, deadline: float
    ) -> tuple[DeviceResponse, Observed]:
        """Start an observation, waiting for a slot of the device; a second one of a target takes over from the first.

        A refusal by the device is a response, with an observation that is not active. Raises Unsupported where the
        device answers and observes nothing, CallError.
        """
        wanted = operation(_request(spec, deadline, "GET"), registration.root)
        attributes = None
        if spec.params:
            attributes = operation(_request(spec, deadline, "PUT"), registration.root)
        await self._turn(registration, deadline)
        try:
            if attributes is not None:
                answer = await self._ask(registration, attributes, list(attributes.options), deadline, None)
                if answer.code >> 5 != 2:
                    return response_of(answer), Observed(spec, b"", self.stop)
            known = registration.observations.get(spec.target)
            observed = Observed(spec, secrets.token_bytes(TOKEN), self.stop) if known is None else known.again(spec)
            # Known before the answer, because a notification may follow it in the same breath.
            self._registry.watch(registration, observed)
            try:
                options: Options = sorted([*wanted.options, (OBSERVE, b"")], key=lambda option: option[0])
                answer = await self._ask(registration, wanted, options, deadline, observed.token)
            except BaseException:
                if known is None:
                    self._forget(registration, observed)
                elif registration.alive:
                    self._registry.watch(registration, known)
                raise
        finally:
            self._give_back(registration)
        if known is not None:
            known.active = False
        if not registration.alive:
            raise Busy("the device registered anew", delivery=Delivery.MAYBE)
        if answer.code >> 5 == 2 and answer.first(OBSERVE) is not None:
            await remember(self._ctx, registration)
            return response_of(answer, wanted), observed
        self._forget(registration, observed)
        if known is not None:
            await remember(self._ctx, registration)
        if answer.code >> 5 == 2:
            raise Unsupported(f"the device does not observe {spec.target}", delivery=Delivery.DELIVERED)
        return response_of(answer), observed

    async def read_rest(self, registration: Registration, observed: Observed, first: Message) -> Message:
        """The whole of a notification whose first block is there. Raises CallError."""
        # As long for a place as for the blocks: what others are asked takes nothing of their time.
        await self._turn(registration, self._ctx.clock.monotonic() + REST_TIME)
        try:
            deadline = self._ctx.clock.monotonic() + REST_TIME
            wanted = operation(_request(observed.spec, deadline, "GET"), registration.root)
            owner = Owner(registration.address)
            return await self._transfers.rest(
                registration, wanted.code, wanted.options, b"", first, deadline, owner
            )
        except Unanswered as error:
            self._unanswered(registration, error.asked)
            raise
        finally:
            self._give_back(registration)

    def ended(self, registration: Registration) -> None:
        """The device ended an observation: remember that it did."""
        self._crew.spawn(remember(self._ctx, registration), "remember")

    async def _turn(self, registration: Registration, deadline: float) -> None:
        """Take a place in what the adapter may ask by itself, then a slot of the device. Raises Busy, and NotConnected
        for a device that cannot be reached (NOT_SENT)."""
        await self.share.take(registration.address, deadline)
        try:
            await registration.turn(self._ctx.clock, deadline)
        except BaseException:
            self.share.give(registration.address)
            raise

    def _give_back(self, registration: Registration) -> None:
        """A slot is free that no call of the hub had: tell the hub, if it asked meanwhile."""
        self.share.give(registration.address)
        registration.done()
        now = self._registry.at(registration.address)  # which may have registered anew, and kept its slots
        if now is not None and now.asked and now.free > 0 and not now.asleep:
            self.woken(now)

    def woken(self, registration: Registration) -> bool:
        """Have the hub look again at what waits for the device; False where it could not be told."""
        registration.asked = False
        return not registration.alive or self._ctx.emit(
            DeviceEvent(EventKind.AWAKE, registration.address, self._ctx.clock.monotonic())
        )

    async def stop(self, observed: Observed) -> None:
        """Forget it, then tell the device; where that fails, its next notification is answered with RST."""
        watched = self._registry.watched(observed.token)
        if watched is None:
            return
        registration = watched[0]
        self._forget(registration, observed)
        await remember(self._ctx, registration)
        if registration.alive and not registration.asleep:
            await self._tell(registration, observed)

    async def _tell(self, registration: Registration, observed: Observed) -> None:
        deadline = self._ctx.clock.monotonic() + CANCEL_TIME
        wanted = operation(_request(observed.spec, deadline, "GET"), registration.root)
        options: Options = sorted([*wanted.options, (OBSERVE, uint(1))], key=lambda option: option[0])
        try:
            await self._turn(registration, deadline)
            try:
                await self._ask(registration, wanted, options, deadline, observed.token)
            finally:
                self._give_back(registration)
        except CallError as error:
            log.info("cancelling the observation of %s: %s", observed.spec.target, error)

    def _forget(self, registration: Registration, observed: Observed) -> None:
        observed.active = False
        self._registry.unwatch(registration, observed)

    async def _ask(
        self, registration: Registration, wanted: Operation, options: Options, deadline: float, token: bytes | None
    ) -> Message:
        registration.reachable()
        owner = Owner(registration.address)
        try:
            return await self._transfers.run(registration, wanted.code, options, b"", deadline, owner, token)
        except Unanswered as error:
            self._unanswered(registration, error.asked)
            raise


def _request(spec: ObserveSpec, deadline: float, method: str) -> DeviceRequest:
    return DeviceRequest(
        "", spec.device, method, spec.target, deadline,
        query=tuple(sorted(spec.params.items())) if method == "PUT" else (),
    )
