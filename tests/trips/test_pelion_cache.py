"""Reads that are answered by values kept earlier: always through the channel, never past a change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.model.device import Presence
from hub.model.event import EventKind
from hub.model.outcome import Ending
from hub.ports.adapter import Delivery as Sent
from hub.ports.adapter import DeviceRequest, DeviceResponse, DeviceTimeout
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

ASK = "/v2/device-requests/lamp?async-id="
PATH = "/3303/0/5700"


class Reads:
    """A device that answers each read with a new value, for a minute."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.count = 0
        self.max_age: int | None = 60
        front.core.adapter.on_call = self._answer

    def _answer(self, request: DeviceRequest) -> DeviceResponse:
        self.count += 1
        return DeviceResponse(200, b"%d" % self.count, "text/plain", self.max_age)

    async def ask(self, method: str = "GET", path: str = PATH, **more: Any) -> dict[str, Any]:
        """A device request; its outcome as the channel tells it."""
        answer = await self.front.ask("POST", ASK + "a", {"method": method, "uri": path, **more})
        assert answer.status == 202, answer
        return await self.outcome(answer.headers["hub-call-id"])

    async def outcome(self, call: str) -> dict[str, Any]:
        """The completion of a call on the channel."""
        core = self.front.core
        state = await core.hub.calls.wait_end(call, core.clock.monotonic() + 1e9)  # type: ignore[arg-type]
        assert state is not None and state.outcome is not None
        [told] = [event for event in await core.events() if event.body.get("call_id") == call]
        assert told.kind is EventKind.COMPLETION
        return dict(told.body)


@pytest.fixture
async def reads(tmp_path: Path) -> AsyncIterator[Reads]:
    async with running_observed(tmp_path) as (front, _):
        yield Reads(front)


async def test_a_second_read_is_answered_by_the_first_through_the_channel(reads: Reads) -> None:
    first = await reads.ask()
    reads.front.core.clock.advance(20)
    second = await reads.ask()

    assert (first["payload"], first["max_age"]) == (b"1", 60)
    assert (second["payload"], second["content_type"], second["max_age"]) == (b"1", "text/plain", 40)
    assert (second["status"], second["ending"]) == (200, Ending.ANSWERED.value)
    assert reads.count == 1


async def test_the_native_dialect_shares_the_values(reads: Reads) -> None:
    await reads.ask()
    answer = await reads.front.ask(
        "POST", "/v1/devices/lamp/calls", {"method": "GET", "uri": PATH}, headers={"Prefer": "wait=5"}
    )

    assert (answer.json["payload-b64"], answer.json["max-age"], answer.json["attempts"]) == ("MQ==", 60, 0)
    assert reads.count == 1


async def test_a_value_that_is_too_old_is_read_again(reads: Reads) -> None:
    await reads.ask()
    reads.front.core.clock.advance(60)

    assert (await reads.ask())["payload"] == b"2"


async def test_a_value_without_max_age_is_not_kept(reads: Reads) -> None:
    reads.max_age = None
    await reads.ask()

    assert (await reads.ask())["payload"] == b"2"


async def test_another_path_and_another_form_are_read_from_the_device(reads: Reads) -> None:
    await reads.ask()
    await reads.ask(path="/3303/0/5701")
    await reads.ask(accept="application/json")

    assert reads.count == 3


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_whatever_is_no_read_drops_the_values_of_its_device(reads: Reads, method: str) -> None:
    await reads.ask()
    await reads.ask(method, "/3304/0/5700")

    assert (await reads.ask())["payload"] == b"3"


async def test_a_change_drops_the_values_when_it_is_accepted_not_when_it_ends(reads: Reads) -> None:
    await reads.ask()
    adapter = reads.front.core.adapter
    answer, adapter.on_call = adapter.on_call, lambda request: None
    await reads.front.ask("POST", ASK + "w", {"method": "PUT", "uri": PATH, "payload-b64": "Mg=="})
    write = await adapter.next()
    read = await reads.front.ask("POST", ASK + "r", {"method": "GET", "uri": PATH})
    adapter.on_call = answer
    write.reply()

    assert (await reads.outcome(read.headers["hub-call-id"]))["payload"] == b"2"


