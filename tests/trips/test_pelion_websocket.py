"""The Connect dialect's notification channel over a real server: register, then connect."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.core.channels import DEFAULT
from hub.model.event import EventDraft, EventKind
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front, running_front

pytestmark = pytest.mark.anyio

CHANNEL = "/v2/notification/websocket"
CONNECT = "/v2/notification/websocket-connect"
READ = {"method": "GET", "uri": "/5/0/1"}


async def call(front: Front, async_id: str, payload: bytes = b"x") -> None:
    """One request that has ended."""
    answer = await front.ask("POST", f"/v2/device-requests/lamp?async-id={async_id}", READ)
    (await front.core.adapter.next()).reply(200, payload)
    await front.ended(answer.headers["hub-call-id"])


async def departure(front: Front, device: str) -> None:
    """An event that is no completion."""
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.DEREGISTERED, {"device": device, "name": None})
    await front.core.hub.engine.log.append([draft], {draft.channel: "acme"})


async def received(socket: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE):
        message = await socket.recv()
    assert isinstance(message, str)
    return json.loads(message)


async def closed(socket: ClientConnection) -> int | None:
    """The code that the hub closes with."""
    async with asyncio.timeout(PATIENCE):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else None


async def test_a_channel_is_made_refreshed_looked_at_and_deleted(front: Front) -> None:
    options = {"serialization": {"type": "v2", "max_chunk_size": "500", "cfg": {"include_uid": "true"}}}

    none, mechanism_before = await front.ask("GET", CHANNEL), await front.ask("GET", "/v2/notification/channel")
    made = await front.ask("PUT", CHANNEL)
    again = await front.ask("PUT", CHANNEL, options)
    seen, mechanism = await front.ask("GET", CHANNEL), await front.ask("GET", "/v2/notification/channel")
    deleted, twice = await front.ask("DELETE", CHANNEL), await front.ask("DELETE", CHANNEL)

    assert (none.status, mechanism_before.status) == (404, 404)
    assert (made.status, made.json) == (201, {"status": "disconnected", "queue_size": 0})
    assert (again.status, again.json["serialization"]["max_chunk_size"]) == (200, 500)
    assert seen.json["serialization"]["cfg"]["include_uid"] is True
    assert mechanism.json == {"delivery_mechanism": "WEB_SOCKET"}
    assert (deleted.status, deleted.body, twice.status) == (204, b"", 404)


async def test_wrong_options_make_no_channel(front: Front) -> None:
    assert (await front.ask("PUT", CHANNEL, {"serialization": {"type": "v1"}})).status == 400
    assert (await front.ask("PUT", CHANNEL, b"{")).text == "MALFORMED_JSON_CONTENT"
    assert (await front.ask("GET", CHANNEL)).status == 404


async def test_a_channel_of_another_kind_must_go_first(front: Front) -> None:
    body = {"kind": "callback", "options": None, "made": ["e", 0], "seen": front.core.clock.now().isoformat()}
    await front.core.hub.directory.put(Record(Kind.CHANNEL, "shop", "acme", body))

    answer = await front.ask("PUT", CHANNEL)

    assert (answer.status, answer.text) == (400, "CHANNEL_OF_ANOTHER_KIND")
    assert (await front.ask("GET", "/v2/notification/channel")).json == {"delivery_mechanism": "CALLBACK"}
    assert (await front.ask("DELETE", CHANNEL)).status == 404


async def test_an_answer_is_pushed_as_one_text_message(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        await call(front, "live", b"value1\n")

        message = await received(socket)

    assert message["async-responses"] == [{"id": "live", "status": 200, "payload": "dmFsdWUxCg==", "max-age": 0}]
    assert set(message) == {"async-responses", "epoch", "offset"}


async def test_an_early_request_keeps_its_answer_and_the_past_tells_nothing_else(front: Front) -> None:
    await call(front, "long ago")
    front.core.clock.advance(601)
    await departure(front, "d1")
    await call(front, "early")
    await front.ask("PUT", CHANNEL)
    await departure(front, "d2")

    async with front.socket(CONNECT) as socket:
        message = await received(socket)

    assert [item["id"] for item in message["async-responses"]] == ["early"]
    assert message["de-registrations"] == ["d2"]


async def test_what_came_while_nobody_was_connected_is_delivered_first(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    await call(front, "one")
    await call(front, "two")
    waiting = (await front.ask("GET", CHANNEL)).json

    async with front.socket(CONNECT) as socket:
        message = await received(socket)

    assert waiting == {"status": "disconnected", "queue_size": 2}
    assert [item["id"] for item in message["async-responses"]] == ["one", "two"]


async def test_what_a_socket_has_seen_is_not_told_to_the_next_even_after_a_restart(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        await front.ask("PUT", CHANNEL)
        async with front.socket(CONNECT) as socket:
            await call(front, "seen")
            await received(socket)
            # The hub asks by a ping soon after the data; the pong moves the stored position.
            front.core.clock.advance(1)
            await stored(front, 1)
        await call(front, "missed")
    async with running_front(tmp_path) as front, front.socket(CONNECT) as socket:
        message = await received(socket)

    assert [item["id"] for item in message["async-responses"]] == ["missed"]


async def test_a_socket_that_breaks_off_loses_nothing_and_repeats_only_what_may_not_have_come(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        await call(front, "seen")
        await received(socket)
        front.core.clock.advance(1)
        await stored(front, 1)
        await call(front, "on its way")
        await received(socket)
        socket.transport.abort()
        await socket.wait_closed()
        await seated(front, False)
    await call(front, "missed")
    async with front.socket(CONNECT) as again:
        message = await received(again)
        await call(front, "live")
        after = await received(again)

    assert socket.close_code == 1006
    assert [item["id"] for item in message["async-responses"]] == ["on its way", "missed"]
    assert [item["id"] for item in after["async-responses"]] == ["live"]


async def stored(front: Front, offset: int) -> None:
    """Return once the channel's stored position is there; each look is a round trip to the engine."""
    async with asyncio.timeout(PATIENCE):
        while True:
            position = await front.core.hub.engine.log.position(f"shop/{DEFAULT}", "pelion")
            if position is not None and position.offset >= offset:
                return


