"""The long poll of the Connect dialect on real sockets: what the vendor's SDKs live on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio.lowlevel
import pytest

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.dialects.pelion.channel_life import Turn
from hub.model.event import EventDraft, EventKind
from hub.model.principal import Scope
from tests.hub_process import HubProcess
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Answer, Front, running_front
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

PULL = "/v2/notification/pull"
WEBSOCKET = "/v2/notification/websocket"
CALLBACK = "/v2/notification/callback"
CHANNEL = "/v2/notification/channel"


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with running_front(tmp_path) as front:
        yield front


async def completed(front: Front, *refs: str, status: int = 200, payload: bytes = b"21.5") -> None:
    """Completions on the application's channel."""
    drafts = [
        EventDraft(
            f"shop/{DEFAULT}",
            EventKind.COMPLETION,
            {"ref": ref, "call_id": ref, "device": "lamp", "status": status, "payload": payload, "content_type": None},
        )
        for ref in refs
    ]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def departed(front: Front, device: str) -> None:
    """An event that is no completion."""
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.DEREGISTERED, {"device": device, "name": None})
    await front.core.hub.engine.log.append([draft], {draft.channel: "acme"})


def polling(front: Front, key: str = KEY) -> asyncio.Task[Answer]:
    # Bounded, since the hold itself is by a clock that stands still.
    return asyncio.ensure_future(asyncio.wait_for(front.ask("GET", PULL, key=key), PATIENCE))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def held(front: Front) -> None:
    """Until a poll is waiting for its channel."""
    channel = await front.core.hub.channels.open(f"shop/{DEFAULT}", "acme")
    await until(lambda: bool(channel._waiters))


async def over(front: Front) -> None:
    """Until the hub, too, has done with the poll."""
    await until(lambda: front.pelion.channels.life("shop").turn is None)


async def open_poll(front: Front) -> asyncio.Task[Answer]:
    task = polling(front)
    await held(front)
    return task