async def test_a_change_that_may_have_happened_drops_the_values_too(reads: Reads) -> None:
    await reads.ask()
    adapter = reads.front.core.adapter
    answer, adapter.on_call = adapter.on_call, lambda request: None
    call = (await reads.front.ask("POST", ASK + "w", {"method": "POST", "uri": "/3/0/4"})).headers["hub-call-id"]
    (await adapter.next()).fail(DeviceTimeout(delivery=Sent.MAYBE))
    adapter.on_call = answer
    unknown = await reads.outcome(call)

    assert unknown["error"] == "OUTCOME_UNKNOWN"
    assert (await reads.ask())["payload"] == b"2"


async def test_a_read_never_overtakes_an_earlier_call_of_its_device(reads: Reads) -> None:
    await reads.ask()
    adapter = reads.front.core.adapter
    answer, adapter.on_call = adapter.on_call, lambda request: None
    slow = await reads.front.ask("POST", ASK + "slow", {"method": "GET", "uri": "/3303/0/5701"})
    attempt = await adapter.next()
    later = await reads.front.ask("POST", ASK + "later", {"method": "GET", "uri": PATH})
    adapter.on_call = answer
    attempt.reply(200, b"slow")
    ended = [await reads.outcome(call.headers["hub-call-id"]) for call in (slow, later)]

    assert [outcome["payload"] for outcome in ended] == [b"slow", b"2"]
    refs = [event.body["ref"] for event in await reads.front.core.events() if event.kind is EventKind.COMPLETION]
    assert refs == ["a", "slow", "later"]


async def test_a_burst_of_reads_is_answered_in_order_without_the_device(reads: Reads) -> None:
    await reads.ask()
    for n in range(30):
        last = await reads.front.ask("POST", f"{ASK}n{n}", {"method": "GET", "uri": PATH})
    await reads.outcome(last.headers["hub-call-id"])
    refs = [event.body["ref"] for event in await reads.front.core.events() if event.kind is EventKind.COMPLETION]

    assert refs == ["a", *(f"n{n}" for n in range(30))]
    assert reads.count == 1


async def test_a_reported_value_feeds_the_cache_and_a_report_without_age_clears_it(reads: Reads) -> None:
    observed = Observed()
    observed.front = reads.front
    await observed.value(b"reported", max_age=60)
    first = await reads.ask()
    await observed.value(b"unkept")

    assert first["payload"] == b"reported"
    assert (await reads.ask())["payload"] == b"1"


async def test_a_device_that_registers_anew_begins_without_values(reads: Reads) -> None:
    observed = Observed()
    observed.front = reads.front
    await reads.ask()
    await observed.heard(Heard.UPDATED)
    kept = await reads.ask()
    await observed.register()

    assert kept["payload"] == b"1"
    assert (await reads.ask())["payload"] == b"2"


async def test_a_sleeping_device_need_not_wake_for_a_kept_value(reads: Reads) -> None:
    await reads.ask()
    adapter = reads.front.core.adapter
    adapter.away["lamp"] = Presence.ASLEEP

    assert (await reads.ask())["payload"] == b"1"


async def test_an_error_of_the_device_is_not_kept(reads: Reads) -> None:
    reads.front.core.adapter.on_call = lambda request: DeviceResponse(404, b"", None, 60)
    await reads.ask()
    Reads(reads.front)

    assert (await reads.ask())["status"] == 200


async def test_after_a_restart_every_read_goes_to_its_device(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, _):
        await Reads(front).ask()
    async with running_observed(tmp_path, again=True) as (front, _):
        reads = Reads(front)
        await reads.ask()
        assert reads.count == 1


async def test_no_value_is_told_to_be_fresh_for_more_than_three_days(reads: Reads) -> None:
    observed = Observed()
    observed.front = reads.front
    days = 3 * 24 * 3600
    reads.max_age = 2**32 - 1
    answered = await reads.ask()
    kept = await reads.ask()
    await reads.front.ask("PUT", f"/v2/subscriptions/lamp{PATH}")
    await observed.values()
    await observed.value(b"2", max_age=10**15)
    notified = await observed.told(EventKind.NOTIFICATION, 2)

    assert (answered["max_age"], kept["max_age"], notified[1].body["max_age"]) == (days, days, days)
    assert reads.count == 1
