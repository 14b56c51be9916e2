"""What every engine promises of the channel logs, and of the order in which commits are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from hub.model.errors import NotFound
from hub.model.event import Event, Gap, Position, ReaderInfo
from tests.contracts.engine_rig import CHANNEL, Running, note, numbers

BIG = 1 << 40


class ChannelLogContract:
    """Named logs: offsets that only grow, gaps that are told."""

    async def test_a_channel_is_made_once_and_keeps_its_epoch(self, run: Running) -> None:
        made = await run.engine.log.open(CHANNEL, "acme")
        assert (made.name, made.account, made.head, made.first, made.bytes) == (CHANNEL, "acme", 0, 1, 0)
        assert made.created_at == run.clock.now()
        assert await run.engine.log.open(CHANNEL, "other") == made
        assert (await run.engine.log.open("shop/other", "acme")).epoch != made.epoch

    async def test_events_get_the_next_offsets_and_are_read_back_as_they_were(self, run: Running) -> None:
        body = {"payload": b"\x00\xff", "f": 1.5, "n": None, "l": [True, {"x": -1}], "ü": "\U0001f600"}
        written = await run.append(note(1, **body), note(2), note(3, "shop/other"))
        assert [(event.channel, event.offset) for event in written] == [(CHANNEL, 1), (CHANNEL, 2), ("shop/other", 1)]
        page = await run.engine.log.read(CHANNEL, Position(written[0].epoch, 0), 10)
        assert list(page.events) == list(written[:2])
        assert (page.gap, page.epoch) == (None, written[0].epoch)

    async def test_an_append_to_a_missing_channel_of_nobody_adds_nothing(self, run: Running) -> None:
        with pytest.raises(NotFound):
            await run.engine.log.append([note(1), note(2, "ghost/x")], {CHANNEL: "acme"})
        assert await run.engine.log.channels() == []

    async def test_reading_goes_on_after_a_position_in_pages(self, run: Running) -> None:
        written = await run.append(*[note(number) for number in range(10)])
        epoch, seen, place = written[0].epoch, [], 0
        while page := (await run.engine.log.read(CHANNEL, Position(epoch, place), 4)).events:
            assert len(page) <= 4
            seen += page
            place = page[-1].offset
        assert seen == list(written)

    async def test_a_page_is_bounded_in_bytes_and_never_empty_for_that(self, run: Running) -> None:
        written = await run.append(*[note(number, fill=b"x" * 10_000) for number in range(20)])
        page = await run.engine.log.read(CHANNEL, Position(written[0].epoch, 0), 100, max_bytes=35_000)
        assert 1 <= len(page.events) <= 5
        assert len((await run.engine.log.read(CHANNEL, Position(written[0].epoch, 0), 100, max_bytes=1)).events) == 1

    async def test_a_missing_channel_is_not_found(self, run: Running) -> None:
        with pytest.raises(NotFound):
            await run.engine.log.read("shop/none", Position("", 0), 10)

    async def test_another_epoch_is_a_gap_and_everything_is_told(self, run: Running) -> None:
        [event] = await run.append(note(1))
        page = await run.engine.log.read(CHANNEL, Position("feedfeedfeedfeed", 17), 10)
        assert page.gap == Gap(None, None, 0, "epoch")
        assert list(page.events) == [event]

    async def test_a_position_that_was_never_reached_is_a_gap(self, run: Running) -> None:
        [event] = await run.append(note(1))
        page = await run.engine.log.read(CHANNEL, Position(event.epoch, 9), 10)
        assert page.gap is not None and page.gap.reason == "epoch"
        assert list(page.events) == [event]

    async def test_what_retention_took_is_a_gap_that_names_it(self, run: Running) -> None:
        written = await run.append(*[note(number) for number in range(1, 11)])
        epoch = written[0].epoch
        await run.engine.log.trim(run.clock.now() - timedelta(days=1), 4, BIG)
        page = await run.engine.log.read(CHANNEL, Position(epoch, 2), 10)
        assert page.gap == Gap(3, 6, 6, "retention")
        assert list(page.events) == list(written[6:])
        page = await run.engine.log.read(CHANNEL, Position(epoch, 6), 10)
        assert page.gap is None and list(page.events) == list(written[6:])

    async def test_a_channel_trimmed_empty_goes_on_with_the_next_offset(self, run: Running) -> None:
        await run.append(note(1), note(2))
        run.clock.advance(100)
        await run.engine.log.trim(run.clock.now(), 100, BIG)
        [info] = await run.engine.log.channels()
        assert (info.first, info.head, info.bytes) == (3, 2, 0)
        await run.restart()
        [event] = await run.append(note(3))
        assert event.offset == 3
        page = await run.engine.log.read(CHANNEL, Position(event.epoch, 0), 10)
        assert page.gap == Gap(1, 2, 2, "retention")

    async def test_a_channel_made_again_has_another_epoch_and_none_of_the_old_events(self, run: Running) -> None:
        [old] = await run.append(note(1))
        await run.engine.log.store_position(CHANNEL, "tv", old.position)
        assert await run.engine.log.delete(CHANNEL)
        assert not await run.engine.log.delete(CHANNEL)
        with pytest.raises(NotFound):
            await run.engine.log.read(CHANNEL, old.position, 10)
        [new] = await run.append(note(2))
        assert (new.offset, new.epoch != old.epoch) == (1, True)
        assert numbers(await run.events()) == [2]
        assert await run.engine.log.position(CHANNEL, "tv") is None

    async def test_what_a_deleted_channel_left_is_cleared_in_bounded_steps(self, run: Running) -> None:
        await run.append(*[note(number) for number in range(10)])
        await run.engine.log.delete(CHANNEL)
        await run.append(note(1))
        long_ago = run.clock.now() - timedelta(days=1)
        steps = [await run.engine.log.trim(long_ago, 100, BIG, limit=4) for _ in range(4)]
        assert steps == [4, 4, 2, 0]
        assert numbers(await run.events()) == [1]

    async def test_channels_are_listed_by_account_with_their_size(self, run: Running) -> None:
        await run.append(note(1), note(2), note(3, "shop/other"), note(4, "yard/default"))
        assert [(info.name, info.head, info.first) for info in await run.engine.log.channels("acme")] == [
            (CHANNEL, 2, 1), ("shop/other", 1, 1),
        ]
        assert len(await run.engine.log.channels()) == 3
        assert all(info.bytes > 0 for info in await run.engine.log.channels())

    async def test_one_channel_is_told_as_in_the_list_and_not_made_by_asking(self, run: Running) -> None:
        await run.append(note(1), note(2), note(3, "shop/other"))
        assert await run.engine.log.info("shop/missing") is None
        assert await run.engine.log.info("shop/other") in await run.engine.log.channels()
        assert len(await run.engine.log.channels()) == 2


class PositionsContract:
    """Named readers' positions move forward."""

    async def test_a_position_moves_forward_only(self, run: Running) -> None:
        epoch = (await run.engine.log.open(CHANNEL, "acme")).epoch
        log = run.engine.log
        assert await log.position(CHANNEL, "tv") is None
        for offset, kept in ((5, 5), (3, 5), (6, 6)):
            await log.store_position(CHANNEL, "tv", Position(epoch, offset))
            assert await log.position(CHANNEL, "tv") == Position(epoch, kept)

    async def test_a_position_can_be_set_back_on_purpose(self, run: Running) -> None:
        epoch = (await run.engine.log.open(CHANNEL, "acme")).epoch
        await run.engine.log.store_position(CHANNEL, "tv", Position(epoch, 5))
        await run.engine.log.store_position(CHANNEL, "tv", Position(epoch, 3), forward_only=False)
        assert await run.engine.log.position(CHANNEL, "tv") == Position(epoch, 3)

    async def test_a_position_of_another_epoch_replaces_the_old_one(self, run: Running) -> None:
        await run.engine.log.open(CHANNEL, "acme")
        await run.engine.log.store_position(CHANNEL, "tv", Position("a", 5))
        await run.engine.log.store_position(CHANNEL, "tv", Position("b", 1))
        assert await run.engine.log.position(CHANNEL, "tv") == Position("b", 1)

    async def test_readers_do_not_meet_and_can_be_forgotten(self, run: Running) -> None:
        await run.append(note(1), note(1, "shop/other"))
        await run.engine.log.store_position(CHANNEL, "tv", Position("a", 1))
        await run.engine.log.store_position(CHANNEL, "phone", Position("a", 2))
        await run.engine.log.store_position("shop/other", "tv", Position("a", 3))
        await run.engine.log.forget_reader(CHANNEL, "tv")
        await run.engine.log.forget_reader(CHANNEL, "nobody")
        assert await run.engine.log.position(CHANNEL, "tv") is None
        assert await run.engine.log.position(CHANNEL, "phone") == Position("a", 2)
        assert await run.engine.log.position("shop/other", "tv") == Position("a", 3)

    async def test_readers_are_listed_with_their_positions_and_when_they_were_here(self, run: Running) -> None:
        channels = (CHANNEL, CHANNEL + "2", "shop/other", "shopper/x")
        for name in channels:
            await run.engine.log.open(name, "acme")
            await run.engine.log.store_position(name, "shop/tv", Position("a", 1))
        began = run.clock.now()
        run.clock.advance(60)
        # An older position moves nothing, but says that the reader is here.
        await run.engine.log.store_position(CHANNEL, "shop/tv", Position("a", 0))
        await run.engine.log.store_position(CHANNEL, "phone", Position("b", 7))

        listed = await run.engine.log.readers(channel=CHANNEL)
        assert listed == [
            ReaderInfo(CHANNEL, "phone", Position("b", 7), run.clock.now()),
            ReaderInfo(CHANNEL, "shop/tv", Position("a", 1), run.clock.now()),
        ]
        mine = await run.engine.log.readers(application="shop")
        assert [info.channel for info in mine] == sorted([CHANNEL, *channels[:3]])
        assert [info.used_at for info in mine if info.channel == "shop/other"] == [began]
        assert [info.channel for info in await run.engine.log.readers()] == sorted([CHANNEL, *channels])
        await run.engine.log.delete("shopper/x")
        assert await run.engine.log.readers(application="shopper") == []

    async def test_an_acknowledgement_that_comes_after_the_deletion_does_nothing(self, run: Running) -> None:
        await run.engine.log.store_position("shop/gone", "tv", Position("a", 1))
        assert await run.engine.log.position("shop/gone", "tv") is None


