"""Cloud commands that wait: the line at a device, calling off, whose they are, searching, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clock import ManualClock
from tests.trips.commands_rig import Commanded, commanding
from tests.trips.enos_rig import OTHER_KEY, STALL_KEY

pytestmark = pytest.mark.anyio

WEEK = 7 * 86_400


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[Commanded]:
    async with commanding(tmp_path) as commands:
        yield commands


# The line at a device.


async def test_the_next_command_goes_out_only_after_an_answer_or_the_timeout(commands: Commanded) -> None:
    commands.device("queued")
    first = await commands.kept(device="queued", timeout=5)
    second = await commands.kept(device="queued", timeout=5)
    await commands.issued(first)
    commands.clock.advance(4)
    assert (await commands.state(second), commands.executed) == (1, [first])

    commands.clock.advance(2)

    await commands.issued(second)
    assert (await commands.state(first), commands.executed) == (7, [first, second])


async def test_a_command_without_a_ttl_queues_behind_those_that_wait(commands: Commanded) -> None:
    commands.device("slow")
    kept = [await commands.kept(device="slow") for _ in range(2)]
    asked = asyncio.create_task(commands.invoke(device="slow", timeout=60))
    await commands.accepted(3)
    for id in kept:
        await commands.issued(id)
        commands.clock.advance(2)
        await commands.ended(id)
    while len(commands.executed) < 3:
        await commands.state(kept[0])
    commands.clock.advance(2)
    answer = await asked

    assert (answer["code"], commands.executed) == (0, [*kept, answer["data"]["commandId"]])


async def test_one_that_did_not_get_its_turn_within_its_timeout_was_not_sent(commands: Commanded) -> None:
    commands.device("queued")
    first = await commands.kept(device="queued", timeout=60)
    await commands.issued(first)
    asked = asyncio.create_task(commands.invoke(device="queued", timeout=5))
    await commands.accepted(2)

    commands.clock.advance(5)
    answer = await asked

    assert (answer["code"], commands.executed) == (11904, [first])
    assert await commands.state(answer["data"]["commandId"]) == 3


async def test_at_most_fifty_wait_for_a_device(commands: Commanded) -> None:
    commands.away("quick")
    other = commands.away("slow")
    for _ in range(50):
        await commands.kept()

    full = await commands.invoke(pendingTtl=60)

    assert (full["code"], full["data"]) == (11902, None)
    await commands.kept(device="slow")
    commands.back(other)


async def test_a_command_without_a_ttl_finds_the_queue_full_too(tmp_path: Path) -> None:
    async with commanding(tmp_path, enos_waiting=2) as commands:
        ids = [await commands.kept(device="queued") for _ in range(3)]
        await commands.issued(ids[0])
        assert (await commands.invoke(device="queued"))["code"] == 11902


async def test_two_at_once_are_carried_out_one_after_the_other(commands: Commanded) -> None:
    device = commands.device("slow")
    asked = [asyncio.create_task(commands.invoke(device="slow", timeout=60)) for _ in range(2)]
    await commands.accepted(2)
    most = 0
    while not all(one.done() for one in asked):
        most = max(most, device.open)
        commands.clock.advance(1)
        await asyncio.wait(asked, timeout=0.01)

    assert [(await one)["code"] for one in asked] == [0, 0]
    assert most == 1 and device.executions == 2


async def test_commands_for_other_devices_do_not_wait(commands: Commanded) -> None:
    await commands.kept(device="queued")

    assert (await commands.invoke(device="quick"))["code"] == 0


async def test_a_client_that_goes_away_changes_nothing_about_its_command(commands: Commanded) -> None:
    asked = asyncio.create_task(commands.invoke(device="slow"))
    await commands.accepted(1)
    asked.cancel()
    [shown] = (await commands.search(device="slow"))["data"]
    commands.clock.advance(2)

    assert (await commands.ended(shown["commandId"]))["state"] == 5


# Calling off.


async def test_a_command_that_waits_can_be_cancelled(commands: Commanded) -> None:
    device = commands.away("quick")
    id = await commands.kept()

    answer = await commands("cancel", commandId=id)

    [shown] = answer["data"]
    assert (answer["code"], shown["commandId"], shown["state"]) == (0, id, 2)
    assert (await commands.told(id)).body["error"] == "CANCELLED"
    commands.back(device)
    await commands.invoke()
    assert id not in commands.executed


async def test_only_a_created_command_can_be_cancelled(commands: Commanded) -> None:
    issued = await commands.kept(device="queued")
    await commands.issued(issued)
    done = (await commands.invoke())["data"]["commandId"]

    for id, state in ((issued, 4), (done, 5)):
        answer = await commands("cancel", device=None, commandId=id)
        assert (answer["code"], answer["data"]) == (99400, None)
        assert await commands.state(id) == state


async def test_the_second_cancel_finds_nothing_to_call_off(commands: Commanded) -> None:
    commands.away("quick")
    id = await commands.kept()
    await commands("cancel", commandId=id)

    assert (await commands("cancel", commandId=id))["code"] == 99400
    await commands.told(id)


async def test_all_that_wait_for_a_device_can_be_cancelled_and_nothing_else(commands: Commanded) -> None:
    issued = await commands.kept(device="queued")
    await commands.issued(issued)
    mine = [await commands.kept(device="queued") for _ in range(3)]
    theirs = await commands.kept(device="queued", org="second")
    stalls = await commands.kept(device="queued", key=STALL_KEY)

    answer = await commands("cancel", device="queued")

    assert [one["commandId"] for one in answer["data"]] == mine
    assert await commands.state(issued) == 4
    assert (await commands.get(theirs, org="second"))["state"] == 1
    assert (await commands.get(stalls, key=STALL_KEY))["state"] == 1
    assert (await commands("cancel", device="queued"))["data"] == []


async def test_somebody_who_waits_for_a_cancelled_command_is_told(commands: Commanded) -> None:
    await commands.issued(await commands.kept(device="queued"))
    asked = asyncio.create_task(commands.invoke(device="queued"))
    await commands.accepted(2)
    await commands("cancel", device="queued")

    answer = await asked
    assert (answer["code"], answer["submsg"]) == (11904, "CANCELLED")


# Whose commands they are.


async def test_a_command_of_somebody_else_looks_like_none(commands: Commanded) -> None:
    commands.away("quick")
    id = await commands.kept()
    others: list[dict[str, Any]] = [
        {"org": "second"}, {"org": "foreign", "key": OTHER_KEY}, {"key": STALL_KEY}, {"device": "slow"},
    ]  # fmt: skip

    for who in others:
        for action, method in (("get", "GET"), ("cancel", "POST")):
            answer = await commands(action, method=method, **{"device": None, "commandId": id, **who})
            assert answer["code"] == 11404, (who, answer)
    assert await commands.state(id) == 1


async def test_a_command_that_there_is_not_is_11404(commands: Commanded) -> None:
    for id in ("nothing", "x" * 256, "2078724684846989312"):
        assert (await commands("get", device=None, method="GET", commandId=id))["code"] == 11404


async def test_a_call_of_another_kind_is_no_command(commands: Commanded) -> None:
    read = {"method": "GET", "uri": "/measurepoint/p"}
    made = await commands.served.sent("POST", "/v1/devices/quick/calls", read, org=None)

    assert (await commands("get", device=None, method="GET", commandId=made.json["id"]))["code"] == 11404
    assert (await commands.search())["data"] == []


# Searching.


async def test_a_search_finds_the_newest_first_and_tells_how_many_there_are(commands: Commanded) -> None:
    ids = []
    for _ in range(5):
        ids.append((await commands.invoke())["data"]["commandId"])
        commands.clock.advance(1)

    first = await commands.search(pagination={"pageNo": 1, "pageSize": 2})
    third = await commands.search(pagination={"pageNo": 3, "pageSize": 2})
    behind = await commands.search(pagination={"pageNo": 4, "pageSize": 2, "sorters": None})

    assert [one["commandId"] for one in first["data"] + third["data"]] == [ids[4], ids[3], ids[0]]
    assert first["pagination"] == {
        "sortedBy": [{"field": "createTime", "order": "DESC"}], "pageNo": 1, "pageSize": 2, "totalSize": 5,
    }  # fmt: skip
    assert (behind["data"], behind["pagination"]["totalSize"]) == ([], 5)


async def test_a_search_finds_by_state_name_and_time(commands: Commanded) -> None:
    commands.away("quick")
    old = await commands.kept("setSpeed", given={"rpm": 1}, pendingTtl=1)
    commands.clock.advance(1)
    await commands.ended(old)
    young = await commands.kept("setSpeed", given={"rpm": 1})
    other = await commands.kept("add")
    at = (await commands.get(young))["createTime"]

    async def found(expression: str) -> list[str]:
        return [one["commandId"] for one in (await commands.search(expression))["data"]]

    assert await found("state = 3") == [old]
    assert await found('commandName.zh_CN like "speed" AND createTime >= "2026-01-01 00:01:32"') == [young]
    assert await found(f"createTime = {at}") == [other, young]
    assert await found(f"createTime < {at} or tslIdentifier = 'add'") == [other, old]
    assert await found("") == [other, young, old]


async def test_a_search_sees_the_commands_of_its_device_its_organisation_and_its_application(
    commands: Commanded,
) -> None:
    mine = (await commands.invoke())["data"]["commandId"]
    await commands.invoke(device="refuses")
    await commands.invoke(org="second")
    await commands.invoke(key=STALL_KEY)

    assert [one["commandId"] for one in (await commands.search())["data"]] == [mine]


async def test_a_projection_shows_what_it_names(commands: Commanded) -> None:
    id = (await commands.invoke())["data"]["commandId"]

    answer = await commands.search(projection=["commandId", "state", "commandName.defaultValue"])

    assert answer["data"] == [{"commandId": id, "state": 5, "commandName": {"defaultValue": "add"}}]


async def test_commands_are_kept_for_seven_days(commands: Commanded) -> None:
    id = (await commands.invoke())["data"]["commandId"]
    commands.clock.advance(WEEK - 60)
    await commands.hub.sweep.tidy()
    assert await commands.state(id) == 5

    commands.clock.advance(61)
    await commands.hub.sweep.tidy()

    assert (await commands("get", device=None, method="GET", commandId=id))["code"] == 11404
    assert (await commands.search())["pagination"]["totalSize"] == 0


# Restarts.


async def test_what_waited_goes_on_in_its_order_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with commanding(tmp_path, clock) as commands:
        issued = await commands.kept("add", device="queued", timeout=30)
        await commands.issued(issued)
        short = await commands.kept("add", device="queued", pendingTtl=10)
        ids = [await commands.kept("add", device="queued") for _ in range(3)]
    clock.advance(15)
    async with commanding(tmp_path, clock, settled=False) as commands:
        device = commands.device("queued")
        clock.advance(0)
        assert (await commands.ended(short))["state"] == 3
        clock.advance(2)  # a look at every lane
        for _ in range(9):
            await commands.state(issued)
        # It may have been carried out, so it is not sent again and nothing goes before its time is over.
        assert (await commands.state(issued), device.executions) == (4, 0)
        clock.advance(15)
        assert (await commands.ended(issued))["state"] == 7
        for id in ids:
            await commands.issued(id)
            clock.advance(31)
        assert commands.executed == ids
