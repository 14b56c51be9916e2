"""What the adapter remembers of a device from one connection to the next.

After a restart of the hub a device simply connects again; what has to survive (attributes, tags, topology) is
kept by the hub as the device's memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from adapters.mqtt.listener.answers import Answers
from adapters.mqtt.topics import Name
from hub.model.errors import HubError
from hub.ports.adapter import ObserveSpec

if TYPE_CHECKING:
    from adapters.mqtt.listener.session import Session


class Facts:
    """What a device had stored: its attributes, its tags, and the sub-devices behind it."""

    __slots__ = ("attributes", "subs", "tags")

    def __init__(self, attributes: dict[str, Any], tags: dict[str, Any], subs: frozenset[Name]) -> None:
        self.attributes = attributes
        self.tags = tags
        self.subs = subs

    @property
    def empty(self) -> bool:
        """Whether nothing was stored."""
        return not (self.attributes or self.tags or self.subs)

    def pack(self) -> bytes:
        """As bytes, for the hub to keep."""
        subs = sorted(self.subs)
        return orjson.dumps({"attributes": self.attributes, "tags": self.tags, "subs": subs})

    @classmethod
    def unpack(cls, memory: bytes | None) -> Facts:
        """From what the hub kept; nothing is kept of a device that stored nothing."""
        body = orjson.loads(memory) if memory else {}
        subs = frozenset((product, device) for product, device in body.get("subs", ()))
        return cls(body.get("attributes", {}), body.get("tags", {}), subs)


NOTHING = Facts({}, {}, frozenset())


class PostedObservation:
    """An observation of what a device posts by itself; nothing has to be asked of the device. Implements
    `ports.adapter.Observation` and `ports.abilities.Dated`."""

    __slots__ = ("active", "began", "registration", "spec")

    def __init__(self, spec: ObserveSpec, registration: Registration) -> None:
        self.spec = spec
        self.registration = registration
        self.active = True
        self.began = 0.0

    async def cancel(self) -> None:
        """Stop it; a second cancel is harmless."""
        if self.active:
            self.active = False
            if self.registration.observations.get(self.spec.target) is self:
                del self.registration.observations[self.spec.target]


class Gone(HubError):
    """The connection over which a device came has ended meanwhile: it is not there by this one."""


class Registration:
    """One device: how it is named, its life, its connection (a gateway's, for a sub-device), its calls under way.

    `reporting` keeps the events of its coming and going in order, and `keeping` the changes of its facts one after the
    other, whichever connection they are about.
    """

    __slots__ = ("address", "answers", "boot", "calls", "facts", "keeping", "name", "observations", "reporting",
                 "session")  # fmt: skip

    def __init__(self, address: str, name: Name) -> None:
        self.address = address
        self.name = name
        self.boot: str | None = None
        self.session: Session | None = None
        self.calls = 0
        self.facts = NOTHING
        self.observations: dict[str, PostedObservation] = {}
        self.keeping = asyncio.Lock()
        self.reporting = asyncio.Lock()
        self.answers = Answers()
