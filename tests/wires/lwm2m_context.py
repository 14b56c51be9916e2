"""The hub's side of the seam for the LwM2M adapter: the contract's double, with a memory and with keys."""

from __future__ import annotations

from collections.abc import Mapping

from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, EventKind
from tests.clock import ManualClock
from tests.contracts.context import ContextDouble


class LwM2MContext(ContextDouble):
    """Keeps what the adapter wants remembered as the hub does; `names` and `psks` are the devices that it knows."""

    def __init__(self, clock: ManualClock | None = None, kept: Mapping[str, bytes] | None = None) -> None:
        super().__init__({"account": "acme"}, clock)
        self.kept: dict[str, bytes] = dict(kept or {})
        self.names: dict[str, str] = {}
        self.psks: dict[str, bytes] = {}
        self.remembered = 0

    async def accept(self, event: DeviceEvent) -> None:
        await super().accept(event)
        if event.kind in (EventKind.REGISTERED, EventKind.UPDATED):
            self.kept[event.device] = event.attrs["memory"]
        elif event.kind in (EventKind.DEREGISTERED, EventKind.EXPIRED):
            self.kept.pop(event.device, None)

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        self.asked_to_admit.append((kind, identity))
        if kind == "name" and identity in self.names:
            return Admission(identity, "acme", self.names[identity])
        if kind == "open" and identity not in self.psks:
            return Admission(identity, "acme", self.names.get(identity, identity))
        if kind == "psk" and identity in self.psks:
            return Admission(f"device-{identity}", "acme", f"acme/device-{identity}", name=f"name-{identity}")
        return AdmissionRefused("nobody knows it")

    def psk(self, identity: str) -> bytes | None:
        return self.psks.get(identity)

    async def remember(self, device: str, memory: bytes) -> None:
        self.remembered += 1
        self.kept[device] = memory

    def memories(self) -> Mapping[str, bytes]:
        return dict(self.kept)
