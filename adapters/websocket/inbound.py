"""What the frames of a device mean to the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapters.websocket.coding import BadFrame, Subprotocol
from adapters.websocket.frame import Error, Event, Frame, Notify, Result
from adapters.websocket.wire import decode
from hub.model.device import Resource
from hub.ports.adapter import DeviceEvent, DeviceResponse, EventKind, ObserveSpec

_PRESENCE = {
    "update": EventKind.UPDATED,
    "deregister": EventKind.DEREGISTERED,
    "asleep": EventKind.ASLEEP,
    "awake": EventKind.AWAKE,
}


CloseWith = Callable[[int, str], None]
"""Closes a connection with a code and a text."""


def parse(
    coding: Subprotocol, limit: int, binary: bytes | None, text: str | None, close: CloseWith
) -> Frame | None:
    """The frame in a WebSocket message; None, after `close(code, text)`, if it may not be read or is none."""
    message: bytes | str | None = binary if coding.binary else text
    if message is None:
        close(1003, "binary messages only" if coding.binary else "text messages only")
        return None
    if len(message) > limit:
        close(1009, f"a message has at most {limit} bytes")
        return None
    try:
        return decode(message, coding)
    except BadFrame as bad:
        close(1007 if bad.undecodable and not coding.binary else 1002, str(bad)[:100])
        return None


def response_of(frame: Result | Error) -> DeviceResponse:
    """The device's answer: its refusal is one as well."""
    native: dict[str, Any] = {}
    if frame.retry_after is not None:
        native["retry_after"] = frame.retry_after
    if isinstance(frame, Result):
        native["status"] = frame.status
        return DeviceResponse(frame.status, frame.payload, frame.content_type, frame.max_age, native)
    native["code"] = frame.code
    native["text"] = frame.text
    return DeviceResponse(frame.code, frame.text.encode(), "text/plain", native=native)


def event_of(frame: Event, address: str, now: float) -> DeviceEvent:
    """The event as the hub hears it; a kind that is not of the protocol is a notification of `/event/<kind>`."""
    kind = _PRESENCE.get(frame.kind)
    if kind is EventKind.UPDATED:
        links = None if frame.links is None else resources_of(frame.links)
        return DeviceEvent(kind, address, now, attrs={} if links is None else {"links": links})
    if kind is not None:
        return DeviceEvent(kind, address, now)
    return DeviceEvent(
        EventKind.NOTIFICATION,
        address,
        now,
        target=frame.target if frame.kind == "notify" and frame.target else f"/event/{frame.kind}",
        payload=frame.payload,
        content_type=frame.content_type,
        seq=frame.seq,
        attrs={"observed": False, "max_age": frame.max_age},
    )


def notification_of(frame: Notify, spec: ObserveSpec, now: float) -> DeviceEvent:
    """A value that an observation brought."""
    return DeviceEvent(
        EventKind.NOTIFICATION,
        spec.device,
        now,
        target=spec.target,
        payload=frame.payload,
        content_type=frame.content_type,
        seq=frame.seq,
        attrs={"observed": True, "max_age": frame.max_age},
    )


def late_answer(call_id: str, response: DeviceResponse, address: str, now: float) -> DeviceEvent:
    """An answer for which nobody waits any more."""
    return DeviceEvent(EventKind.LATE_RESPONSE, address, now, attrs={"call_id": call_id, "response": response})


def resources_of(links: Sequence[Mapping[str, Any]]) -> tuple[Resource, ...]:
    """The resources that a device names; a path without its slash gets one."""
    return tuple(
        Resource(
            path="/" + str(link["path"]).lstrip("/"),
            resource_type=link.get("rt"),
            interface=link.get("if"),
            content_type=link.get("ct"),
            observable=link.get("obs") is True,
        )
        for link in links
    )
