"""The device directory of the Connect dialect over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hub.model.device import Device
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, KEY, Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

Rig = tuple[Front, Observed]
DEVICES = "/v3/devices/"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Seven devices, made a minute apart: lamp, d0 to d4 registered, and `declared`."""
    async with running_observed(tmp_path) as (front, observed):
        for n in range(5):
            front.core.clock.advance(60)
            await observed.register(f"d{n}", name=f"name-{n}", type="odd" if n % 2 else "even")
        front.core.clock.advance(60)
        await front.core.hub.directory.put_device(
            Device("declared", "acme", "scripted", "declared", attrs={"attributes": {"zone": "roof", "a__b": "c"}})
        )
        await observed.heard(Heard.DEREGISTERED, "d4")
        yield front, observed


async def listed(front: Front, filter: str = "", **query: Any) -> list[str]:
    """The ids that a listing answers."""
    asked = {**({"filter": filter} if filter else {}), **query}
    answer = await front.ask("GET", DEVICES + "?" + "&".join(f"{k}={quote(str(v))}" for k, v in asked.items()))
    assert answer.status == 200, answer
    return [device["id"] for device in answer.json["data"]]


async def test_a_device_is_told_with_what_is_known_of_it_and_nothing_else(rig: Rig) -> None:
    front, observed = rig
    device = observed.device("d1")
    answer = await front.ask("GET", f"{DEVICES}d1/")

    assert device.created_at is not None and device.updated_at is not None
    moment = "2026-01-01T00:02:00.000Z"
    assert (answer.status, answer.json) == (
        200,
        {
            "object": "device",
            "id": "d1",
            "account_id": "acme",
            "state": "registered",
            "name": "name-1",
            "endpoint_name": "name-1",
            "endpoint_type": "odd",
            "created_at": moment,
            "updated_at": moment,
            "etag": moment,
            "custom_attributes": {},
        },
    )
    assert datetime.fromisoformat(answer.json["etag"]) == device.updated_at
    assert (await front.ask("GET", f"{DEVICES}d1")).json == answer.json
    assert "name" not in (await front.ask("GET", f"{DEVICES}declared/")).json


async def test_a_list_has_the_form_that_the_sdks_need(rig: Rig) -> None:
    front, _ = rig
    answer = (await front.ask("GET", f"{DEVICES}?limit=2&include=total_count&filter=state%3Dregistered")).json
    plain = (await front.ask("GET", "/v3/devices")).json

    assert {name: answer[name] for name in answer if name != "data"} == {
        "object": "list",
        "limit": 2,
        "order": "ASC",
        "after": None,
        "has_more": True,
        "total_count": 5,
    }
    assert [device["id"] for device in answer["data"]] == ["lamp", "d0"]
    assert ("total_count" in plain, plain["limit"], len(plain["data"])) == (False, 50, 7)


async def test_pages_follow_each_other_in_order_of_creation(rig: Rig) -> None:
    front, _ = rig
    pages: list[list[str]] = []
    after = ""
    while True:
        answer = (await front.ask("GET", f"{DEVICES}?limit=3&order=DESC{after}")).json
        pages.append([device["id"] for device in answer["data"]])
        if not answer["has_more"]:
            break
        after = f"&after={pages[-1][-1]}"

    assert pages == [["declared", "d4", "d3"], ["d2", "d1", "d0"], ["lamp"]]
    assert answer["after"] == "d0"
    assert await listed(front, after="d3", limit=2) == ["d4", "declared"]


@pytest.mark.parametrize(("order", "rest"), [("ASC", ["d2", "d3"]), ("DESC", ["d2", "d1"])])
async def test_pages_go_on_where_the_last_device_of_one_was_deleted_meanwhile(
    rig: Rig, order: str, rest: list[str]
) -> None:
    front, _ = rig
    last = (await listed(front, limit=3, order=order))[-1]
    device = front.core.hub.directory.device("acme", last)
    assert device is not None
    await front.core.hub.presence.remove(device)
    gone = await listed(front, limit=2, order=order, after=last)
    # A new device of that name stands elsewhere, and moves no page that is under way.
    await front.core.hub.directory.put_device(Device(last, "acme", "scripted", last))
    again = await listed(front, limit=2, order=order, after=last)

    assert (gone, again) == (rest, rest)


async def test_long_after_a_page_a_device_that_came_again_stands_where_it_is(rig: Rig) -> None:
    front, _ = rig
    last = (await listed(front, limit=3, order="ASC"))[-1]
    device = front.core.hub.directory.device("acme", last)
    assert device is not None
    await front.core.hub.presence.remove(device)
    front.core.clock.advance(601)
    await front.core.hub.directory.put_device(Device(last, "acme", "scripted", last))

    assert await listed(front, order="ASC", after=last) == []


