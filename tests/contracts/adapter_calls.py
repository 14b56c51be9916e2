"""Cases 1 to 18 of the adapter contract: calls, and what may happen to them. The numbers are those of the contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.ports.adapter import CallError, Delivery, EventKind, NotConnected
from tests.contracts.adapter_case import Case, refused, within

HUNDRED = [pytest.param(5, id="short"), pytest.param(100, marks=pytest.mark.soak, id="full")]


class AdapterCalls:
    """What every adapter promises of calls."""

    async def test_01_starting_and_stopping_twice_leaves_nothing(self, case: Case) -> None:
        await case.adapter.start(case.ctx)
        await case.rig.close()
        await case.rig.close()

        assert case.ctx.tasks == 0
        assert case.adapter.health()["state"] == "down"

    async def test_01_stop_fails_open_calls_at_once(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, _ = await case.holding(double)

        await within(case.rig.close(), 2.0)

        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)

    async def test_02_a_call_to_a_stopped_adapter_was_not_sent(self, case: Case) -> None:
        double = await case.rig.device()
        await case.rig.close()

        await refused(case.adapter.call(case.request(double)), "NOT_CONNECTED", Delivery.NOT_SENT)
        assert case.adapter.window(double.address) == 0

    @pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) + b"\x00\xff", None], ids=str)
    async def test_03_a_payload_comes_back_as_it_went(self, case: Case, payload: bytes | None) -> None:
        double = await case.rig.device()
        if payload is None:
            payload = bytes(range(256)) * (case.adapter.capabilities.max_payload // 256)
            assert len(payload) == case.adapter.capabilities.max_payload

        response = await case.call(double, payload=payload, content_type="application/octet-stream")

        assert (response.status, response.payload) == (200, payload)
        assert response.content_type == "application/octet-stream"
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []

    async def test_04_one_byte_too_many_is_refused_before_it_is_sent(self, case: Case) -> None:
        double = await case.rig.device()
        payload = bytes(case.adapter.capabilities.max_payload + 1)

        await refused(case.adapter.call(case.request(double, payload=payload)), "TOO_LARGE", Delivery.NOT_SENT)
        await case.barrier(double)
        assert len(double.executed) == 1

    async def test_05_what_cannot_be_sent_has_its_own_error(self, case: Case) -> None:
        double = await case.rig.device()
        before = double.received

        for request, code in (
            (case.request("nobody"), "NOT_CONNECTED"),
            (case.request(double, "BREW"), "UNSUPPORTED"),
            (case.request(double, target=""), "BAD_REQUEST"),
            (case.request(double, target="/a\nb"), "BAD_REQUEST"),
        ):
            await refused(case.adapter.call(request), code, Delivery.NOT_SENT)
        assert double.received == before

    @pytest.mark.parametrize("status", [400, 404, 405, 500, 503])
    async def test_06_a_refusal_of_the_device_is_an_answer_in_its_own_words(self, case: Case, status: int) -> None:
        double = await case.rig.device()
        _, task, asked = await case.holding(double)
        await asked.answer(b"no", status)

        response = await within(task)

        assert (response.status, response.payload) == (status, b"no")
        assert status in response.native.values()

    async def test_07_a_mute_device_is_a_timeout_at_the_deadline(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, _ = await case.holding(double)
        case.clock.advance(29.999)
        await asyncio.sleep(0)
        assert not task.done()
        heard = double.received

        case.clock.advance(0.001)

        async with asyncio.timeout(0.1):
            await refused(task, "TIMEOUT", Delivery.MAYBE)
        assert case.adapter.window(double.address) == case.adapter.capabilities.per_device_inflight
        await case.barrier(double)
        assert double.received == heard + 1

    async def test_08_a_cancelled_call_frees_its_slot(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, _ = await case.holding(double)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task)

        assert case.adapter.window(double.address) == case.adapter.capabilities.per_device_inflight
        await case.barrier(double)

    async def test_09_a_deadline_in_the_past_sends_nothing(self, case: Case) -> None:
        double = await case.rig.device()
        request = case.request(double, deadline=case.clock.monotonic())

        await refused(case.adapter.call(request), "TIMEOUT", Delivery.NOT_SENT)
        await case.barrier(double)
        assert len(double.executed) == 1

    async def test_10_a_late_answer_is_told_and_given_to_no_other_call(self, case: Case) -> None:
        double = await case.rig.device()
        request, task, asked = await case.holding(double)
        case.clock.advance(30)
        await refused(task, "TIMEOUT", Delivery.MAYBE)
        _, second, asked_second = await case.holding(double)

        await asked.answer(b"late")
        (late,) = await case.ctx.seen(EventKind.LATE_RESPONSE)
        await asked_second.answer(b"in time")

        assert late.device == double.address
        assert late.attrs["call_id"] == request.call_id
        assert late.attrs["response"].payload == b"late"
        assert (await within(second)).payload == b"in time"

    async def test_11_an_answer_that_comes_twice_is_one(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, asked = await case.holding(double)
        await asked.answer(b"first")
        await asked.answer(b"second")

        assert (await within(task)).payload == b"first"
        await case.barrier(double)
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []

    async def test_12_an_answer_to_nothing_is_ignored(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, asked = await case.holding(double)
        await double.forge()
        await asked.answer(b"true")

        assert (await within(task)).payload == b"true"
        await case.barrier(double)
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []

    async def test_13_an_answer_of_another_device_is_ignored(self, case: Case) -> None:
        double, other = await case.rig.device(), await case.rig.device()
        _, task, asked = await case.holding(double)
        await asked.answer(b"false", sender=other)
        await case.barrier(other)
        assert not task.done()

        await asked.answer(b"true")

        assert (await within(task)).payload == b"true"
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []

    @pytest.mark.parametrize("devices", [3, pytest.param(50, marks=pytest.mark.soak)])
    async def test_14_a_device_never_works_on_more_calls_than_it_takes(self, case: Case, devices: int) -> None:
        doubles = [await case.rig.device() for _ in range(devices)]
        cap = case.adapter.capabilities.per_device_inflight
        for double in doubles:
            double.hold()

        tasks = [case.begin(case.request(double)) for double in doubles for _ in range(2 * cap)]
        asked = [[await double.asked() for _ in range(cap)] for double in doubles]

        assert all(case.adapter.window(double.address) == 0 for double in doubles)
        for held in asked:
            for one in held:
                await one.answer(b"ok")
        outcomes = await within(asyncio.gather(*tasks, return_exceptions=True))
        busy = [o for o in outcomes if isinstance(o, CallError)]
        assert len(busy) == devices * cap
        assert {(e.code, e.delivery) for e in busy} == {("QUEUE_IS_FULL", Delivery.NOT_SENT)}
        assert all(len(double.executed) == cap for double in doubles)
        assert all(case.adapter.window(double.address) == cap for double in doubles)

    @pytest.mark.parametrize("case", [{"inflight": 4}], indirect=True)
    async def test_15_calls_reach_a_device_in_the_order_of_their_submission(self, case: Case) -> None:
        double = await case.rig.device()
        double.hold()
        wanted: list[str] = []
        for _ in range(5):
            requests = [case.request(double) for _ in range(4)]
            wanted += [request.call_id for request in requests]
            tasks = [case.begin(request) for request in requests]
            for _ in requests:
                await (await double.asked()).answer()
            await within(asyncio.gather(*tasks))

        assert double.executed == wanted

    @pytest.mark.parametrize("calls", HUNDRED)
    async def test_16_a_mute_device_slows_nobody_else(self, case: Case, calls: int) -> None:
        mute, lively = await case.rig.device(), await case.rig.device()
        _, task, _ = await case.holding(mute)

        for _ in range(calls):
            await case.barrier(lively)  # and the clock stands still

        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_17_a_device_that_disappears_fails_its_call_at_once(self, case: Case) -> None:
        double = await case.rig.device()
        _, task, _ = await case.holding(double)

        await double.drop()

        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        await case.ctx.seen(EventKind.OFFLINE, double.address)
        assert case.adapter.window(double.address) == 0
        await refused(case.adapter.call(case.request(double)), "NOT_CONNECTED", Delivery.NOT_SENT)

    @pytest.mark.parametrize("times", HUNDRED)
    async def test_18_a_call_is_never_executed_twice_by_the_adapters_doing(self, case: Case, times: int) -> None:
        double = await case.rig.device()
        for number in range(times):
            double.hold()
            request = case.request(double, payload=b"once")
            task = case.begin(request)
            asked = await double.asked()
            if number % 2:
                await asked.answer(b"done")
                await asked.answer(b"done")
                await within(task)
            else:
                # The device carries it out, and the connection is gone before the answer.
                await double.drop()
                with pytest.raises(NotConnected):
                    await within(task)
                await double.reconnect()
                if case.rig.deduplicates:
                    await self._again(case, double, asked, request)
            await case.barrier(double)
            assert double.executed.count(request.call_id) == 1

    @staticmethod
    async def _again(case: Case, double: Any, asked: Any, request: Any) -> None:
        """The core sends the call again; the device answers from memory."""
        await asked.answer(b"done")
        await case.ctx.seen(EventKind.LATE_RESPONSE, double.address)
        more = {"attempt": 2, "payload": request.payload}
        again = await case.call(double, call_id=request.call_id, **more)
        assert again.payload == b"done"

    async def test_36_a_call_without_response_is_sent_once_and_waits_for_nobody(self, case: Case) -> None:
        if not case.adapter.capabilities.no_response:
            pytest.skip("case 36: it sends nothing that need not be answered")
        double = await case.rig.device()
        await case.call(double, options={"no_response": True}, payload=b"once")
        await double.until(lambda: len(double.executed) == 1)
        await case.barrier(double)

        assert len(double.executed) == 2, "that one, and the one that followed it"
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []
