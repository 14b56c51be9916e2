"""The callback of the Connect dialect from its registration to the receiver: tried first, in order, for a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from aiohttp import web

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.delivery.outgoing.guard import Guard
from hub.dialects.pelion.callback_reader import pause_after
from hub.dialects.pelion.record import channel_of
from hub.model.event import EventDraft, EventKind
from hub.model.principal import Scope
from hub.model.record import Kind
from tests.clock import ManualClock
from tests.hub_process import free_port
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Answer, Front, running_front
from tests.trips.receiver import Got, Receiver, receiving

pytestmark = pytest.mark.anyio

CALLBACK = "/v2/notification/callback"
WEBSOCKET = "/v2/notification/websocket"
CHANNEL = "/v2/notification/channel"
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with running_front(tmp_path) as front:
        yield front


async def completed(front: Front, *refs: str, payload: bytes = b"21.5") -> None:
    """Completions on the application's channel, in one commit."""
    body = {"call_id": "c", "device": "lamp", "status": 200, "payload": payload, "content_type": None}
    drafts = [EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, {**body, "ref": ref}) for ref in refs]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def put(front: Front, url: str, *, key: str = KEY, expect: int = 204, **more: Any) -> Answer:
    answer = await front.ask("PUT", CALLBACK, {"url": url, **more}, key=key)
    assert answer.status == expect, answer
    return answer


async def registered(front: Front, receiver: Receiver, **more: Any) -> None:
    """A callback whose trial is over."""
    await put(front, receiver.url, **more)
    assert (await receiver.next()).body == b"{}"


def header(got: Got, name: str) -> str | None:
    return {key.lower(): value for key, value in got.headers.items()}.get(name)


def refs(got: Got) -> list[str]:
    return [item["id"] for item in got.json["async-responses"]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def failed(front: Front, times: int) -> None:
    """Return when this many attempts in a row have failed and the schedule of the next is on disk."""
    async with asyncio.timeout(PATIENCE):
        while (found := record(front)) is None or found.failing is None or found.failing.times < times:
            front.record_written.clear()
            await front.record_written.wait()


async def taken(front: Front, times: int) -> None:
    """Return when this many batches were taken and the position is on disk."""
    await until(lambda: front.core.hub.stats.callbacks_taken >= times)


def record(front: Front) -> Any:
    return channel_of(front.core.hub.directory.record(Kind.CHANNEL, "shop"))


# Registration.


async def test_a_callback_is_tried_with_an_empty_object_and_its_own_headers_before_it_is_taken(
    front: Front, receiver: Receiver
) -> None:
    headers = {"authorization": "f00d", "X-Zone": "roof top"}

    made = await put(front, f"{receiver.url}/notify?a=b", headers=headers)
    trial = await receiver.next()

    assert (made.status, made.body) == (204, b"")
    assert (trial.method, trial.path, trial.body) == ("PUT", "/notify?a=b", b"{}")
    assert (header(trial, "authorization"), header(trial, "x-zone")) == ("f00d", "roof top")
    assert trial.headers["Content-Type"] == "application/json"


async def test_a_callback_is_shown_as_it_was_set_and_gone_when_deleted(front: Front, receiver: Receiver) -> None:
    options = {"type": "v2", "max_chunk_size": "100", "cfg": {"include_uid": "true"}}
    none = await front.ask("GET", CALLBACK)
    await put(front, receiver.url)
    plain = await front.ask("GET", CALLBACK)
    await put(front, receiver.url, headers={"a": "b"}, serialization=options)
    shown, mechanism = await front.ask("GET", CALLBACK), await front.ask("GET", CHANNEL)
    deleted, twice = await front.ask("DELETE", CALLBACK), await front.ask("DELETE", CALLBACK)

    assert none.status == 404
    assert plain.json == {"url": receiver.url, "headers": {}}
    assert (shown.json["headers"], shown.json["serialization"]["max_chunk_size"]) == ({"a": "b"}, 100)
    assert mechanism.json == {"delivery_mechanism": "CALLBACK"}
    assert (deleted.status, deleted.body, twice.status) == (204, b"", 404)
    assert (await front.ask("GET", CHANNEL)).status == 404


async def test_a_trial_is_passed_with_200_or_204_only_and_redirects_are_not_followed(
    front: Front, receiver: Receiver
) -> None:
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    for status in (201, 202, 301, 302, 307, 308, 400, 404, 410, 500, 503):
        receiver.status = status
        answer = await put(front, receiver.url, expect=400)
        assert answer.text == "CALLBACK_UNREACHABLE", status
        assert receiver.got.qsize() == 1
        await receiver.next()
        assert (await front.ask("GET", CALLBACK)).status == 404

    for status in (200, 204):
        receiver.status = status
        await put(front, receiver.url)


async def test_a_receiver_that_is_not_there_or_says_nothing_for_20_seconds_fails_the_trial(
    front: Front, receiver: Receiver
) -> None:
    assert (await put(front, f"http://127.0.0.1:{free_port()}", expect=400)).text == "CALLBACK_UNREACHABLE"

    receiver.let_go.clear()
    asking = asyncio.ensure_future(put(front, receiver.url, expect=400))
    await receiver.next()
    front.core.clock.advance(19.9)
    await front.ask("GET", CHANNEL)
    assert not asking.done()
    front.core.clock.advance(0.2)

    assert (await asking).text == "CALLBACK_UNREACHABLE"


async def test_what_is_wrong_with_a_registration_is_said_by_a_word(front: Front, receiver: Receiver) -> None:
    caller = await front.key(Scope.CALL)
    url = receiver.url
    long = {"url": url, "headers": {"a": "x" * (400 - len(url))}}

    for body, key, status, word in [
        (b"", KEY, 400, "MALFORMED_JSON_CONTENT"),
        (b"{", KEY, 400, "MALFORMED_JSON_CONTENT"),
        (b"[]", KEY, 400, "MALFORMED_JSON_CONTENT"),
        ({}, KEY, 400, "MALFORMED_JSON_CONTENT"),
        ({"url": 5}, KEY, 400, "MALFORMED_JSON_CONTENT"),
        ({"url": url, "headers": []}, KEY, 400, "MALFORMED_JSON_CONTENT"),
        (long, KEY, 400, "CALLBACK_TOO_LONG"),
        ({"url": f"{url}/{'x' * 400}"}, KEY, 400, "CALLBACK_TOO_LONG"),
        ({"url": "ftp://a.example/"}, KEY, 400, "CALLBACK_ADDRESS"),
        ({"url": "http://u:p@a.example/"}, KEY, 400, "CALLBACK_ADDRESS"),
        ({"url": "http://10.1.2.3/"}, KEY, 400, "CALLBACK_ADDRESS"),
        ({"url": f"http://127.0.0.1:{front.port}/v2"}, KEY, 400, "CALLBACK_ADDRESS"),
        ({"url": url, "headers": {"Host": "a"}}, KEY, 400, "INVALID_CALLBACK_HEADERS"),
        ({"url": url, "serialization": {"type": "v1"}}, KEY, 400, "INVALID_SERIALIZATION"),
        ({"url": url}, None, 401, "NOT_AUTHENTICATED"),
        ({"url": url}, caller, 403, "NOT_ALLOWED"),
    ]:
        answer = await front.ask("PUT", CALLBACK, body, key=key, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.text) == (status, word), body
    text = await front.ask("PUT", CALLBACK, b"{}", headers={"Content-Type": "text/plain"})
    assert (text.status, text.text) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert [(await front.ask(method, CALLBACK, key=None)).status for method in ("GET", "DELETE")] == [401, 401]
    assert [(await front.ask(method, CALLBACK, key=caller)).status for method in ("GET", "DELETE")] == [403, 403]
    assert receiver.got.empty()


async def test_a_url_and_headers_of_exactly_400_characters_are_taken(front: Front, receiver: Receiver) -> None:
    await put(front, receiver.url, headers={"a": "x" * (399 - len(receiver.url))})


async def test_the_hub_calls_nowhere_that_the_operator_does_not_allow(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock, guard=Guard(clock)) as front:
        assert (await put(front, receiver.url, expect=400)).text == "CALLBACK_ADDRESS"
    assert receiver.got.empty()


async def test_another_kind_must_go_first_and_is_not_touched_by_a_trial(front: Front, receiver: Receiver) -> None:
    await front.ask("PUT", WEBSOCKET)
    refused = await put(front, receiver.url, expect=400)
    await front.ask("DELETE", WEBSOCKET)
    await put(front, receiver.url)
    socket = await front.ask("PUT", WEBSOCKET)

    assert [(answer.status, answer.text) for answer in (refused, socket)] == [(400, "CHANNEL_OF_ANOTHER_KIND")] * 2
    assert (await front.ask("DELETE", WEBSOCKET)).status == 404
    assert receiver.got.qsize() == 1


async def test_url_and_headers_are_sealed_on_disk(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path) as front:
        await put(front, f"{receiver.url}/token-in-the-url", headers={"authorization": "secret-of-mine"})
        data = everything_in(tmp_path)

        assert b"secret-of-mine" not in data and b"token-in-the-url" not in data
        assert (await front.ask("GET", CALLBACK)).json["headers"] == {"authorization": "secret-of-mine"}


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_each_application_has_a_callback_of_its_own(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    async with receiving() as theirs:
        await put(front, theirs.url, key=FOREIGN)
        await theirs.next()
        await completed(front, "a")

        assert refs(await receiver.next()) == ["a"]
        assert theirs.got.empty()


# Delivery.


async def test_an_outcome_is_put_with_the_own_headers(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver, headers={"authorization": "f00d"})
    answer = await front.ask("POST", "/v2/device-requests/lamp?async-id=a1", {"method": "GET", "uri": "/5/0/1"})
    (await front.core.adapter.next()).reply(200, b"value1\n")
    await front.ended(answer.headers["hub-call-id"])

    got = await receiver.next()

    assert (got.method, header(got, "authorization")) == ("PUT", "f00d")
    assert got.headers["Content-Type"] == "application/json"
    assert got.json["async-responses"] == [{"id": "a1", "status": 200, "payload": "dmFsdWUxCg==", "max-age": 0}]


async def test_an_early_request_keeps_its_answer_for_the_callback(front: Front, receiver: Receiver) -> None:
    await completed(front, "early")
    await registered(front, receiver)

    assert refs(await receiver.next()) == ["early"]


async def test_one_batch_at_a_time_goes_out_and_the_next_holds_all_that_came_meanwhile(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    first = await receiver.next()
    for ref in "bcd":
        await completed(front, ref)
    receiver.let_go.set()
    second = await receiver.next()

    assert (refs(first), refs(second)) == (["a"], ["b", "c", "d"])
    assert receiver.most_under_way == 1


async def test_a_message_has_at_most_as_many_items_as_the_options_say(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver, serialization={"type": "v2", "max_chunk_size": 100})

    await completed(front, *(str(number) for number in range(250)))

    assert [len(refs(await receiver.next())) for _ in range(3)] == [100, 100, 50]


async def test_the_options_shape_the_items(front: Front, receiver: Receiver) -> None:
    cfg = {"include_uid": "true", "include_timestamp": True, "deregistrations_as_object": "true"}
    await registered(front, receiver, serialization={"type": "v2", "cfg": cfg})
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.EXPIRED, {"device": "d", "name": None})
    [event] = await front.core.hub.engine.log.append([draft], {})

    got = await receiver.next()

    uid, stamp = f"{event.epoch}-{event.offset}", int(event.at.timestamp() * 1000)
    assert got.json["registrations-expired"] == [{"ep": "d", "uid": uid, "timestamp": stamp}]


async def test_what_fails_is_repeated_with_the_same_ids_after_1_2_4_and_up_to_120_seconds(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver, serialization={"type": "v2", "cfg": {"include_uid": True}})
    receiver.status = 503
    await completed(front, "a")
    bodies = [(await receiver.next()).json["async-responses"]]
    await failed(front, 1)

    for times, pause in enumerate([1, 2, 4, 8, 16, 32, 64, 120, 120], 1):
        front.core.clock.advance(pause - 0.01)
        await front.ask("GET", CHANNEL)
        assert receiver.got.empty()
        front.core.clock.advance(0.01)
        bodies.append((await receiver.next()).json["async-responses"])
        await failed(front, times + 1)

    assert all(body == bodies[0] for body in bodies)


async def test_a_success_begins_the_schedule_anew(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    for times, pause in enumerate([1, 2], 1):
        await failed(front, times)
        front.core.clock.advance(pause)
    await failed(front, 3)
    receiver.status = 204
    front.core.clock.advance(4)
    await taken(front, 1)
    await until(lambda: record(front).failing is None)

    receiver.status = 500
    await completed(front, "b")
    await failed(front, 1)

    assert record(front).failing.times == 1


async def test_anything_but_200_and_204_is_a_failure(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    receiver.status = 201
    await completed(front, "a")

    for times, status in enumerate((202, 301, 307, 400, 410, 500), 1):
        await failed(front, times)
        assert receiver.got.qsize() == times
        receiver.status = status
        front.core.clock.advance(pause_after(times).total_seconds())

    await failed(front, 7)
    assert receiver.got.qsize() == 7


async def test_a_receiver_that_says_nothing_for_20_seconds_has_failed_and_the_pause_counts_from_there(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    front.core.clock.advance(20)
    await failed(front, 1)

    assert (record(front).failing.due_at - front.core.clock.now()).total_seconds() == 1


async def test_a_restart_goes_on_with_the_schedule(tmp_path: Path) -> None:
    clock, port = ManualClock(), free_port()
    async with running_front(tmp_path, clock) as front:
        async with receiving(port) as receiver:
            await registered(front, receiver)
        await completed(front, "a")
        for times, pause in enumerate([1, 2, 4, 8, 16, 32], 1):
            await failed(front, times)
            clock.advance(pause)
        await failed(front, 7)
    clock.advance(60)
    async with running_front(tmp_path, clock) as front:
        # The seventh failure is repeated after 64 seconds, of which 60 are over.
        await until(lambda: any(reader._timer for reader, _ in front.pelion.readers._readers.values()))
        clock.advance(3.9)
        assert record(front).failing.times == 7
        clock.advance(0.2)
        await failed(front, 8)
        async with receiving(port) as receiver:
            clock.advance(120)
            assert refs(await receiver.next()) == ["a"]


async def test_what_was_taken_is_not_told_again_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        await completed(front, "a")
        await receiver.next()
        await taken(front, 1)
    async with running_front(tmp_path, clock) as front:
        await completed(front, "b")

        assert refs(await receiver.next()) == ["b"]


async def test_a_receiver_that_was_down_for_nearly_a_day_gets_everything_in_order(tmp_path: Path) -> None:
    clock, port, waited = ManualClock(), free_port(), 0.0
    async with running_front(tmp_path, clock) as front, receiving(port) as receiver:
        await registered(front, receiver)
    sent: list[str] = []
    times = 0
    while waited < DAY - 600:
        # A restart every two hours, in the middle of it all.
        async with running_front(tmp_path, clock) as front:
            sent.append(f"at {waited:.0f}")
            await completed(front, sent[-1])
            if not times:
                times = 1
                await failed(front, 1)
            for _ in range(60):
                pause = pause_after(times).total_seconds()
                waited += pause
                clock.advance(pause)
                times += 1
                await failed(front, times)
                if waited >= DAY - 600:
                    break
    async with receiving(port) as receiver, running_front(tmp_path, clock) as front:
        clock.advance(120)
        got: list[str] = []
        while len(got) < len(sent):
            got += refs(await receiver.next())

    assert got == sent


async def test_after_a_day_without_success_the_callback_is_removed(tmp_path: Path, receiver: Receiver) -> None:
    clock, times = ManualClock(), 1
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        receiver.status = 500
        await completed(front, "a")
        began = clock.now()
        await failed(front, 1)
    clock.advance(DAY - 300)
    async with running_front(tmp_path, clock) as front:
        while record(front) is not None:
            times += 1
            await asyncio.wait_for(failed_or_removed(front, times), PATIENCE)
            if record(front) is not None:
                clock.advance(pause_after(times).total_seconds())

        lasted = (clock.now() - began).total_seconds()
        assert DAY <= lasted <= DAY + 120
        assert (await front.ask("GET", CHANNEL)).status == 404
        assert receiver.got.qsize() == times


async def failed_or_removed(front: Front, times: int) -> None:
    while (found := record(front)) is not None and (found.failing is None or found.failing.times < times):
        front.record_written.clear()
        await front.record_written.wait()


async def test_a_new_registration_takes_over_what_waits_at_once(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    for times, pause in enumerate([1, 2, 4, 8], 1):
        await failed(front, times)
        front.core.clock.advance(pause)
    await failed(front, 5)
    async with receiving() as other:
        await registered(front, other)

        assert refs(await other.next()) == ["a"]
        await taken(front, 1)
        assert record(front).failing is None


async def test_deleting_loses_what_waits_and_sends_nothing_more(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    await completed(front, "b")
    await front.ask("DELETE", CALLBACK)
    async with receiving() as other:
        # The batch under way to the first is not waited for.
        await registered(front, other)
        await completed(front, "c")

        assert refs(await other.next()) == ["c"]
    receiver.let_go.set()
    assert receiver.got.empty()


async def test_a_hanging_receiver_delays_no_other_application(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    async with receiving() as other:
        await put(front, other.url, key=FOREIGN)
        await other.next()
        receiver.let_go.clear()
        await completed(front, "a")
        await receiver.next()
        body = {"ref": "b", "call_id": "c", "device": "d", "status": 200, "payload": b""}
        draft = EventDraft(f"stall/{DEFAULT}", EventKind.COMPLETION, body)
        await front.core.hub.engine.log.append([draft], {draft.channel: "other"})

        assert refs(await other.next()) == ["b"]


async def test_a_revoked_key_stops_its_callback_and_another_key_takes_it_over(front: Front, receiver: Receiver) -> None:
    key = await front.key(Scope.LISTEN)
    await registered(front, receiver)
    await put(front, receiver.url, key=key)
    await receiver.next()
    [made] = [known for known in front.core.hub.access.keys("shop") if known.scopes == frozenset({Scope.LISTEN})]
    await front.core.hub.access.revoke_key(made.id)
    await completed(front, "a")
    await failed(front, 1)
    assert receiver.got.empty()

    await registered(front, receiver)

    assert refs(await receiver.next()) == ["a"]


async def test_events_beyond_the_queue_are_given_up_and_the_next_message_says_so(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(pelion_queue=20_000)) as front, receiving() as receiver:
        await registered(front, receiver)
        receiver.status = 500
        await completed(front, "a")
        await receiver.next()
        await failed(front, 1)
        for number in range(100):
            await completed(front, str(number), payload=b"x" * 1000)
        receiver.status = 204
        front.core.clock.advance(1)
        got = await receiver.next()

    gap, told = got.json["gap"], refs(got)
    assert (gap["from"], gap["to"], gap["next"], gap["reason"]) == (1, 101 - len(told), 101 - len(told), "overflow")
    assert told == [str(number) for number in range(100 - len(told), 100)]
    assert 10 <= len(told) <= 15


async def test_a_drain_lets_a_batch_under_way_end_and_sends_no_other(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    await completed(front, "b")
    draining = asyncio.ensure_future(front.pelion.drain(front.core.clock.monotonic() + 2))
    await front.ask("GET", CHANNEL)
    assert not draining.done()
    receiver.let_go.set()
    await draining
    await taken(front, 1)

    await front.ask("GET", CHANNEL)
    assert receiver.got.empty()


async def test_a_drain_does_not_wait_longer_than_it_may(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    draining = asyncio.ensure_future(front.pelion.drain(front.core.clock.monotonic() + 2))
    await front.ask("GET", CHANNEL)

    front.core.clock.advance(2)

    await asyncio.wait_for(draining, PATIENCE)


async def test_a_failed_commit_of_the_schedule_changes_nothing_about_the_rhythm(
    front: Front, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    await failed(front, 1)
    await receiver.next()
    store = front.core.hub.engine.directory
    monkeypatch.setattr(store, "put", _failing_put)
    front.core.clock.advance(1)
    await receiver.next()
    await front.core.settle()
    monkeypatch.undo()

    front.core.clock.advance(1.9)
    await front.ask("GET", CHANNEL)
    assert receiver.got.empty()
    front.core.clock.advance(0.1)
    await receiver.next()


async def _failing_put(*args: Any) -> Any:
    from hub.model.errors import StorageFailed

    raise StorageFailed("the disk is full")


async def test_a_callback_that_hears_nothing_for_two_days_is_removed(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    front.core.clock.advance(47 * HOUR)
    await completed(front, "a")
    await taken(front, 1)
    front.core.clock.advance(48 * HOUR - 1)
    before = (await front.ask("GET", CALLBACK)).status
    front.core.clock.advance(1)

    assert (before, (await front.ask("GET", CALLBACK)).status) == (200, 404)
    front.core.clock.advance(60)
    await until(lambda: not front.pelion.channels.all())


async def test_two_quiet_days_are_counted_over_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        clock.advance(HOUR)
        await completed(front, "a")
        await taken(front, 1)
        last = clock.now()
        clock.advance(660)
        await until(lambda: record(front).active == last)
        clock.advance(25 * HOUR)
        # The log itself has forgotten when its last event came.
        await front.core.hub.sweep.tidy()
    clock.advance(15 * HOUR)
    async with running_front(tmp_path, clock) as front:
        await until(lambda: front.pelion.channels.life("shop").followed is not None)
        clock.advance(8 * HOUR - 661)
        before = (await front.ask("GET", CALLBACK)).status
        clock.advance(1)
        after = (await front.ask("GET", CALLBACK)).status

    assert (before, after) == (200, 404)


async def test_the_body_of_an_answer_is_not_waited_for(front: Front, tmp_path: Path) -> None:
    """A receiver whose answer has a head and then no end of body has taken the batch."""
    asked = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(status=200)
        await answer.prepare(request)
        asked.set()
        for _ in range(100):
            await answer.write(b"x" * 16_384)
        return answer

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await put(front, f"http://127.0.0.1:{runner.addresses[0][1]}")
        await completed(front, "a")
        await taken(front, 1)
    finally:
        await runner.cleanup()
    assert asked.is_set()
