"""Calls that were never sent say so, and none is sent when there is no time left for its answer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.ending import Next, after_error, enough_time
from hub.core.ticket import Turn
from hub.model.call import Call, CallState
from hub.model.device import Device, Presence, Registration
from hub.model.outcome import Ending
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from tests.clock import ManualClock
from tests.core_rig import PRINCIPAL, Core, running_core

pytestmark = pytest.mark.anyio

UNSENT = DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)


async def ending(core: Core, **more: object) -> Ending:
    """How a call ends whose adapter had no time to send it."""
    call = await core.submit(**more)
    (await core.adapter.next()).fail(UNSENT)
    state = await core.ended(call)
    assert state.outcome is not None
    return state.outcome.ending


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_for_which_its_adapter_had_no_time_was_not_sent(tmp_path: Path, method: str) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        assert await ending(core, method=method, within=timedelta(seconds=5)) is Ending.EXPIRED


async def test_a_call_that_may_have_been_sent_before_is_not_told_to_be_unsent(tmp_path: Path) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        call = await core.submit(method="GET", within=timedelta(seconds=5), retries=1)
        (await core.adapter.next()).fail(DeviceTimeout(delivery=Delivery.MAYBE))
        await core.settle()
        core.clock.advance(2)
        (await core.adapter.next()).fail(UNSENT)

        state = await core.ended(call)
        assert state.outcome is not None and state.outcome.ending is Ending.TIMED_OUT


async def waits_for_another(core: Core, call: Call, error: CallError) -> None:
    """The call's attempt fails and its device is away from then on."""
    attempt = await core.adapter.next()
    core.adapter.away["lamp"] = Presence.OFFLINE
    attempt.fail(error)
    await core.settle()
    assert core.hub.dispatch.tickets[call.id].turn is Turn.QUEUED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DeviceTimeout(delivery=Delivery.MAYBE), "TIMEOUT"),
        (Unreachable(delivery=Delivery.MAYBE), "TIMEOUT"),
        (NotConnected(delivery=Delivery.DELIVERED), "TIMEOUT"),
        (Unreachable(delivery=Delivery.NOT_SENT), "REQUEST_EXPIRED"),
        (NotConnected(delivery=Delivery.NOT_SENT), "REQUEST_EXPIRED"),
    ],
    ids=["no answer", "broken", "delivered", "unreachable", "away"],
)
@pytest.mark.parametrize("restarts", [0, 2])
async def test_a_call_that_expires_between_two_attempts_is_told_by_what_the_first_one_did(
    tmp_path: Path, clock: ManualClock, error: CallError, told: str, restarts: int
) -> None:
    async with running_core(tmp_path, clock, idempotent_methods=frozenset({"GET"})) as core:
        call = await core.submit(method="GET", expiry=timedelta(minutes=5), retries=3)
        await waits_for_another(core, call, error)
        if not restarts:
            clock.advance(300)
            state = await core.ended(call)
    for again in range(1, restarts + 1):
        async with running_core(tmp_path, clock, away="lamp", idempotent_methods=frozenset({"GET"})) as core:
            if again == restarts:
                clock.advance(300)
                state = await core.ended(call)

    assert state.outcome is not None and state.outcome.error == told


