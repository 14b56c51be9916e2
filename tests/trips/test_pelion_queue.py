"""Queue mode, order, and every outcome of a device request of the Connect dialect over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.model.call import Order
from hub.model.device import Presence
from hub.model.event import EventKind
from hub.model.record import Kind, Record
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

Rig = tuple[Front, Observed]
READ = {"method": "GET", "uri": "/3303/0/5700"}
WRITE = {"method": "PUT", "uri": "/3303/0/5700", "payload-b64": "MQ=="}
RUN = {"method": "POST", "uri": "/3/0/4"}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


@pytest.fixture
async def sleepy(tmp_path: Path) -> AsyncIterator[Rig]:
    """`lamp` is a device in queue mode that takes eight calls at a time and sleeps now."""
    async with running_observed(tmp_path, per_device_inflight=8) as (front, observed):
        await observed.register(queue_mode=True)
        await sleep(front, observed)
        yield front, observed


async def sleep(front: Front, observed: Observed) -> None:
    front.core.adapter.away["lamp"] = Presence.ASLEEP
    await observed.heard(Heard.ASLEEP)


async def wake(front: Front, observed: Observed) -> None:
    front.core.adapter.away.pop("lamp", None)
    await observed.heard(Heard.AWAKE)


async def ask(front: Front, ref: str, body: dict[str, Any] = READ, query: str = "") -> str:
    """Submit a device request; the call's id."""
    answer = await front.ask("POST", f"/v2/device-requests/lamp?async-id={ref}{query}", body)
    assert answer.status == 202, answer
    return answer.headers["hub-call-id"]


async def told(front: Front, call: str) -> dict[str, Any]:
    """The outcome as the channel tells it."""
    await front.core.hub.calls.wait_end(call, 1e12)  # type: ignore[arg-type]
    page = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json
    items = [item for message in page["messages"] for item in message.get("async-responses", ())]
    [item] = [item for item in items if item["call-id"] == call]
    return dict(item)


# -- order --------------------------------------------------------------------------------------------------


async def test_one_request_at_a_time_goes_to_a_device_whatever_it_would_take(tmp_path: Path) -> None:
    async with running_observed(tmp_path, per_device_inflight=8) as (front, _):
        calls = [await ask(front, f"n{n}", WRITE) for n in range(10)]
        seen = []
        for _ in calls:
            attempt = await front.core.adapter.next()
            seen.append(attempt.request.call_id)
            await front.core.settle()
            assert front.core.adapter.attempts.empty()
            attempt.reply()
        await told(front, calls[-1])

        assert seen == calls
        assert front.core.adapter.most_busy["lamp"] == 1


async def test_native_calls_use_the_whole_window_but_not_beside_a_strict_one(tmp_path: Path) -> None:
    async with running_observed(tmp_path, per_device_inflight=8) as (front, _):
        core = front.core
        native = [await core.submit(ref=f"n{n}") for n in range(3)]
        together = [await core.adapter.next() for _ in native]
        strict = await ask(front, "strict")
        behind = await core.submit(ref="behind")
        await core.settle()
        assert core.adapter.attempts.empty()
        for attempt in together:
            attempt.reply()
        alone = await core.adapter.next()
        await core.settle()
        assert core.adapter.attempts.empty()
        alone.reply()
        last = await core.adapter.next()

        assert [alone.request.call_id, last.request.call_id] == [strict, behind.id]


# -- queue mode ---------------------------------------------------------------------------------------------


async def test_a_device_in_queue_mode_has_its_own_defaults(sleepy: Rig) -> None:
    front, _ = sleepy
    call = await ask(front, "a")
    spec = front.core.hub.dispatch.tickets[call].call.spec  # type: ignore[index]

    assert (spec.retries, spec.expiry, spec.order) == (2, timedelta(days=3), Order.STRICT)


async def test_requests_wait_until_the_device_wakes_and_go_out_in_order(sleepy: Rig) -> None:
    front, observed = sleepy
    calls = [await ask(front, f"n{n}", WRITE) for n in range(3)]
    await front.core.settle()
    assert front.core.adapter.attempts.empty()
    await wake(front, observed)
    seen = []
    for _ in calls:
        attempt = await front.core.adapter.next()
        seen.append(attempt.request.call_id)
        attempt.reply(200, b"done")

    assert seen == calls
    assert [(await told(front, call))["status"] for call in calls] == [200, 200, 200]


