"""What a simulated array holds: its objects by type, with the seeds' own among them, and how they hang together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from hub.model.query import Attribute, Form, Row
from hub.model.schema import Schema

BORN = "2026-01-05T08:00:00.000+00:00"

# The second seed's own volume group and user, and some company for them.
_GROUP = "e436abe3-d78e-4d1d-a349-349368803c59"
_FIRST: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("volume_group", _GROUP, {"name": "finance", "description": "", "is_write_order_consistent": True}),
    ("volume", "0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e01", {"name": "finance-1", "size": 107374182400, "groups": [_GROUP]}),
    ("volume", "0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e02", {"name": "finance-2", "size": 53687091200, "groups": [_GROUP]}),
    ("local_user", "1", {"name": "admin", "is_built_in": True, "is_locked": False, "role_id": "1"}),
    ("policy", "5f0c2a6e-31b2-4f0e-8f4e-0f1d6c7a9b10", {"name": "gold", "type": "Protection", "is_read_only": False}),
    ("network", "NW1", {"name": "Management", "type": "Management", "ip_version": "IPv4", "mtu": 1500, "vlan_id": 0}),
    ("remote_system", "9a1d7c44-1c2b-4a3f-b0aa-52f1c35e7a10", {
        "name": "other-site", "management_address": "192.0.2.10", "type": "PowerStore", "state": "OK",
        "data_network_latency": "Low",
    }),
    ("appliance", "A1", {"name": "appliance-1", "model": "Simulated", "service_tag": "SIM0001"}),
)  # fmt: skip

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "volume_group": {
        "description": "", "type": "Primary", "type_l10n": "Primary", "is_protectable": True, "is_importing": False,
        "is_write_order_consistent": True, "is_replication_destination": False, "placement_rule": "No_Preference",
        "protection_data": {"source_id": None}, "location_history": [],
    },
    "volume": {
        "description": "", "type": "Primary", "type_l10n": "Primary", "state": "Ready", "state_l10n": "Ready",
        "logical_used": 0, "appliance_id": "A1", "is_replication_destination": False,
        "is_host_access_available": False, "protection_data": {"source_id": None}, "location_history": [],
    },
    "local_user": {"is_built_in": False, "is_locked": False, "is_default_password": False},
    "policy": {"type": "Protection", "type_l10n": "Protection", "is_read_only": False},
    "remote_system": {"type": "PowerStore", "state": "OK", "state_l10n": "OK", "data_network_latency": "Low"},
}  # fmt: skip

SECRET = frozenset({"password", "current_password", "remote_password"})
"""What is taken and never told."""


def interface() -> Schema:
    """The schema of every simulated array, from its OpenAPI document."""
    text = (resources.files(__package__) / "array.openapi.json").read_text("utf-8")
    return Schema(json.loads(text))


class Objects:
    """The objects of one array. A row holds an object's plain attributes; members of groups are known by `groups`."""

    def __init__(self, schema: Schema) -> None:
        self.shapes = schema.shapes
        self._held: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in schema.shapes}
        for kind, id, attributes in _FIRST:
            self.add(kind, id, attributes, None)

    def all(self, kind: str) -> Sequence[Row]:
        """The objects of a type."""
        return list(self._held[kind].values())

    def find(self, kind: str, named: str) -> dict[str, Any] | None:
        """An object by id, or by `name:<name>`."""
        held = self._held.get(kind, {})
        if not named.startswith("name:"):
            return held.get(named)
        return self.by_name(kind, named[5:])

    def by_name(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object by its name, without case."""
        return next((row for row in self._held[kind].values() if _same(row.get("name"), name)), None)

    def add(self, kind: str, id: str, attributes: Mapping[str, Any], at: datetime | None) -> dict[str, Any]:
        """A new object."""
        row: dict[str, Any] = {**_DEFAULTS.get(kind, {}), "id": id}
        if "creation_timestamp" in self.shapes[kind]:
            row["creation_timestamp"] = BORN if at is None else at.isoformat(timespec="milliseconds")
        row["groups"] = list(attributes.get("groups", ()))
        self._held[kind][id] = row
        self.change(kind, row, attributes)
        return row

    def change(self, kind: str, row: dict[str, Any], attributes: Mapping[str, Any]) -> None:
        """Set attributes of an object; what it is not told by is taken and forgotten."""
        shape = self.shapes[kind]
        for name, value in attributes.items():
            if name in shape and not shape[name].related and name not in SECRET:
                row[name] = value
                if f"{name}_l10n" in shape and isinstance(value, str):
                    row[f"{name}_l10n"] = value

    def remove(self, kind: str, row: Mapping[str, Any]) -> None:
        """Take an object away; members of a group that goes stay."""
        id = row["id"]
        del self._held[kind][id]
        if kind == "volume_group":
            for volume in self._held["volume"].values():
                volume["groups"] = [group for group in volume["groups"] if group != id]

    def follow(self, row: Row, attribute: Attribute) -> Row | Sequence[Row] | None:
        """What a relation of an object leads to."""
        if attribute.form is Form.ONE:
            id = row.get(f"{attribute.name}_id")
            return self._held.get(attribute.type or "", {}).get(id) if isinstance(id, str) else None
        if attribute.name == "volumes" and "placement_rule" in row:
            return [volume for volume in self._held["volume"].values() if row["id"] in volume["groups"]]
        if attribute.name == "volume_groups" and "size" in row:
            return [self._held["volume_group"][id] for id in row["groups"] if id in self._held["volume_group"]]
        return []


def _same(one: Any, other: str) -> bool:
    return isinstance(one, str) and one.lower() == other.lower()
