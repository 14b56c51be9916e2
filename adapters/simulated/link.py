"""The link between the adapter and its simulated devices: when answers, notifications and changes of presence come.

It stands where the other adapters have a network. It moves only by the hub's clock, and after `stop` it is dead: what a
device still wants to say is not heard.
"""

from __future__ import annotations

from datetime import timedelta

from adapters.simulated.behaviour import Behaviour, Manner
from adapters.simulated.device import SimulatedDevice
from adapters.simulated.exchange import Exchanges, Token
from adapters.simulated.observation import SimulatedObservation
from adapters.simulated.point import Point
from adapters.simulated.reports import Reports
from hub.model.device import Presence
from hub.ports.adapter import (
    AdapterContext,
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    EventKind,
    NotConnected,
    ObserveSpec,
)


class Link:
    """One life of the adapter, from `start` to `stop`."""

    def __init__(self, ctx: AdapterContext, exchanges: Exchanges, reports: Reports) -> None:
        self._ctx = ctx
        self._clock = ctx.clock
        self._exchanges = exchanges
        self._reports = reports
        self._ticking: set[tuple[str, str]] = set()
        self._alive = True
        self.shed = 0

    def stop(self) -> None:
        """Hear nothing more."""
        self._alive = False

    # -- calls ----------------------------------------------------------------------------------

    def arrange(
        self, device: SimulatedDevice, request: DeviceRequest, response: DeviceResponse, behaviour: Behaviour
    ) -> None:
        """Let the answer to an executed call come as the behaviour says."""
        token = Token(request.call_id, request.attempt)
        now = self._clock.monotonic()
        due = now + behaviour.delay.total_seconds()
        match behaviour.manner:
            case Manner.NEVER | Manner.JOB:
                return
            case Manner.LATE:
                due = request.deadline + behaviour.late.total_seconds()
            case Manner.DISCONNECT:
                self._clock.call_at(due, self.disconnect, device, behaviour.away)
                return
            case Manner.TWICE:
                self._clock.call_at(due, self.answer, device.address, token, response)
        self._clock.call_at(due, self.answer, device.address, token, response)

    def answer(self, sender: str, token: Token, response: DeviceResponse) -> None:
        """An answer arrives from a device."""
        if self._alive and self._exchanges.answered(sender, token, response):
            self.report(
                EventKind.LATE_RESPONSE, sender, attrs={"call_id": token.call_id, "response": response}
            )

    # -- presence -------------------------------------------------------------------------------

    def registered(self, device: SimulatedDevice) -> None:
        """The device registers, as it does at start."""
        self.report(EventKind.REGISTERED, device.address, attrs=self._registration(device))
        self._arm_sleep(device)

    def disconnect(self, device: SimulatedDevice, away: timedelta | None) -> None:
        """The device is gone, with whatever it was asked; it comes back `away` later, or when it is made to."""
        if not self._alive or device.presence is Presence.OFFLINE:
            return
        device.presence = Presence.OFFLINE
        self._exchanges.fail(NotConnected("the device went away", delivery=Delivery.MAYBE), device.address)
        self.report(EventKind.OFFLINE, device.address)
        if away is not None:
            self._clock.call_at(self._clock.monotonic() + away.total_seconds(), self.reconnect, device)

    def reconnect(self, device: SimulatedDevice) -> None:
        """The device is back, in the same life as before."""
        if not self._alive or device.presence is not Presence.OFFLINE:
            return
        device.presence = Presence.ONLINE
        self.report(EventKind.UPDATED, device.address, attrs=self._registration(device))
        self.report(EventKind.AWAKE, device.address)
        self._arm_sleep(device)

    def restart(self, device: SimulatedDevice) -> None:
        """The device begins another life: what it worked on, held and observed is gone."""
        if not self._alive:
            return
        self.disconnect(device, None)
        self.end_observations(device)
        device.restart()
        self.registered(device)

    def leave(self, device: SimulatedDevice) -> None:
        """The device signs off."""
        if not self._alive or device.presence is Presence.OFFLINE:
            return
        device.presence = Presence.OFFLINE
        self._exchanges.fail(NotConnected("the device signed off", delivery=Delivery.MAYBE), device.address)
        self.end_observations(device)
        self.report(EventKind.DEREGISTERED, device.address)

    def sleep(self, device: SimulatedDevice) -> None:
        """The device goes to sleep, unless it works on a call."""
        if self._alive and device.presence is Presence.ONLINE and not device.open:
            device.presence = Presence.ASLEEP
            self.report(EventKind.ASLEEP, device.address)

    def wake(self, device: SimulatedDevice) -> None:
        """The device wakes up."""
        if self._alive and device.presence is Presence.ASLEEP:
            device.presence = Presence.ONLINE
            self.report(EventKind.AWAKE, device.address)
            self._arm_sleep(device)

    def contact(self, device: SimulatedDevice) -> None:
        """Something was exchanged with the device: one that sleeps stays awake a while longer."""
        if device.model.sleep is not None:
            device.awake_until = self._clock.monotonic() + device.model.sleep.awake.total_seconds()

    def _arm_sleep(self, device: SimulatedDevice) -> None:
        if device.model.sleep is not None:
            self.contact(device)
            self._clock.call_at(device.awake_until, self._tired, device)

    def _tired(self, device: SimulatedDevice) -> None:
        sleep = device.model.sleep
        if not self._alive or sleep is None or device.presence is not Presence.ONLINE:
            return
        now = self._clock.monotonic()
        if device.open or device.awake_until > now:
            self._clock.call_at(max(device.awake_until, now + 1), self._tired, device)
            return
        self.sleep(device)
        self._clock.call_at(now + sleep.asleep.total_seconds(), self.wake, device)

    # -- observations ---------------------------------------------------------------------------

    def observe(self, device: SimulatedDevice, point: Point, spec: ObserveSpec) -> SimulatedObservation:
        """Begin to notify of a point, in place of an older observation; the caller has the first value."""

        def ended(observation: SimulatedObservation) -> None:
            if device.observations.get(point.path) is observation:
                del device.observations[point.path]

        older = device.observations.get(point.path)
        if older is not None:
            older.active = False
        first = device.read(point, self._clock.monotonic()).payload
        observation = device.observations[point.path] = SimulatedObservation(spec, first, ended)
        self._arm_drift(device, point)
        return observation

    def changed(self, device: SimulatedDevice, point: Point) -> None:
        """Notify of a point whose value is no longer what was last told."""
        observation = device.observations.get(point.path)
        if observation is None or device.presence is not Presence.ONLINE:
            return
        now = self._clock.monotonic()
        response = device.read(point, now)
        if observation.last == response.payload:
            return
        observation.last = response.payload
        observation.seq += 1
        taken = self._ctx.emit(
            DeviceEvent(
                EventKind.NOTIFICATION,
                device.address,
                now,
                target=observation.spec.target,
                payload=response.payload,
                content_type=response.content_type,
                seq=observation.seq,
                attrs={"observed": True, "max_age": response.max_age},
            )
        )
        self.shed += not taken

    def end_observations(self, device: SimulatedDevice) -> None:
        """End all observations of a device, telling the hub of each."""
        ended, device.observations = device.observations, {}
        for observation in ended.values():
            observation.active = False
            self.report(EventKind.OBSERVE_ENDED, device.address, target=observation.spec.target)

    def _arm_drift(self, device: SimulatedDevice, point: Point) -> None:
        key = (device.address, point.path)
        if point.drift is not None and key not in self._ticking:
            self._ticking.add(key)
            self._clock.call_at(self._next_step(point), self._drifted, device, point)

    def _drifted(self, device: SimulatedDevice, point: Point) -> None:
        if not self._alive or point.path not in device.observations:
            self._ticking.discard((device.address, point.path))
            return
        self.changed(device, point)
        self._clock.call_at(self._next_step(point), self._drifted, device, point)

    def _next_step(self, point: Point) -> float:
        assert point.drift is not None
        return (point.drift.step(self._clock.monotonic()) + 1) * point.drift.interval.total_seconds()

    # -- telling the hub ------------------------------------------------------------------------

    def report(
        self, kind: EventKind, address: str, *, target: str | None = None, attrs: dict[str, object] | None = None
    ) -> None:
        """Tell the hub of something that it must not miss, in order for each device."""
        self._reports.put(DeviceEvent(kind, address, self._clock.monotonic(), target=target, attrs=attrs or {}))

    @staticmethod
    def _registration(device: SimulatedDevice) -> dict[str, object]:
        attrs: dict[str, object] = {
            "lifetime": None,
            "links": device.links,
            "queue_mode": device.model.sleep is not None,
            "boot": device.boot,
        }
        if device.name is not None:
            attrs["name"] = device.name
        if device.type is not None:
            attrs["type"] = device.type
        return attrs