async def test_after_an_unanswered_request_the_device_is_asleep_again(sleepy: Rig) -> None:
    front, observed = sleepy
    core = front.core
    first, second = await ask(front, "first", WRITE), await ask(front, "second", WRITE)
    await wake(front, observed)
    (await core.adapter.next()).fail(DeviceTimeout(delivery=Delivery.MAYBE))
    await core.settle()
    core.clock.advance(3600)
    await core.settle()
    quiet = core.adapter.attempts.empty()
    asleep = observed.device().presence
    await observed.heard(Heard.UPDATED)
    again = await core.adapter.next()
    again.reply()
    then = await core.adapter.next()
    then.reply()

    assert quiet
    assert asleep is Presence.ASLEEP
    assert [again.request.call_id, then.request.call_id] == [first, second]
    assert [(await told(front, call))["status"] for call in (first, second)] == [200, 200]


async def test_used_up_retries_are_a_timeout_and_the_next_request_waits_for_the_device(sleepy: Rig) -> None:
    front, observed = sleepy
    core = front.core
    first, second = await ask(front, "first", WRITE), await ask(front, "second", WRITE)
    for _ in range(3):
        await wake(front, observed)
        (await core.adapter.next()).fail(DeviceTimeout(delivery=Delivery.MAYBE))
        await core.settle()
    outcome = await told(front, first)
    await core.settle()
    quiet = core.adapter.attempts.empty()
    await wake(front, observed)

    assert (outcome["status"], outcome["error"]) == (504, "TIMEOUT")
    assert quiet
    assert (await core.adapter.next()).request.call_id == second


async def test_an_always_on_device_is_tried_again_without_waiting_for_it(rig: Rig) -> None:
    front, _ = rig
    core = front.core
    call = await ask(front, "a", query="&retry=1")
    (await core.adapter.next()).fail(DeviceTimeout(delivery=Delivery.MAYBE))
    await core.settle()
    core.clock.advance(1)
    (await core.adapter.next()).reply(200, b"1")

    assert (await told(front, call))["status"] == 200


async def test_twenty_wait_for_a_sleeping_device_and_the_next_is_refused(sleepy: Rig) -> None:
    front, _ = sleepy
    for n in range(20):
        await ask(front, f"n{n}")
    answer = await front.ask("POST", "/v2/device-requests/lamp?async-id=more", READ)

    assert (answer.status, answer.text) == (400, "QUEUE_IS_FULL")


async def test_what_waits_for_a_sleeping_device_outlives_the_hub(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        await observed.register(queue_mode=True)
        await sleep(front, observed)
        calls = [await ask(front, f"n{n}", WRITE) for n in range(2)]
    async with running_observed(tmp_path, again=True) as (front, _):
        seen = []
        for _ in calls:
            attempt = await front.core.adapter.next()
            seen.append(attempt.request.call_id)
            attempt.reply()
        await told(front, calls[-1])
        assert seen == calls


# -- every outcome ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status"),
    [(200, 200), (201, 200), (204, 200), (400, 400), (404, 404), (405, 405), (412, 412), (413, 413), (415, 415)],
)
async def test_what_the_device_answers_is_told_with_its_status_and_every_success_as_200(
    rig: Rig, said: int, status: int
) -> None:
    front, _ = rig
    call = await ask(front, "a", RUN)
    (await front.core.adapter.next()).reply(said, b"x")
    outcome = await told(front, call)

    assert (outcome["status"], outcome["payload"]) == (status, "eA==")
    assert ("error" in outcome) == (status != 200)


