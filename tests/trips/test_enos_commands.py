"""Cloud commands from the request to their end: answers, refusals, how they end, repetition."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.model.ids import CallId
from tests.trips.commands_rig import PATH, Commanded, commanding
from tests.trips.enos_rig import READER_KEY
from tests.trips.front_rig import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[Commanded]:
    async with commanding(tmp_path) as commands:
        yield commands


# What is answered.


async def test_a_command_without_a_ttl_is_answered_with_what_the_device_returned(commands: Commanded) -> None:
    answer = await commands.invoke("add", {"a": 1, "b": 2})

    assert (answer["code"], answer["msg"], answer["submsg"]) == (0, "OK", None)
    assert set(answer) == {"code", "msg", "submsg", "requestId", "data"} and answer["requestId"]
    assert set(answer["data"]) == {"commandId", "outputData"} and answer["data"]["outputData"] == {"sum": 3}


async def test_a_command_with_a_ttl_is_answered_at_once_and_found_later(commands: Commanded) -> None:
    id = await commands.kept("add", device="slow")

    assert (await commands.get(id))["outputData"] is None
    await commands.issued(id)
    commands.clock.advance(2)
    assert (await commands.ended(id))["outputData"] == {"sum": 3}


async def test_a_point_is_set(commands: Commanded) -> None:
    device = commands.device("quick")

    answer = await commands("setMeasurepoint", {"value": 1.5}, measurepointId="speed")

    assert (answer["code"], set(answer["data"])) == (0, {"commandId"})
    assert device.held["speed"].value == b"1.5"
    shown = await commands.get(answer["data"]["commandId"])
    assert (shown["commandType"], shown["inputData"], shown["outputData"], shown["state"]) == (1, 1.5, None, 5)


async def test_a_command_is_shown_with_every_field(commands: Commanded) -> None:
    at = commands.clock.now()
    id = await commands.kept("setSpeed", given={"rpm": 9}, device="quick", timeout=7, pendingTtl=60)

    assert await commands.ended(id) == {
        "commandId": id, "orgId": "o1", "productKey": "pkPump", "deviceKey": "quick", "assetId": "asset-quick",
        "createTime": int(at.timestamp() * 1000), "createLocaltime": at.strftime("%Y-%m-%d %H:%M:%S"),
        "commandType": 2, "commandName": {"defaultValue": "Set the speed", "i18nValue": {}}, "timeout": 7,
        "pendingTtl": 60, "state": 5, "tslIdentifier": "setSpeed", "inputData": {"rpm": 9}, "outputData": {"rpm": 9},
    }  # fmt: skip


async def test_what_is_not_said_has_its_default(commands: Commanded) -> None:
    answer = await commands("invokeService", None, serviceId="add", timeout="", pendingTtl="")

    shown = await commands.get(answer["data"]["commandId"])
    assert (shown["timeout"], shown["pendingTtl"], shown["inputData"]) == (30, 0, {})


async def test_the_asset_names_the_device_whatever_stands_beside(commands: Commanded) -> None:
    answer = await commands.invoke(device="slow", assetId="asset-quick")

    shown = await commands.get(answer["data"]["commandId"])
    assert (shown["deviceKey"], shown["assetId"]) == ("quick", "asset-quick")


async def test_the_end_is_told_once_on_the_default_channel_under_the_id_of_the_command(commands: Commanded) -> None:
    answer = await commands.invoke()

    event = await commands.told(answer["data"]["commandId"])
    assert (event.body["ref"], event.body["payload"]) == (answer["data"]["commandId"], b'{"sum":3}')


# What is refused.


ARGUMENTS: list[tuple[str | None, Any, dict[str, Any]]] = [
    ("invokeService", {}, {"serviceId": None}),
    ("invokeService", {}, {"serviceId": "a\nb"}),
    ("invokeService", {}, {"serviceId": "s" * 257}),
    ("invokeService", {}, {"serviceId": "add", "timeout": 0}),
    ("invokeService", {}, {"serviceId": "add", "timeout": 61}),
    ("invokeService", {}, {"serviceId": "add", "timeout": "1.5"}),
    ("invokeService", {}, {"serviceId": "add", "pendingTtl": 172_801}),
    ("invokeService", {}, {"serviceId": "add", "pendingTtl": -1}),
    ("invokeService", {"inputData": [1]}, {"serviceId": "add"}),
    ("invokeService", {"inputData": {"a": "x" * 70_000}}, {"serviceId": "add"}),
    ("invokeService", {"inputData": {"rpm": "fast"}}, {"serviceId": "setSpeed"}),  # the product says: a number
    ("invokeService", [], {"serviceId": "add"}),
    ("invokeService", b"{", {"serviceId": "add"}),
    ("invokeService", {}, {"serviceId": "add", "device": None}),
    ("invokeService", {}, {"serviceId": "add", "device": None, "productKey": "pkPump"}),
    ("invokeService", {}, {"serviceId": "add", "org": None}),
    ("invokeService", {}, {"serviceId": "add", "org": "nobody"}),
    ("invokeService", {}, {"serviceId": "add", "org": "foreign"}),
    ("setMeasurepoint", {"value": 1}, {}),
    ("setMeasurepoint", {}, {"measurepointId": "p"}),
    ("setMeasurepoint", {"value": None}, {"measurepointId": "p"}),
    ("get", None, {}),
    (None, {}, {}),
    ("explode", {}, {}),
    ("search", {}, {"device": None}),
    ("search", {"expression": "colour = 1"}, {}),
    ("search", {"expression": 7}, {}),
    ("search", {"pagination": []}, {}),
    ("search", {"pagination": {"pageNo": 0}}, {}),
    ("search", {"pagination": {"pageSize": 1001}}, {}),
    ("search", {"pagination": {"pageNo": True}}, {}),
    ("search", {"pagination": {"sorters": [{"field": "state"}]}}, {}),
    ("search", {"projection": "state"}, {}),
    ("search", {"projection": ["colour"]}, {}),
    ("search", {"projection": ["state.x"]}, {}),
    ("cancel", None, {"device": None}),
]


async def test_what_cannot_be_understood_is_99400_and_leaves_no_command(commands: Commanded) -> None:
    for action, body, query in ARGUMENTS:
        answer = await commands(action, body, method="GET" if action == "get" else "POST", **query)
        assert (answer["code"], answer["data"]) == (99400, None) and answer["submsg"], (action, body, query, answer)

    assert not commands.hub.stats.accepted


REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"device": "nobody"}, 99404),
    ({"device": None, "assetId": "nothing"}, 99404),
    ({"assetId": "nothing"}, 99404),  # even where product and device key fit
    ({"device": "foreign"}, 99404),
    ({"device": None, "assetId": "foreign-asset"}, 99404),
    ({"device": None, "productKey": "pkNone", "deviceKey": "quick"}, 11651),
    ({"device": None, "productKey": "pkOther", "deviceKey": "foreign"}, 11651),
    ({"device": "absent"}, 11888),
    ({"device": None, "assetId": "bulb"}, 11810),
    ({"device": None, "assetId": "array"}, 11810),
    ({"key": "ak_wrong_wrong_wrong"}, 401),
    ({"key": READER_KEY}, 403),
]


async def test_a_refusal_has_its_code(commands: Commanded) -> None:
    for query, code in REFUSALS:
        answer = await commands.invoke(**query)
        assert (answer["code"], answer["data"]) == (code, None) and answer["msg"], (query, answer)

    assert not commands.hub.stats.accepted


async def test_a_path_or_method_that_there_is_not_is_99404(commands: Commanded) -> None:
    for method, path in (("PUT", PATH), ("GET", "/connect-service/v2.1/other"), ("POST", "/connect-service")):
        answer = await commands.served.ask(method, path, {})
        assert (answer["code"], answer["data"]) == (99404, None), answer


async def test_a_device_that_is_away_is_told_at_once(commands: Commanded) -> None:
    commands.away("quick")

    answer = await commands.invoke()

    assert (answer["code"], answer["msg"]) == (11900, "Device is offline")


async def test_shortly_after_a_start_a_device_may_be_on_its_way_back(tmp_path: Path) -> None:
    async with commanding(tmp_path, settled=False) as commands:
        device = commands.away("quick")
        asked = asyncio.create_task(commands.invoke())
        await commands.accepted(1)
        commands.back(device)
        assert (await asked)["code"] == 0


async def test_no_more_than_so_many_requests_wait(tmp_path: Path) -> None:
    async with commanding(tmp_path, more="[enos]\nwaiting = 1\n") as commands:
        first = asyncio.create_task(commands.invoke(device="slow"))
        await commands.accepted(1)
        assert (await commands.invoke())["code"] == 429
        await commands.kept("add")
        commands.clock.advance(2)
        assert (await first)["code"] == 0


async def test_requests_that_come_at_once_do_not_wait_beyond_the_bound(tmp_path: Path) -> None:
    async with commanding(tmp_path, more="[enos]\nwaiting = 2\n") as commands:
        asked = [asyncio.create_task(commands.invoke(device="slow", timeout=60)) for _ in range(12)]
        await commands.accepted(2)
        refused, _ = await asyncio.wait(asked[:], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        while len(refused) < 10:
            more, _ = await asyncio.wait(set(asked) - refused, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            assert more
            refused |= more
        assert {task.result()["code"] for task in refused} == {429}
        assert commands.hub.stats.accepted == 2
        while not all(task.done() for task in asked):
            commands.clock.advance(2)
            await asyncio.wait(asked, timeout=0.01)
        assert (await commands.invoke())["code"] == 0


async def test_a_hub_that_goes_down_tells_those_who_wait_and_takes_nothing(commands: Commanded) -> None:
    asked = asyncio.create_task(commands.invoke(device="queued"))
    await commands.accepted(1)
    draining = asyncio.create_task(commands.served.app.drain())
    await asyncio.sleep(0)
    refused = await commands.invoke()
    commands.clock.advance(30)
    await draining
    answer = await asked

    assert (refused["code"], refused["data"]) == (99500, None)
    assert answer["data"]["commandId"]


# How commands end.


@pytest.mark.parametrize(
    ("device", "code", "state"), [("queued", 11915, 7), ("refuses", 2000, 6), ("gone", 11915, 7)]
)
async def test_a_failed_command_is_told_with_its_code_and_its_id(
    commands: Commanded, device: str, code: int, state: int
) -> None:
    asked = asyncio.create_task(commands.invoke("add", device=device, timeout=5))
    await commands.accepted(1)
    while not asked.done():
        commands.clock.advance(1)
        await asyncio.wait([asked], timeout=0.01)
    answer = await asked

    assert answer["code"] == code, answer
    shown = await commands.get(answer["data"]["commandId"])
    assert (shown["state"], shown["outputData"]) == (state, None)


async def test_an_idempotent_service_without_an_answer_timed_out_as_well(commands: Commanded) -> None:
    id = await commands.kept("getSpeed", device="queued", timeout=5)
    await commands.issued(id)
    commands.clock.advance(6)

    assert (await commands.ended(id))["state"] == 7


async def test_a_kept_command_that_finds_no_device_in_time_expires(commands: Commanded) -> None:
    device = commands.away("quick")
    id = await commands.kept(pendingTtl=60)
    assert await commands.state(id) == 1

    commands.clock.advance(60)

    assert (await commands.ended(id))["state"] == 3
    commands.back(device)
    await commands.invoke()
    assert id not in commands.executed


async def test_a_kept_command_goes_out_when_its_device_comes(commands: Commanded) -> None:
    device = commands.away("quick")
    ids = [await commands.kept() for _ in range(3)]
    commands.clock.advance(300)

    commands.back(device)

    assert [(await commands.ended(id))["state"] for id in ids] == [5, 5, 5]
    assert commands.executed == ids


async def test_a_command_for_a_device_that_never_came_waits_for_it(commands: Commanded) -> None:
    id = await commands.kept(device="absent")

    assert await commands.state(id) == 1


async def test_a_device_that_is_deleted_takes_its_waiting_commands_along(commands: Commanded) -> None:
    commands.away("quick")
    id = await commands.kept()
    device = commands.hub.directory.device("acme", "quick")
    assert device is not None
    await commands.hub.presence.remove(device)

    assert (await commands.ended(id))["state"] == 2


# Repetition.


async def test_a_request_that_is_repeated_under_its_key_is_one_command(commands: Commanded) -> None:
    device = commands.device("quick")
    marked = {"Idempotency-Key": "k-1"}
    first = await commands.invoke(headers=marked)
    commands.away("quick")  # wherever the device is now: it was carried out

    second = await commands.invoke(headers=marked)

    assert first["data"] == second["data"] and second["code"] == 0
    assert device.executions == 1


async def test_another_request_under_the_same_key_is_refused(commands: Commanded) -> None:
    marked = {"Idempotency-Key": "k-1"}
    await commands.invoke(headers=marked)

    assert (await commands.invoke(given={"a": 5}, headers=marked))["code"] == 99400


async def test_those_who_wait_are_not_held_longer_than_the_timeout(commands: Commanded) -> None:
    asked = asyncio.create_task(commands.invoke(device="queued", timeout=1))
    async with asyncio.timeout(PATIENCE):
        while not commands.hub.dispatch.under_way:
            await commands.hub.engine.journal.park([CallId("nobody")])
    commands.clock.advance(1.6)

    async with asyncio.timeout(PATIENCE):
        assert (await asked)["code"] == 11915


async def test_whatever_is_asked_is_answered_with_a_code(commands: Commanded) -> None:
    luck = random.Random(11)
    values: tuple[Any, ...] = (
        "", "0", "-1", "61", "172801", "9" * 30, "\x00", "%zz", "\u00e4" * 300, "nobody", "add", "a/b/c", "/", "pkPump",
        "asset-quick", "quick", "refuses", "get", "o1", "second",
    )  # fmt: skip
    members: tuple[Any, ...] = (
        None, "", 0, -1, 2**63, 2**64 - 1, -(2**63), 1.5, 1e300, True, [], {}, [1], {"a": {"b": [1, {}]}}, "state = 1",
        "state in (", ["state"], [7], {"pageNo": 2**70}, {"pageNo": 3, "pageSize": 1}, "x" * 70_000, "\ud800",
    )  # fmt: skip
    names = ("serviceId", "measurepointId", "timeout", "pendingTtl", "commandId", "assetId", "productKey", "action")
    for _ in range(300):
        action = luck.choice(("invokeService", "setMeasurepoint", "search", "cancel", "get"))
        query: dict[str, Any] = {"serviceId": "add", "measurepointId": "p"}
        query.update((luck.choice(names), luck.choice(values)) for _ in range(luck.randrange(3)))
        body: Any = {"inputData": {}, "value": 1}
        for _ in range(luck.randrange(3)):
            name = luck.choice(("inputData", "value", "expression", "pagination", "projection"))
            body[name] = luck.choice(members)
        body = luck.choice((body, body, body, luck.choice(members)))
        sent = json.dumps(body).encode()
        if luck.random() < 0.1:
            sent = sent[: luck.randrange(len(sent))] + b"\xff"
        action = query.pop("action", action)
        answer = await commands(action, sent, method="GET" if action == "get" else "POST", **query)
        assert isinstance(answer["code"], int) and answer["msg"] and answer["requestId"], (query, sent, answer)
        assert answer["code"] != 99500, (query, sent, answer)

    assert not commands.hub.stats.storage_failures
    assert (await commands.invoke())["code"] == 0
