"""Durable names: a stored position, moved by acknowledgements and pongs, held by one socket at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hub.model.errors import StorageFailed
from hub.model.event import Position
from tests.clock import ManualClock
from tests.doubles_listening import Served, served
from tests.trips.stream_rig import ask, client, close_code, say, told

pytestmark = pytest.mark.anyio

PLACE = ("app/default", "app/till")


@pytest.fixture
async def hub(clock: ManualClock) -> AsyncIterator[Served]:
    async with served(clock=clock) as hub:
        yield hub


async def test_a_name_goes_on_after_what_it_acknowledged(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        for ref in "abc":
            hub.commit(ref)
        for _ in range(3):
            await told(socket)
        await say(socket, type="ack", channel="default", offset=2)
        await hub.until(lambda: hub.log.positions[PLACE].offset == 2)

    async with client(hub) as socket:
        answer = await ask(socket, type="subscribe", channel="default", name="till")
        assert (answer["epoch"], answer["offset"]) == ("e1", 2)
        assert (await told(socket))["async-responses"][0]["id"] == "c"


async def test_a_name_that_never_acknowledged_loses_nothing(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        hub.commit("a")
        await told(socket)
        socket.transport.abort()
    hub.commit("b")

    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        assert [(await told(socket))["offset"] for _ in range(2)] == [1, 2]


async def test_a_pong_moves_the_position_within_a_second(hub: Served, clock: ManualClock) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        hub.commit("a")
        await told(socket)
        assert hub.log.positions[PLACE].offset == 0

        clock.advance(1)

        await hub.until(lambda: hub.log.positions[PLACE].offset == 1)


async def test_bytes_written_without_a_pong_move_nothing(hub: Served, clock: ManualClock) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        # The client reads nothing from here on, so it answers no ping.
        socket.transport.pause_reading()
        hub.commit("a")
        lane = hub.listening.lanes.lane(await hub.channel(), _native())
        await hub.until(lambda: lane.offset == 1)
        clock.advance(5)
        socket.transport.abort()
    await hub.until(lambda: len(hub.listening.openings) == 0)

    assert hub.log.positions[PLACE].offset == 0


async def test_an_acknowledgement_at_the_end_is_stored_even_if_the_client_leaves_at_once(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        hub.commit("a")
        await told(socket)
        await say(socket, type="ack", channel="default", offset=1)
    await hub.until(lambda: len(hub.listening.openings) == 0)

    assert hub.log.positions[PLACE] == Position("e1", 1)


async def test_what_was_not_delivered_cannot_be_acknowledged(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        for offset in (1, -1, 1.0, None):
            answer = await ask(socket, type="ack", channel="default", offset=offset)
            assert (answer["type"], answer["problem"]["status"]) == ("error", 400)
        assert (await ask(socket, type="ack", channel="elsewhere", offset=0))["problem"]["status"] == 404

    assert hub.log.positions[PLACE].offset == 0


async def test_the_newer_socket_takes_the_name_and_the_older_one_lives_on(hub: Served) -> None:
    async with client(hub) as older, client(hub) as newer:
        await ask(older, type="subscribe", channel="default", name="till")
        await ask(older, type="subscribe", channel="other")
        await ask(newer, type="subscribe", channel="default", name="till")

        assert await told(older) == {"type": "unsubscribed", "channel": "app/default", "code": 4501}
        hub.commit("a")
        hub.commit("b", "app/other")
        assert (await told(newer))["channel"] == "app/default"
        assert (await told(older))["channel"] == "app/other"


async def test_a_socket_opened_for_the_name_is_closed_with_it(hub: Served) -> None:
    async with client(hub, "?channel=default&name=till") as older, client(hub) as newer:
        await told(older)
        await ask(newer, type="subscribe", channel="default", name="till")

        assert (await told(older))["code"] == 4501
        assert await close_code(older) == 4501


async def test_names_are_the_applications_and_channels_own(hub: Served) -> None:
    async with client(hub) as first, client(hub) as second:
        await ask(first, type="subscribe", channel="default", name="till")
        await ask(second, type="subscribe", channel="default", name="bar")
        await ask(second, type="subscribe", channel="other", name="till")
        hub.commit("a")

        assert (await told(first))["type"] == "message"
        assert (await told(second))["type"] == "message"


async def test_an_exact_position_wins_over_the_stored_one(hub: Served) -> None:
    await hub.channel()
    hub.commit("a")
    hub.commit("b")
    hub.log.positions[PLACE] = Position("e1", 2)

    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till", epoch="e1", offset=0)
        assert (await told(socket))["offset"] == 1


async def test_a_name_that_begins_at_an_exact_position_loses_nothing_by_a_break_before_its_first_ack(
    hub: Served,
) -> None:
    for ref in "abc":
        hub.commit(ref)
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till", epoch="e1", offset=1)
        await told(socket)
        socket.transport.abort()
    hub.commit("d")

    async with client(hub) as socket:
        answer = await ask(socket, type="subscribe", channel="default", name="till")
        assert answer["offset"] == 1
        assert [(await told(socket))["offset"] for _ in range(3)] == [2, 3, 4]


async def test_a_name_that_is_set_back_loses_nothing_by_a_break_either(hub: Served) -> None:
    await hub.channel()
    for ref in "abc":
        hub.commit(ref)
    hub.log.positions[PLACE] = Position("e1", 3)
    async with client(hub) as older, client(hub) as newer:
        # The one that holds the name has acknowledged more than the newer one wants to begin at.
        await ask(older, type="subscribe", channel="default", name="till")
        hub.commit("d")
        await told(older)
        await say(older, type="ack", channel="default", offset=4)
        await ask(newer, type="subscribe", channel="default", name="till", epoch="e1", offset=1)
        await told(newer)
        newer.transport.abort()
    await hub.until(lambda: len(hub.listening.openings) == 0)

    assert hub.log.positions[PLACE] == Position("e1", 1)


async def test_a_displaced_holder_moves_the_name_no_more(hub: Served, clock: ManualClock) -> None:
    async with client(hub) as older, client(hub) as newer:
        await ask(older, type="subscribe", channel="default", name="till")
        hub.commit("a")
        await told(older)
        # The ping is on its way to the older one when the newer one takes the name; its pong comes after that.
        older.transport.pause_reading()
        clock.advance(1)
        await ask(newer, type="subscribe", channel="default", name="till", epoch="e1", offset=0)
        older.transport.resume_reading()
        assert (await told(older))["code"] == 4501
        await ask(older, type="ping")
    await hub.until(lambda: len(hub.listening.openings) == 0)

    assert hub.log.positions[PLACE] == Position("e1", 0)


async def test_a_name_that_cannot_be_stored_is_refused_and_the_socket_lives(hub: Served) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageFailed("no room")

    hub.log.store_position = full  # type: ignore[method-assign]
    async with client(hub) as socket:
        refused = await ask(socket, type="subscribe", channel="default", name="till")
        assert (refused["type"], refused["problem"]["status"]) == ("error", 503)
        assert (await ask(socket, type="subscribe", channel="default"))["type"] == "subscribed"
    await hub.until(lambda: len(hub.listening.openings) == 0)

    assert len(hub.listening.lanes) == 0 and (await hub.channel()).listeners == 0
    assert not hub.listening.seats.held(*PLACE)


async def test_a_stored_position_that_is_no_longer_kept_is_told_by_a_gap(hub: Served) -> None:
    for number in range(300):
        hub.commit(str(number))
    hub.log.positions[PLACE] = Position("e1", 10)
    hub.log.forget("app/default", 290)

    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        gap = await told(socket)
        assert (gap["type"], gap["from"], gap["to"]) == ("gap", 11, 290)


async def test_a_name_of_a_former_life_of_the_channel_starts_over_behind_a_gap(
    hub: Served, clock: ManualClock
) -> None:
    hub.log.positions[PLACE] = Position("e0", 70)
    hub.commit("a")

    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        assert (await told(socket))["reason"] == "epoch"
        assert (await told(socket))["offset"] == 1
        clock.advance(1)
        await hub.until(lambda: hub.log.positions[PLACE] == Position("e1", 1))


def _native() -> object:
    from hub.delivery.envelope import NativeView

    return NativeView()