@pytest.mark.parametrize(
    ("body", "error", "status", "word"),
    [
        (READ, Unreachable(delivery=Delivery.NOT_SENT), 502, "UNREACHABLE"),
        (READ, NotConnected(delivery=Delivery.MAYBE), 504, "TIMEOUT"),
        (READ, DeviceTimeout(delivery=Delivery.MAYBE), 504, "TIMEOUT"),
        (RUN, DeviceTimeout(delivery=Delivery.MAYBE), 504, "OUTCOME_UNKNOWN"),
    ],
    ids=str,
)
async def test_what_ends_without_an_answer_has_its_status_and_word(
    rig: Rig, body: dict[str, Any], error: CallError, status: int, word: str
) -> None:
    front, _ = rig
    call = await ask(front, "a", body)
    (await front.core.adapter.next()).fail(error)
    await front.core.settle()
    front.core.clock.advance(120)  # for who lost its connection there is an answer to wait for
    outcome = await told(front, call)

    assert (outcome["status"], outcome["error"]) == (status, word)


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [("&expiry-seconds=60", 429, "REQUEST_EXPIRED"), ("", 503, "NOT_CONNECTED")],
)
async def test_what_ran_out_in_the_queue_was_never_sent(sleepy: Rig, query: str, status: int, word: str) -> None:
    front, _ = sleepy
    call = await ask(front, "a", query=query)
    front.core.clock.advance(60 if query else 3 * 86_400)
    outcome = await told(front, call)

    assert (outcome["status"], outcome["error"]) == (status, word)


@pytest.mark.parametrize("how", [Heard.DEREGISTERED, Heard.EXPIRED])
async def test_a_registration_that_ends_takes_the_queue_with_it(sleepy: Rig, how: Heard) -> None:
    front, observed = sleepy
    call = await ask(front, "a")
    await observed.heard(how)
    outcome = await told(front, call)
    refused = await front.ask("POST", "/v2/device-requests/lamp?async-id=b", READ)

    assert (outcome["status"], outcome["error"]) == (429, "DEVICE_REMOVED_REGISTRATION")
    assert (refused.status, refused.text) == (404, "DEVICE_NOT_FOUND")


async def test_a_new_registration_keeps_the_queue(sleepy: Rig) -> None:
    front, observed = sleepy
    call = await ask(front, "a")
    front.core.adapter.away.clear()
    await observed.register(queue_mode=True)
    (await front.core.adapter.next()).reply(200, b"1")

    assert (await told(front, call))["status"] == 200


async def test_requests_for_a_device_that_was_suspended_end_as_blocked(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        front.core.adapter.away["lamp"] = Presence.ASLEEP
        call = await ask(front, "a")
        await front.core.hub.directory.put_device(replace(observed.device(), disabled=True))
        refused = await front.ask("POST", "/v2/device-requests/lamp?async-id=b", READ)
    with pytest.MonkeyPatch.context() as patch:
        # The rig's core declares its device anew where there is none that is enabled.
        patch.setattr("tests.core_rig.Core.device", _no_device)
        async with running_observed(tmp_path, again=True) as (front, _):
            outcome = await told(front, call)

    assert (refused.status, refused.text) == (404, "DEVICE_NOT_FOUND")
    assert (outcome["status"], outcome["error"]) == (429, "DEVICE_BLOCKED")


async def _no_device(core: object, id: str) -> None:
    """Leaves things as they are."""


# -- registration events ------------------------------------------------------------------------------------


async def test_every_application_of_the_account_is_told_of_registrations_and_no_other(rig: Rig) -> None:
    front, observed = rig
    await front.core.hub.directory.put(Record(Kind.APPLICATION, "desk", "acme", {"name": "Desk"}))
    await observed.register("new", type="t", name="n", queue_mode=True)
    await observed.heard(Heard.UPDATED, "new")
    await observed.heard(Heard.DEREGISTERED, "new")
    await observed.register("new")
    await observed.heard(Heard.EXPIRED, "new")

    kinds = [EventKind.REGISTERED, EventKind.UPDATED, EventKind.DEREGISTERED, EventKind.REGISTERED, EventKind.EXPIRED]
    for application in ("shop", "desk"):
        channel = await front.core.hub.channels.open(f"{application}/default", "acme")
        events = [e for e in await front.core.events(channel.name) if e.body["device"] == "new"]
        assert [event.kind for event in events] == kinds
    assert await front.core.events("stall/default") == []
