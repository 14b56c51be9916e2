"""Restarts of the core: what was accepted goes on, what may have happened is not repeated."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hub.model.call import Stage
from hub.model.device import Presence
from hub.model.event import EventKind
from hub.ports.adapter import Delivery, DeviceEvent, DeviceResponse, NotConnected
from hub.ports.adapter import EventKind as Heard
from tests.clock import ManualClock
from tests.core_rig import running_core

pytestmark = pytest.mark.anyio


async def test_unsent_calls_go_out_after_a_restart_in_their_old_order(tmp_path: Path, clock: ManualClock) -> None:
    async with running_core(tmp_path, clock) as core:
        core.adapter.away["lamp"] = Presence.ASLEEP
        for n in range(4):
            await core.submit(ref=str(n), expiry=timedelta(hours=1))
        await core.settle()
    async with running_core(tmp_path, clock) as core:
        seen = []
        for _ in range(4):
            attempt = await core.adapter.next()
            seen.append(attempt.request.options["ref"])
            attempt.reply()
        await core.settle()
    assert seen == ["0", "1", "2", "3"]


async def test_a_sent_call_that_may_be_repeated_goes_out_again_under_its_id(tmp_path: Path, clock: ManualClock) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit(method="PUT")
        await core.adapter.next()
    async with running_core(tmp_path, clock) as core:
        attempt = await core.adapter.next()
        assert (attempt.request.call_id, attempt.request.attempt) == (call.id, 2)
        attempt.reply()
        assert (await core.ended(call)).stage is Stage.DONE


async def test_a_sent_call_that_must_not_be_repeated_is_told_as_unknown_when_its_time_is_over(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit(timeout=timedelta(seconds=20))
        await core.adapter.next()
        clock.advance(5)
    async with running_core(tmp_path, clock) as core:
        clock.advance(14)
        await core.settle()
        assert call.id in core.hub.dispatch.tickets
        clock.advance(1)
        outcome = (await core.ended(call)).outcome
        assert core.adapter.attempts.empty()
        told = [e for e in await core.events() if e.kind is EventKind.COMPLETION]
    assert outcome is not None
    assert outcome.error == "OUTCOME_UNKNOWN"
    assert len(told) == 1


async def test_a_deadline_that_passed_while_the_hub_was_down_is_told_at_once(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running_core(tmp_path, clock) as core:
        sent = await core.submit()
        await core.adapter.next()
        core.adapter.away["lamp"] = Presence.ASLEEP
        unsent = await core.submit(expiry=timedelta(seconds=60))
    clock.advance(3600)
    async with running_core(tmp_path, clock) as core:
        clock.advance(0)
        first, second = (await core.ended(sent)).outcome, (await core.ended(unsent)).outcome
    assert first is not None
    assert second is not None
    assert (first.error, second.error) == ("OUTCOME_UNKNOWN", "REQUEST_EXPIRED")


async def test_a_late_answer_after_a_restart_ends_the_call(tmp_path: Path, clock: ManualClock) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit()
        await core.adapter.next()
    async with running_core(tmp_path, clock) as core:
        assert core.adapter.ctx is not None
        await core.adapter.ctx.accept(
            DeviceEvent(
                Heard.LATE_RESPONSE, "lamp", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200, b"x")}
            )
        )
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert outcome.payload == b"x"


async def test_a_held_job_is_resumed_from_its_note_and_never_sent_again(tmp_path: Path, clock: ManualClock) -> None:
    async with running_core(tmp_path, clock) as core:
        call = await core.submit()
        await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(call.id, b"job-7")
    async with running_core(tmp_path, clock) as core:
        attempt, note = await core.adapter.resumed.get()
        assert note == b"job-7"
        attempt.reply(200, b"done")
        outcome = (await core.ended(call)).outcome
        assert core.adapter.attempts.empty()
    assert outcome is not None
    assert outcome.payload == b"done"


async def test_an_attempt_that_fails_while_the_hub_goes_down_ends_nothing(tmp_path: Path, clock: ManualClock) -> None:
    async with running_core(tmp_path, clock) as core:
        maybe = await core.submit(method="GET")
        attempt = await core.adapter.next()
        core.hub.dispatch.halt()
        attempt.fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        state = await core.hub.engine.journal.get(maybe.id)
        assert state is not None
        assert state.stage is Stage.SENT
    async with running_core(tmp_path, clock) as core:
        (await core.adapter.next()).reply()
        assert (await core.ended(maybe)).stage is Stage.DONE