class RetentionContract:
    """Logs are bounded in time, number and size, and trimmed in bounded steps."""

    async def test_events_go_after_their_time(self, run: Running) -> None:
        await run.append(note(1), note(2), note(9, "shop/other"))
        run.clock.advance(100)
        await run.append(note(3))
        assert await run.engine.log.trim(run.clock.now() - timedelta(seconds=50), 100, BIG) == 3
        assert numbers(await run.events()) == [3]

    async def test_events_go_beyond_their_number_in_each_channel(self, run: Running) -> None:
        await run.append(*[note(number) for number in range(5)], *[note(number, "shop/other") for number in range(3)])
        assert await run.engine.log.trim(run.clock.now() - timedelta(days=1), 3, BIG) == 2
        assert numbers(await run.events()) == [2, 3, 4]
        assert numbers(await run.events("shop/other")) == [0, 1, 2]

    async def test_events_go_beyond_their_size(self, run: Running) -> None:
        await run.append(*[note(number, fill=b"x" * 1000) for number in range(10)])
        await run.engine.log.trim(run.clock.now() - timedelta(days=1), 100, 5_500)
        kept = numbers(await run.events())
        assert kept == list(range(10 - len(kept), 10)) and 4 <= len(kept) <= 5
        [info] = await run.engine.log.channels()
        assert info.bytes <= 5_500

    async def test_one_step_removes_no_more_than_its_limit_over_all_channels(self, run: Running) -> None:
        await run.append(*[note(number) for number in range(5)], *[note(number, "shop/other") for number in range(5)])
        run.clock.advance(10)
        steps = [await run.engine.log.trim(run.clock.now(), 100, BIG, limit=4) for _ in range(4)]
        assert steps == [4, 4, 2, 0]

    async def test_a_wall_clock_that_steps_back_leaves_no_hole(self, run: Running) -> None:
        await run.append(note(1))
        run.clock.step_wall(-500)
        await run.append(note(2))
        run.clock.step_wall(500)
        await run.append(note(3))
        await run.engine.log.trim(run.clock.now() - timedelta(seconds=100), 100, BIG)
        assert numbers(await run.events()) == [1, 2, 3], "an older event behind a younger one waits for it"


