"""The callback of the Connect dialect as it is registered: tried first, shown, sealed, one per application."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.delivery.outgoing.guard import Guard
from hub.model.principal import Scope
from tests.clock import ManualClock
from tests.hub_process import free_port
from tests.trips.front_rig import FOREIGN, KEY, Front, running_front
from tests.trips.pelion_callback_rig import (
    CALLBACK,
    CHANNEL,
    WEBSOCKET,
    completed,
    header,
    put,
    refs,
    registered,
)
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio


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
