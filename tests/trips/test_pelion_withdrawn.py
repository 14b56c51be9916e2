"""Nobody is told values of what it has taken back, though they came before: on every kind of channel, and for good."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.dialects.pelion import withdrawals
from hub.dialects.pelion.withdrawn import MOST, Withdrawn
from hub.model.errors import StorageFailed
from hub.model.event import Position
from hub.model.record import Kind, Record
from tests.trips.front_rig import Front
from tests.trips.pelion_callback_rig import failed, registered
from tests.trips.pelion_pull_rig import WEBSOCKET, completed, over, polling
from tests.trips.pelion_rig import Observed, running_observed
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

RULES = "/v2/subscriptions"
LAMP = f"{RULES}/lamp"
TEMPERATURE = f"{LAMP}/3303/0/5700"
SETTING = f"{LAMP}/3303/0/5701"

Rig = tuple[Front, Observed]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


def told(message: dict[str, Any]) -> list[str]:
    return [item["path"] for item in message.get("notifications", ())]


async def subscribed(rig: Rig, *paths: str) -> None:
    """Subscriptions whose first values were polled."""
    front, observed = rig
    before = len(await observed.values(0))
    for number, path in enumerate(paths, 1):
        assert (await front.ask("PUT", path)).status == 200
        await observed.values(before + number)
    await taken(front)


async def taken(front: Front) -> dict[str, Any]:
    """What a poll is told of all that waits."""
    await completed(front, "mark")
    message: dict[str, Any] = (await polling(front)).json
    await over(front)
    assert [item["id"] for item in message["async-responses"]] == ["mark"], message
    return message


async def stored(front: Front) -> int:
    return len(front.core.hub.directory.records(Kind.WITHDRAWN))


async def test_a_value_that_waits_is_not_told_after_its_subscription_was_deleted(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE, SETTING)
    await observed.value(b"1")
    await observed.value(b"2", "/3303/0/5701")

    assert (await front.ask("DELETE", TEMPERATURE)).status == 204

    assert told(await taken(front)) == ["/3303/0/5701"]


async def test_no_value_of_a_device_is_told_after_its_subscriptions_were_deleted(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE, SETTING)
    await observed.value(b"1")
    await observed.value(b"2", "/3303/0/5701")

    assert (await front.ask("DELETE", LAMP)).status == 204

    assert told(await taken(front)) == []


@pytest.mark.parametrize("how", ["PUT", "DELETE"])
async def test_no_value_of_a_rule_that_was_removed_is_told_and_those_subscribed_singly_are(rig: Rig, how: str) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [{"endpoint-name": "lamp", "resource-path": ["/3303/*"]}])
    await observed.register()
    await observed.values(2)
    await subscribed(rig, SETTING)
    await observed.value(b"1")
    await observed.value(b"2", "/3303/0/5701")

    await front.ask(how, RULES, [] if how == "PUT" else None)

    assert told(await taken(front)) == ["/3303/0/5701"]


async def test_values_that_a_registration_ended_the_subscription_of_are_told_all_the_same(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    await observed.value(b"1")

    await observed.register()

    assert told(await taken(front)) == ["/3303/0/5700"]


async def test_what_is_subscribed_again_at_once_is_told_from_then_on(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    await observed.value(b"1")
    seen = len(await observed.values())
    await front.ask("DELETE", TEMPERATURE)
    await front.ask("PUT", TEMPERATURE)
    await observed.values(seen + 1)
    await observed.value(b"3")

    message = await taken(front)

    # "first /3303/0/5700" and "3"
    payloads = [item["payload"] for item in message["notifications"]]
    assert payloads == ["Zmlyc3QgLzMzMDMvMC81NzAw", "Mw=="]


async def test_a_restart_tells_nothing_that_was_taken_back(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as rig:
        await subscribed(rig, TEMPERATURE, SETTING)
        await rig[1].value(b"1")
        await rig[1].value(b"2", "/3303/0/5701")
        await rig[0].ask("DELETE", TEMPERATURE)

    async with running_observed(tmp_path, again=True) as (front, _):
        # Twice, since what is observed anew tells its value again.
        assert set(told(await taken(front))) == {"/3303/0/5701"}


async def test_a_value_under_way_to_the_disk_is_not_told_either(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    log, gate, came = front.core.hub.engine.log, asyncio.Event(), asyncio.Event()
    append = log.append

    async def slow(*given: Any) -> Any:
        came.set()
        await gate.wait()
        return await append(*given)

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", slow)
        value = asyncio.ensure_future(observed.value(b"1"))
        await came.wait()
        deleted = asyncio.ensure_future(front.ask("DELETE", TEMPERATURE))
        await observed.until(lambda: observed.running == [])
        gate.set()
        assert (await deleted).status == 204
        await value

    assert told(await taken(front)) == []


async def test_a_first_channel_does_not_tell_what_was_taken_back_before_it(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", TEMPERATURE)
    await observed.values()
    await front.ask("DELETE", TEMPERATURE)

    assert told(await taken(front)) == []


async def test_a_socket_that_comes_back_is_not_told_what_was_taken_back(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", WEBSOCKET)
    await front.ask("PUT", TEMPERATURE)
    await front.ask("PUT", SETTING)
    await observed.values(2)

    await front.ask("DELETE", TEMPERATURE)

    async with front.socket(f"{WEBSOCKET}-connect") as socket, asyncio.timeout(5):
        assert b"/3303/0/5701" in (first := await socket.recv(decode=False))
        assert b"/3303/0/5700" not in first


async def test_an_open_socket_is_told_everything_else_and_nothing_twice(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", WEBSOCKET)
    async with front.socket(f"{WEBSOCKET}-connect") as socket, asyncio.timeout(5):
        for path in (TEMPERATURE, SETTING):
            await front.ask("PUT", path)
        await observed.values(2)
        await front.ask("DELETE", TEMPERATURE)
        await observed.value(b"last", "/3303/0/5701")
        payloads: list[str] = []
        while not payloads or payloads[-1] != "bGFzdA==":
            payloads += [item["payload"] for item in json.loads(await socket.recv()).get("notifications", ())]

    assert len(payloads) == len(set(payloads)) == 3


async def test_a_callback_that_failed_is_not_told_what_was_taken_back_meanwhile(rig: Rig) -> None:
    front, observed = rig
    async with receiving() as receiver:
        await registered(front, receiver)
        receiver.status = 500
        await front.ask("PUT", TEMPERATURE)
        assert told((await receiver.next()).json) == ["/3303/0/5700"]
        await failed(front, 1)
        await front.ask("PUT", SETTING)
        await observed.values(2)

        await front.ask("DELETE", TEMPERATURE)
        receiver.status = 200
        front.core.clock.advance(1)

        assert told((await receiver.next()).json) == ["/3303/0/5701"]


async def test_what_the_reader_has_passed_is_not_kept(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    await observed.value(b"1")
    await front.ask("DELETE", TEMPERATURE)
    channels = front.pelion.channels
    await channels.withdrawals.tidy()
    assert (await stored(front), len(channels.life("shop").withdrawn)) == (1, 1)

    await taken(front)
    await channels.withdrawals.tidy()

    assert (await stored(front), len(channels.life("shop").withdrawn)) == (0, 0)


async def test_no_more_is_kept_than_the_limit_and_the_newest_of_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawals, "MOST_RECORDS", 2)
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    for number in b"123":
        await observed.value(bytes([number]))
        await front.ask("DELETE", f"{LAMP}/3303/0/570{number - 48}")

    kept = [list(record.body["paths"]["lamp"]) for record in front.core.hub.directory.records(Kind.WITHDRAWN)]
    assert kept == [["/3303/0/5702"], ["/3303/0/5703"]]


async def test_a_delete_when_nothing_waits_writes_nothing(rig: Rig) -> None:
    front, _ = rig
    await subscribed(rig, TEMPERATURE)

    await front.ask("DELETE", TEMPERATURE)

    assert await stored(front) == 0


async def waiting_by_rule(front: Front, observed: Observed) -> None:
    """A value that waits and that a rule subscribed."""
    await front.ask("PUT", RULES, [{"endpoint-name": "lamp", "resource-path": ["/3303/0/5700"]}])
    await observed.register()
    await observed.values(1)
    await taken(front)
    await observed.value(b"1")


def test_taking_back_very_much_costs_as_much_as_it_is() -> None:
    withdrawn, began = Withdrawn(), time.process_time()
    resources = [("lamp", f"/1/{number}") for number in range(4 * MOST)]
    for number in range(4):
        withdrawn.take(resources[number * MOST : (number + 1) * MOST], Position("e", number))
    withdrawn.take(resources, Position("e", 4))
    withdrawn.take([("lamp", "/2/0")], Position("e", 5))
    assert len(withdrawn) == MOST

    withdrawn.passed(Position("e", 4))

    assert (len(withdrawn), time.process_time() - began < 3) == (1, True)


def test_what_was_taken_back_of_another_life_of_the_channel_is_no_matter_any_more() -> None:
    withdrawn = Withdrawn()
    withdrawn.take([("lamp", "/1/0")], Position("old", 9))
    withdrawn.take([("lamp", "/1/1")], Position("new", 2))
    assert len(withdrawn) == 1

    withdrawn.passed(Position("new", 1))
    assert len(withdrawn) == 1

    withdrawn.passed(Position("new", 2))
    assert len(withdrawn) == 0


async def test_of_very_much_taken_back_at_once_no_more_is_kept_than_of_little(rig: Rig) -> None:
    front, observed = rig
    await subscribed(rig, TEMPERATURE)
    await observed.value(b"1")
    await front.ask("DELETE", TEMPERATURE)
    resources = [("lamp", f"/1/{number}") for number in range(MOST + 5)]
    await front.pelion.channels.withdrawals.take("shop", "acme", resources, kept=True)

    (record,) = front.core.hub.directory.records(Kind.WITHDRAWN)
    kept = record.body["paths"]["lamp"]
    assert (len(kept), kept[0], kept[-1]) == (MOST, "/1/5", f"/1/{MOST + 4}")


async def test_a_crash_between_the_rules_and_what_they_take_back_is_made_good_by_the_repeated_delete(
    tmp_path: Path,
) -> None:
    async with running_observed(tmp_path) as rig:
        await waiting_by_rule(*rig)
        await rig[0].core.hub.observe.put_rules("shop", "acme", [])

    async with running_observed(tmp_path, again=True) as (front, _):
        assert (await front.ask("DELETE", RULES)).status == 204
        assert told(await taken(front)) == []


async def test_what_could_not_be_taken_back_is_by_the_repeated_delete(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        await waiting_by_rule(front, observed)
        directory = front.core.hub.directory
        put = directory.put

        async def failing(record: Record) -> Record:
            if record.kind is Kind.WITHDRAWN:
                raise StorageFailed("the disk is full")
            return await put(record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(directory, "put", failing)
            assert [(await front.ask("DELETE", RULES)).status for _ in range(2)] == [503, 503]
        assert (await front.ask("DELETE", RULES)).status == 204

    async with running_observed(tmp_path, again=True) as (front, _):
        assert told(await taken(front)) == []


async def test_what_a_rule_ended_and_is_subscribed_again_is_not_taken_back_by_other_rules(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as rig:
        await waiting_by_rule(*rig)
        await rig[0].core.hub.observe.put_rules("shop", "acme", [])

    async with running_observed(tmp_path, again=True) as rig:
        front, observed = rig
        await subscribed(rig, TEMPERATURE)
        await observed.value(b"2")
        await observed.register()
        await front.ask("PUT", RULES, [])

        assert told(await taken(front)) == ["/3303/0/5700"]