def refs(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [item["id"] for item in answer.json["async-responses"]]


async def mechanism(front: Front) -> str | None:
    answer = await front.ask("GET", CHANNEL)
    return answer.json["delivery_mechanism"] if answer.status == 200 else None


# What a poll is answered.


async def test_an_answer_that_came_before_the_first_poll_is_kept_for_it(front: Front) -> None:
    answer = await front.ask("POST", "/v2/device-requests/lamp?async-id=early", {"method": "GET", "uri": "/5/0/1"})
    (await front.core.adapter.next()).reply(200, b"value1\n")
    await front.ended(answer.headers["hub-call-id"])

    poll = await front.ask("GET", PULL)

    assert poll.headers["content-type"] == "application/json"
    assert poll.json["async-responses"] == [{"id": "early", "status": 200, "payload": "dmFsdWUxCg==", "max-age": 0}]
    assert await mechanism(front) == "LONG_POLLING"


async def test_a_held_poll_is_answered_as_soon_as_something_comes(front: Front) -> None:
    poll = await open_poll(front)

    await completed(front, "a")

    assert refs(await poll) == ["a"]


async def test_a_poll_without_news_ends_with_204_after_its_hold(front: Front) -> None:
    poll = await open_poll(front)
    front.core.clock.advance(29.9)
    await front.ask("GET", CHANNEL)
    assert not poll.done()

    front.core.clock.advance(0.2)

    answer = await poll
    assert (answer.status, answer.body) == (204, b"")


async def test_what_was_told_is_not_told_again_even_after_a_restart(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        await completed(front, "a", "b")
        first = refs(await front.ask("GET", PULL))
        await completed(front, "c")
    async with running_front(tmp_path) as front:
        second = refs(await front.ask("GET", PULL))

    assert (first, second) == (["a", "b"], ["c"])


async def test_a_failed_outcome_of_500_and_above_comes_in_an_answer_of_its_own(front: Front) -> None:
    await completed(front, "a")
    await completed(front, "b", status=504)
    await completed(front, "c")

    told = [refs(await front.ask("GET", PULL)) for _ in range(3)]

    assert told == [["a"], ["b"], ["c"]]


async def test_what_is_not_told_does_not_end_the_hold(front: Front) -> None:
    poll = await open_poll(front)
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.PROGRESS, {"call_id": "x"})
    await front.core.hub.engine.log.append([draft], {})

    await completed(front, "a")

    assert refs(await poll) == ["a"]


async def test_events_that_retention_took_are_told_as_a_gap_in_the_next_message(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(retention_events=2)) as front:
        await front.ask("DELETE", PULL)
        front.core.clock.advance(1)
        first = polling(front)
        await held(front)
        await completed(front, "a")
        await first
        await completed(front, *"bcdef")
        await front.core.hub.sweep.tidy()
        # Memory still has what the log has not: after a restart nothing hides the gap.
    async with running_front(tmp_path, limits=Limits(retention_events=2)) as front:
        answer = await front.ask("GET", PULL)

    assert refs(answer) == ["e", "f"]
    assert answer.json["gap"] == {"from": 2, "to": 4, "next": 4, "reason": "retention"}


async def test_what_came_between_two_polls_waits(front: Front) -> None:
    (await open_poll(front)).cancel()
    await over(front)
    await departed(front, "d1")

    answer = await front.ask("GET", PULL)

    assert answer.json["de-registrations"] == ["d1"]


# One poll at a time.


async def test_a_second_poll_is_told_409_and_the_first_goes_on(front: Front) -> None:
    first = await open_poll(front)

    second = await front.ask("GET", PULL)
    await completed(front, "a")

    assert (second.status, second.text) == (409, "CONCURRENT_PULL_REQUEST_RECEIVED")
    assert refs(await first) == ["a"]


async def test_each_application_has_a_poll_of_its_own(front: Front) -> None:
    mine = await open_poll(front)
    theirs = polling(front, FOREIGN)
    await until(lambda: front.pelion.channels.life("stall").polling)

    await completed(front, "a")

    assert refs(await mine) == ["a"]
    assert not theirs.done()
    theirs.cancel()


async def test_the_next_poll_may_come_at_once_on_another_connection(front: Front) -> None:
    # A vendor's SDK closes each connection and comes back while the hub still stores the position.
    headers = {"Connection": "close"}
    for number in range(30):
        await completed(front, str(number))
        assert refs(await front.ask("GET", PULL, headers=headers)) == [str(number)]


async def test_two_newcomers_at_the_end_of_a_poll_get_one_place(front: Front) -> None:
    first = await open_poll(front)
    newcomers = [polling(front), polling(front)]
    await until(lambda: front.pelion.channels.life("shop").turn is not None)
    await completed(front, "a")
    await first
    await until(lambda: any(newcomer.done() for newcomer in newcomers))
    await completed(front, "b")

    answers = sorted([await newcomer for newcomer in newcomers], key=lambda answer: answer.status)
    assert answers[-1].status == 409 and {answer.status for answer in answers} <= {200, 409}


@asynccontextmanager
async def raw_poll(front: Front, *, buffer: int | None = None) -> AsyncIterator[socket.socket]:
    """A poll on a socket of its own, of which the test reads what it likes; `buffer` is what either end holds."""
    with socket.socket() as connection:
        if buffer is not None:
            front.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", front.port))
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        await loop.sock_sendall(connection, request.encode())
        yield connection


async def test_a_client_that_has_gone_makes_room_at_once_and_loses_nothing(front: Front) -> None:
    for number in range(20):
        async with raw_poll(front):
            await held(front)
        # Its successor comes in the same moment, before the end of the connection was looked at.
        successor = polling(front)
        await completed(front, str(number))
        assert refs(await successor) == [str(number)]


async def test_a_client_that_goes_in_the_moment_of_its_answer_loses_nothing(front: Front) -> None:
    # The event is committed before the hub's loop has looked at the connection again.
    for number in range(20):
        async with raw_poll(front):
            await held(front)
        channel = await front.core.hub.channels.open(f"shop/{DEFAULT}", "acme")
        committed = asyncio.ensure_future(completed(front, str(number)))
        async with asyncio.timeout(PATIENCE):
            await channel.changed(front.core.clock.monotonic() + 1e9, front.core.clock)
        await committed
        assert refs(await polling(front)) == [str(number)]


async def test_an_answer_that_the_client_never_took_is_told_again(front: Front) -> None:
    numbers = [str(number) for number in range(40)]
    await completed(front, *numbers, payload=b"x" * 60_000)
    async with raw_poll(front, buffer=4096) as connection:
        await asyncio.get_running_loop().sock_recv(connection, 100)
    await over(front)

    told: list[str] = []
    while len(told) < len(numbers):
        told += refs(await front.ask("GET", PULL))
    assert told == numbers


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(slow_listener=timedelta(seconds=0.2))) as front:
        await completed(front, *map(str, range(40)), payload=b"x" * 60_000)
        async with raw_poll(front, buffer=4096) as connection:
            await asyncio.get_running_loop().sock_recv(connection, 100)
            await over(front)

        assert refs(await front.ask("GET", PULL))[0] == "0"


