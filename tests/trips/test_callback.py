"""Per-call callbacks from the request to the receiver: signed, repeated in the right rhythm, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from hub.core.limits import Limits
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.retry import PAUSES
from hub.model.principal import Scope
from tests.clock import ManualClock
from tests.trips.callback_rig import HOUR, at_once, call, dead, settled, taken
from tests.trips.front_rig import KEY, Front, running_front
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with running_front(tmp_path) as front:
        front.core.adapter.on_call = at_once
        yield front


# What arrives.


async def test_the_completion_is_posted_as_the_message_that_listeners_see(front: Front, receiver: Receiver) -> None:
    accepted = await call(front, f"{receiver.url}/done?for=me", "mine")

    got = await receiver.next()
    page = (await front.ask("GET", "/v1/channels/default/messages?offset=0")).json

    assert (got.method, got.path, got.headers["Content-Type"]) == ("POST", "/done?for=me", "application/json")
    assert got.json == page["messages"][0]
    assert got.json["async-responses"][0]["id"] == "mine"
    assert got.json["async-responses"][0]["call-id"] == accepted["id"]
    assert got.id == f"msg_{got.json['epoch']}_{got.json['offset']}"
    await taken(front.core, 1)
    assert await front.core.hub.engine.outbox.next_due() is None


async def test_the_signature_verifies_with_an_independent_package(tmp_path: Path, receiver: Receiver) -> None:
    from datetime import UTC, datetime

    # That package compares with the clock of the machine.
    clock = ManualClock(datetime.now(UTC))
    async with running_front(tmp_path, clock) as front:
        front.core.adapter.on_call = at_once
        secret = (await front.ask("POST", "/v1/callback-secret")).json["secret"]
        await call(front, receiver.url)
        got = await receiver.next()

    assert Webhook(secret).verify(got.body, dict(got.headers)) == got.json
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(got.body + b" ", dict(got.headers))


async def test_nothing_of_the_hub_travels_along(
    front: Front, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    receiver.headers = {"Set-Cookie": "a=b; Path=/"}
    await call(front, receiver.url)
    await receiver.next()
    await taken(front.core, 1)
    await call(front, receiver.url)
    got = await receiver.next()

    assert not {"Cookie", "Authorization", "Accept-Encoding"} & set(got.headers)
    assert KEY not in str(got.headers) + got.body.decode()


async def test_a_call_without_callback_leaves_no_row(front: Front) -> None:
    answer = await front.ask("POST", "/v1/devices/lamp/calls", {"method": "GET", "uri": "/1"})
    assert answer.status == 202
    await front.core.settle()
    assert await front.core.hub.engine.outbox.next_due() is None


async def test_a_call_by_the_stream_is_called_back_too(front: Front, receiver: Receiver) -> None:
    import json

    async with front.socket("/v1/stream", subprotocols=["hub.v1.json"]) as socket:
        frame = {"type": "call", "id": 1, "device": "lamp", "method": "GET", "uri": "/1", "callback": receiver.url}
        await socket.send(json.dumps(frame))
        assert (await receiver.next()).method == "POST"
        await socket.send(json.dumps({**frame, "callback": "http://10.0.0.1/"}))
        answers = [json.loads(await socket.recv()) for _ in range(3)]

    problem = next(answer["problem"] for answer in answers if answer["type"] == "error")
    assert (problem["status"], problem["type"]) == (422, "urn:hub:problem:callback-address")


async def test_a_connect_device_request_names_its_callback_in_a_header(front: Front, receiver: Receiver) -> None:
    path, body = "/v2/device-requests/lamp?async-id=mine", {"method": "GET", "uri": "/5/0/1"}
    answer = await front.ask("POST", path, body, headers={"Hub-Callback-Url": f"{receiver.url}/v2"})
    got = await receiver.next()
    denied = await front.ask("POST", path, body, headers={"Hub-Callback-Url": "http://10.0.0.1/"})
    await front.core.settle()
    ended = front.core.hub.stats.accepted

    assert (answer.status, got.method, got.path) == (202, "POST", "/v2")
    [response] = got.json["async-responses"]
    assert (response["id"], response["status"], response["payload"]) == ("mine", 200, "MjEuNQ==")
    assert (denied.status, denied.text) == (422, "CALLBACK_ADDRESS")
    assert ended == 1


# Refused at once.


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "ftp://example.org/", "http://me:pw@example.org/", "http://example.org/" + "a" * 2048]
)
async def test_an_address_that_is_not_called_is_refused_at_once(front: Front, url: str) -> None:
    problem = await call(front, url, expect=422)
    assert problem["type"] == "urn:hub:problem:callback-address"
    assert problem["errors"][0]["pointer"] == "/callback"
    assert not front.core.hub.dispatch.tickets


async def test_the_hub_does_not_call_itself(front: Front) -> None:
    await call(front, f"{front.url}/v1/me", expect=422)


async def test_a_repeated_request_gets_its_first_answer_whatever_the_name_has_become(tmp_path: Path) -> None:
    names = {"hooks.test": "127.0.0.1"}
    clock = ManualClock()
    async with running_front(tmp_path, clock, guard=Guard(clock, ["127.0.0.0/8"], look_ups=Names(names))) as front:
        body = {"method": "GET", "uri": "/1", "callback": "http://hooks.test:9/"}
        headers = {"Idempotency-Key": "once"}
        first = await front.ask("POST", "/v1/devices/lamp/calls", body, headers=headers)
        names["hooks.test"] = "10.0.0.1"
        clock.advance(60)
        again = await front.ask("POST", "/v1/devices/lamp/calls", body, headers=headers)
        other = await front.ask("POST", "/v1/devices/lamp/calls", body)

    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert other.status == 422


# Repeated.


async def test_a_receiver_that_is_down_gets_everything_in_the_rhythm_of_the_schedule_restarts_in_between(
    tmp_path: Path, receiver: Receiver
) -> None:
    clock = ManualClock()
    receiver.status = 503
    seen: list[tuple[str, float]] = []
    start = clock.monotonic()
    for tries in range(1, len(PAUSES) + 2):
        # Every try in a life of the hub's own.
        async with running_front(tmp_path, clock) as front:
            front.core.adapter.on_call = at_once
            if tries == 1:
                await call(front, receiver.url)
            else:
                pause = PAUSES[tries - 2].total_seconds()
                await _pass(clock, pause - 1)
                assert receiver.got.empty(), f"try {tries} came early"
                await _pass(clock, 1)
            got = await receiver.next()
            seen.append((got.id, clock.monotonic() - start))
            await settled(front.core, 1)
            if tries == len(PAUSES) + 1:
                [letter] = await dead(front, 1)

    assert len({id for id, _ in seen}) == 1, "the id is the same on every retry"
    assert seen[-1][1] == timedelta(hours=75, minutes=35, seconds=5).total_seconds()
    assert (letter["attempts"], letter["error"], letter["webhook-id"]) == (10, "HTTP 503", seen[0][0])


async def _pass(clock: ManualClock, seconds: float) -> None:
    """Let time pass in steps, as it does, so that timers that set each other are met."""
    left = seconds
    while left > 0:
        step = min(left, HOUR)
        clock.advance(step)
        left -= step
        await _rest()


async def _rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_receiver_that_comes_back_gets_what_waited(front: Front, receiver: Receiver) -> None:
    receiver.status = 500
    await call(front, receiver.url)
    first = await receiver.next()
    await settled(front.core, 1)
    receiver.status = 200
    front.core.clock.advance(5)

    again = await receiver.next()
    await taken(front.core, 1)

    assert (again.id, again.body) == (first.id, first.body)
    assert again.headers["webhook-timestamp"] == str(int(first.headers["webhook-timestamp"]) + 5)
    assert front.core.hub.directory.records(_kind()) == [], "a success makes the endpoint good again"


async def test_no_answer_within_the_limit_is_a_failure(front: Front, receiver: Receiver) -> None:
    receiver.let_go.clear()
    await call(front, receiver.url)
    await receiver.next()
    front.core.clock.advance(14.9)
    await _rest()
    assert front.core.hub.stats.callbacks_failed == 0
    front.core.clock.advance(0.1)
    await settled(front.core, 1)


async def test_retry_after_is_obeyed(front: Front, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "600"}
    await call(front, receiver.url)
    await receiver.next()
    await settled(front.core, 1)
    front.core.clock.advance(599)
    await front.core.settle()
    assert receiver.got.empty()
    front.core.clock.advance(1)
    await receiver.next()


async def test_a_redirect_is_a_failure_and_is_not_followed(front: Front, receiver: Receiver) -> None:
    async with receiving() as other:
        receiver.status, receiver.headers = 307, {"Location": other.url}
        await call(front, receiver.url)
        await receiver.next()
        await settled(front.core, 1)
        assert other.got.empty()


async def test_a_long_answer_is_not_read_to_its_end(front: Front, receiver: Receiver) -> None:
    receiver.status, receiver.body = 200, b"x" * (8 << 20)
    await call(front, receiver.url)
    await taken(front.core, 1)


# Not wanted any more.


async def test_410_ends_what_waits_for_that_url_and_no_other(front: Front, receiver: Receiver) -> None:
    receiver.status = 500
    for path in ("a", "a", "b"):
        await call(front, f"{receiver.url}/{path}")
        await receiver.next()
        await settled(front.core, front.core.hub.stats.callbacks_failed or 1)
    await settled(front.core, 3)
    receiver.status, receiver.statuses = 204, {"/a": 410}
    front.core.clock.advance(5)
    first = await receiver.next()
    await taken(front.core, 1)
    letters = await dead(front, 2)

    assert first.path == "/a"
    assert [letter["error"] for letter in letters] == ["HTTP 410 to an earlier one", "HTTP 410"]
    assert (await receiver.next()).path == "/b"
    assert receiver.got.empty()


async def test_a_revoked_key_stops_its_callbacks(front: Front, receiver: Receiver) -> None:
    key, secret = await front.core.hub.access.create_key("shop", frozenset({Scope.CALL}))
    front.core.adapter.on_call = lambda request: None
    await call(front, receiver.url, key=secret)
    attempt = await front.core.adapter.next()
    await front.core.hub.access.revoke_key(key.id)
    attempt.reply(200)

    [letter] = await dead(front, 1)

    assert letter["error"] == "the key that asked for it was revoked"
    assert receiver.got.empty()


async def test_after_five_days_without_success_a_delivery_is_tried_once(front: Front, receiver: Receiver) -> None:
    receiver.status = 500
    await call(front, receiver.url)
    await receiver.next()
    await settled(front.core, 1)
    front.core.clock.step_wall(5 * 86400)
    await call(front, receiver.url)
    await receiver.next()
    await dead(front, 1)
    receiver.status = 204
    await call(front, receiver.url)
    await taken(front.core, 1)
    assert not front.outgoing.endpoints.failing(f"callback/shop/{receiver.url}")


# Side by side.


async def test_a_hanging_receiver_delays_no_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(running_front(tmp_path, limits=Limits(waiting=10_000)))
        front.core.adapter.on_call = at_once
        hanging = [await stack.enter_async_context(receiving()) for _ in range(5)]
        good = await stack.enter_async_context(receiving())
        for receiver in hanging:
            receiver.let_go.clear()
            await asyncio.gather(*(call(front, f"{receiver.url}/{number}") for number in range(30)))
        for receiver in hanging:
            for _ in range(8):
                await receiver.next()
        await asyncio.gather(*(call(front, f"{good.url}/{number}") for number in range(20)))

        assert {(await good.next()).path for _ in range(20)} == {f"/{number}" for number in range(20)}
        assert [receiver.most_under_way for receiver in hanging] == [8] * 5
        # And they get theirs once they take it.
        for receiver in hanging:
            receiver.let_go.set()
        await taken(front.core, 5 * 30 + 20)
        assert [receiver.most_under_way for receiver in hanging] == [8] * 5


async def test_a_failing_endpoint_is_tried_by_one_at_a_time(front: Front, receiver: Receiver) -> None:
    receiver.status = 500
    await call(front, receiver.url)
    await receiver.next()
    await settled(front.core, 1)
    receiver.let_go.clear()
    for _ in range(10):
        await call(front, receiver.url)
    await receiver.next()
    await front.core.settle()
    assert receiver.got.empty()


async def test_every_one_of_many_arrives_once(front: Front, receiver: Receiver) -> None:
    await asyncio.gather(*(call(front, f"{receiver.url}/{number}") for number in range(300)))
    await taken(front.core, 300)
    assert receiver.got.qsize() == 300
    assert len({(await receiver.next()).path for _ in range(300)}) == 300


def _kind() -> Any:
    from hub.model.record import Kind

    return Kind.ENDPOINT


class Names:
    """Look-ups of a few names, by the test's word."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    async def addresses(self, host: str, port: int, family: int = 0) -> list[tuple[Any, ...]]:
        import socket

        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        ip = self.names[host]
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]
