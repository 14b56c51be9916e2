"""The core when something around it fails: adapters with bugs, a journal that refuses for a while, devices that nag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.model.call import Call, OnUncertain
from hub.model.device import Device, Presence
from hub.model.errors import StorageFailed
from hub.model.event import EventKind
from hub.model.ids import CallId
from hub.model.outcome import Ending
from hub.ports.adapter import (
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Unsupported,
)
from hub.ports.adapter import EventKind as Heard
from hub.ports.engine import End, Journal
from tests.core_rig import running_core

pytestmark = pytest.mark.anyio


class SulkingJournal:
    """A journal that refuses its next `refusals` releases, and its next `faults` ends as a bug would, and is otherwise
    the one behind it."""

    def __init__(self, behind: Journal, refusals: int = 0, faults: int = 0) -> None:
        self._behind = behind
        self.refusals = refusals
        self.faults = faults
        self.ending = asyncio.Event()

    async def finish(self, end: End) -> int | None:
        self.ending.set()
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        return await self._behind.finish(end)

    async def release(self, ids: Collection[CallId], *args: Any, **more: Any) -> frozenset[CallId]:
        if self.refusals:
            self.refusals -= 1
            raise StorageFailed("not now")
        return await self._behind.release(ids, *args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


async def test_a_lane_that_a_lingering_call_still_names_does_not_take_its_successor_with_it(tmp_path: Path) -> None:
    """A's connection broke and it lingers; its lane was forgotten, B's is another. When A ended it took B's lane out
    of the table, and B was never sent although its device came back."""
    async with running_core(tmp_path) as core:
        a = await core.submit(timeout=timedelta(seconds=6))
        core.adapter.away["lamp"] = Presence.OFFLINE
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        b = await core.submit(method="GET", expiry=timedelta(hours=1))
        core.clock.advance(6)
        assert (await core.ended(a)).outcome is not None
        del core.adapter.away["lamp"]
        assert core.adapter.ctx is not None
        await core.adapter.ctx.accept(DeviceEvent(Heard.AWAKE, "lamp", 0.0))
        attempt = await core.adapter.next()
        assert attempt.request.call_id == b.id
        attempt.reply()
        await core.ended(b)


async def test_a_release_that_cannot_be_written_is_tried_until_it_can(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        journal = SulkingJournal(core.hub.engine.journal, refusals=2)
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        call = await core.submit(expiry=timedelta(hours=1))
        (await core.adapter.next()).reply(503, retry_after=1)
        for _ in range(6):
            await core.settle()
            core.clock.advance(1)
        assert journal.refusals == 0
        (await core.adapter.next()).reply()
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert outcome.status == 200


async def test_an_adapter_that_lets_out_a_cancellation_of_its_own_costs_one_call_and_tells_it(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:

        def cancelled(request: DeviceRequest) -> DeviceResponse:
            raise asyncio.CancelledError

        core.adapter.on_call = cancelled
        call = await core.submit(method="GET")
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (500, "ADAPTER_FAULT")


async def test_an_adapter_with_a_bug_costs_one_call_and_tells_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_core(tmp_path) as core:

        def broken(request: DeviceRequest) -> DeviceResponse:
            raise ZeroDivisionError

        core.adapter.on_call = broken
        with caplog.at_level(logging.CRITICAL):
            call = await core.submit(method="GET")
            outcome = (await core.ended(call)).outcome
        core.adapter.on_call = lambda request: DeviceResponse(200)
        assert (await core.ended(await core.submit())).outcome is not None
    assert outcome is not None
    assert outcome.error == "ADAPTER_FAULT"


@pytest.mark.parametrize(
    "response",
    [
        DeviceResponse(200, b"fine", "text/\udce9"),
        DeviceResponse(200, b"fine", native={"place": "\ud800"}),
        DeviceResponse(500, b"fine", native={"error": "\ud800"}),
        DeviceResponse(200, b"fine", native={"place": object()}),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_an_answer_that_cannot_be_written_down_ends_its_call_with_what_can(
    tmp_path: Path, response: DeviceResponse, late: bool
) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        attempt = await core.adapter.next()
        if late:
            assert core.adapter.ctx is not None
            told = {"call_id": call.id, "response": response}
            await core.adapter.ctx.accept(DeviceEvent(Heard.LATE_RESPONSE, "lamp", 0.0, attrs=told))
        else:
            attempt.answer.set_result(response)
        outcome = (await core.ended(call)).outcome
        completions = [event for event in await core.events() if event.kind is EventKind.COMPLETION]
    assert outcome is not None
    error = None if response.status == 200 else "DEVICE_ERROR"
    assert (outcome.status, outcome.payload, outcome.error) == (response.status, b"fine", error)
    assert (outcome.content_type, outcome.max_age, outcome.native) == (None, None, {})
    assert [event.body["status"] for event in completions] == [response.status]


async def test_an_error_whose_words_cannot_be_written_down_ends_its_call(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        (await core.adapter.next()).fail(Unsupported("\ud800", delivery=Delivery.NOT_SENT))
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.ending, outcome.error) == (Ending.REFUSED, "UNSUPPORTED")


@pytest.mark.parametrize("faults", [1, 4])
async def test_a_bug_in_the_journal_leaves_no_call_without_an_end(tmp_path: Path, faults: int) -> None:
    async with running_core(tmp_path) as core:
        journal = SulkingJournal(core.hub.engine.journal, faults=faults)
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        call = await core.submit()
        (await core.adapter.next()).reply()
        for _ in range(faults):
            await core.settle()
            core.clock.advance(1)
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.status, journal.faults) == (200, 0)


async def test_a_job_that_is_given_up_ends_at_once_whatever_its_caller_thinks_of_repeating(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(on_uncertain=OnUncertain.RESEND, retries=3, expiry=timedelta(hours=1))
        attempt = await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(call.id, b"job-7")
        attempt.fail(DeviceTimeout("nobody knows", delivery=Delivery.DELIVERED))
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.ending, outcome.status) == (Ending.TIMED_OUT, 504)


async def test_a_bug_in_who_else_is_told_keeps_no_call_from_its_end(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:

        def broken(call: Call) -> list[str]:
            raise ZeroDivisionError

        core.hub.dispatch.ends.also_told["native"] = broken
        call = await core.submit()
        (await core.adapter.next()).reply()
        assert (await core.ended(call)).outcome is not None


async def test_a_device_that_asks_for_no_patience_at_all_is_asked_ever_more_seldom(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.on_call = lambda request: DeviceResponse(503, native={"retry_after": 0})
        await core.submit(expiry=timedelta(hours=1))
        for _ in range(60):
            await core.settle()
            core.clock.advance(1)
        assert core.hub.stats.attempts < 10


async def test_a_step_of_the_sweep_that_fails_does_not_end_the_sweep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_core(tmp_path) as core:
        broken = core.hub.presence.expire

        async def fail() -> None:
            raise ZeroDivisionError

        core.hub.presence.expire = fail  # type: ignore[method-assign]
        for _ in range(3):
            core.clock.advance(1)
            await core.settle()
        core.hub.presence.expire = broken  # type: ignore[method-assign]
        assert "a step of the sweep failed" in caplog.text
        assert core.adapter.ctx is not None
        await core.adapter.ctx.accept(DeviceEvent(Heard.REGISTERED, "lamp", 0.0, attrs={"lifetime": 5, "boot": "b"}))
        for _ in range(7):
            core.clock.advance(1)
            await core.settle()
        assert EventKind.EXPIRED in [e.kind for e in await core.events()]


async def test_what_follows_a_registration_at_once_is_heard_after_it(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        ctx = core.adapter.ctx
        assert ctx is not None
        assert ctx.emit(DeviceEvent(Heard.REGISTERED, "new-one", 0.0, attrs={"boot": "1"}))
        assert ctx.emit(DeviceEvent(Heard.DEREGISTERED, "new-one", 0.0))
        for _ in range(5):
            await core.settle()
        kinds = [e.kind for e in await core.events() if e.body.get("device") == "new-one"]
    assert kinds == [EventKind.REGISTERED, EventKind.DEREGISTERED]


async def test_the_same_boot_again_renews_the_lifetime(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        assert core.adapter.ctx is not None
        hello = DeviceEvent(Heard.REGISTERED, "lamp", 0.0, attrs={"lifetime": 60, "boot": "b"})
        await core.adapter.ctx.accept(hello)
        core.clock.advance(50)
        await core.adapter.ctx.accept(hello)
        for _ in range(20):
            core.clock.advance(1)
            await core.settle()
        kinds = [e.kind for e in await core.events()]
        device = core.hub.directory.device("acme", "lamp")
    assert kinds == [EventKind.REGISTERED]
    assert isinstance(device, Device)


async def test_what_waits_for_a_device_that_moves_to_another_adapter_is_ended_and_told(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.away["lamp"] = Presence.ASLEEP
        call = await core.submit(expiry=timedelta(hours=1))
        lamp = core.hub.directory.device("acme", "lamp")
        assert lamp is not None
        await core.hub.directory.put_device(replace(lamp, adapter="elsewhere"))
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert outcome.error == "DEVICE_REMOVED_REGISTRATION"


async def test_an_update_does_not_undo_what_was_changed_while_it_waited_its_turn(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        assert core.adapter.ctx is not None
        lamp = core.hub.directory.device("acme", "lamp")
        assert lamp is not None
        renamed = replace(lamp, name="Lamp of the hall")
        await asyncio.gather(
            core.hub.directory.put_device(renamed),
            core.adapter.ctx.accept(DeviceEvent(Heard.UPDATED, "lamp", 0.0, attrs={"lifetime": 60})),
        )
        after = core.hub.directory.device("acme", "lamp")
    assert after is not None
    assert (after.name, after.expires_at is not None) == ("Lamp of the hall", True)


async def anything(url: str) -> None:
    """Take every address for a callback."""


async def test_an_end_whose_beginner_left_while_it_was_written_is_told_and_counted_as_any_other(tmp_path: Path) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        rings = 0

        def ring() -> None:
            nonlocal rings
            rings += 1

        core.hub.dispatch.ends.on_deliveries = ring
        core.hub.intake.vet_callback = anything
        call = await core.submit(method="GET", callback="http://127.0.0.1:9/cb")
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        response = DeviceResponse(200, b"1", max_age=60)
        ctx = core.adapter.ctx
        assert ctx is not None
        core.hub.dispatch.journal = journal = SulkingJournal(core.hub.dispatch.journal)  # type: ignore[assignment]
        late = DeviceEvent(
            Heard.LATE_RESPONSE, "lamp", core.clock.monotonic(), attrs={"call_id": call.id, "response": response}
        )
        task = asyncio.get_running_loop().create_task(ctx.accept(late))
        async with asyncio.timeout(5):
            await journal.ending.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await core.ended(call)
        await core.settle()

        assert (rings, core.hub.dispatch.stats.ended["answered"], len(core.hub.cache)) == (1, 1, 1)
