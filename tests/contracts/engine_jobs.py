"""What every engine promises of searches in the journal: the jobs of an array, and calls of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hub.dialects.powerstore.job import row
from hub.model.call import Call, CallState, Stage
from hub.model.errors import OutOfRange
from hub.model.ids import CallId
from hub.model.job import USER, created, facets_of
from hub.model.job_shape import JOB, SHAPES, UNFILTERED
from hub.model.outcome import Ending, Outcome
from hub.model.query import Query, apply
from hub.model.query_text import parse_query
from hub.ports.engine import End
from tests.contracts.engine_rig import MINE, Running

OUTCOMES = [
    Outcome(Ending.ANSWERED, 200), Outcome(Ending.ANSWERED, 200, b'{"id": "x"}', native={"status": 201}),
    Outcome(Ending.DEVICE_ERROR, 409), Outcome(Ending.UNREACHABLE, 502), Outcome(Ending.UNKNOWN, 504),
]  # fmt: skip
# One for each operator, each kind of value, and each way to join; the evaluator of the model says what they find.
QUESTIONS: list[dict[str, str]] = [
    {}, {"limit": "3"}, {"limit": "3", "offset": "4"}, {"order": "start_time.desc"},
    {"order": "resource_type,resource_name.desc,id"}, {"state": "eq.completed"}, {"phase": "eq.In_Progress"},
    {"state": "not.in.(COMPLETED,FAILED)"}, {"state": "neq.FAILED", "user": "eq.admin"},
    {"resource_type": "eq.volume", "resource_action": "in.(modify,delete)"}, {"resource_name": "is.null"},
    {"resource_name": "not.is.null"}, {"resource_name": "ilike.g*D"}, {"description_l10n": "ilike.*volume group*"},
    {"response_status": "eq.201"}, {"response_status": "gte.500"}, {"end_time": "is.null"},
    {"progress_percentage": "lt.100"}, {"parent_id": "is.null"}, {"resource_id": "gt.g1"}, {"resource_id": "eq.x"},
    {"start_time": "gte.2026-02-03T04:05:08Z"}, {"or": "(state.eq.QUEUED,resource_type.eq.local_user)"},
    {"and": "(state.eq.COMPLETED,or(user.eq.admin,user.eq.shop))", "limit": "2"}, {"id": "in.()"},
]  # fmt: skip


def as_job(call: Call) -> Call:
    return replace(call, job=facets_of(call.spec))


def an_array(run: Running) -> list[Call]:
    """Jobs of all kinds on one array, accepted one after the other."""
    asked = [
        ("PATCH", "/volume_group/g1", b"", {}), ("DELETE", "/volume_group/name:Gold", b"", {USER: "admin"}),
        ("POST", "/volume", b'{"name": "gold"}', {}), ("POST", "/volume/v1/clone", b"", {USER: "Admin"}),
        ("PATCH", "/local_user/1", b"", {}),
    ]  # fmt: skip
    calls = []
    for method, target, payload, echo in asked * 3:
        spec = {"method": method, "target": target, "payload": payload, "echo": echo, "device": "array"}
        calls.append(as_job(run.call(**spec)))
        run.clock.advance(0.25)
    return calls


async def moved(run: Running, calls: Sequence[Call]) -> list[CallState]:
    """The calls, brought to all stages and endings by turns."""
    states = []
    for number, call in enumerate(calls):
        turn = number % (len(OUTCOMES) + 3)
        await run.engine.journal.accept([call], MINE, [call.id] if turn in (1, 2) else [])
        if turn == 2:
            await run.engine.journal.checkpoint(call.id, MINE, b"note")
        if turn > 2:
            outcome = OUTCOMES[turn - 3]
            await run.engine.journal.finish(End(call.id, outcome, run.clock.now(), made=created(call.spec, outcome)))
        states.append(await run.state(call.id))
    return states


class JobsContract:
    """A collection of jobs is searched as the evaluator of the model would search it."""

    async def test_a_search_finds_what_the_evaluator_finds_in_the_same_order_and_place(self, run: Running) -> None:
        rows = [row(state) for state in await moved(run, an_array(run))]
        questions = [*QUESTIONS, {"id": f"eq.{rows[3]['id']}"}, {"id": f"in.({rows[5]['id']},{rows[1]['id']})"}]
        found = 0
        for asked in questions:
            query = parse_query(list(asked.items()), SHAPES, JOB, unfiltered=UNFILTERED)
            wanted, place = apply(query, rows)
            page = await run.engine.journal.jobs("acme", "array", query)
            assert [state.call.id for state in page.states] == [each["id"] for each in wanted], asked
            assert page.place == place, asked
            found += len(wanted)
        assert found > 50

    async def test_jobs_come_as_they_stand_and_the_oldest_first(self, run: Running) -> None:
        states = await moved(run, an_array(run))
        page = await run.engine.journal.jobs("acme", "array", Query())
        assert list(page.states) == states

    async def test_what_is_no_job_and_what_is_another_arrays_is_not_found(self, run: Running) -> None:
        mine = as_job(run.call(device="array", method="PATCH"))
        others: list[dict[str, Any]] = [{"device": "other"}, {"account": "zeta"}]
        calls = [mine, *(as_job(run.call(**{"device": "array", "method": "PATCH", **other})) for other in others)]
        calls.append(run.call(device="array", method="PATCH"))
        await run.engine.journal.accept(calls, MINE)
        page = await run.engine.journal.jobs("acme", "array", Query())
        assert [state.call.id for state in page.states] == [mine.id]
        assert page.place.total == 1

    async def test_a_page_behind_the_end_is_out_of_range(self, run: Running) -> None:
        await moved(run, an_array(run)[:2])
        with pytest.raises(OutOfRange):
            await run.engine.journal.jobs("acme", "array", parse_query([("offset", "2")], SHAPES, JOB))

    async def test_what_is_forgotten_is_no_job_any_more(self, run: Running) -> None:
        states = await moved(run, an_array(run))
        left = [state.call.id for state in states if state.stage is not Stage.DONE]
        run.clock.advance(1)
        await run.engine.journal.forget(run.clock.now(), 1000)
        page = await run.engine.journal.jobs("acme", "array", Query())
        assert 0 < len(left) < len(states)
        assert [state.call.id for state in page.states] == left

    async def test_jobs_outlive_a_restart(self, run: Running) -> None:
        states = await moved(run, an_array(run))
        engine = await run.restart()
        assert list((await engine.journal.jobs("acme", "array", Query())).states) == states


class PastContract:
    """What an adapter was given is found again."""

    async def past(self, run: Running, since: timedelta = timedelta(0), adapter: str = "http") -> list[CallState]:
        found: list[CallState] = []
        async for page in run.engine.journal.under_way_since(adapter, run.clock.now() - since):
            found += page
        return found

    async def ended(self, run: Running, **changes: Any) -> CallId:
        call = await run.sent(**{"adapter": "http", **changes})
        await run.engine.journal.checkpoint(call, MINE, b"note")
        await run.finish(call)
        return call

    async def test_calls_that_were_given_to_an_adapter_come_whole_and_the_oldest_first(self, run: Running) -> None:
        calls = [await self.ended(run), await run.sent(adapter="http"), await self.ended(run)]
        assert await self.past(run) == [await run.state(call) for call in calls]

    async def test_what_had_ended_before_does_not_come(self, run: Running) -> None:
        await self.ended(run)
        open_ = await run.sent(adapter="http")
        run.clock.advance(10)
        later = await self.ended(run)
        run.clock.advance(10)
        assert [state.call.id for state in await self.past(run, timedelta(seconds=15))] == [open_, later]

    async def test_what_was_never_sent_and_what_another_adapter_has_does_not_come(self, run: Running) -> None:
        await run.accepted(adapter="http")
        await run.sent(adapter="coap", payload=b"not for http")
        await run.sent(adapter="http2")
        mine = await run.sent(adapter="http")
        assert [state.call.id for state in await self.past(run)] == [mine]

    async def test_many_come_in_pages_and_none_is_left_out(self, run: Running) -> None:
        calls = [run.call(adapter="coap" if number % 3 else "http", payload=b"http") for number in range(700)]
        await run.engine.journal.accept(calls, MINE, [call.id for call in calls])
        pages = [page async for page in run.engine.journal.under_way_since("http", run.clock.now())]
        assert len(pages) > 1
        assert [s.call.id for page in pages for s in page] == [c.id for c in calls if c.adapter == "http"]