async def test_a_call_that_a_crash_found_at_its_device_is_never_told_to_be_unsent(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit(method="GET", expiry=timedelta(minutes=5))
        await core.adapter.next()
    for _ in range(2):
        async with running_core(tmp_path, clock, away="lamp") as core:
            clock.advance(150)
            await core.settle()
            state = await core.hub.calls.get(PRINCIPAL, call.id)

    assert state.outcome is not None and state.outcome.error == "TIMEOUT"


@pytest.mark.parametrize(("method", "word"), [("GET", "TIMEOUT"), ("POST", "OUTCOME_UNKNOWN")])
async def test_a_call_whose_device_asked_for_patience_before_a_restart_is_never_told_to_be_unsent(
    tmp_path: Path, clock: ManualClock, method: str, word: str
) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit(method=method, expiry=timedelta(minutes=5))
        attempt = await core.adapter.next()
        core.adapter.away["lamp"] = Presence.OFFLINE
        attempt.reply(503, b"warming up", retry_after=4)
        await core.settle()
    async with running_core(tmp_path, clock, away="lamp") as core:
        clock.advance(300)
        outcome = (await core.ended(call)).outcome

    assert outcome is not None and outcome.error == word


async def test_a_retry_of_a_data_file_from_before_this_was_remembered_counts_as_sent(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit(method="GET", expiry=timedelta(minutes=5), retries=3)
        await waits_for_another(core, call, DeviceTimeout(delivery=Delivery.MAYBE))
    with closing(sqlite3.connect(tmp_path / "hub.db")) as older:
        older.executescript(
            "DROP INDEX job_by_start; ALTER TABLE job DROP COLUMN started; ALTER TABLE job DROP COLUMN state;"
            "ALTER TABLE job DROP COLUMN status; ALTER TABLE call DROP COLUMN maybe_sent; PRAGMA user_version = 5;"
        )
    async with running_core(tmp_path, clock, away="lamp") as core:
        clock.advance(300)
        outcome = (await core.ended(call)).outcome

    assert outcome is not None and outcome.error == "TIMEOUT"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_that_expires_after_its_device_asked_for_patience_is_told_what_the_device_said(
    tmp_path: Path, method: str
) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method=method, expiry=timedelta(minutes=5))
        attempt = await core.adapter.next()
        core.adapter.away["lamp"] = Presence.OFFLINE
        attempt.reply(503, b"warming up", retry_after=4)
        await core.settle()
        core.clock.advance(300)
        outcome = (await core.ended(call)).outcome

    assert outcome is not None
    assert (outcome.ending, outcome.status, outcome.payload) == (Ending.DEVICE_ERROR, 503, b"warming up")


async def test_a_call_that_may_not_be_repeated_was_never_sent_however_often_it_was_tried(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(expiry=timedelta(hours=1), retries=1)

    assert after_error(call, UNSENT, 0).next is Next.RETRY
    outcome = after_error(call, UNSENT, 1).outcome
    assert outcome is not None and (outcome.ending, outcome.error) == (Ending.EXPIRED, "REQUEST_EXPIRED")


async def test_what_the_far_side_holds_was_sent(tmp_path: Path) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        call = await core.submit(method="GET")

    outcome = after_error(call, UNSENT, 0, held=True).outcome
    assert outcome is not None and outcome.ending is Ending.TIMED_OUT


async def waited(core: Core, seconds: float, **more: object) -> tuple[CallState, int]:
    """A call of a second whose device shows up after so much of it, and how often it was sent."""
    core.adapter.on_call = lambda request: None
    core.adapter.away["lamp"] = Presence.OFFLINE
    call = await core.submit(**{"within": timedelta(seconds=1), **more})
    core.clock.advance(seconds)
    del core.adapter.away["lamp"]
    core.hub.dispatch.queues.wake("scripted", "lamp")
    await core.settle()
    sent = core.adapter.attempts.qsize()
    if sent:
        core.adapter.attempts.get_nowait().reply()
    return await core.ended(call), sent


@pytest.mark.parametrize(
    ("seconds", "within", "sent"), [(0.94, 1, 1), (0.96, 1, 0), (0.17, 0.2, 1), (0.19, 0.2, 0), (299.94, 300, 1)]
)
async def test_what_leaves_no_time_for_an_answer_is_not_sent(
    tmp_path: Path, seconds: float, within: float, sent: int
) -> None:
    async with running_core(tmp_path) as core:
        state, times = await waited(core, seconds, within=timedelta(seconds=within))

        assert times == sent and state.outcome is not None
        assert state.outcome.ending is (Ending.ANSWERED if sent else Ending.EXPIRED)
        assert await core.submit(ref="next")
        (await core.adapter.next()).reply()  # the line goes on


async def test_a_call_of_a_millisecond_is_sent(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.submit(within=timedelta(milliseconds=1))

        (await core.adapter.next()).reply()


@pytest.mark.parametrize(("left", "timeout", "enough"), [(0.05, 300, True), (0.049, 300, False), (0.0, 1, False)])
def test_enough_is_a_twentieth_of_a_second_at_most(left: float, timeout: float, enough: bool) -> None:
    assert enough_time(left, timedelta(seconds=timeout)) is enough


@pytest.mark.parametrize("leaving", ["remove_device", "block_device"])
async def test_a_call_that_may_have_reached_a_device_which_leaves_is_not_told_to_be_unsent(
    tmp_path: Path, leaving: str
) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        call = await core.submit(method="GET", retries=1)
        await waits_for_another(core, call, DeviceTimeout(delivery=Delivery.MAYBE))
        device = core.hub.directory.device("acme", "lamp")
        assert device is not None
        getattr(core.hub.dispatch.ends, leaving)(device)

        state = await core.ended(call)
        assert state.outcome is not None and state.outcome.ending is Ending.TIMED_OUT


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "removed"])
@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "waiting"])
async def test_a_disabled_device_that_goes_takes_no_call_of_the_device_that_has_its_place_now(
    tmp_path: Path, moved: bool, under_way: bool
) -> None:
    async with running_core(tmp_path, idempotent_methods=frozenset({"GET"})) as core:
        directory = core.hub.directory
        old = Device(
            "old", "acme", "scripted", "place", registration=Registration.REGISTERED, presence=Presence.ONLINE
        )
        await directory.put_device(old)
        await directory.put_device(replace(old, disabled=True))
        await directory.put_device(replace(old, id="new"))
        if not under_way:
            core.adapter.away["place"] = Presence.OFFLINE
        call = await core.submit(device="new", method="GET", retries=1)
        attempt = await core.adapter.next() if under_way else None
        await core.settle()

        if moved:
            await directory.put_device(replace(old, address="elsewhere"))
        else:
            await core.hub.presence.remove(replace(old, disabled=True))
        await core.settle()
        if attempt is not None:
            attempt.fail(NotConnected(delivery=Delivery.NOT_SENT))
            await core.settle()

        state = await core.hub.engine.journal.get(call.id)
        assert state is not None and state.outcome is None
