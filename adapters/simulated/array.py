"""A simulated array: a storage system that keeps its objects, checks by its schema and answers as its vendor's does.

Targets are relative to its interface: `/volume_group/{id}`, with the query of a GET behind it. What it says of errors
are its own words, as a real one would say them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adapters.simulated.array_objects import Objects, interface
from adapters.simulated.device import SimulatedDevice
from hub.model.errors import BadRequest as Malformed
from hub.model.errors import OutOfRange, Refusal
from hub.model.query import Query, apply, project
from hub.model.query_text import parse_instance, parse_query
from hub.model.schema import Schema
from hub.model.target import parse_target
from hub.ports.adapter import (
    BadRequest,
    CallError,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    NoSuchResource,
    Unsupported,
)

FAIL = "__fail__"
"""A description that makes a change fail while it runs."""

_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})
_IDS = uuid.UUID("6a1c6a52-3f0b-4d0c-9d53-4f6f4ff0a6b1")
_SAID = {400: "0xE04040010005", 404: "0xE04040020009", 416: "0xE04040010006", 422: "0xE0A080010002"}


class _Failed(Exception):
    """A change cannot be done: status, code, sentence, arguments."""

    def __init__(self, status: int, code: str, detail: str, *arguments: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.arguments = status, code, detail, arguments


@dataclass(slots=True, eq=False)
class SimulatedArray(SimulatedDevice):
    """One array."""

    schema: Schema = field(default_factory=interface)
    objects: Objects = field(init=False)

    def __post_init__(self) -> None:
        self.objects = Objects(self.schema)

    def check(self, request: DeviceRequest) -> None:
        """Refuse what its schema does not have, and instances that there are not."""
        segments = _segments(request)
        if request.method not in _METHODS:
            raise Unsupported(f"{request.method} is not offered", delivery=Delivery.NOT_SENT)
        fault = self.schema.check(request.method, segments, request.payload)
        if fault is not None:
            kind: type[CallError] = {404: NoSuchResource, 405: Unsupported}.get(fault.status, BadRequest)
            raise kind(fault.detail, delivery=Delivery.NOT_SENT, word=fault.word)
        # Two segments of a POST are an action of the type.
        names_one = len(segments) > 1 and not (request.method == "POST" and len(segments) == 2)
        if names_one and self.objects.find(segments[0], segments[1]) is None:
            raise NoSuchResource(
                f"Instance with id {segments[1]} was not found.", delivery=Delivery.NOT_SENT, word="unknown-instance"
            )
        if request.method == "GET":
            try:
                self._query(request, segments)
            except Malformed as refusal:
                raise BadRequest(refusal.detail, delivery=Delivery.NOT_SENT, word=refusal.code) from None
            except OutOfRange:
                # What lies past the end is for the answer to say, with the array's own status.
                return

    def execute(self, request: DeviceRequest, now: float) -> DeviceResponse:
        """Do what is asked."""
        status = self.behaviour(request.target).status
        if status is not None:
            return _error(status, _SAID.get(status, "0xE0101001000C"), "Simulated refusal.")
        segments = _segments(request)
        try:
            self.check(request)
            if request.method == "GET":
                return self._read(request, segments)
            body = json.loads(request.payload) if request.payload else {}
            if FAIL in (body.get("description"), body.get("name")):
                raise _Failed(422, "0xE0A080010002", "The change was asked to fail.")
            at = _accepted_at(request)
            match request.method:
                case "POST" if len(segments) == 1:
                    return self._create(segments[0], body, self._new_id(request), at)
                case "POST":
                    return self._act(segments, body, self._new_id(request), at)
                case "PATCH":
                    self._modify(segments[0], self._one(segments), body)
                case _:
                    self._delete(segments[0], self._one(segments), body)
            return DeviceResponse(200, native={"status": 204})
        except _Failed as failed:
            return _error(failed.status, failed.code, failed.detail, *failed.arguments)
        except Refusal as refusal:
            return _error(refusal.status, _SAID.get(refusal.status, _SAID[400]), refusal.detail)
        except CallError as error:
            return _error(error.status, _SAID.get(error.status, _SAID[400]), error.detail)
        except (TypeError, ValueError, AttributeError) as error:
            # Its schema left open what the change needs; nothing was changed.
            return _error(422, _SAID[422], f"The change cannot be made with these values: {error}.")

    def restart(self) -> None:
        """Begin another life, with the objects of the first day."""
        SimulatedDevice.restart(self)
        self.objects = Objects(self.schema)

    def _query(self, request: DeviceRequest, segments: tuple[str, ...]) -> Query:
        shapes, kind = self.objects.shapes, segments[0]
        if len(segments) > 1:
            return parse_instance(request.query, shapes, kind)
        return parse_query(request.query, shapes, kind)

    def _read(self, request: DeviceRequest, segments: tuple[str, ...]) -> DeviceResponse:
        kind, shapes = segments[0], self.objects.shapes
        query = self._query(request, segments)
        if len(segments) > 1:
            return _json(project(self._one(segments), query.select, shapes, kind, self.objects.follow))
        rows, place = apply(query, self.objects.all(kind))
        told = [project(row, query.select, shapes, kind, self.objects.follow) for row in rows]
        if place.whole:
            return _json(told)
        return _json(told, 206, {"content_range": str(place)})

    def _create(self, kind: str, body: Mapping[str, Any], id: str, at: datetime | None) -> DeviceResponse:
        self._name_is_free(kind, body.get("name"), id)
        group = body.get("volume_group_id")
        members = body.get("volume_ids") or ()
        for volume in members:
            self._needed("volume", volume)
        if group is not None:
            self._needed("volume_group", group)
        self.objects.add(kind, id, {**body, "groups": [] if group is None else [group]}, at)
        for volume in members:
            self._needed("volume", volume)["groups"].append(id)
        return _json({"id": id}, 201)

    def _act(self, segments: tuple[str, ...], body: Mapping[str, Any], id: str, at: datetime | None) -> DeviceResponse:
        kind, row, action = segments[0], self._one(segments), segments[-1]
        if action in ("clone", "snapshot"):
            self._name_is_free(kind, body.get("name"), id)
            told = "Clone" if action == "clone" else "Snapshot"
            source = {"protection_data": {"source_id": row["id"]}, "type": told}
            plain = {name: value for name, value in row.items() if name not in ("id", "groups", "creation_timestamp")}
            name = body.get("name") or f"{row['name']}.{id[:8]}"
            self.objects.add(kind, id, {**plain, **body, "name": name, **source}, at)
            return _json({"id": id})
        members = [self._needed("volume", volume) for volume in body.get("volume_ids", ())]
        for volume in members:
            volume["groups"] = [group for group in volume["groups"] if group != row["id"]]
            if action == "add_members":
                volume["groups"].append(row["id"])
        return DeviceResponse(200, native={"status": 204})

    def _modify(self, kind: str, row: dict[str, Any], body: Mapping[str, Any]) -> None:
        self._name_is_free(kind, body.get("name"), row["id"])
        if kind == "volume" and body.get("size", row["size"]) < row["size"]:
            raise _Failed(422, "0xE0A07001000D", f"Size of volume {row['id']} may only grow.", row["id"])
        self.objects.change(kind, row, body)

    def _delete(self, kind: str, row: dict[str, Any], body: Mapping[str, Any]) -> None:
        if row.get("is_built_in"):
            raise _Failed(422, "0xE09040020003", f"User {row['name']} is built in and stays.", row["name"])
        members = self.objects.follow(row, self.objects.shapes[kind]["volumes"]) if kind == "volume_group" else ()
        self.objects.remove(kind, row)
        if body.get("delete_members"):
            for volume in members if isinstance(members, list) else ():
                self.objects.remove("volume", volume)

    def _one(self, segments: tuple[str, ...]) -> dict[str, Any]:
        row = self.objects.find(segments[0], segments[1])
        if row is None:
            raise _Failed(404, _SAID[404], f"Instance with id {segments[1]} was not found.", segments[1])
        return row

    def _needed(self, kind: str, id: str) -> dict[str, Any]:
        row = self.objects.find(kind, id)
        if row is None:
            raise _Failed(422, "0xE0A040010001", f"There is no {kind} with id {id}.", id)
        return row

    def _name_is_free(self, kind: str, name: str | None, id: str) -> None:
        held = None if name is None else self.objects.by_name(kind, name)
        if held is not None and held["id"] != id:
            raise _Failed(422, "0xE0A080010001", f"A {kind} with the name {name} exists already.", str(name))

    def _new_id(self, request: DeviceRequest) -> str:
        # From the call, so that a job that is carried on after a restart makes the same object, not another one.
        return str(uuid.uuid5(_IDS, f"{self.address}/{request.call_id}"))


def _accepted_at(request: DeviceRequest) -> datetime | None:
    """When the call was accepted, which its id tells; None for an id that is not the hub's."""
    try:
        ms = uuid.UUID(request.call_id).int >> 80
        return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def _segments(request: DeviceRequest) -> tuple[str, ...]:
    return tuple(part for part in parse_target(request.target).segments if part)


def _json(value: Any, status: int = 200, native: Mapping[str, Any] | None = None) -> DeviceResponse:
    said = {"status": status, **(native or {})}
    return DeviceResponse(status, json.dumps(value).encode(), "application/json", native=said)


def _error(status: int, code: str, detail: str, *arguments: str) -> DeviceResponse:
    told = {"code": code, "severity": "Error", "message_l10n": detail, "arguments": list(arguments)}
    payload = json.dumps({"messages": [told]}).encode()
    return DeviceResponse(status, payload, "application/json", native={"status": status})
