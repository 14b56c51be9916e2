"""What every engine promises of the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from hub.model.call import CallState, OnUncertain, Order, Stage
from hub.model.errors import IllegalStep
from hub.model.event import EventDraft, EventKind
from hub.model.ids import CallId
from hub.model.lifecycle import LIFECYCLE, Step
from hub.model.outcome import Ending, Outcome
from hub.ports.engine import Accepted, CallQuery, End, IdempotencyMark, Remembered
from tests.contracts.engine_rig import CHANNEL, MINE, THEIRS, Running, note, numbers

NOBODY = CallId("00000000-0000-7000-8000-000000000000")


async def step(run: Running, call: CallId, what: Step, stage: Stage) -> bool:
    """Try a step; whether the engine says that it happened."""
    journal = run.engine.journal
    match what:
        case Step.CLAIM:
            return bool(await journal.claim([call], MINE, run.clock.now()))
        case Step.RELEASE:
            return bool(await journal.release([call], MINE))
        case Step.PARK if stage in (Stage.SENT, Stage.WAITING):
            return bool(await journal.release([call], MINE, park=True))
        case Step.PARK:
            return bool(await journal.park([call]))
        case Step.CHECKPOINT:
            return await journal.checkpoint(call, MINE, b"later")
        case Step.END:
            return await run.finish(call) is not None


class JournalContract:
    """Calls: accepted, moved by guarded steps, ended once."""

    @pytest.mark.parametrize("what", list(Step), ids=lambda what: what.value)
    @pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.value)
    async def test_a_call_moves_as_the_lifecycle_table_says_and_not_otherwise(
        self, run: Running, stage: Stage, what: Step
    ) -> None:
        call = await run.at(stage)
        moved = await step(run, call, what, stage)
        assert moved == (what in LIFECYCLE[stage])
        assert (await run.state(call)).stage is LIFECYCLE[stage].get(what, stage)

    @pytest.mark.parametrize("what", list(Step), ids=lambda what: what.value)
    async def test_a_step_of_a_call_that_is_not_there_is_told_not_raised(self, run: Running, what: Step) -> None:
        assert not await step(run, NOBODY, what, Stage.ACCEPTED)
        assert await run.engine.journal.get(NOBODY) is None

    async def test_an_accepted_call_is_read_back_as_it_was(self, run: Running) -> None:
        call = run.call(
            payload=bytes(range(256)), content_type="text/plain", accept="application/json", ref="ü\u2028 'x'\x00",
            args={"deep": [1, -2.5, None, True, {"bin": b"\xff"}]}, callback="https://example.org/x?y=1",
            timeout=timedelta(milliseconds=1500), expiry=timedelta(days=3), retries=4, order=Order.LATEST,
            on_uncertain=OnUncertain.RESEND, echo={"a": [1]}, idempotent=False, stage=Stage.PARKED,
            deadline=datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC),
        )
        await run.engine.journal.accept([call], MINE)
        assert await run.state(call.id) == CallState(call, Stage.PARKED)

    async def test_a_large_payload_survives_every_step(self, run: Running) -> None:
        call = run.call(payload=bytes(range(256)) * 256)
        await run.engine.journal.accept([call], MINE, [call.id])
        await run.engine.journal.release([call.id], MINE)
        await run.engine.journal.claim([call.id], MINE, run.clock.now())
        outcome = Outcome(Ending.ANSWERED, 200, b"\x00\xff" * 32_768)
        await run.engine.journal.finish(End(call.id, outcome, run.clock.now()))
        state = await run.state(call.id)
        assert state.call.spec.payload == call.spec.payload
        assert state.outcome == outcome

    async def test_a_call_can_be_claimed_in_the_commit_that_accepts_it(self, run: Running) -> None:
        now, later = run.call(), run.call()
        assert await run.engine.journal.accept([now, later], MINE, [now.id]) == Accepted(frozenset([now.id]))
        state = await run.state(now.id)
        assert (state.stage, state.attempt, state.incarnation) == (Stage.SENT, 1, MINE)
        assert state.sent_at == run.clock.now()
        assert (await run.state(later.id)).stage is Stage.ACCEPTED

    async def test_a_batch_with_a_call_that_cannot_be_accepted_leaves_nothing(self, run: Running) -> None:
        good = run.call()
        with pytest.raises(IllegalStep):
            await run.engine.journal.accept([good, run.call(stage=Stage.SENT)], MINE)
        assert await run.engine.journal.get(good.id) is None

    async def test_a_bad_write_spoils_none_of_its_neighbours(self, run: Running) -> None:
        old = run.call()
        await run.engine.journal.accept([old], MINE)
        good = [run.call() for _ in range(6)]
        failed = []

        async def accept_again() -> None:
            try:
                await run.engine.journal.accept([run.call(), old], MINE)
            except Exception as error:
                failed.append(error)

        async with anyio.create_task_group() as group:
            for number, call in enumerate(good):
                if number == 3:
                    group.start_soon(accept_again)
                group.start_soon(run.engine.journal.accept, [call], MINE)
        assert len(failed) == 1
        assert [(await run.state(call.id)).stage for call in good] == [Stage.ACCEPTED] * 6
        stored = await run.engine.journal.list(CallQuery("acme"))
        assert len(stored) == 7, "the failed batch left a call behind"

    async def test_claiming_counts_attempts_and_names_the_incarnation(self, run: Running) -> None:
        call = await run.accepted()
        assert await run.engine.journal.claim([call, NOBODY], MINE, run.clock.now()) == {call}
        await run.engine.journal.release([call], MINE)
        run.clock.advance(5)
        await run.engine.journal.claim([call], THEIRS, run.clock.now())
        state = await run.state(call)
        assert (state.attempt, state.incarnation, state.sent_at) == (2, THEIRS, run.clock.now())

    async def test_a_call_is_claimed_once_when_two_try_together(self, run: Running) -> None:
        call = await run.accepted()
        won = []

        async def claim() -> None:
            won.append(await run.engine.journal.claim([call], MINE, run.clock.now()))

        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            group.start_soon(claim)
        assert sorted(map(len, won)) == [0, 1]
        assert (await run.state(call)).attempt == 1

    async def test_only_who_holds_the_claim_releases_it(self, run: Running) -> None:
        call = await run.sent()
        assert await run.engine.journal.release([call], THEIRS) == frozenset()
        assert (await run.state(call)).stage is Stage.SENT

    @pytest.mark.parametrize("park", [False, True])
    async def test_releasing_keeps_the_attempts_and_counts_only_paid_retries(self, run: Running, park: bool) -> None:
        call = await run.sent()
        assert await run.engine.journal.release([call], MINE, park=park) == {call}
        await run.engine.journal.claim([call], MINE, run.clock.now())
        await run.engine.journal.release([call], MINE, park=park, retry_used=True)
        state = await run.state(call)
        assert state.stage is (Stage.PARKED if park else Stage.ACCEPTED)
        assert (state.attempt, state.retries_used, state.incarnation) == (2, 1, None)

    async def test_that_a_call_may_have_been_sent_is_remembered(self, run: Running) -> None:
        sent, other = await run.sent(), await run.sent()
        assert await run.engine.journal.release([sent], MINE, maybe_sent=True) == {sent}
        assert await run.engine.journal.release([other], MINE) == {other}
        assert (await run.state(sent)).maybe_sent and not (await run.state(other)).maybe_sent
        await run.engine.journal.claim([sent], MINE, run.clock.now())
        await run.engine.journal.release([sent], MINE)
        assert (await run.state(sent)).maybe_sent

    async def test_parking_leaves_a_call_that_is_being_sent_alone(self, run: Running) -> None:
        call = await run.sent()
        assert await run.engine.journal.park([call]) == frozenset()
        assert (await run.state(call)).stage is Stage.SENT

    async def test_calls_in_flight_are_adopted_by_the_next_incarnation_only(self, run: Running) -> None:
        sent, waiting = await run.at(Stage.SENT), await run.at(Stage.WAITING)
        others = [await run.at(stage) for stage in (Stage.ACCEPTED, Stage.PARKED, Stage.DONE)]
        everything = [sent, waiting, *others]
        assert await run.engine.journal.adopt(everything, MINE) == frozenset(), "they are ours already"
        assert await run.engine.journal.adopt(everything, THEIRS) == {sent, waiting}
        assert await run.engine.journal.release([sent], MINE) == frozenset()
        state = await run.state(waiting)
        assert (state.stage, state.incarnation, state.attempt, state.note) == (Stage.WAITING, THEIRS, 1, b"note")

    async def test_a_checkpoint_is_kept_and_can_be_renewed_by_its_holder(self, run: Running) -> None:
        call = await run.sent()
        assert not await run.engine.journal.checkpoint(call, THEIRS, b"foreign")
        assert await run.engine.journal.checkpoint(call, MINE, b"one")
        assert await run.engine.journal.checkpoint(call, MINE, b"\x00two")
        assert (await run.state(call)).note == b"\x00two"

    async def test_the_end_is_one_commit_of_outcome_event_and_place(self, run: Running) -> None:
        call = await run.sent()
        await run.append(note(1), note(2))
        outcome = Outcome(
            Ending.DEVICE_ERROR, 404, b"\x00no", "text/plain", timedelta(seconds=7), "DEVICE_ERROR",
            datetime(2026, 1, 1, 0, 0, 1, 5, tzinfo=UTC), {"coap": "4.04"},
        )
        end = End(call, outcome, run.clock.now(), (note(3), note(4, "shop/other")))
        assert await run.engine.journal.finish(end) == 3
        state = await run.state(call)
        assert (state.stage, state.outcome, state.ended_at) == (Stage.DONE, outcome, run.clock.now())
        events = await run.events()
        assert numbers(events) == [1, 2, 3]
        assert (state.epoch, state.offset) == events[-1].position
        assert numbers(await run.events("shop/other")) == [4]

    async def test_a_second_end_changes_nothing(self, run: Running) -> None:
        call = await run.sent()
        assert await run.finish(call, note(1), status=204) == 1
        run.clock.advance(1)
        assert await run.finish(call, note(2), status=500) is None
        state = await run.state(call)
        assert state.outcome is not None and state.outcome.status == 204
        assert numbers(await run.events()) == [1]

    async def test_of_two_ends_in_one_moment_exactly_one_happens(self, run: Running) -> None:
        call = await run.sent()
        results: list[int | None] = []

        async def finish(number: int) -> None:
            results.append(await run.finish(call, note(number)))

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(finish, number)
        assert sorted(results, key=str) == [1, None, None, None, None]
        assert len(await run.events()) == 1

    async def test_an_end_makes_a_missing_channel_for_the_account_of_the_call(self, run: Running) -> None:
        call = await run.sent(account="zeta", application="yard")
        assert await run.finish(call, note(1, "yard/new")) == 1
        [info] = await run.engine.log.channels("zeta")
        assert (info.name, info.head) == ("yard/new", 1)

    async def test_what_cannot_be_stored_is_refused_before_anything_is_written(self, run: Running) -> None:
        call = await run.sent()
        with pytest.raises(TypeError):
            await run.finish(call, EventDraft(CHANNEL, EventKind.PROGRESS, {"x": object()}))
        assert (await run.state(call)).stage is Stage.SENT

    async def test_a_waiter_that_goes_away_loses_nothing(self, run: Running) -> None:
        call, other = await run.sent(), await run.sent()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await run.finish(call, note(1))
        await run.finish(other, note(2))
        assert (await run.state(other)).stage is Stage.DONE
        # Whether the first was submitted before it was cancelled is the engine's affair; half of it is not.
        assert ((await run.state(call)).stage is Stage.DONE) == (1 in numbers(await run.events()))


class ListingContract:
    """Finding calls again."""

    async def test_listing_is_newest_first_page_by_page_within_the_account(self, run: Running) -> None:
        mine = [await run.accepted(ref=f"r-{number}") for number in range(5)]
        await run.accepted(account="zeta")
        first = await run.engine.journal.list(CallQuery("acme", limit=3))
        assert [state.call.id for state in first] == mine[:1:-1]
        rest = await run.engine.journal.list(CallQuery("acme", limit=3, after=first[-1].call.id))
        assert [state.call.id for state in rest] == mine[1::-1]

    @pytest.mark.parametrize(("query", "found"), [
        ({"application": "yard"}, ["yard"]),
        ({"device": "door"}, ["door"]),
        ({"ref": "r-9"}, ["ref"]),
        ({"stages": (Stage.DONE,)}, ["done"]),
        ({"stages": (Stage.DONE, Stage.SENT)}, ["done", "sent"]),
        ({"ending": "answered"}, ["done"]),
        ({"ending": "unknown"}, []),
        ({"application": "shop", "device": "door"}, ["door"]),
        ({"since": datetime(2026, 1, 1, 0, 0, 20, tzinfo=UTC)}, ["sent", "late"]),
        ({"until": datetime(2026, 1, 1, 0, 0, 20, tzinfo=UTC)}, ["yard", "door", "ref", "done"]),
    ])
    async def test_listing_filters(self, run: Running, query: dict[str, object], found: list[str]) -> None:
        names = {
            await run.accepted(application="yard"): "yard",
            await run.accepted(device="door"): "door",
            await run.accepted(ref="r-9"): "ref",
        }
        done = await run.sent()
        await run.finish(done)
        names[done] = "done"
        run.clock.advance(20)
        names[await run.sent()] = "sent"
        names[await run.accepted()] = "late"
        listed = await run.engine.journal.list(CallQuery("acme", **query))  # type: ignore[arg-type]
        assert {names[state.call.id] for state in listed} == set(found)

    async def test_open_calls_come_oldest_first_and_whole_in_pages(self, run: Running) -> None:
        calls = [run.call(ref=str(number)) for number in range(1203)]
        await run.engine.journal.accept(calls, MINE, [calls[7].id])
        await run.finish(calls[3].id)
        pages = [page async for page in run.engine.journal.open_calls()]
        assert len(pages) > 1, "a thousand calls are not one page"
        found = [state for page in pages for state in page]
        assert [state.call for state in found] == calls[:3] + calls[4:]
        assert [state.stage for state in found if state.call.id == calls[7].id] == [Stage.SENT]

    async def test_calls_that_end_while_the_open_ones_are_read_hide_none(self, run: Running) -> None:
        calls = [run.call() for _ in range(1100)]
        await run.engine.journal.accept(calls, MINE)
        seen = set()
        async for page in run.engine.journal.open_calls():
            seen |= {state.call.id for state in page}
            for state in page[:50]:
                await run.finish(state.call.id)
        assert seen == {call.id for call in calls}


class IdempotencyContract:
    """A request that is repeated is remembered."""

    def mark(self, run: Running, *calls: CallId, key: str = "k", hours: float = 24, print: bytes = b"f") -> (
        IdempotencyMark
    ):
        return IdempotencyMark("shop", key, print, run.clock.now() + timedelta(hours=hours), calls, {"status": 202})

    async def test_the_same_key_gives_the_first_mark_and_writes_nothing(self, run: Running) -> None:
        first, second = run.call(), run.call()
        mark = self.mark(run, first.id)
        assert isinstance(await run.engine.journal.accept([first], MINE, mark=mark), Accepted)
        again = await run.engine.journal.accept([second], MINE, [second.id], self.mark(run, second.id, print=b"g"))
        assert again == Remembered(mark)
        assert await run.engine.journal.get(second.id) is None

    async def test_of_two_requests_with_one_key_in_one_moment_one_is_accepted(self, run: Running) -> None:
        calls = [run.call() for _ in range(4)]
        results = []

        async def accept(number: int) -> None:
            call = calls[number]
            results.append(await run.engine.journal.accept([call], MINE, mark=self.mark(run, call.id)))

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(accept, number)
        assert sum(isinstance(result, Accepted) for result in results) == 1
        [kept] = [state for state in [await run.engine.journal.get(call.id) for call in calls] if state]
        assert {result.mark.calls for result in results if isinstance(result, Remembered)} == {(kept.call.id,)}

    async def test_a_key_is_of_its_application(self, run: Running) -> None:
        first, second = run.call(), run.call(application="yard")
        await run.engine.journal.accept([first], MINE, mark=self.mark(run, first.id))
        mark = IdempotencyMark("yard", "k", b"f", run.clock.now() + timedelta(hours=1), (second.id,))
        assert isinstance(await run.engine.journal.accept([second], MINE, mark=mark), Accepted)

    async def test_a_key_is_recalled_until_it_expires_and_then_free(self, run: Running) -> None:
        first, second = run.call(), run.call()
        mark = self.mark(run, first.id, hours=1)
        await run.engine.journal.accept([first], MINE, mark=mark)
        assert await run.engine.journal.recall("shop", "k", run.clock.now()) == mark
        assert await run.engine.journal.recall("yard", "k", run.clock.now()) is None
        run.clock.advance(3600)
        assert await run.engine.journal.recall("shop", "k", run.clock.now()) is None
        renewed = self.mark(run, second.id, hours=1)
        assert isinstance(await run.engine.journal.accept([second], MINE, mark=renewed), Accepted)
        assert await run.engine.journal.recall("shop", "k", run.clock.now()) == renewed


class ForgettingContract:
    """Ended calls are kept for a time and in a number, then they go, in bounded steps."""

    async def ended(self, run: Running, count: int) -> list[CallId]:
        calls = [run.call() for _ in range(count)]
        await run.engine.journal.accept(calls, MINE, [call.id for call in calls])
        for call in calls:
            await run.finish(call.id)
        return [call.id for call in calls]

    async def left(self, run: Running) -> set[CallId]:
        return {state.call.id for state in await run.engine.journal.list(CallQuery("acme", limit=10_000))}

    async def test_ended_calls_go_after_their_time_and_open_ones_stay(self, run: Running) -> None:
        await self.ended(run, 3)
        waiting = await run.accepted()
        run.clock.advance(100)
        young = await self.ended(run, 2)
        assert await run.engine.journal.forget(run.clock.now() - timedelta(seconds=50), 1000) == 3
        assert await self.left(run) == {waiting, *young}

    async def test_a_call_that_waited_long_is_kept_from_its_end_on(self, run: Running) -> None:
        slow = await run.accepted()
        run.clock.advance(1000)
        await run.finish(slow)
        assert await run.engine.journal.forget(run.clock.now() - timedelta(seconds=10), 1000) == 0
        assert await self.left(run) == {slow}

    async def test_beyond_their_number_the_oldest_go(self, run: Running) -> None:
        calls = await self.ended(run, 10)
        assert await run.engine.journal.forget(run.clock.now() - timedelta(days=7), 4) == 6
        assert await self.left(run) == set(calls[6:])
        assert await run.engine.journal.forget(run.clock.now() - timedelta(days=7), 4) == 0

    async def test_one_step_removes_no_more_than_its_limit(self, run: Running) -> None:
        await self.ended(run, 10)
        run.clock.advance(100)
        steps = [await run.engine.journal.forget(run.clock.now(), 0, limit=4) for _ in range(4)]
        assert steps == [4, 4, 2, 0]
        assert await self.left(run) == set()

    async def test_a_call_is_kept_as_long_as_the_key_that_names_it(self, run: Running) -> None:
        call = run.call()
        mark = IdempotencyMark("shop", "k", b"f", run.clock.now() + timedelta(hours=1), (call.id,))
        await run.engine.journal.accept([call], MINE, mark=mark)
        await run.finish(call.id)
        run.clock.advance(600)
        assert await run.engine.journal.forget(run.clock.now(), 0) == 0
        assert await self.left(run) == {call.id}
        run.clock.advance(3600)
        assert await run.engine.journal.forget(run.clock.now(), 0) == 2, "the call and its mark"
        assert await self.left(run) == set()

    async def test_the_number_of_ended_calls_is_right_after_a_restart(self, run: Running) -> None:
        await self.ended(run, 5)
        await run.accepted()
        await run.restart()
        assert await run.engine.journal.forget(run.clock.now() - timedelta(days=7), 3) == 2
