"""The native stream over real sockets: a real server, an independent client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.doubles_listening import Served, completion, served
from tests.trips.stream_rig import JSON, ask, client, close_code, told

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hub() -> AsyncIterator[Served]:
    async with served() as hub:
        yield hub


async def test_an_answer_is_pushed_as_the_documents_print_it(hub: Served) -> None:
    async with client(hub, "?channel=default") as socket:
        subscribed = await told(socket)
        hub.commit("123e4567")

        message = await told(socket)

    assert subscribed == {"type": "subscribed", "channel": "app/default", "epoch": "e1", "offset": 0}
    assert message == {
        "type": "message",
        "channel": "app/default",
        "epoch": "e1",
        "offset": 1,
        "at": "2026-01-01T12:00:00.000Z",
        "async-responses": [
            {
                "id": "123e4567",
                "status": 200,
                "payload": "dmFsdWUxCg==",
                "ct": "text/plain",
                "max-age": 600,
                "call-id": "call-123e4567",
                "device": "lamp",
            }
        ],
    }


async def test_the_same_in_messagepack_with_the_bytes_as_they_are(hub: Served) -> None:
    async with client(hub, "?channel=default", subprotocol="hub.v1.msgpack") as socket:
        assert (await told(socket))["type"] == "subscribed"
        hub.commit("a", payload=b"\x00\xff")

        message = await told(socket)

    assert message["async-responses"][0]["payload"] == b"\x00\xff"


async def test_a_client_may_offer_its_key_as_a_subprotocol_and_it_is_not_echoed(hub: Served) -> None:
    async with connect(hub.stream, subprotocols=[JSON, "key.ak_both"], proxy=None) as socket:
        assert socket.subprotocol == JSON
        assert (await told(socket))["type"] == "welcome"


async def test_many_channels_travel_on_one_socket(hub: Served) -> None:
    async with client(hub) as socket:
        for name in ("a", "b"):
            assert (await ask(socket, type="subscribe", channel=name))["channel"] == f"app/{name}"
        hub.commit("1", "app/b")
        hub.commit("2", "app/a")

        heard = [(await told(socket))["channel"] for _ in range(2)]

    assert heard == ["app/b", "app/a"]


@pytest.mark.parametrize(
    ("members", "heard"),
    [
        ({}, []),
        ({"from": "now"}, []),
        ({"from": "last"}, [3]),
        ({"from": "first"}, [1, 2, 3]),
        ({"offset": 0}, [1, 2, 3]),
        ({"epoch": "e1", "offset": 1}, [2, 3]),
    ],
)
async def test_a_subscription_begins_where_it_asks_to(hub: Served, members: dict[str, Any], heard: list[int]) -> None:
    await hub.channel()
    for ref in "abc":
        hub.commit(ref)
    async with client(hub) as socket:
        assert (await ask(socket, type="subscribe", channel="default", **members))["type"] == "subscribed"
        hub.commit("d")

        assert [(await told(socket))["offset"] for _ in range(len(heard) + 1)] == [*heard, 4]


async def test_who_reconnects_with_its_position_misses_nothing(hub: Served) -> None:
    async with client(hub, "?channel=default") as socket:
        await told(socket)
        hub.commit("a")
        seen = await told(socket)
    hub.commit("b")
    hub.commit("c")

    async with client(hub, f"?channel=default&epoch={seen['epoch']}&offset={seen['offset']}") as socket:
        await told(socket)
        assert [(await told(socket))["async-responses"][0]["id"] for _ in range(2)] == ["b", "c"]


async def test_a_position_that_is_no_longer_kept_is_told_by_a_gap(hub: Served) -> None:
    for number in range(300):
        hub.commit(str(number))
    hub.log.forget("app/default", 280)

    async with client(hub, "?channel=default&epoch=e1&offset=3") as socket:
        await told(socket)
        gap = await told(socket)
        heard = [(await told(socket))["offset"] for _ in range(20)]

    assert gap == {
        "type": "gap",
        "channel": "app/default",
        "epoch": "e1",
        "from": 4,
        "to": 280,
        "next": 280,
        "reason": "retention",
    }
    assert heard == list(range(281, 301))


async def test_a_position_of_another_life_of_the_channel_is_told_by_a_gap(hub: Served) -> None:
    hub.commit("a")

    async with client(hub, "?channel=default&epoch=e0&offset=77") as socket:
        await told(socket)
        gap = await told(socket)
        assert (gap["type"], gap["epoch"], gap["from"], gap["to"], gap["reason"]) == ("gap", "e1", None, None, "epoch")
        assert (await told(socket))["offset"] == 1


async def test_an_offset_without_its_epoch_is_refused(hub: Served) -> None:
    async with client(hub) as socket:
        answer = await ask(socket, type="subscribe", channel="default", offset=5)

    assert (answer["type"], answer["channel"], answer["problem"]["status"]) == ("error", "default", 400)


@pytest.mark.parametrize(
    "members",
    [
        {"offset": -1},
        {"offset": 1.0, "epoch": "e1"},
        {"offset": True},
        {"epoch": "e1"},
        {"epoch": 5, "offset": 1},
        {"from": "sometime"},
        {"from": "now", "offset": 0},
        {"epoch": "e1", "offset": 99},
        {"epoch": "e1", "offset": 1 << 63},
        {"channel": "a b"},
        {"channel": 5},
        {"channel": None},
        {"name": ""},
        {"name": "x" * 129},
        {"name": 7},
    ],
)
async def test_a_subscribe_frame_that_makes_no_sense_is_an_error_and_the_socket_lives(
    hub: Served, members: dict[str, Any]
) -> None:
    async with client(hub) as socket:
        answer = await ask(socket, **({"type": "subscribe", "channel": "default"} | members))

        assert (answer["type"], answer["problem"]["status"]) == ("error", 400)
        assert await ask(socket, type="ping", n=1) == {"type": "pong", "n": 1}


async def test_a_foreign_channel_looks_like_a_missing_one(hub: Served) -> None:
    async with client(hub) as socket:
        answer = await ask(socket, type="subscribe", channel="other/default")

    assert answer["problem"]["status"] == 404


async def test_an_unknown_frame_is_an_error_and_the_socket_lives(hub: Served) -> None:
    async with client(hub) as socket:
        for nonsense in ({"type": "dance"}, {"type": None}, {}):
            answer = await ask(socket, **nonsense, id="7")
            assert (answer["type"], answer["id"], answer["problem"]["status"]) == ("error", "7", 400)
        await socket.send("[1]")
        assert (await told(socket))["type"] == "error"
        assert (await ask(socket, type="ping", n=None))["type"] == "pong"


async def test_unsubscribing_ends_the_messages(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default")
        assert await ask(socket, type="unsubscribe", channel="default") == {
            "type": "unsubscribed",
            "channel": "app/default",
        }
        hub.commit("a")
        assert (await ask(socket, type="ping", n=1))["type"] == "pong"
        assert (await ask(socket, type="unsubscribe", channel="default"))["problem"]["status"] == 404


async def test_a_second_subscription_to_a_channel_is_a_conflict(hub: Served) -> None:
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default")
        answer = await ask(socket, type="subscribe", channel="app/default")

    assert answer["problem"]["status"] == 409


async def test_a_call_is_submitted_and_its_answer_names_the_call(hub: Served) -> None:
    async with client(hub) as socket:
        answer = await ask(socket, type="call", id="mine", device="lamp", method="GET", uri="/5/0/1", ref="r1")

    assert answer == {
        "type": "accepted",
        "id": "mine",
        "call-id": "call-r1",
        "channel": "app/default",
        "epoch": "e1",
        "offset": 0,
    }


async def test_a_key_that_may_not_is_told_so(hub: Served) -> None:
    async with client(hub, key="ak_listener") as socket:
        assert (await ask(socket, type="call", id="1", device="lamp"))["problem"]["status"] == 403
    async with client(hub, key="ak_caller") as socket:
        assert (await ask(socket, type="subscribe", channel="default"))["problem"]["status"] == 403


@pytest.mark.parametrize(
    ("query", "headers", "subprotocols", "status"),
    [
        ("", {}, [JSON], 401),
        ("", {"Authorization": "Bearer ak_wrong"}, [JSON], 401),
        ("", {"Authorization": "Bearer ak_both"}, ["soap"], 400),
        ("", {"Authorization": "Bearer ak_both", "Origin": "https://elsewhere.example"}, [JSON], 403),
        ("", {"Authorization": "Bearer ak_both", "Origin": "http://["}, [JSON], 403),
        ("", {"Authorization": "Bearer ak_both", "Origin": "null"}, [JSON], 403),
        ("?channel=other/x", {"Authorization": "Bearer ak_both"}, [JSON], 404),
        ("?channel=default", {"Authorization": "Bearer ak_caller"}, [JSON], 403),
        ("?channel=default&offset=4", {"Authorization": "Bearer ak_both"}, [JSON], 400),
        ("?channel=default&offset=x", {"Authorization": "Bearer ak_both"}, [JSON], 400),
        ("?channel=default&epoch=e1&offset=4", {"Authorization": "Bearer ak_both"}, [JSON], 400),
        ("?channel=a%20b", {"Authorization": "Bearer ak_both"}, [JSON], 400),
        ("?key=ak_both", {"Authorization": "Bearer ak_both"}, [JSON], 400),
    ],
)
async def test_what_can_be_refused_before_the_upgrade_is_a_real_http_answer(
    hub: Served,
    query: str,
    headers: dict[str, str],
    subprotocols: list[str],
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await hub.channel()
    with pytest.raises(InvalidStatus) as refused:
        await connect(hub.stream + query, additional_headers=headers, subprotocols=subprotocols, proxy=None)

    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["status"] == status
    assert "handshake" not in caplog.text
    await hub.until(lambda: len(hub.listening.openings) == 0)


async def test_a_page_of_the_hub_itself_may_connect(hub: Served) -> None:
    async with connect(
        hub.stream, origin=f"http://127.0.0.1:{hub.port}", subprotocols=[JSON, "key.ak_both"], proxy=None
    ) as socket:
        assert (await told(socket))["type"] == "welcome"


async def test_a_deleted_channel_ends_its_subscriptions_and_only_the_socket_opened_for_it(hub: Served) -> None:
    async with client(hub, "?channel=orders") as own, client(hub) as many:
        await told(own)
        await ask(many, type="subscribe", channel="orders")
        await ask(many, type="subscribe", channel="default")

        await hub.channels.delete("app/orders")

        gone = {"type": "unsubscribed", "channel": "app/orders", "code": 4503}
        assert await told(own) == gone
        assert await close_code(own) == 4503
        assert await told(many) == gone
        hub.commit("a")
        assert (await told(many))["channel"] == "app/default"


async def test_nothing_of_a_client_that_has_gone_stays_behind(hub: Served) -> None:
    channel = await hub.channel()
    async with client(hub) as socket:
        await ask(socket, type="subscribe", channel="default", name="till")
        await ask(socket, type="subscribe", channel="other")
        assert channel.listeners == 1
        socket.transport.abort()

    await hub.until(lambda: len(hub.listening.openings) == 0)
    assert (channel.listeners, len(hub.listening.lanes)) == (0, 0)
    assert not hub.listening.seats.held("app/default", "app/till")
    hub.commit("a")


async def test_the_stream_works_under_another_websocket_class_too() -> None:
    async with served(own_classes=False) as hub, client(hub, "?channel=default") as socket:
        assert (await told(socket))["type"] == "subscribed"
        for number in range(50):
            hub.commit(str(number))
        assert [(await told(socket))["offset"] for _ in range(50)] == list(range(1, 51))
        hub.listening.openings.drain()
        assert await close_code(socket) == 1012


async def test_a_message_of_every_kind_has_its_list(hub: Served) -> None:
    from hub.model.event import EventDraft, EventKind

    drafts = [
        EventDraft(
            "app/default",
            EventKind.NOTIFICATION,
            {"device": "lamp", "path": "3303/0/5700", "payload": b"21", "content_type": "text/plain", "max_age": None},
        ),
        EventDraft("app/default", EventKind.REGISTERED, {"device": "lamp", "name": "l", "type": "t", "resources": []}),
        EventDraft("app/default", EventKind.DEREGISTERED, {"device": "lamp", "name": None}),
        EventDraft("app/default", EventKind.EXPIRED, {"device": "lamp", "name": None}),
        completion("app/default", "x", b"", status=504, error="TIMEOUT", max_age=None, content_type=None),
    ]
    async with client(hub, "?channel=default") as socket:
        await told(socket)
        hub.log.commit(*drafts)
        heard = [await told(socket) for _ in drafts]

    assert heard[0]["notifications"] == [
        {"ep": "lamp", "path": "/3303/0/5700", "ct": "text/plain", "payload": "MjE=", "max-age": 0}
    ]
    assert heard[1]["registrations"] == [{"ep": "lamp", "original-ep": "l", "ept": "t", "q": False, "resources": []}]
    assert heard[2]["de-registrations"] == ["lamp"]
    assert heard[3]["registrations-expired"] == ["lamp"]
    assert heard[4]["async-responses"] == [
        {"id": "x", "status": 504, "error": "TIMEOUT", "call-id": "call-x", "device": "lamp"}
    ]
