"""Events as the words that go out: neutral bodies in, items of a NotificationMessage and native Messages out.

Pure. The items are those of the Connect documents (AsyncIDResponse, NotificationData, EndpointData); the
native Message carries one of them per event, and a dialect that batches builds its own from the same items.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgpack
import orjson

from hub.delivery.control_reply import reply_of, told_here
from hub.model.event import Event, EventKind, Gap
from hub.model.outcome import values_in

Packed = Callable[[bytes], Any]

LISTS: Mapping[EventKind, str] = {
    EventKind.COMPLETION: "async-responses",
    EventKind.NOTIFICATION: "notifications",
    EventKind.REGISTERED: "registrations",
    EventKind.UPDATED: "reg-updates",
    EventKind.DEREGISTERED: "de-registrations",
    EventKind.EXPIRED: "registrations-expired",
    EventKind.PROGRESS: "progress",
}


def as_base64(payload: bytes) -> str:
    """A payload in JSON: standard base64, always padded; official clients die of anything else."""
    return base64.b64encode(payload).decode("ascii")


def as_binary(payload: bytes) -> bytes:
    """A payload in MessagePack: the bytes."""
    return bytes(payload)


def moment(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def async_response(body: Mapping[str, Any], packed: Packed = as_base64) -> dict[str, Any]:
    """The AsyncIDResponse of a COMPLETION. Every success is told as 200, with payload and max-age (0: not cached)."""
    success = 200 <= body["status"] < 300
    item: dict[str, Any] = {"id": body["ref"], "status": 200 if success else body["status"]}
    payload = body.get("payload") or b""
    if payload or success:
        item["payload"] = packed(payload)
    if body.get("content_type") is not None:
        item["ct"] = body["content_type"]
    max_age = body.get("max_age")
    if max_age is not None or success:
        item["max-age"] = int(max_age or 0)
    if body.get("error") is not None and not success:
        item["error"] = body["error"]
    return item


def notification(body: Mapping[str, Any], packed: Packed = as_base64) -> dict[str, Any]:
    """The NotificationData of a NOTIFICATION: a subscribed resource's value; `path` has its leading slash."""
    item: dict[str, Any] = {"ep": body["device"], "path": "/" + str(body["path"]).lstrip("/")}
    if body.get("content_type") is not None:
        item["ct"] = body["content_type"]
    item["payload"] = packed(body.get("payload") or b"")
    item["max-age"] = int(body.get("max_age") or 0)
    return item


def endpoint(body: Mapping[str, Any]) -> dict[str, Any]:
    """The EndpointData of REGISTERED or UPDATED; `resources` is always an array, `q` and `obs` are booleans."""
    item: dict[str, Any] = {"ep": body["device"]}
    if body.get("name") is not None:
        item["original-ep"] = body["name"]
    if body.get("type") is not None:
        item["ept"] = body["type"]
    item["q"] = bool(body.get("queue_mode"))
    item["resources"] = [_resource(resource) for resource in body.get("resources") or ()]
    return item


def _resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"path": "/" + str(resource.get("uri", "")).lstrip("/")}
    told.update((word, resource[word]) for word in ("rt", "ct", "if") if resource.get(word) is not None)
    told["obs"] = bool(resource.get("obs"))
    return told


def item(event: Event, packed: Packed = as_base64) -> Any:
    """The item of an event in its list: an object, or the device's id for one that left."""
    body = event.body
    match event.kind:
        case EventKind.COMPLETION:
            return async_response(body, packed)
        case EventKind.NOTIFICATION:
            return notification(body, packed)
        case EventKind.REGISTERED | EventKind.UPDATED:
            return endpoint(body)
        case EventKind.DEREGISTERED | EventKind.EXPIRED:
            return body["device"]
        case EventKind.PROGRESS:
            return _plain(body, packed)


def _plain(value: Any, packed: Packed) -> Any:
    if isinstance(value, bytes):
        return packed(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner, packed) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, packed) for inner in value]
    return value


def message(event: Event, packed: Packed = as_base64) -> dict[str, Any]:
    """The native Message of one event: its place, its moment, and one list with one item.

    Items of `async-responses` also tell the hub's own id of the call and the device, those of `notifications` the
    time that the device gave its value, if it gave one; both the values that an adapter decoded from the payload.
    """
    told = item(event, packed)
    if event.kind is EventKind.COMPLETION:
        told["call-id"] = event.body["call_id"]
        told["device"] = event.body["device"]
        _add_values(told, event.body.get("native") or {}, packed)
    elif event.kind is EventKind.NOTIFICATION:
        if event.body.get("device_time") is not None:
            told["device-time"] = moment(datetime.fromisoformat(event.body["device_time"]))
        _add_values(told, event.body, packed)
    members = {
        "channel": event.channel,
        "epoch": event.epoch,
        "offset": event.offset,
        "at": moment(event.at),
        LISTS[event.kind]: [told],
    }
    if told_here(event):
        # Whoever reads a control channel finds its own form there, too.
        members["data"] = [reply_of(event.body)]
    return members


def _add_values(told: dict[str, Any], said: Mapping[str, Any], packed: Packed) -> None:
    if (values := values_in(said)) is not None:
        told["values"] = _plain(values, packed)


def gap_members(gap: Gap, channel: str, epoch: str) -> dict[str, Any]:
    """The members that tell of a gap: what is missing (null when it cannot be told) and the position to store."""
    return {
        "channel": channel,
        "epoch": epoch,
        "from": gap.start,
        "to": gap.end,
        "next": gap.next,
        "reason": gap.reason,
    }


class NativeView:
    """The native stream's messages: one per event, as JSON text or as binary MessagePack."""

    __slots__ = ("binary",)

    def __init__(self, *, binary: bool = False) -> None:
        self.binary = binary

    @property
    def key(self) -> Hashable:
        """Equal for equal encodings."""
        return ("native", self.binary)

    def encode(self, members: dict[str, Any]) -> bytes:
        """One frame's members as bytes."""
        if self.binary:
            packed: bytes = msgpack.packb(members)
            return packed
        return orjson.dumps(members)

    def render(self, events: Sequence[Event]) -> list[bytes]:
        """One message per event."""
        packed = as_binary if self.binary else as_base64
        return [self.encode({"type": "message", **message(event, packed)}) for event in events]

    def gap(self, gap: Gap, channel: str, epoch: str) -> bytes | None:
        """A `gap` message."""
        return self.encode({"type": "gap", **gap_members(gap, channel, epoch)})
