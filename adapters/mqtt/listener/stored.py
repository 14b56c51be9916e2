"""What devices had stored, as the hub keeps it from one start to the next, and in whose topology a sub-device is."""

from __future__ import annotations

import logging

from adapters.mqtt.listener.registration import Facts, Registration
from adapters.mqtt.topics import Name
from hub.model.errors import HubError
from hub.ports.abilities import FindsDevices, Remembers
from hub.ports.adapter import AdapterContext

log = logging.getLogger("hub.adapter.mqtt")


class Stored:
    """What was kept at the start, by address, and the gateways of all sub-devices."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._gateways: dict[Name, str] = {}

    async def recall(self, ctx: AdapterContext) -> None:
        """Know what is kept, also of devices that are disabled: they may be enabled again. A sub-device that was
        deleted while that could not be written leaves its gateway's topology now."""
        self._kept = dict(ctx.memories(disabled=True)) if isinstance(ctx, Remembers) else {}
        self._gateways.clear()
        for address, memory in list(self._kept.items()):
            facts = Facts.unpack(memory)
            subs = facts.subs
            if isinstance(ctx, FindsDevices):
                subs = frozenset(sub for sub in subs if ctx.has_device("/".join(sub)))
            for sub in subs:
                self._gateways[sub] = address
            if subs != facts.subs and isinstance(ctx, Remembers):
                self._kept[address] = Facts(facts.attributes, facts.tags, subs).pack()
                try:
                    await ctx.remember(address, self._kept[address])
                except HubError as failure:
                    log.warning("a topology could not be kept without its deleted devices: %s", failure)

    def facts(self, address: str) -> Facts:
        """What a device had stored when the hub started."""
        return Facts.unpack(self._kept.get(address))

    def forget(self, address: str) -> None:
        """A device is no device of the hub any more."""
        self._kept.pop(address, None)
        self._leave(address)

    def gateway_of(self, name: Name) -> str | None:
        """The address of the gateway in whose topology a device is."""
        return self._gateways.get(name)

    def know_topology(self, gateway: Registration) -> None:
        """A gateway's topology has changed."""
        self._leave(gateway.address)
        for name in gateway.facts.subs:
            self._gateways[name] = gateway.address

    def bereave(self, name: Name) -> None:
        """A sub-device is in nobody's topology."""
        self._gateways.pop(name, None)

    def _leave(self, address: str) -> None:
        for name in [name for name, gateway in self._gateways.items() if gateway == address]:
            del self._gateways[name]
