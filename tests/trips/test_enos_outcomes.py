"""Outcomes of multiInvoke: by channel, default channel and callback, each once, whatever became of the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clock import ManualClock
from tests.trips.enos_rig import CHANNEL, Served, call, read, serving
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


async def outcome(served: Served, *calls: Any) -> Any:
    """The last reply on the control channel after some calls that all are taken."""
    async with served.stream() as socket:
        replies = await served.invoke(*calls)
        assert all(reply["status"] == 0 for reply in replies), replies
        return (await read(socket))["data"][0]


async def test_an_answer_is_an_outcome_with_output_and_three_times(served: Served) -> None:
    asked = int(served.clock.now().timestamp() * 1000)
    async with served.stream() as socket:
        await served.invoke(call("slow"))
        served.clock.advance(2)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["msg"], reply["submsg"]) == (0, "SUCCESS", "SUCCESS")
    assert reply["outputData"] == {"rpm": 900}
    assert reply["messageId"]
    assert (reply["gmtServiceRequest"], reply["gmtDeviceReply"]) == (asked, asked + 2000)
    assert reply["gmtServiceReply"] >= reply["gmtDeviceReply"]


async def test_a_refusal_of_the_device_tells_its_code_and_words(served: Served) -> None:
    reply = await outcome(served, call("refuses"))

    assert (reply["status"], reply["msg"]) == (1000204, "invoke service error")
    assert reply["submsg"] == "2000: simulated refusal"
    assert reply["outputData"] == {}


async def test_a_service_that_the_device_has_not_is_its_refusal(served: Served) -> None:
    reply = await outcome(served, call(serviceId="unknown"))

    assert (reply["status"], reply["submsg"]) == (1000204, "1101: there is no service unknown")


async def test_no_answer_within_the_timeout_is_unknown_for_a_service_that_may_not_be_repeated(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", timeout=3000))
        await served.until("sent")
        served.clock.advance(3)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"], reply["gmtDeviceReply"]) == (1000204, "OUTCOME_UNKNOWN", -1)
    assert reply["messageId"] is None  # under which id its device got it only the device's answer says


async def test_no_answer_within_the_timeout_is_a_timeout_for_one_that_is_declared_idempotent(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", "getSpeed", timeout=3000))
        await served.until("sent")
        served.clock.advance(3)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["msg"]) == (1000203, "timeout")


async def test_the_timeout_counts_from_acceptance_also_for_a_call_that_stood_in_line(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(
            call("queued", "getSpeed", timeout=300_000), call("queued", requestId="r-2", timeout=2000)
        )
        await served.until("sent")
        served.clock.advance(2)
        (reply,) = (await read(socket))["data"]

    assert (reply["requestId"], reply["status"], reply["submsg"]) == ("r-2", 1000203, "not sent")


async def test_a_call_that_was_sent_late_ends_in_its_own_time(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(
            call("never", "getSpeed", timeout=2000), call("never", "getSpeed", requestId="r-2", timeout=3000)
        )
        await served.until("sent")
        served.clock.advance(2)
        assert (await read(socket))["data"][0]["requestId"] == "r-1"
        await served.until("sent")
        served.clock.advance(1)
        (reply,) = (await read(socket))["data"]

    assert (reply["requestId"], reply["status"]) == ("r-2", 1000203)


async def test_a_device_gone_in_the_middle_of_a_call_leaves_it_unknown(served: Served) -> None:
    async with served.stream() as socket:
        await served.lost()
        served.clock.advance(5)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"]) == (1000204, "OUTCOME_UNKNOWN")


async def test_a_cancelled_call_is_told_so(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", "getSpeed"))
        await served.until("sent")
        (id,) = served.hub.dispatch.tickets
        await served.sent("DELETE", f"/v1/calls/{id}", org=None)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"]) == (1000204, "CANCELLED")


async def test_each_outcome_is_told_once_on_the_channel_and_once_on_the_default_channel(served: Served) -> None:
    await served.invoke(*(call(requestId=f"r-{n}") for n in range(50)))

    control = await served.told(50)
    default = [event for event in await served.events("shop/default") if event.kind.value == "completion"]
    assert [event.body["ref"] for event in control] == [f"r-{n}" for n in range(50)]
    assert [event.body["ref"] for event in default] == [f"r-{n}" for n in range(50)]


async def test_the_default_channel_tells_it_as_an_async_response_under_the_request_id(served: Served) -> None:
    await served.invoke(call())
    await served.told(1)

    messages = (await served.sent("GET", "/v1/channels/default/messages?from=first", org=None)).json["messages"]
    (item,) = [message["async-responses"][0] for message in messages if "async-responses" in message]
    assert (item["id"], item["status"], item["device"]) == ("r-1", 200, "quick")
    assert not any("data" in message for message in messages)


async def test_a_callback_gets_the_same_message_signed(served: Served) -> None:
    async with receiving() as receiver:
        await served.invoke(call(callbackUrl=receiver.url + "/done", controlChannelId=None))
        got = await receiver.next()

    (reply,) = got.json["data"]
    assert set(got.json) == {"data"}
    assert (got.method, got.path, got.headers["Content-Type"]) == ("POST", "/done", "application/json")
    assert (reply["requestId"], reply["status"], reply["outputData"]) == ("r-1", 0, {"rpm": 900})
    assert reply["callbackUrl"] == receiver.url + "/done"
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= {name.lower() for name in got.headers}
    assert not await served.events(f"shop/enos.{CHANNEL}")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_channel_that_was_made_again_meanwhile_gets_no_outcome_of_the_one_before(
    tmp_path: Path, restarted: bool
) -> None:
    clock, made = ManualClock(), {"controlChannelId": "DATASVC.CONTROL.brief"}
    async with serving(tmp_path, clock) as served:
        await served.ask("POST", "/dataService/controlChannels", made)
        await served.invoke(call("slow", requestId="before", **made))
        await served.ask("DELETE", "/dataService/controlChannels/DATASVC.CONTROL.brief")
        await served.ask("POST", "/dataService/controlChannels", made)
        await served.invoke(call("slow", requestId="after", **made))
        if not restarted:
            await brief(served)
    if restarted:
        async with serving(tmp_path, clock) as served:
            await brief(served)


async def brief(served: Served) -> None:
    """Both calls end, of which only the later one is told on the channel."""
    served.clock.advance(5)
    told: list[str] = []
    async with asyncio.timeout(5):
        while len(told) < 2:
            events = await served.events("shop/default")
            told = [event.body["ref"] for event in events if event.kind.value == "completion"]
    assert sorted(told) == ["after", "before"]
    assert [event.body["ref"] for event in await served.events("shop/enos.DATASVC.CONTROL.brief")] == ["after"]


async def test_a_call_that_was_taken_when_channels_were_known_by_name_only_is_told_on_its_channel(
    served: Served,
) -> None:
    await served.invoke(call("slow"))
    (ticket,) = served.hub.dispatch.tickets.values()
    del ticket.call.spec.echo["control_id"]  # type: ignore[attr-defined]
    served.clock.advance(2)

    assert len(await served.told(1)) == 1


async def test_a_channel_that_was_deleted_meanwhile_is_not_made_again(served: Served) -> None:
    made = "DATASVC.CONTROL.brief"
    await served.ask("POST", "/dataService/controlChannels", {"controlChannelId": made})
    await served.invoke(call("slow", controlChannelId=made))
    await served.ask("DELETE", f"/dataService/controlChannels/{made}")
    served.clock.advance(2)

    async with asyncio.timeout(5):
        while not [event for event in await served.events("shop/default") if event.kind.value == "completion"]:
            pass
    assert await served.hub.channels.find(f"shop/enos.{made}") is None
