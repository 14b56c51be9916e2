"""What every engine promises of the outbox, the directory, the bell and its own life."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from hub.model.call import Stage
from hub.model.delivery import Delivery, DeliveryDraft
from hub.model.errors import Locked, NotFound, RevisionConflict, StorageFailed
from hub.model.event import Position
from hub.model.record import Kind, Record
from hub.ports.engine import LetterSearch
from tests.contracts.engine_rig import CHANNEL, MINE, OWNERS, Running, note, numbers

BIG = 1 << 40


class OutboxContract:
    """Deliveries to those who are not connected."""

    async def deliveries(self, run: Running, *endpoints: str) -> Sequence[Delivery]:
        """One delivery per endpoint, each of the same event, due now."""
        call = await run.sent()
        rows = [DeliveryDraft(endpoint, "acme", 0, run.clock.now()) for endpoint in endpoints]
        await run.finish(call, note(1), deliveries=rows)
        return await run.engine.outbox.due(run.clock.now(), 100)

    async def test_a_row_is_written_with_its_event_and_is_due_at_its_time(self, run: Running) -> None:
        call = await run.sent()
        due_at = run.clock.now() + timedelta(seconds=5)
        row = DeliveryDraft("hook", "acme", 1, due_at, "https://example.org/", "pelion", {"method": "PUT"})
        await run.finish(call, note(1), note(2), deliveries=[row])
        assert await run.engine.outbox.due(run.clock.now(), 10) == []
        assert await run.engine.outbox.next_due() == due_at
        [due] = await run.engine.outbox.due(due_at, 10)
        [_, event] = await run.events()
        assert due == Delivery(
            due.id, "hook", "acme", CHANNEL, event.epoch, 2, due_at, 0, "https://example.org/", "pelion",
            {"method": "PUT"},
        )

    async def test_a_call_that_had_ended_gets_no_row(self, run: Running) -> None:
        call = await run.sent()
        await run.finish(call, note(1))
        await run.finish(call, note(2), deliveries=[DeliveryDraft("hook", "acme", 0, run.clock.now())])
        assert await run.engine.outbox.next_due() is None

    async def test_a_delivery_of_no_event_is_refused_whole(self, run: Running) -> None:
        call = await run.sent()
        with pytest.raises(ValueError, match="delivery"):
            await run.finish(call, note(1), deliveries=[DeliveryDraft("hook", "acme", 1, run.clock.now())])
        assert (await run.state(call)).stage is Stage.SENT

    async def test_due_rows_come_oldest_first_without_the_excluded_ends(self, run: Running) -> None:
        for number, endpoint in enumerate(["b", "a", "c"]):
            call = await run.sent()
            due_at = run.clock.now() - timedelta(seconds=number)
            await run.finish(call, note(number), deliveries=[DeliveryDraft(endpoint, "acme", 0, due_at)])
        due = await run.engine.outbox.due(run.clock.now(), 10)
        assert [row.endpoint for row in due] == ["c", "a", "b"]
        due = await run.engine.outbox.due(run.clock.now(), 10, exclude=["c", 'quo"te'])
        assert [row.endpoint for row in due] == ["a", "b"]
        assert len(await run.engine.outbox.due(run.clock.now(), 2)) == 2

    async def test_due_rows_come_without_those_of_excluded_applications_and_accounts(self, run: Running) -> None:
        for number, (channel, account) in enumerate([
            ("shop/default", "acme"), ("shop/more", "acme"), ("shop2/default", "acme"), ("yard/default", "other"),
        ]):  # fmt: skip
            call = await run.sent(channel=channel, account=account)
            row = DeliveryDraft("hook", account, 0, run.clock.now())
            await run.finish(call, note(number, channel), deliveries=[row])

        async def found(applications: Sequence[str] = (), accounts: Sequence[str] = ()) -> list[str]:
            rows = await run.engine.outbox.due(run.clock.now(), 10, (), applications, accounts)
            return [row.channel for row in rows]

        assert await found() == ["shop/default", "shop/more", "shop2/default", "yard/default"]
        assert await found(["shop", 'quo"te']) == ["shop2/default", "yard/default"], "a part of a name is another name"
        assert await found(["shop/default", "sho"]) == await found()
        assert await found([], ["acme"]) == ["yard/default"]
        assert await found(["yard"], ["acme"]) == []

    async def test_a_delivered_row_is_gone(self, run: Running) -> None:
        [first, second] = await self.deliveries(run, "a", "b")
        await run.engine.outbox.delivered(first.id)
        await run.engine.outbox.delivered(first.id)
        assert await run.engine.outbox.due(run.clock.now(), 10) == [second]

    async def test_a_failed_row_is_due_again_and_a_restart_goes_on_with_it(self, run: Running) -> None:
        [row] = await self.deliveries(run, "a")
        again = run.clock.now() + timedelta(minutes=5)
        await run.engine.outbox.failed(row.id, "HTTP 500", again)
        await run.restart()
        assert await run.engine.outbox.due(run.clock.now(), 10) == []
        [due] = await run.engine.outbox.due(again, 10)
        assert (due.id, due.attempts, due.last_error, due.dead) == (row.id, 1, "HTTP 500", False)

    async def test_a_dead_letter_is_not_due_and_is_listed_newest_first(self, run: Running) -> None:
        rows = await self.deliveries(run, "a", "b", "a")
        for row in rows:
            await run.engine.outbox.failed(row.id, "gone", None)
            run.clock.advance(1)
        assert await run.engine.outbox.next_due() is None
        assert [row.id for row in await run.engine.outbox.dead("acme")] == [row.id for row in rows[::-1]]
        assert {row.endpoint for row in await run.engine.outbox.dead("acme", "a")} == {"a"}
        assert len(await run.engine.outbox.dead("acme", limit=1)) == 1
        assert await run.engine.outbox.dead("zeta") == []
        assert all(row.dead for row in await run.engine.outbox.dead("acme"))

    async def test_the_next_due_time_after_a_moment_is_told_whatever_is_due_already(self, run: Running) -> None:
        [row] = await self.deliveries(run, "a")
        assert await run.engine.outbox.next_due(run.clock.now()) is None
        call = await run.sent()
        later = run.clock.now() + timedelta(seconds=5)
        await run.finish(call, note(1), deliveries=[DeliveryDraft("b", "acme", 0, later)])
        assert await run.engine.outbox.next_due() == row.due_at
        assert await run.engine.outbox.next_due(run.clock.now()) == later
        assert await run.engine.outbox.next_due(later) is None

    async def test_dead_letters_are_found_by_id_by_range_by_time_by_application_and_by_page(self, run: Running) -> None:
        rows = await self.deliveries(run, "a", "b", "c", "d")
        born = run.clock.now()
        for row in rows:
            await run.engine.outbox.failed(row.id, "gone", None)
            run.clock.advance(10)
        first, second, third, fourth = (row.id for row in rows)

        async def found(search: LetterSearch, limit: int = 100) -> list[int]:
            return [row.id for row in await run.engine.outbox.dead("acme", None, limit, search)]

        assert await found(LetterSearch(ids=(third, first, 10**9))) == [third, first]
        assert await found(LetterSearch(first=second, last=third)) == [third, second]
        seconds = timedelta(seconds=10)
        assert await found(LetterSearch(since=born + seconds, until=born + 3 * seconds)) == [third, second]
        assert await found(LetterSearch(application=CHANNEL.partition("/")[0])) == [fourth, third, second, first]
        assert await found(LetterSearch(application=CHANNEL[0])) == [], "a part of a name is another name"
        [last] = await run.engine.outbox.dead("acme", None, 1, LetterSearch(first=second, last=third))
        assert last.dead_at == born + 2 * seconds
        assert await found(LetterSearch(after=(last.dead_at, last.id)), 1) == [second]

    async def test_a_replayed_letter_carries_the_same_event(self, run: Running) -> None:
        [row] = await self.deliveries(run, "a")
        assert await run.engine.outbox.replay([row.id], run.clock.now()) == 0, "it is not dead"
        await run.engine.outbox.failed(row.id, "gone", None)
        assert await run.engine.outbox.replay([row.id, 10**9], run.clock.now()) == 1
        [again] = await run.engine.outbox.due(run.clock.now(), 10)
        assert (again.id, again.epoch, again.offset, again.attempts) == (row.id, row.epoch, row.offset, 0)
        assert await run.engine.outbox.dead("acme") == []

    async def test_the_event_of_a_row_outlives_retention_for_as_long_as_the_row(self, run: Running) -> None:
        [row] = await self.deliveries(run, "a")
        [event] = await run.events()
        run.clock.advance(100)
        assert await run.engine.log.trim(run.clock.now(), 0, 0) == 1
        page = await run.engine.log.read(CHANNEL, Position(event.epoch, 0), 10)
        assert page.events == () and page.gap is not None, "the channel itself does not show it any more"
        assert await run.engine.outbox.event(row.id) == event
        await run.engine.outbox.delivered(row.id)
        assert await run.engine.outbox.event(row.id) is None

    async def test_rows_of_a_deleted_channel_are_not_due(self, run: Running) -> None:
        await self.deliveries(run, "a")
        await run.engine.log.delete(CHANNEL)
        assert await run.engine.outbox.due(run.clock.now(), 10) == []
        assert await run.engine.outbox.next_due() is None

    async def test_dead_letters_are_forgotten_after_their_time(self, run: Running) -> None:
        [row] = await self.deliveries(run, "a")
        await run.engine.outbox.failed(row.id, "gone", None)
        await run.engine.journal.forget(run.clock.now() - timedelta(days=7), 1000)
        assert len(await run.engine.outbox.dead("acme")) == 1
        run.clock.advance(8 * 86_400)
        await run.engine.journal.forget(run.clock.now() - timedelta(days=7), 1000)
        assert await run.engine.outbox.dead("acme") == []


class DirectoryContract:
    """Records with revisions."""

    LAMP = Record(Kind.DEVICE, "acme/lamp", "acme", {"name": "lamp", "links": [{"rt": "x"}], "raw": b"\x00"})

    async def test_a_record_is_read_back_as_it_was_with_its_revision(self, run: Running) -> None:
        secret = Record(Kind.CREDENTIAL, "c-1", "acme", {}, b"\x00psk\xff")
        [lamp, stored] = await run.engine.directory.put([self.LAMP, secret])
        assert (lamp.revision, stored.revision) == (1, 1)
        assert await run.engine.directory.get(Kind.DEVICE, "acme/lamp") == lamp
        assert await run.engine.directory.get(Kind.CREDENTIAL, "c-1") == stored
        assert await run.engine.directory.get(Kind.ALIAS, "acme/lamp") is None

    async def test_each_write_is_one_revision_more(self, run: Running) -> None:
        [first] = await run.engine.directory.put([self.LAMP])
        [second] = await run.engine.directory.put([Record(Kind.DEVICE, first.id, "acme", {"n": 2}, None, 1)])
        assert second.revision == 2
        assert (await run.engine.directory.get(Kind.DEVICE, first.id)) == second

    @pytest.mark.parametrize("revision", [0, 2])
    async def test_a_record_at_another_revision_stops_the_whole_commit(self, run: Running, revision: int) -> None:
        await run.engine.directory.put([self.LAMP])
        other = Record(Kind.KEY, "k", "acme", {})
        stale = Record(Kind.DEVICE, self.LAMP.id, "acme", {"n": 2}, None, revision)
        with pytest.raises(RevisionConflict):
            await run.engine.directory.put([other, stale], [note(1)], OWNERS)
        assert await run.engine.directory.get(Kind.KEY, "k") is None
        assert await run.engine.log.channels() == []
        assert run.told == []

    async def test_a_new_record_that_claims_a_revision_is_refused(self, run: Running) -> None:
        with pytest.raises(RevisionConflict):
            await run.engine.directory.put([Record(Kind.KEY, "k", "acme", {}, None, 1)])

    async def test_a_record_cannot_be_in_one_commit_twice(self, run: Running) -> None:
        with pytest.raises(RevisionConflict):
            await run.engine.directory.put([self.LAMP, self.LAMP])
        assert await run.engine.directory.list(Kind.DEVICE) == []

    async def test_a_conflict_spoils_none_of_its_neighbours(self, run: Running) -> None:
        await run.engine.directory.put([self.LAMP])
        conflicts = []

        async def put(record: Record) -> None:
            try:
                await run.engine.directory.put([record])
            except RevisionConflict:
                conflicts.append(record.id)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(put, Record(Kind.KEY, f"k-{number}", "acme", {}))
                group.start_soon(put, self.LAMP)
        assert conflicts == ["acme/lamp"] * 10
        assert len(await run.engine.directory.list(Kind.KEY)) == 10

    async def test_events_are_told_in_the_commit_of_their_record(self, run: Running) -> None:
        await run.engine.directory.put([self.LAMP], [note(1), note(2, "yard/default")], OWNERS)
        assert [numbers(batch) for batch in run.told] == [[1, 2]]
        assert numbers(await run.events()) == [1]

    async def test_drafts_for_a_channel_of_nobody_write_nothing(self, run: Running) -> None:
        with pytest.raises(NotFound):
            await run.engine.directory.put([self.LAMP], [note(1, "ghost/x")])
        assert await run.engine.directory.get(Kind.DEVICE, self.LAMP.id) is None

    async def test_deleting_needs_the_revision_and_tells_of_it(self, run: Running) -> None:
        [lamp] = await run.engine.directory.put([self.LAMP])
        with pytest.raises(RevisionConflict):
            await run.engine.directory.delete([self.LAMP])
        await run.engine.directory.delete([lamp], [note(1)], OWNERS)
        assert await run.engine.directory.get(Kind.DEVICE, lamp.id) is None
        assert numbers(await run.events()) == [1]
        with pytest.raises(RevisionConflict):
            await run.engine.directory.delete([lamp])

    async def test_a_list_is_of_one_kind_with_secrets_open(self, run: Running) -> None:
        records = [Record(Kind.USER, name, "acme", {"n": name}, name.encode()) for name in ("b", "a")]
        await run.engine.directory.put([*records, self.LAMP])
        listed = await run.engine.directory.list(Kind.USER)
        assert sorted((record.id, record.secret) for record in listed) == [("a", b"a"), ("b", b"b")]


class BellContract:
    """Waking somebody, apart from telling them something."""

    async def test_a_ring_before_the_wait_is_not_lost_while_listening(self, run: Running) -> None:
        with run.engine.bell.listen("outbox") as ringing:
            run.engine.bell.ring("outbox")
            with anyio.fail_after(5):
                await ringing.wait()

    async def test_several_rings_are_one_and_other_topics_are_not_heard(self, run: Running) -> None:
        with run.engine.bell.listen("outbox") as ringing:
            run.engine.bell.ring("outbox")
            run.engine.bell.ring("outbox")
            run.engine.bell.ring("calls")
            await ringing.wait()
            heard = []

            async def wait() -> None:
                await ringing.wait()
                heard.append(True)

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                assert heard == []
                run.engine.bell.ring("outbox")

    async def test_everybody_who_listens_is_woken_and_nobody_else_is_kept(self, run: Running) -> None:
        bell = run.engine.bell
        with bell.listen("a") as one, bell.listen("a") as two:
            bell.ring("a")
            with anyio.fail_after(5):
                await one.wait()
                await two.wait()
        bell.ring("a")


class LifeContract:
    """Starting, stopping, starting again."""

    async def test_a_restart_keeps_everything(self, run: Running) -> None:
        done, open_call = await run.sent(), await run.sent()
        await run.engine.journal.checkpoint(open_call, MINE, b"n")
        await run.finish(done, note(1), deliveries=[DeliveryDraft("hook", "acme", 0, run.clock.now())])
        await run.engine.log.store_position(CHANNEL, "tv", Position("e", 1))
        record = Record(Kind.WEBHOOK, "w", "acme", {"url": "x"}, b"secret")
        await run.engine.directory.put([record])

        async def picture() -> list[object]:
            return [
                await run.state(done), await run.state(open_call), await run.events(),
                await run.engine.outbox.due(run.clock.now(), 10), await run.engine.log.position(CHANNEL, "tv"),
                await run.engine.log.channels(), await run.engine.directory.list(Kind.WEBHOOK),
                [page async for page in run.engine.journal.open_calls()],
            ]

        before = await picture()
        await run.restart()
        assert await picture() == before
        [event] = await run.append(note(2))
        assert event.offset == 2, "an offset was given out twice or skipped"

    async def test_what_was_submitted_before_the_stop_is_written(self, run: Running) -> None:
        calls = [run.call() for _ in range(50)]
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(run.engine.journal.accept, [call], MINE)
            await anyio.wait_all_tasks_blocked()
            await run.engine.stop()
        await run.restart()
        assert len([state for call in calls if (state := await run.engine.journal.get(call.id))]) == 50

    async def test_after_the_stop_writes_and_reads_are_refused(self, run: Running) -> None:
        await run.engine.stop()
        await run.engine.stop()
        with pytest.raises(StorageFailed):
            await run.accepted()
        with pytest.raises(StorageFailed):
            await run.engine.log.channels()

    async def test_data_that_another_engine_holds_is_locked_until_it_stops(self, run: Running) -> None:
        second = run.make(run.folder, run.clock)
        with pytest.raises(Locked):
            await second.start(run.hear)
        await run.accepted()
        await run.engine.stop()
        third = run.make(run.folder, run.clock)
        await third.start(run.hear)
        await third.stop()

    async def test_a_healthy_engine_says_so_and_names_its_durability(self, run: Running) -> None:
        health = run.engine.health()
        assert health["state"] == "up"
        assert health["durability"] in ("disk", "replicas")

    async def test_a_listener_that_fails_keeps_nobody_waiting(self, run: Running) -> None:
        # A bug in on_commit is reported by the loop; the writers' answers are true all the same.
        reported: list[dict[str, object]] = []
        import asyncio

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))

        def broken(events: object) -> None:
            raise RuntimeError("a broken listener")

        run.on_commit = broken
        try:
            with anyio.fail_after(5):
                [event] = await run.append(note(1))
        finally:
            loop.set_exception_handler(None)
        assert event.offset == 1
        assert len(reported) == 1