# Deleting, and the second after it.


async def test_deleting_ends_the_open_poll_with_410_and_is_always_a_success(front: Front) -> None:
    nothing = await front.ask("DELETE", PULL)
    front.core.clock.advance(1)
    poll = await open_poll(front)
    removed, again = await front.ask("DELETE", PULL), await front.ask("DELETE", PULL)

    ended = await poll
    assert (ended.status, ended.text) == (410, "CHANNEL_DELETED")
    assert [(answer.status, answer.text) for answer in (nothing, removed, again)] == [
        (200, "ALREADY_DELETED"),
        (200, "REMOVED"),
        (200, "ALREADY_DELETED"),
    ]
    assert await mechanism(front) is None


async def test_deleting_loses_what_waits(front: Front) -> None:
    await (await polled(front, "a"))
    await completed(front, "b")
    await front.ask("DELETE", PULL)
    await completed(front, "c")
    front.core.clock.advance(1)

    assert refs(await front.ask("GET", PULL)) == ["c"]


async def polled(front: Front, ref: str) -> Awaitable[Answer]:
    """A poll that made the channel and is answered."""
    poll = await open_poll(front)
    await completed(front, ref)
    return poll


async def test_a_poll_in_the_second_after_a_delete_ends_with_it_and_makes_no_channel(front: Front) -> None:
    await front.ask("DELETE", PULL)
    front.core.clock.advance(0.4)
    poll = await open_poll(front)
    before = await mechanism(front)
    front.core.clock.advance(0.59)
    await front.ask("GET", CHANNEL)
    assert not poll.done()

    front.core.clock.advance(0.01)

    assert (await poll).status == 204
    assert (before, await mechanism(front)) == (None, None)


async def test_a_poll_in_the_second_after_a_delete_is_told_what_comes(front: Front) -> None:
    await front.ask("DELETE", PULL)
    poll = await open_poll(front)

    await departed(front, "d1")

    assert (await poll).json["de-registrations"] == ["d1"]
    again = await open_poll(front)
    await completed(front, "a")
    assert refs(await again) == ["a"]


async def test_after_that_second_a_poll_makes_the_channel(front: Front) -> None:
    await front.ask("DELETE", PULL)
    front.core.clock.advance(1)

    poll = await open_poll(front)

    assert await mechanism(front) == "LONG_POLLING"
    poll.cancel()


async def test_a_poll_in_that_second_leaves_the_place_to_a_callback_and_takes_nothing_from_it(front: Front) -> None:
    async with receiving() as receiver:
        await (await polled(front, "a"))
        await front.ask("DELETE", PULL)
        poll = await open_poll(front)

        made = await front.ask("PUT", CALLBACK, {"url": receiver.url, "headers": {}})
        await completed(front, "b")
        trial, told = await receiver.next(), await receiver.next()

        assert made.status == 204
        assert (await poll).status == 204
        assert (trial.body, told.json["async-responses"][0]["id"]) == (b"{}", "b")
        later = await front.ask("GET", PULL)
        assert (later.status, later.text) == (400, "CHANNEL_OF_ANOTHER_KIND")