@pytest.mark.parametrize(
    ("limit", "used"), [("0", 2), ("1", 2), ("-7", 2), ("2", 2), ("1000", 1000), ("1001", 1000), ("9" * 30, 1000)]
)
async def test_a_limit_is_moved_to_the_nearest_bound(rig: Rig, limit: str, used: int) -> None:
    front, _ = rig
    assert (await front.ask("GET", f"{DEVICES}?limit={limit}")).json["limit"] == used


@pytest.mark.parametrize(
    ("filter", "ids"),
    [
        ("state=registered", ["lamp", "d0", "d1", "d2", "d3"]),
        ("state__eq=deregistered", ["d4"]),
        ("state=unenrolled", ["declared"]),
        ("state=nonsense", []),
        ("state__neq=registered", ["d4", "declared"]),
        ("state__in=unenrolled,deregistered", ["d4", "declared"]),
        ("state__nin=unenrolled,deregistered", ["lamp", "d0", "d1", "d2", "d3"]),
        ("id__in=d2,d0,nobody", ["d0", "d2"]),
        ("id=d3", ["d3"]),
        ("endpoint_type=odd", ["d1", "d3"]),
        ("endpoint_type__neq=odd", ["lamp", "d0", "d2", "d4", "declared"]),
        ("endpoint_name=name-2", ["d2"]),
        ("account_id=acme&endpoint_type=odd&state=registered", ["d1", "d3"]),
        ("created_at__gte=2026-01-01T00:04:00Z", ["d3", "d4", "declared"]),
        ("created_at__lte=2026-01-01T00:01:00.000Z", ["lamp", "d0"]),
        ("created_at=2026-01-01T00:01:00Z", ["d0"]),
        ("created_at__gte=2026-01-01T02:04:00+02:00", ["d3", "d4", "declared"]),
        ("updated_at__gte=2026-01-02", []),
        ("id__gte=d3&id__lte=d4", ["d3", "d4"]),
        ("custom_attributes__zone=roof", ["declared"]),
        ("custom_attributes__zone__neq=roof", ["lamp", "d0", "d1", "d2", "d3", "d4"]),
        ("custom_attributes__a__b=c", ["declared"]),
        ("serial_number=7", []),
        ("serial_number__neq=7&id=d0", ["d0"]),
    ],
)
async def test_each_operator_filters(rig: Rig, filter: str, ids: list[str]) -> None:
    front, _ = rig
    assert await listed(front, filter) == ids


async def test_total_count_counts_what_the_filter_lets_through_not_what_is_left(rig: Rig) -> None:
    front, _ = rig
    answer = await front.ask("GET", f"{DEVICES}?include=total_count&filter=endpoint_type%3Dodd&after=d1")

    assert (answer.json["total_count"], [d["id"] for d in answer.json["data"]]) == (2, ["d3"])


async def test_attributes_written_natively_can_be_filtered(rig: Rig) -> None:
    front, _ = rig
    await front.ask("PUT", "/v1/devices/d2", {"attributes": {"zone": "cellar"}})

    assert await listed(front, "custom_attributes__zone=cellar") == ["d2"]
    assert (await front.ask("GET", f"{DEVICES}d2/")).json["custom_attributes"] == {"zone": "cellar"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=many", "limit"),
        ("limit=1.5", "limit"),
        ("order=UP", "order"),
        ("after=nobody", "after"),
        ("filter=state", "filter"),
        ("filter=nonsense%3D1", "filter"),
        ("filter=created_at__gte%3Dyesterday", "filter"),
        ("filter=created_at__gte%3D0001-01-01T00:00:00%2B14:00", "filter"),
        ("filter=updated_at__lte%3D9999-12-31T23:59:59-14:00", "filter"),
        ("filter=state__like%3Dreg", "filter"),
    ],
)
async def test_a_wrong_query_is_an_error_object_that_names_the_field(rig: Rig, query: str, field: str) -> None:
    front, _ = rig
    answer = await front.ask("GET", f"{DEVICES}?{query}")
    error = answer.json

    assert answer.status == 400
    assert (error["object"], error["code"], error["type"]) == ("error", 400, "validation_error")
    assert [entry["name"] for entry in error["fields"]] == [field]
    assert error["message"] and len(error["request_id"]) == 32


async def test_other_errors_are_error_objects_too(rig: Rig) -> None:
    front, _ = rig
    for method, path, key, status, kind in [
        ("GET", DEVICES, None, 401, "invalid_auth"),
        ("GET", f"{DEVICES}nobody/", KEY, 404, "not_found"),
        ("GET", f"{DEVICES}d1/", FOREIGN, 404, "not_found"),
        ("GET", "/v3/nothing", KEY, 404, "not_found"),
        ("POST", DEVICES, KEY, 405, "method_not_allowed"),
        ("GET", f"{DEVICES}?api_key=x", KEY, 400, "bad_request"),
    ]:
        answer = await front.ask(method, path, key=key)
        error = answer.json
        assert (answer.status, error["object"], error["code"], error["type"]) == (status, "error", status, kind)
        assert "fields" not in error
