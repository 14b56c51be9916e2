"""EnOS requests that are repeated under their Idempotency-Key: taken once, and told again as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.trips.enos_rig import CHANNEL, WORLD, Served, call, serving

pytestmark = pytest.mark.anyio

ADD = "/dataService/devices/asset-quick/services/add/invoke"
ONCE = {"Idempotency-Key": "once"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, world=WORLD.replace("away = 100000", "away = 1000")) as served:
        yield served


async def test_a_repeated_request_is_told_what_the_first_was_whatever_has_become_of_its_devices(tmp_path: Path) -> None:
    async with serving(tmp_path, waiting=1) as served:
        calls = [
            call(requestId="taken"), call("gone", requestId="leaves"), call("nobody", requestId="unknown"),
            call("never", requestId="first"), call("never", requestId="full"), {"requestId": "bad"},
            call(assetId="array", requestId="wordless"),
        ]  # fmt: skip
        first = await served.invoke(*calls, headers=ONCE)
        device = served.hub.directory.device("acme", "quick")
        assert device is not None
        await served.hub.presence.remove(device)
        await served.ask("DELETE", f"/dataService/controlChannels/{CHANNEL}")

        again = await served.invoke(*calls, headers=ONCE)

    assert [reply["status"] for reply in first] == [0, 0, 1000201, 0, 1000207, 1000, 1000204]
    assert [_still(reply) for reply in again] == [_still(reply) for reply in first]
    assert served.hub.stats.accepted == 3


def _still(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without the moment at which it was made."""
    return {name: value for name, value in reply.items() if name != "gmtServiceReply"}


async def test_a_call_refused_because_its_device_was_away_stays_refused_with_its_request(served: Served) -> None:
    served.clock.advance(91)  # devices seen before had their time to come back
    await served.lost()
    calls = [call(requestId="a"), call("gone", requestId="b")]
    first = await served.invoke(*calls, headers=ONCE)
    served.clock.advance(2000)  # it is back

    again = await served.invoke(*calls, headers=ONCE)

    assert [(reply["status"], reply["submsg"]) for reply in first] == [(0, None), (1000204, "NOT_CONNECTED")]
    assert [_still(reply) for reply in again] == [_still(reply) for reply in first]


async def test_what_was_refused_is_remembered_over_a_restart(tmp_path: Path) -> None:
    calls = [call(requestId="a"), call("nobody", requestId="b")]
    async with serving(tmp_path) as served:
        first = await served.invoke(*calls, headers=ONCE)
    async with serving(tmp_path) as served:
        again = await served.invoke(*calls, headers=ONCE)

    assert [reply["status"] for reply in first] == [reply["status"] for reply in again] == [0, 1000201]


async def test_another_request_under_the_same_key_is_no_repetition(served: Served) -> None:
    await served.invoke(call(requestId="a"), headers=ONCE)

    answer = await served.ask(
        "PUT", "/dataService/devices/multiInvoke", {"data": [call("nobody", requestId="b")]}, headers=ONCE
    )

    assert answer["status"] != 0 and "data" not in answer


async def test_a_request_of_which_nothing_was_taken_is_judged_anew(served: Served) -> None:
    asked = call("gone", requestId="a")
    served.clock.advance(91)  # devices seen before had their time to come back
    await served.lost()
    (first,) = await served.invoke(asked, headers=ONCE)
    served.clock.advance(2000)
    (again,) = await served.invoke(asked, headers=ONCE)

    assert (first["status"], again["status"]) == (1000204, 0)


async def test_a_repeated_single_call_is_told_its_first_outcome_though_its_device_is_gone(served: Served) -> None:
    first = await served.ask("PUT", f"{ADD}?requestId=r-1", {"a": 1, "b": 2}, headers=ONCE)
    device = served.hub.directory.device("acme", "quick")
    assert device is not None
    await served.hub.presence.remove(device)

    assert await served.ask("PUT", f"{ADD}?requestId=r-1", {"a": 1, "b": 2}, headers=ONCE) == first
    assert first["data"]["outputData"] == {"sum": 3}