async def test_a_second_delete_ends_the_poll_of_that_second(front: Front) -> None:
    await front.ask("DELETE", PULL)
    poll = await open_poll(front)

    await front.ask("DELETE", PULL)

    assert (await poll).status == 410


# Other kinds, other ends.


async def test_a_poll_beside_another_kind_is_told_400_and_displaces_nothing(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)

    answers = [await front.ask("GET", PULL), await front.ask("DELETE", PULL), await front.ask("GET", PULL)]

    assert [(answer.status, answer.text) for answer in answers] == [
        (400, "CHANNEL_OF_ANOTHER_KIND"),
        (200, "ALREADY_DELETED"),
        (400, "CHANNEL_OF_ANOTHER_KIND"),
    ]
    assert await mechanism(front) == "WEB_SOCKET"


async def test_another_kind_beside_a_poll_is_told_400(front: Front) -> None:
    poll = await open_poll(front)
    async with receiving() as receiver:
        callback = await front.ask("PUT", CALLBACK, {"url": receiver.url})
        assert receiver.got.empty()
    made = await front.ask("PUT", WEBSOCKET)

    assert [(answer.status, answer.text) for answer in (callback, made)] == [(400, "CHANNEL_OF_ANOTHER_KIND")] * 2
    assert not poll.done()
    poll.cancel()


async def test_the_channel_goes_after_ten_minutes_without_a_poll(front: Front) -> None:
    await (await polled(front, "a"))
    await over(front)
    front.core.clock.advance(599)
    before = await mechanism(front)
    await completed(front, "b")
    front.core.clock.advance(1)

    assert (before, await mechanism(front)) == ("LONG_POLLING", None)
    assert (await front.ask("PUT", WEBSOCKET)).status == 201


async def test_each_poll_keeps_the_channel_and_its_queue(front: Front) -> None:
    for ref in "abc":
        await completed(front, ref)
        assert refs(await front.ask("GET", PULL)) == [ref]
        await over(front)
        front.core.clock.advance(599)

    assert await mechanism(front) == "LONG_POLLING"


async def test_a_channel_that_ran_out_has_lost_its_queue_for_the_next_one(front: Front) -> None:
    await (await polled(front, "a"))
    await over(front)
    front.core.clock.advance(300)
    await departed(front, "d1")
    front.core.clock.advance(300.1)
    await until(lambda: not front.pelion.channels.all())
    poll = await open_poll(front)

    await departed(front, "d2")

    assert (await poll).json["de-registrations"] == ["d2"]


async def test_a_restart_leaves_ten_minutes_to_come_back(tmp_path: Path) -> None:
    clock = None
    async with running_front(tmp_path) as front:
        clock = front.core.clock
        await (await polled(front, "a"))
        await over(front)
    clock.advance(3600)
    async with running_front(tmp_path, clock) as front:
        clock.advance(599)
        before = await mechanism(front)
        clock.advance(1)
        after = await mechanism(front)

    assert (before, after) == ("LONG_POLLING", None)


async def test_a_drain_answers_the_open_poll_and_sends_its_client_to_the_next_process(front: Front) -> None:
    poll = await open_poll(front)

    front.listening.openings.drain()

    ended = await poll
    later = await front.ask("GET", PULL)
    assert [(answer.status, answer.headers["connection"]) for answer in (ended, later)] == [(204, "close")] * 2


async def test_a_revoked_key_ends_its_poll(front: Front) -> None:
    key = await front.key(Scope.LISTEN)
    poll = polling(front, key)
    await held(front)
    [made] = [known for known in front.core.hub.access.keys("shop") if known.scopes == frozenset({Scope.LISTEN})]

    await front.core.hub.access.revoke_key(made.id)

    assert (await poll).status == 401


