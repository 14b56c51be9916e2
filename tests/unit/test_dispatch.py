"""The core on a real SQLite engine: order, windows, time, retry, endings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.intake import Idempotency
from hub.core.limits import Limits
from hub.model.call import OnUncertain, Order, Stage
from hub.model.device import Presence
from hub.model.errors import Conflict, IdempotencyConflict, NotFound, TooMany, Unavailable
from hub.model.event import EventKind
from hub.ports.adapter import (
    BadRequest,
    Busy,
    CallError,
    Delivery,
    DeviceEvent,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Unreachable,
)
from hub.ports.adapter import EventKind as Heard
from tests.core_rig import PRINCIPAL, running_core

pytestmark = pytest.mark.anyio


async def test_an_answer_ends_the_call_and_is_told_once_on_its_channel(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(ref="my-ref", method="GET", target="/5/0/1")
        attempt = await core.adapter.next()
        assert (attempt.request.call_id, attempt.request.target, attempt.request.attempt) == (call.id, "/5/0/1", 1)
        attempt.reply(205, b"value1\n")
        state = await core.ended(call)
        [event] = [e for e in await core.events() if e.kind is EventKind.COMPLETION]
    assert state.outcome is not None
    assert (state.stage, state.outcome.status, state.offset) == (Stage.DONE, 200, event.offset)
    assert (event.body["ref"], event.body["status"], event.body["payload"]) == ("my-ref", 200, b"value1\n")
    assert event.body["native"] == {"status": 205}


async def test_the_claim_is_on_disk_before_the_adapter_is_asked(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        attempt = await core.adapter.next()
        state = await core.hub.engine.journal.get(call.id)
        attempt.reply()
        await core.ended(call)
    assert state is not None
    assert (state.stage, state.attempt) == (Stage.SENT, 1)


async def test_calls_for_one_device_go_out_one_at_a_time_in_the_order_of_their_acceptance(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        calls = [await core.submit(ref=str(i)) for i in range(5)]
        seen = []
        for _ in calls:
            attempt = await core.adapter.next()
            assert core.adapter.attempts.empty()
            seen.append(attempt.request.options["ref"])
            attempt.reply()
        for call in calls:
            await core.ended(call)
    assert seen == ["0", "1", "2", "3", "4"]
    assert core.adapter.most_busy["lamp"] == 1


async def test_a_window_of_three_takes_three_and_no_more(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_device_inflight=3) as core:
        calls = [await core.submit(ref=str(i)) for i in range(5)]
        first = [await core.adapter.next() for _ in range(3)]
        await core.settle()
        assert core.adapter.attempts.empty()
        first[1].reply()
        fourth = await core.adapter.next()
        assert fourth.request.options["ref"] == "3"
        for attempt in (first[0], first[2], fourth, ):
            attempt.reply()
        (await core.adapter.next()).reply()
        for call in calls:
            await core.ended(call)


async def test_a_full_adapter_lets_other_lanes_go_as_soon_as_a_call_ends(tmp_path: Path) -> None:
    async with running_core(tmp_path, total_inflight=1) as core:
        await core.device("door")
        lamp, door = await core.submit(), await core.submit(device="door")
        first = await core.adapter.next()
        await core.settle()
        assert core.adapter.attempts.empty()
        first.reply()
        second = await core.adapter.next()
        assert second.request.device == "door"
        second.reply()
        await core.ended(lamp)
        await core.ended(door)


async def test_a_call_for_an_absent_device_is_parked_and_goes_out_when_the_device_shows_up(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.away["lamp"] = Presence.ASLEEP
        call = await core.submit(expiry=timedelta(hours=1))
        await core.settle()
        parked = await core.hub.engine.journal.get(call.id)
        assert parked is not None
        assert parked.stage is Stage.PARKED
        del core.adapter.away["lamp"]
        assert core.adapter.ctx is not None
        await core.adapter.ctx.accept(DeviceEvent(Heard.AWAKE, "lamp", core.clock.monotonic()))
        (await core.adapter.next()).reply()
        assert (await core.ended(call)).stage is Stage.DONE


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [({"expiry": timedelta(seconds=60)}, 429, "REQUEST_EXPIRED"), ({}, 503, "NOT_CONNECTED")],
    ids=["expiry set", "no expiry set"],
)
async def test_a_call_that_was_never_sent_expires_in_the_words_of_its_asking(
    tmp_path: Path, changes: dict[str, timedelta], status: int, word: str
) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.away["lamp"] = Presence.OFFLINE
        call = await core.submit(**changes)
        core.clock.advance(60)
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (status, word)
    assert core.adapter.attempts.empty()


async def test_a_step_of_the_wall_clock_ends_no_call_early_and_leaves_none_hanging(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.away["lamp"] = Presence.OFFLINE
        call = await core.submit(expiry=timedelta(seconds=60))
        core.clock.step_wall(86400)
        core.clock.advance(59)
        await core.settle()
        assert call.id in core.hub.dispatch.tickets
        core.clock.step_wall(-2 * 86400)
        core.clock.advance(1)
        assert (await core.ended(call)).stage is Stage.DONE


async def test_an_attempt_that_overruns_its_deadline_is_cut_off_by_the_core(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET", timeout=timedelta(seconds=5))
        await core.adapter.next()
        core.clock.advance(6)
        outcome = (await core.ended(call)).outcome
        assert core.adapter.busy["lamp"] == 0
    assert outcome is not None
    assert (outcome.status, outcome.error) == (504, "TIMEOUT")


RETRY_TABLE: list[tuple[str, CallError, int, int, str | None]] = [
    ("GET", DeviceTimeout(delivery=Delivery.MAYBE), 0, 504, "TIMEOUT"),
    ("POST", DeviceTimeout(delivery=Delivery.MAYBE), 3, 504, "OUTCOME_UNKNOWN"),
    ("GET", Unreachable(delivery=Delivery.MAYBE), 0, 502, "UNREACHABLE"),
    ("POST", Unreachable(delivery=Delivery.NOT_SENT), 0, 502, "UNREACHABLE"),
    ("POST", BadRequest(delivery=Delivery.NOT_SENT), 3, 400, "BAD_REQUEST"),
]


@pytest.mark.parametrize(("method", "error", "retries", "status", "word"), RETRY_TABLE)
async def test_an_attempt_without_an_answer_ends_the_call_as_the_table_says(
    tmp_path: Path, method: str, error: CallError, retries: int, status: int, word: str
) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method=method, retries=retries)
        (await core.adapter.next()).fail(error)
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (status, word)


@pytest.mark.parametrize(
    "error", [NotConnected(delivery=Delivery.NOT_SENT), Busy(delivery=Delivery.NOT_SENT, retry_after=1.0)]
)
async def test_what_was_certainly_not_sent_waits_again_and_costs_no_retry(tmp_path: Path, error: CallError) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="POST", retries=0)
        (await core.adapter.next()).fail(error)
        await core.settle()
        core.clock.advance(2)
        again = await core.adapter.next()
        assert (again.request.call_id, again.request.attempt) == (call.id, 2)
        again.reply()
        state = await core.ended(call)
    assert state.retries_used == 0


async def test_retries_are_used_one_by_one_and_then_the_call_ends(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET", retries=2, expiry=timedelta(hours=1))
        for n in range(1, 4):
            attempt = await core.adapter.next()
            assert attempt.request.attempt == n
            attempt.fail(DeviceTimeout(delivery=Delivery.MAYBE))
            await core.settle()
            core.clock.advance(5)
        state = await core.ended(call)
    assert state.outcome is not None
    assert (state.outcome.error, state.retries_used, state.attempt) == ("TIMEOUT", 2, 3)


async def test_a_caller_who_takes_the_risk_gets_a_second_attempt_of_an_unrepeatable_call(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(retries=1, on_uncertain=OnUncertain.RESEND)
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        core.clock.advance(2)
        (await core.adapter.next()).reply()
        assert (await core.ended(call)).outcome is not None


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_late_answer_ends_a_call_whose_connection_broke(tmp_path: Path, method: str) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method=method)
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        assert core.adapter.ctx is not None
        forged = DeviceEvent(
            Heard.LATE_RESPONSE, "other", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200)}
        )
        await core.adapter.ctx.accept(forged)
        assert call.id in core.hub.dispatch.tickets
        late = DeviceEvent(
            Heard.LATE_RESPONSE, "lamp", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200, b"late")}
        )
        await core.adapter.ctx.accept(late)
        outcome = (await core.ended(call)).outcome
        assert outcome is not None
        assert outcome.payload == b"late"
        await core.adapter.ctx.accept(late)
        assert len([e for e in await core.events() if e.kind is EventKind.COMPLETION]) == 1
        assert core.hub.stats.late_responses == 2


@pytest.mark.parametrize(("method", "word"), [("GET", "TIMEOUT"), ("POST", "OUTCOME_UNKNOWN")])
async def test_without_a_late_answer_the_call_ends_unanswered_at_the_attempts_deadline(
    tmp_path: Path, method: str, word: str
) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method=method, timeout=timedelta(seconds=10))
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        core.clock.advance(9)
        await core.settle()
        assert call.id in core.hub.dispatch.tickets
        core.clock.advance(1)
        outcome = (await core.ended(call)).outcome
        assert core.adapter.attempts.empty()  # a repetition is paid for with a retry
    assert outcome is not None
    assert (outcome.status, outcome.error) == (504, word)


async def test_where_no_answer_comes_late_a_broken_connection_ends_a_call_that_may_be_repeated(tmp_path: Path) -> None:
    async with running_core(tmp_path, late_answers=False) as core:
        call = await core.submit(method="GET")
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (503, "NOT_CONNECTED")


async def test_a_device_that_asks_for_patience_is_asked_again_later(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        (await core.adapter.next()).reply(503, retry_after=4)
        await core.settle()
        core.clock.advance(3)
        await core.settle()
        assert core.adapter.attempts.empty()
        core.clock.advance(1)
        (await core.adapter.next()).reply()
        outcome = (await core.ended(call)).outcome
    assert outcome is not None
    assert outcome.status == 200


async def test_a_held_job_frees_its_lane_and_outlives_the_attempts_timeout(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        job = await core.submit(timeout=timedelta(seconds=5), expiry=timedelta(hours=1))
        attempt = await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(job.id, b"upstream-job-7")
        waiting = await core.hub.engine.journal.get(job.id)
        assert waiting is not None
        assert (waiting.stage, waiting.note) == (Stage.WAITING, b"upstream-job-7")
        core.adapter.busy["lamp"] -= 1
        other = await core.submit(method="GET")
        (await core.adapter.next()).reply()
        await core.ended(other)
        core.adapter.busy["lamp"] += 1
        core.clock.advance(600)
        attempt.reply(200, b"done")
        outcome = (await core.ended(job)).outcome
    assert outcome is not None
    assert outcome.payload == b"done"


async def test_calling_off_depends_on_how_far_the_call_got(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        sent_post = await core.submit()
        unsent = await core.submit()
        await core.adapter.next()
        cancelled = await core.hub.calls.cancel(PRINCIPAL, unsent.id)
        unknown = await core.hub.calls.cancel(PRINCIPAL, sent_post.id)
        sent_get = await core.submit(method="GET")
        await core.adapter.next()
        dropped = await core.hub.calls.cancel(PRINCIPAL, sent_get.id)
        job = await core.submit()
        await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(job.id, b"n")
        with pytest.raises(Conflict):
            await core.hub.calls.cancel(PRINCIPAL, job.id)
    words = [s.outcome.error if s.outcome else None for s in (cancelled, unknown, dropped)]
    assert words == ["CANCELLED", "OUTCOME_UNKNOWN", "CANCELLED"]


async def test_the_latest_of_several_waiting_calls_replaces_the_earlier_ones(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        core.adapter.away["lamp"] = Presence.ASLEEP
        old = await core.submit(method="PUT", order=Order.LATEST, payload=b"1", expiry=timedelta(hours=1))
        elsewhere = await core.submit(method="PUT", target="/y", order=Order.LATEST, expiry=timedelta(hours=1))
        new = await core.submit(method="PUT", order=Order.LATEST, payload=b"2", expiry=timedelta(hours=1))
        replaced = (await core.ended(old)).outcome
        assert set(core.hub.dispatch.tickets) == {elsewhere.id, new.id}
    assert replaced is not None
    assert (replaced.status, replaced.error) == (409, "SUPERSEDED")


async def test_a_device_that_leaves_takes_its_unsent_calls_with_it(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        sent, unsent = await core.submit(), await core.submit()
        attempt = await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.accept(DeviceEvent(Heard.DEREGISTERED, "lamp", 0.0))
        outcome = (await core.ended(unsent)).outcome
        attempt.reply()
        await core.ended(sent)
        kinds = [e.kind for e in await core.events()]
    assert outcome is not None
    assert (outcome.status, outcome.error) == (429, "DEVICE_REMOVED_REGISTRATION")
    assert kinds.count(EventKind.DEREGISTERED) == 1


async def test_a_full_queue_refuses_and_an_unknown_device_is_not_found(tmp_path: Path) -> None:
    async with running_core(tmp_path, limits=Limits(waiting=2)) as core:
        core.adapter.away["lamp"] = Presence.ASLEEP
        specs = [core.spec(), core.spec(device="nobody"), core.spec(), core.spec()]
        verdicts = (await core.hub.intake.submit(PRINCIPAL, specs)).verdicts
        kinds = [type(v).__name__ for v in verdicts]
        assert kinds == ["Taken", "NotFound", "Taken", "TooMany"]
        assert isinstance(verdicts[1], NotFound)
        assert isinstance(verdicts[3], TooMany)
        assert len(core.hub.dispatch.tickets) == 2


async def test_an_idempotency_key_gives_the_first_answer_again_and_executes_once(tmp_path: Path) -> None:
    mark = Idempotency("k-1", b"f")
    async with running_core(tmp_path) as core:
        spec = core.spec(ref="once")
        first = await core.hub.intake.submit(PRINCIPAL, [spec], mark)
        (await core.adapter.next()).reply()
        await core.settle()
        second = await core.hub.intake.submit(PRINCIPAL, [spec], mark)
        with pytest.raises(IdempotencyConflict):
            await core.hub.intake.submit(PRINCIPAL, [spec], Idempotency("k-1", b"other"))
    async with running_core(tmp_path) as core:
        third = await core.hub.intake.submit(PRINCIPAL, [spec], mark)
        await core.settle()
        assert core.adapter.attempts.empty()
    assert not first.replayed
    assert second.replayed
    assert third.replayed
    assert first.verdicts == second.verdicts == third.verdicts


async def test_two_at_once_with_one_idempotency_key_are_one_call(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        submissions = []

        async def ask() -> None:
            submissions.append(await core.hub.intake.submit(PRINCIPAL, [core.spec()], Idempotency("k", b"f")))

        await asyncio.gather(*(ask() for _ in range(10)))
        assert all(s.verdicts == submissions[0].verdicts for s in submissions)
        assert [s.replayed for s in submissions].count(False) == 1
        assert len(core.hub.dispatch.tickets) == 1
        (await core.adapter.next()).reply()
        await core.settle()
        assert core.adapter.attempts.empty()


async def test_a_draining_hub_takes_nothing_more(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await core.hub.drain(timedelta(seconds=1))
        with pytest.raises(Unavailable):
            await core.submit()


async def test_five_thousand_calls_to_a_thousand_devices_end_in_order_per_device(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        seen: dict[str, list[str]] = {}

        def answer(request: object) -> DeviceResponse:
            seen.setdefault(request.device, []).append(request.options["ref"])  # type: ignore[attr-defined]
            return DeviceResponse(200)

        core.adapter.on_call = answer
        await asyncio.gather(*(core.device(f"d{n}") for n in range(1000)))
        calls = []
        for n in range(5):
            submission = await core.hub.intake.submit(
                PRINCIPAL, [core.spec(device=f"d{d}", ref=str(n)) for d in range(1000)]
            )
            calls += [verdict.call for verdict in submission.verdicts]  # type: ignore[union-attr]
        for call in calls:
            await core.ended(call)
    assert all(refs == ["0", "1", "2", "3", "4"] for refs in seen.values())
    assert len(seen) == 1000
    assert max(core.adapter.most_busy.values()) == 1



async def test_a_registration_that_runs_out_is_told_within_a_second_and_once(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        assert core.adapter.ctx is not None
        for lifetime in (60, 90):
            await core.adapter.ctx.accept(
                DeviceEvent(Heard.REGISTERED, "lamp", 0.0, attrs={"lifetime": lifetime, "boot": str(lifetime)})
            )
        for seconds, expected in ((61, 0), (28, 0), (2, 1), (5, 1)):
            for _ in range(seconds):
                core.clock.advance(1)
                await core.settle()
            kinds = [e.kind for e in await core.events()]
            assert kinds.count(EventKind.EXPIRED) == expected, seconds
