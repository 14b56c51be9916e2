"""Cases 19 to 35 of the adapter contract: presence, observations, bad input, restarts, health, jobs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from hub.model.device import Presence
from hub.ports.abilities import Resumes
from hub.ports.adapter import API_VERSION, CallError, Delivery, DeviceResponse, EventKind
from tests.contracts.adapter_case import OBSERVABLE, PLAIN, Case, refused, within

STORM = [pytest.param(50, id="short"), pytest.param(1000, marks=pytest.mark.soak, id="full")]
FUZZ = [
    pytest.param(500, id="short"),
    pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)], id="full"),
]
CYCLES = [
    pytest.param(100, id="short"),
    pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)], id="full"),
]


class AdapterEvents:
    """What every adapter promises of devices that come, tell and go."""

    async def test_19_a_restart_of_a_device_ends_its_observations(self, case: Case) -> None:
        double = await case.rig.device()
        await case.ctx.seen(EventKind.REGISTERED, double.address)
        _, observation = await case.observe(double)
        await double.restart()
        await case.ctx.seen(EventKind.REGISTERED, double.address, 2)

        assert not observation.active
        await observation.cancel()
        await double.notify([b"to nobody"])
        await case.barrier(double)
        assert case.ctx.of(EventKind.NOTIFICATION, double.address) == []

    async def test_20_coming_changing_and_leaving_are_told_once_and_in_order(self, case: Case) -> None:
        double = await case.rig.device()
        await case.ctx.seen(EventKind.REGISTERED, double.address)
        await double.update()
        await case.ctx.seen(EventKind.UPDATED, double.address)
        await double.leave()
        await case.ctx.seen(EventKind.DEREGISTERED, double.address)

        told = [event.kind for event in case.ctx.events if event.device == double.address]
        assert [kind for kind in told if kind in _REGISTRATION] == _REGISTRATION
        assert told[-1] is EventKind.DEREGISTERED
        assert case.adapter.presence(double.address) is Presence.OFFLINE
        assert case.adapter.window(double.address) == 0

    async def test_20_a_registration_says_what_the_device_offers(self, case: Case) -> None:
        double = await case.rig.device()
        (event,) = await case.ctx.seen(EventKind.REGISTERED, double.address)

        links = {link.path: link for link in event.attrs["links"]}
        assert links[OBSERVABLE].observable
        assert not links[PLAIN].observable
        assert event.attrs["boot"]
        assert event.at == case.clock.monotonic()

    async def test_21_a_sleeping_device_takes_nothing_until_it_is_awake(self, case: Case) -> None:
        double = await case.rig.device()
        await double.sleep()
        await case.ctx.seen(EventKind.ASLEEP, double.address)

        assert case.adapter.window(double.address) == 0
        assert case.adapter.presence(double.address) is Presence.ASLEEP
        await refused(case.adapter.call(case.request(double)), "NOT_CONNECTED", Delivery.NOT_SENT)

        await double.wake()
        await case.ctx.seen(EventKind.AWAKE, double.address)

        assert case.adapter.window(double.address) > 0
        assert case.adapter.presence(double.address) is Presence.ONLINE
        await case.barrier(double)

    async def test_22_an_observation_tells_every_value_until_it_is_cancelled(self, case: Case) -> None:
        double = await case.rig.device()
        first, observation = await case.observe(double)
        await double.notify([b"%d" % n for n in range(1, 6)])
        told = await case.ctx.seen(EventKind.NOTIFICATION, double.address, 5)

        assert (first.status, first.payload) == (200, b"0")
        assert observation.active
        assert [event.payload for event in told] == [b"1", b"2", b"3", b"4", b"5"]
        numbers = [event.seq for event in told]
        assert numbers == sorted(set(numbers))
        assert {(event.target, event.attrs["observed"]) for event in told} == {(OBSERVABLE, True)}

        await observation.cancel()
        await observation.cancel()
        await double.until(lambda: double.observed == 0)
        await double.notify([b"6"])
        await case.barrier(double)
        assert not observation.active
        assert len(case.ctx.of(EventKind.NOTIFICATION)) == 5

    async def test_22_a_newer_observation_of_a_target_takes_the_place_of_the_older(self, case: Case) -> None:
        double = await case.rig.device()
        _, older = await case.observe(double)
        _, newer = await case.observe(double)
        await double.until(lambda: double.observed == 1)
        await double.notify([b"once"])
        await case.ctx.seen(EventKind.NOTIFICATION)
        await older.cancel()
        await double.notify([b"twice"])
        await case.ctx.seen(EventKind.NOTIFICATION, n=2)
        await case.barrier(double)

        assert (older.active, newer.active) == (False, True)
        assert [event.payload for event in case.ctx.of(EventKind.NOTIFICATION)] == [b"once", b"twice"]

    async def test_23_what_cannot_be_observed_is_refused_clearly(self, case: Case) -> None:
        double = await case.rig.device()
        try:
            response, observation = await case.observe(double, PLAIN)
        except CallError as error:
            assert (error.code, error.delivery) == ("UNSUPPORTED", Delivery.NOT_SENT)
        else:
            assert response.status == 405
            assert not observation.active
        with pytest.raises(CallError):
            await case.observe(_Nobody())  # type: ignore[arg-type]

    @pytest.mark.parametrize("storm", STORM)
    async def test_24_a_storm_of_notifications_is_shed_and_calls_go_on(self, case: Case, storm: int) -> None:
        double = await case.rig.device()
        await case.observe(double)
        case.ctx.room = storm // 10

        await double.notify([b"%d" % n for n in range(1, storm + 1)])
        await case.barrier(double)

        assert len(case.ctx.of(EventKind.NOTIFICATION)) == storm // 10
        assert case.adapter.health()["shed"] == storm - storm // 10

    async def test_25_nothing_is_acknowledged_before_the_hub_holds_it(self, case: Case) -> None:
        double = await case.rig.device()
        case.ctx.hold_accept()
        seq = await double.event(payload=b"precious")
        await case.ctx.blocked()
        await case.barrier(double)  # calls go on meanwhile
        assert double.acked == []

        case.ctx.release_accept()

        (event,) = await case.ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"precious"
        await double.until(lambda: double.acked == [seq])

    async def test_25_what_the_hub_could_not_hold_is_told_again(self, case: Case) -> None:
        double = await case.rig.device()
        case.ctx.fail_accept = True
        await double.event(payload=b"precious")
        await within(double.closed.wait())
        assert double.acked == []
        assert case.ctx.of(EventKind.NOTIFICATION) == []

        case.ctx.fail_accept = False
        await double.reconnect()
        seq = await double.event(payload=b"precious")
        await case.ctx.seen(EventKind.NOTIFICATION)
        await double.until(lambda: double.acked == [seq])

    @pytest.mark.parametrize("frames", FUZZ)
    async def test_26_garbage_hurts_nobody(
        self, case: Case, frames: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        other = await case.rig.device()
        double = await case.rig.device()
        seed = random.Random(26)
        for _ in range(frames):
            if double.closed.is_set():
                await double.gone()
                await double.reconnect()
            data, text = case.rig.garbage(seed)
            await double.send_raw(data, text=text)
            if hasattr(double, "settle"):
                await double.settle()  # a connection may end with any message: the next one shall be read as well

        await case.barrier(other)
        await double.drop()
        await double.restart()
        await case.barrier(double)
        assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []

    async def test_27_oversized_input_is_refused(self, case: Case) -> None:
        other = await case.rig.device()
        double = await case.rig.device()
        if hasattr(case.rig, "oversized"):
            await within(case.rig.oversized(double))  # somebody else is between: the connection is not the device's
            await case.barrier(double)
            assert [event for event in case.ctx.events if event.kind is EventKind.NOTIFICATION] == []
        else:
            await double.send_raw(bytes(case.rig.too_big) if case.rig.coding.binary else b" " * case.rig.too_big)
            await within(double.closed.wait())
            assert double.close_code == 1009
        await case.barrier(other)

    async def test_28_after_a_break_devices_come_back_with_their_observations(self, case: Case) -> None:
        double = await case.rig.device()
        await case.observe(double)
        await case.rig.interrupt()
        await case.ctx.seen(EventKind.OFFLINE, double.address)
        await refused(case.adapter.call(case.request(double)), "NOT_CONNECTED", Delivery.NOT_SENT)

        await case.rig.restore()
        await double.reconnect()
        await case.ctx.seen(EventKind.AWAKE, double.address)

        await case.barrier(double)
        await double.notify([b"after"])
        (told,) = await case.ctx.seen(EventKind.NOTIFICATION, double.address)
        assert told.payload == b"after"
        assert len(case.ctx.of(EventKind.REGISTERED, double.address)) == 1

    async def test_29_secrets_are_shown_nowhere(self, case: Case, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        double = await case.rig.device()
        await case.barrier(double)
        await double.leave()

        shown = [r.getMessage() for r in caplog.records if r.name.startswith("hub") or r.levelno > logging.DEBUG]
        shown += [repr(case.adapter), repr(vars(case.adapter)), json.dumps(case.adapter.health(), default=repr)]
        for secret in case.rig.secrets:
            assert not [text for text in shown if secret in text]

    @pytest.mark.parametrize("case", [{"devices": 3}], indirect=True)
    async def test_30_health_tells_the_truth(self, case: Case) -> None:
        double = await case.rig.device()
        up = case.adapter.health()
        assert up["state"] == "up"
        json.dumps(up)

        if hasattr(case.rig, "degrade"):
            await case.rig.degrade(case.ctx, lambda: case.request(double))
            assert case.adapter.health()["state"] == "degraded"

        await case.rig.close()
        assert case.adapter.health()["state"] == "down"

    @pytest.mark.parametrize("cycles", CYCLES)
    async def test_31_coming_and_going_leaves_no_trace(self, case: Case, cycles: int) -> None:
        double = await case.rig.device()
        await self._rounds(case, double, 20)
        before = _objects(case)

        await self._rounds(case, double, cycles)

        assert _objects(case) - before < 2 * cycles

    @staticmethod
    async def _rounds(case: Case, double: object, rounds: int) -> None:
        for _ in range(rounds):
            await double.leave()  # type: ignore[attr-defined]
            await case.ctx.seen(EventKind.DEREGISTERED)
            await double.restart()  # type: ignore[attr-defined]
            await case.ctx.seen(EventKind.REGISTERED)
            case.ctx.events.clear()

    async def test_32_the_capabilities_are_honest(self, case: Case) -> None:
        caps = case.adapter.capabilities
        double = await case.rig.device()

        assert case.adapter.api_version == API_VERSION
        assert caps.role <= {"serve", "connect"} and caps.role
        assert caps.idempotent_methods <= caps.methods
        for method in sorted(caps.methods):
            assert (await case.call(double, method)).status == 200
        assert case.adapter.window(double.address) == caps.per_device_inflight
        assert case.adapter.lane(double.address)
        if caps.observe == "native":
            assert (await case.observe(double))[0].status == 200

    async def test_33_a_job_is_noted_before_it_is_answered_and_frees_its_slot(self, case: Case) -> None:
        double = await case.rig.device()
        double.take_jobs(timedelta(seconds=60))
        request = case.request(double, payload=b"result")
        case.ctx.deadlines[request.call_id] = case.clock.monotonic() + 600
        task = case.begin(request)
        await within(case.ctx.checkpointed.wait())

        assert case.ctx.checkpoints[request.call_id]
        case.clock.advance(59)
        await asyncio.sleep(0)
        assert not task.done()  # far past the deadline of an attempt
        assert case.adapter.window(double.address) > 0
        case.clock.advance(1)

        assert (await within(task)).payload == b"result"

    async def test_33_a_job_that_does_not_end_is_not_waited_for_beyond_the_calls_deadline(self, case: Case) -> None:
        double = await case.rig.device()
        double.take_jobs(timedelta(hours=10))
        request = case.request(double)
        task = case.begin(request)
        await within(case.ctx.checkpointed.wait())
        await asyncio.sleep(0)
        case.clock.advance(3600)

        await refused(task, "TIMEOUT", Delivery.DELIVERED)

    @pytest.mark.parametrize("down", [0, 20, 7200])
    async def test_34_a_job_goes_on_after_a_restart_of_the_hub(self, case: Case, down: int) -> None:
        double = await case.rig.device()
        double.take_jobs(timedelta(seconds=60))
        request = case.request(double, payload=b"result")
        task = case.begin(request)
        await within(case.ctx.checkpointed.wait())
        note = case.ctx.checkpoints[request.call_id]
        case.clock.advance(10)

        await case.rig.restart_hub(case.ctx)
        await asyncio.gather(task, return_exceptions=True)
        case.clock.advance(down)
        assert isinstance(case.adapter, Resumes)
        request = replace(request, deadline=case.clock.monotonic() + 3600)
        resumed = asyncio.get_running_loop().create_task(case.adapter.resume(request, note))
        for _ in range(3):
            await asyncio.sleep(0)
        # What ended meanwhile is known at once; an adapter that has to ask for it may take a moment, not the clock's.
        assert down > 50 or not resumed.done()
        case.clock.advance(max(0, 50 - down))

        response: DeviceResponse = await within(resumed)
        assert response.payload == b"result"
        assert double.executed == [request.call_id]

    async def test_35_an_answer_to_a_call_from_before_a_restart_is_told(self, case: Case) -> None:
        double = await case.rig.device()
        request, task, asked = await case.holding(double)
        await case.rig.restart_hub(case.ctx)
        await asyncio.gather(task, return_exceptions=True)
        await double.reconnect()

        await asked.answer(b"at last")

        (late,) = await case.ctx.seen(EventKind.LATE_RESPONSE, double.address)
        assert late.attrs["call_id"] == request.call_id
        assert late.attrs["response"].payload == b"at last"
        await asked.answer(b"at last")
        await case.barrier(double)
        assert len(case.ctx.of(EventKind.LATE_RESPONSE)) == 1


_REGISTRATION = [EventKind.REGISTERED, EventKind.UPDATED, EventKind.DEREGISTERED]


class _Nobody:
    """A device that there is not."""

    address = "nobody"


def _objects(case: Case) -> int:
    case.clock.advance(31 * 86_400)  # the clock by hand keeps timers that were called off until their time
    gc.collect()
    return len(gc.get_objects())
