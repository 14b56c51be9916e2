"""A simulated array and values that its schema leaves open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.simulated.array import SimulatedArray
from adapters.simulated.model import MODELS
from hub.model.schema import Schema
from hub.ports.adapter import DeviceRequest

VOLUME = "/volume/0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e01"
GROUP = "/volume_group/e436abe3-d78e-4d1d-a349-349368803c59"


def open_array() -> SimulatedArray:
    """Its document says which attributes there are, and nothing of what they hold."""
    held: dict[str, Any] = {"properties": {name: {} for name in ("id", "name", "description", "size", "volume_ids")}}
    groups: dict[str, Any] = {"properties": {**held["properties"], "volumes": {}, "placement_rule": {}}}
    kinds = ("local_user", "policy", "network", "remote_system", "appliance")
    asked = {"parameters": [{"in": "body", "schema": held}]}
    paths: dict[str, Any] = {
        path: {"get": {"responses": {"200": {"schema": groups if "group" in path else held}}}, "post": asked,
               "patch": asked}
        for path in ("/volume", "/volume/{id}", "/volume_group", *(f"/{kind}" for kind in kinds))
    }  # fmt: skip
    paths["/volume_group/{id}/add_members"] = {"post": asked}
    return SimulatedArray("array", MODELS["array"], schema=Schema({"swagger": "2.0", "paths": paths}))


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PATCH", VOLUME, {"size": None}), ("PATCH", VOLUME, {"size": "large"}), ("PATCH", VOLUME, {"name": 7}),
        ("POST", f"{GROUP}/add_members", {"volume_ids": None}), ("POST", "/volume_group", {"volume_ids": [None]}),
        ("POST", f"{GROUP}/add_members", {"volume_ids": [[]]}), ("POST", "/volume_group", {"volume_ids": 7}),
    ],
)  # fmt: skip
def test_a_value_that_no_change_can_be_made_with_is_an_error_of_the_array_and_changes_nothing(
    method: str, target: str, body: Any
) -> None:
    array = open_array()
    before = json.dumps([array.objects.all("volume"), array.objects.all("volume_group")])
    request = DeviceRequest(
        device="array", method=method, target=target, payload=json.dumps(body).encode(), call_id="c", deadline=1.0
    )
    response = array.execute(request, 0.0)

    assert response.status == 422
    assert json.loads(response.payload)["messages"][0]["severity"] == "Error"
    assert json.dumps([array.objects.all("volume"), array.objects.all("volume_group")]) == before