async def test_a_second_socket_displaces_the_first(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as first, front.socket(CONNECT) as second:
        code = await closed(first)
        await call(front, "to the second")
        message = await received(second)
        connected = (await front.ask("GET", CHANNEL)).json["status"]

    assert code == 1001
    assert message["async-responses"][0]["id"] == "to the second"
    assert connected == "connected"


async def test_deleting_the_channel_closes_its_socket_and_loses_its_queue(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        await front.ask("DELETE", CHANNEL)
        code = await closed(socket)
    await call(front, "lost")
    await front.ask("PUT", CHANNEL)
    await front.ask("DELETE", CHANNEL)
    await front.ask("PUT", CHANNEL)
    await call(front, "kept")
    async with front.socket(CONNECT) as socket:
        message = await received(socket)

    assert code == 1000
    assert [item["id"] for item in message["async-responses"]] == ["kept"]


async def test_without_a_channel_the_socket_is_opened_and_closed_with_1011(front: Front) -> None:
    async with front.socket(CONNECT) as socket:
        assert await closed(socket) == 1011


async def test_a_socket_that_the_hub_cannot_go_on_serving_is_closed_with_1011(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    untellable = EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, {"ref": "a completion without anything else"})
    await front.ask("PUT", CHANNEL)
    await front.ask("PUT", CHANNEL, key=FOREIGN)
    async with front.socket(CONNECT) as socket, front.socket(CONNECT, key=FOREIGN) as other:
        await call(front, "live")
        assert [item["id"] for item in (await received(socket))["async-responses"]] == ["live"]
        await front.core.hub.engine.log.append([untellable], {untellable.channel: "acme"})
        assert await closed(socket) == 1011
        await front.ask("DELETE", CHANNEL, key=FOREIGN)
        assert await closed(other) == 1000

    assert "encode" in caplog.text


async def test_the_channel_goes_after_a_day_without_a_socket(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    front.core.clock.advance(23 * 3600)
    async with front.socket(CONNECT):
        front.core.clock.advance(0.1)
        assert (await front.ask("GET", CHANNEL)).json["status"] == "connected"
    await seated(front, False)
    front.core.clock.advance(23 * 3600)
    before = await front.ask("GET", CHANNEL)
    front.core.clock.advance(3600)
    after = await front.ask("GET", CHANNEL)

    assert (before.status, after.status) == (200, 404)
    assert (await front.ask("PUT", CHANNEL)).status == 201


async def seated(front: Front, expected: bool) -> None:
    """Return once the server knows whether a socket is open; each look is a round trip to it."""
    async with asyncio.timeout(PATIENCE):
        while ((await front.ask("GET", CHANNEL)).json["status"] == "connected") is not expected:
            pass


@pytest.mark.parametrize("offered", [["wss", f"pelion_{KEY}"], [f"pelion_{KEY}", "wss"]])
async def test_the_key_may_come_as_a_subprotocol_and_is_never_answered(front: Front, offered: list[Any]) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT, key=None, subprotocols=offered) as socket:
        await call(front, "by subprotocol")
        message = await received(socket)

    assert socket.subprotocol == "wss"
    assert message["async-responses"][0]["id"] == "by subprotocol"


async def test_a_handshake_is_refused_with_a_word(front: Front) -> None:
    caller = await front.key(Scope.CALL)

    for path, key, status, word in [
        (CONNECT, None, 401, "NOT_AUTHENTICATED"),
        (CONNECT, "ak_nobody_knows_this", 401, "NOT_AUTHENTICATED"),
        (CONNECT, caller, 403, "NOT_ALLOWED"),
        ("/v2/notification/other", KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
    ]:
        with pytest.raises(InvalidStatus) as refused:
            async with front.socket(path, key=key):
                pass
        assert (refused.value.response.status_code, refused.value.response.body) == (status, word.encode())


@pytest.mark.parametrize("offered", [["wss", "pelion_ak_nobody_knows_this"], ["pelion_", "wss"], ["wss"]], ids=str)
async def test_a_handshake_whose_subprotocols_hold_no_good_key_is_refused(front: Front, offered: list[Any]) -> None:
    await front.ask("PUT", CHANNEL)
    with pytest.raises(InvalidStatus) as refused:
        async with front.socket(CONNECT, key=None, subprotocols=offered):
            pass

    assert (refused.value.response.status_code, refused.value.response.body) == (401, b"NOT_AUTHENTICATED")


async def test_a_plain_request_of_the_socket_is_told_to_upgrade(front: Front) -> None:
    answer = await front.ask("GET", CONNECT)

    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    assert (await front.ask("GET", CONNECT, key=None)).status == 401


async def test_a_revoked_key_loses_its_socket(front: Front) -> None:
    key = await front.key(Scope.LISTEN)
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT, key=key) as socket:
        [made] = [known for known in front.core.hub.access.keys("shop") if known.scopes == frozenset({Scope.LISTEN})]
        await front.core.hub.access.revoke_key(made.id)
        assert await closed(socket) == 1008


async def test_each_application_has_a_channel_of_its_own(front: Front) -> None:
    await front.ask("PUT", CHANNEL)

    assert (await front.ask("GET", CHANNEL, key=FOREIGN)).status == 404


async def test_a_drain_closes_the_socket_so_that_the_client_comes_back(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        front.listening.openings.drain()
        assert await closed(socket) == 1012
