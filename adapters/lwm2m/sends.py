"""Values that a device sends by itself (LwM2M 1.1 Send, /dp): each becomes a notification of its resource."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

import anyio

from adapters.lwm2m import codec, content
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.option import MAX_AGE, uint
from adapters.lwm2m.registrar import Reply
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.senml import Reading
from adapters.lwm2m.translate import as_text, readings
from hub.model.errors import HubError, UnknownDevice
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

MOST_VALUES = 1000
# The letters that SenML allows in names (RFC 8428, 4.5.1), as a path.
_PATH = re.compile(r"(?:/[A-Za-z0-9_.:-]+)+", re.ASCII)
_FORMATS = (content.SENML_JSON, content.SENML_CBOR)

log = logging.getLogger("hub.adapter.lwm2m")


class Sends:
    """Takes values in. They are acknowledged when the hub holds all of them; after a failure the device sends again."""

    def __init__(self, ctx: AdapterContext, registry: Registry) -> None:
        self._ctx = ctx
        self._registry = registry

    async def take(self, body: bytes, form: int | None, peer: Peer, identity: str | None) -> Reply:
        """One Send."""
        registration = self._registry.from_peer(peer)
        if registration is None or registration.identity != identity:
            return Reply(codec.NOT_FOUND)
        if self._registry.several_at(peer):
            return Reply(codec.FORBIDDEN, payload=b"several devices are here, and a Send does not say whose it is")
        if form not in _FORMATS:
            return Reply(codec.UNSUPPORTED_FORMAT)
        try:
            events = self._events(registration, readings((), form, body))
        except (ValueError, OverflowError) as error:
            return Reply(codec.BAD_REQUEST, payload=str(error)[:100].encode("utf-8", "replace"))
        if len(events) > MOST_VALUES:
            return Reply(codec.REQUEST_ENTITY_TOO_LARGE)
        failed = unknown = False
        try:
            # Begun in the order of the device and so stored in it, but waited for together: one commit, not many.
            async with anyio.create_task_group() as group:
                for event in events:
                    group.start_soon(self._ctx.accept, event)
        except* UnknownDevice:
            unknown = True
        except* HubError as errors:
            failed = True
            log.warning("what a device sent could not be taken: %s", errors.exceptions[0])
        if unknown:
            return Reply(codec.NOT_FOUND)  # it registers, and is judged anew
        return Reply(codec.SERVICE_UNAVAILABLE, ((MAX_AGE, uint(30)),)) if failed else Reply(codec.CHANGED)

    def _events(self, registration: Registration, values: Iterable[Reading]) -> list[DeviceEvent]:
        """One event for each value; none is told before all are found good. Raises ValueError."""
        root = "".join(f"/{piece}" for piece in registration.root)
        now, today = self._ctx.clock.monotonic(), self._ctx.clock.now()
        events = []
        for value in values:
            target = value.name
            if root and target.startswith(f"{root}/"):
                target = target[len(root) :]
            if _PATH.fullmatch(target) is None:
                raise ValueError("a name is the path of a resource")
            payload, media = as_text(value.value)
            attrs: dict[str, Any] = {"observed": False, "max_age": None, "proved": registration.identity is not None}
            if (measured := value.moment(today)) is not None:
                attrs["time"] = measured
            events.append(
                DeviceEvent(
                    EventKind.NOTIFICATION, registration.address, now, target=target, payload=payload,
                    content_type=media, attrs=attrs,
                )
            )
        return events