async def test_who_may_poll(front: Front) -> None:
    caller = await front.key(Scope.CALL)

    for method, key, status in [
        ("GET", None, 401),
        ("DELETE", None, 401),
        ("GET", "ak_nobody_knows_this", 401),
        ("GET", caller, 403),
        ("DELETE", caller, 403),
        ("HEAD", KEY, 405),
        ("PUT", KEY, 405),
    ]:
        assert (await front.ask(method, PULL, key=key)).status == status
    assert await mechanism(front) is None


async def test_idle_connections_outlive_a_minute() -> None:
    # A POST that meets a connection just closed is raised at the SDK's user.
    assert Limits().keep_alive >= timedelta(seconds=60)


async def test_payloads_are_standard_padded_base64(front: Front) -> None:
    # Anything else kills the polling thread of a vendor's SDK.
    await completed(front, "a", payload=b"\xff\xfe\xfd\xfc")

    answer = await front.ask("GET", PULL)

    assert json.loads(answer.body)["async-responses"][0]["payload"] == "//79/A=="




async def test_a_hub_that_is_told_to_end_answers_the_open_poll_first(tmp_path: Path) -> None:
    # Without devices: the first poll would be answered at once with the news that they registered.
    config = (
        '[accounts.acme]\n[applications.shop]\naccount = "acme"\n'
        '[keys.test]\napplication = "shop"\nscopes = ["listen"]\nkey = "ak_hub_process_0123456789"\n'
    )
    with HubProcess(tmp_path, config=config) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {hub.key}\r\n\r\n"
        writer.write(request.encode())
        # A second poll is refused once the first is open.
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(refused, hub) != 409:
                pass
        ended = await asyncio.to_thread(hub.terminate)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 204 ") and b"connection: close" in answer.lower()
    assert ended == 0


def refused(hub: HubProcess) -> int | None:
    """What a poll is told that gives up after a moment."""
    with socket.create_connection(("127.0.0.1", hub.port)) as connection:
        connection.settimeout(1)
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {hub.key}\r\n\r\n"
        connection.sendall(request.encode())
        try:
            return int(connection.recv(100).split()[1])
        except TimeoutError:
            return None


async def test_a_newcomer_waits_a_moment_for_a_client_that_is_just_being_noticed_as_gone(front: Front) -> None:
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    newcomer = polling(front)
    await until(lambda: going.over.statistics().tasks_waiting == 1)
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    life.turn = None
    going.over.set()

    await completed(front, "a")

    assert refs(await newcomer) == ["a"]


async def test_newcomers_that_have_gone_leave_the_line(front: Front) -> None:
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    going.answering = True
    waiting = going.over.statistics
    async with raw_poll(front), raw_poll(front), raw_poll(front):
        await until(lambda: waiting().tasks_waiting == 3)
    newcomer = polling(front)

    await until(lambda: waiting().tasks_waiting == 1)
    life.turn = None
    going.over.set()
    await completed(front, "a")

    assert refs(await newcomer) == ["a"]


async def test_a_poll_waits_for_each_of_those_before_it_that_come_and_go(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.dialects.pelion.pull.VANISHING", PATIENCE)
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    going.answering = True
    waiting = going.over.statistics
    async with raw_poll(front):
        await until(lambda: waiting().tasks_waiting == 1)
        newcomers = [polling(front), polling(front)]
        await until(lambda: waiting().tasks_waiting == 3)
        life.turn = None
        going.over.set()
        await until(lambda: life.turn is not None and life.turn.over.statistics().tasks_waiting == 2)
    # One of the two has the place now, and is answered; then the other.
    await completed(front, "a")
    await until(lambda: any(newcomer.done() for newcomer in newcomers))
    await completed(front, "b")

    assert sorted([refs(await newcomer) for newcomer in newcomers]) == [["a"], ["b"]]