class CommitOrderContract:
    """Commits reach the loop in order, before anybody who waited for them."""

    async def test_the_commit_is_told_before_its_writer_goes_on(self, run: Running) -> None:
        written = await run.append(note(1), note(2))
        assert run.told == [written]

    async def test_a_commit_without_events_is_not_told(self, run: Running) -> None:
        await run.accepted()
        await run.engine.log.open(CHANNEL, "acme")
        assert run.told == []

    async def test_two_hundred_writers_are_told_in_the_order_of_the_log(self, run: Running) -> None:
        answered: list[int] = []
        heard: list[Event] = []

        def hear(events: Sequence[Event]) -> None:
            heard.extend(events)

        run.on_commit = hear

        async def write(number: int) -> None:
            [event] = await run.append(note(number))
            answered.append(event.offset)
            assert heard[event.offset - 1] == event, "told after its writer, or out of order"

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(write, number)
        assert [event.offset for event in heard] == list(range(1, 201))
        assert sorted(answered) == list(range(1, 201))
        assert await run.events() == heard

    async def test_what_was_told_can_be_read(self, run: Running) -> None:
        await run.append(note(1))
        [event] = await run.append(note(2))
        page = await run.engine.log.read(CHANNEL, Position(event.epoch, 1), 10)
        assert list(page.events) == [event]
        assert numbers([told for batch in run.told for told in batch]) == [1, 2]
