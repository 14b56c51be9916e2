"""Native devices, channels, keys and the stream's calls over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from hub.model.device import Device, Registration, Resource
from hub.model.principal import Scope
from hub.model.record import Kind
from hub.ports.adapter import DeviceResponse, Observation, ObserveSpec
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front, running_front

pytestmark = pytest.mark.anyio

READ = {"method": "GET", "uri": "/5/0/1"}


def told(message: Any) -> Any:
    return msgpack.unpackb(message) if isinstance(message, bytes) else json.loads(message)


# -- devices ------------------------------------------------------------------------------------------------


async def test_a_device_is_registered_changed_and_removed(front: Front) -> None:
    made = await front.ask(
        "PUT",
        "/v1/devices/d1",
        {"adapter": "scripted", "name": "green", "aliases": {"asset": "a1"}, "queue-mode": True},
    )
    changed = await front.ask("PUT", "/v1/devices/d1", {"name": "blue"})
    seen = await front.ask("GET", "/v1/devices/d1")
    gone = await front.ask("DELETE", "/v1/devices/d1")

    assert (made.status, made.json["presence"], made.json["registration"]) == (201, "unknown", "declared")
    assert (changed.status, changed.json["name"], changed.json["aliases"]) == (200, "blue", {"asset": "a1"})
    assert seen.json == changed.json
    assert (seen.json["queue-mode"], seen.json["waiting"], seen.json["in-flight"]) == (True, 0, 0)
    assert gone.status == 204
    assert (await front.ask("GET", "/v1/devices/d1")).status == 404


async def test_a_device_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        await front.ask("PUT", "/v1/devices/d1", {"adapter": "scripted", "upstream": "u"})
    async with running_front(tmp_path) as front:
        assert (await front.ask("GET", "/v1/devices/d1")).json["upstream"] == "u"


async def test_devices_are_listed_by_id_in_pages_and_filtered(front: Front) -> None:
    for n in range(5):
        await front.ask("PUT", f"/v1/devices/d{n}", {"adapter": "scripted", "type": "odd" if n % 2 else "even"})

    first = (await front.ask("GET", "/v1/devices?limit=4")).json
    second = (await front.ask("GET", f"/v1/devices?limit=4&after={first['next']}")).json
    odd = (await front.ask("GET", "/v1/devices?type=odd&limit=2")).json

    assert [device["id"] for device in first["devices"] + second["devices"]] == ["d0", "d1", "d2", "d3", "d4", "lamp"]
    assert "next" not in second
    assert ([device["id"] for device in odd["devices"]], "next" in odd) == (["d1", "d3"], False)
    assert (await front.ask("GET", "/v1/devices?presence=nope")).status == 400


async def test_an_address_that_is_not_the_accounts_own_is_refused_alike_whether_it_is_taken_or_not(
    front: Front,
) -> None:
    answers = [
        await front.ask("PUT", "/v1/devices/d1", {"adapter": "scripted", "address": address})
        for address in ("lamp", "nobody-has-this", "other/lamp", "acmes/lamp")
    ]

    assert {answer.status for answer in answers} == {400}
    assert [answer.json["errors"][0]["pointer"] for answer in answers] == ["/address"] * 4
    own = await front.ask("PUT", "/v1/devices/d1", {"adapter": "scripted", "address": "acme/room-1"})
    assert (own.status, own.json["address"]) == (201, "acme/room-1")


async def test_what_a_configured_device_is_shown_as_can_be_put_back(front: Front) -> None:
    shown = (await front.ask("GET", "/v1/devices/lamp")).json
    given = {name: shown[name] for name in ("adapter", "address", "queue-mode", "aliases")}

    answer = await front.ask("PUT", "/v1/devices/lamp", {**given, "name": "blue"})

    assert (answer.status, answer.json["address"], answer.json["name"]) == (200, "lamp", "blue")


async def test_an_adapter_of_another_account_is_as_unknown_as_one_that_there_is_not(front: Front) -> None:
    bound = await front.ask("PUT", "/v1/devices/mine", {"adapter": "scripted"}, key=FOREIGN)
    unknown = await front.ask("PUT", "/v1/devices/mine", {"adapter": "no-such"}, key=FOREIGN)

    assert (bound.status, {**bound.json, "instance": ""}) == (400, {**unknown.json, "instance": ""})
    assert front.core.hub.directory.devices("other") == []


async def test_an_endpoint_alias_is_of_the_devices_own_adapter(front: Front) -> None:
    async def put(endpoint: str) -> int:
        body = {"adapter": "scripted", "aliases": {"endpoint": endpoint}}
        return (await front.ask("PUT", "/v1/devices/d1", body)).status

    assert (await put("another/lamp"), await put("scripted/lamp")) == (400, 201)


class HeldStore:
    """A directory's store whose writes wait to be let go."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.go = asyncio.Event()

    async def put(self, *given: Any) -> Any:
        await self.go.wait()
        return await self._store.put(*given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_change_of_a_device_does_not_undo_a_registration_at_the_same_time(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, begun = front.core.hub.directory, asyncio.Semaphore(0)
    await front.ask("PUT", "/v1/devices/d1", {"adapter": "scripted"})
    held = directory._store = HeldStore(directory._store)

    def registered(before: Device | None) -> Device:
        assert before is not None
        return replace(before, registration=Registration.REGISTERED, resources=(Resource("/5/0/1"),), boot="b1")

    edit = directory.edit_device

    async def noticed(*given: Any, **more: Any) -> Device:
        begun.release()
        return await edit(*given, **more)

    # The registration is being written while both requests are judged.
    registering = asyncio.ensure_future(edit("acme", "d1", registered))
    monkeypatch.setattr(directory, "edit_device", noticed)
    naming = asyncio.ensure_future(front.ask("PUT", "/v1/devices/d1", {"name": "blue"}))
    sealing = asyncio.ensure_future(front.ask("PUT", "/v1/devices/d1/credentials", {"secret": "open sesame"}))
    async with asyncio.timeout(PATIENCE):
        await begun.acquire()
        await begun.acquire()
    held.go.set()
    named, secret, _ = await asyncio.gather(naming, sealing, registering)

    device = directory.device("acme", "d1")
    assert (named.status, secret.status) == (200, 204)
    assert device is not None
    assert (device.name, device.registration, device.boot) == ("blue", Registration.REGISTERED, "b1")
    assert device.resources == (Resource("/5/0/1"),)


async def test_how_many_calls_of_a_device_stand_is_told_without_counting_those_of_others(front: Front) -> None:
    await front.core.device("other-lamp")
    for device in ("lamp", "lamp", "lamp", "other-lamp"):
        await front.ask("POST", f"/v1/devices/{device}/calls", READ)
    # Whoever looks at every open call would look here.
    front.core.hub.dispatch.tickets = _Unlooked(front.core.hub.dispatch.tickets)

    views = {view["id"]: view for view in (await front.ask("GET", "/v1/devices")).json["devices"]}
    front.core.hub.dispatch.tickets = dict(front.core.hub.dispatch.tickets.items())

    assert (views["lamp"]["waiting"], views["lamp"]["in-flight"]) == (2, 1)
    assert (views["other-lamp"]["waiting"], views["other-lamp"]["in-flight"]) == (0, 1)


class _Unlooked(dict[Any, Any]):
    """The open calls, found by id only."""

    def values(self) -> Any:
        raise AssertionError("all open calls were walked")


async def test_calls_of_a_removed_device_end_and_its_departure_is_told(front: Front) -> None:
    await front.ask("POST", "/v1/devices/lamp/calls", READ)
    waiting = (await front.ask("POST", "/v1/devices/lamp/calls", {**READ, "ref": "unsent"})).json
    standing = (await front.ask("GET", "/v1/devices/lamp")).json
    assert (standing["waiting"], standing["in-flight"]) == (1, 1)

    await front.ask("DELETE", "/v1/devices/lamp")
    state = await front.ended(waiting["id"])
    page = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json

    assert state.outcome is not None
    assert (state.outcome.status, state.outcome.error) == (429, "DEVICE_REMOVED_REGISTRATION")
    assert [message["de-registrations"] for message in page["messages"] if "de-registrations" in message] == [["lamp"]]


async def test_a_devices_secret_can_be_written_and_never_read(front: Front) -> None:
    answer = await front.ask("PUT", "/v1/devices/lamp/credentials", {"secret": "open sesame"})

    record = front.core.hub.directory.record(Kind.CREDENTIAL, "acme/lamp")
    assert answer.status == 204
    assert record is not None and record.secret == b"open sesame"
    assert (await front.ask("GET", "/v1/devices/lamp/credentials")).status == 405
    assert b"sesame" not in (await front.ask("GET", "/v1/devices/lamp")).body


async def test_writing_devices_needs_its_scope(front: Front) -> None:
    caller = await front.key(Scope.CALL)

    assert (await front.ask("PUT", "/v1/devices/d1", {"adapter": "scripted"}, key=caller)).status == 403
    assert (await front.ask("DELETE", "/v1/devices/lamp", key=caller)).status == 403
    assert (await front.ask("GET", "/v1/devices/lamp", key=caller)).status == 200


class Watched:
    """A running observation that does nothing."""

    async def cancel(self) -> None:
        """Nothing to stop."""


async def first_value(spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
    """A device that can be observed, with its first value."""
    return DeviceResponse(200, b"21.5", "text/plain"), Watched()


async def test_an_observation_is_wanted_listed_and_told_until_it_is_removed(tmp_path: Path) -> None:
    async with running_front(tmp_path, observe="native") as front:
        front.core.adapter.observe = first_value
        path = "/v1/devices/lamp/observations/3303/0/5700"

        made, again = await front.ask("PUT", path), await front.ask("PUT", path)
        listed = (await front.ask("GET", "/v1/devices/lamp/observations")).json
        page = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=5")).json
        removed, missing = await front.ask("DELETE", path), await front.ask("GET", path)

        assert (made.status, again.status, removed.status, missing.status) == (201, 200, 204, 404)
        assert listed == {"observations": [{"path": "/3303/0/5700"}]}
        [notification] = page["messages"][0]["notifications"]
        assert (notification["ep"], notification["path"], notification["payload"]) == (
            "lamp",
            "/3303/0/5700",
            "MjEuNQ==",
        )


async def test_what_cannot_be_observed_is_a_conflict_and_what_is_not_there_is_missing(tmp_path: Path) -> None:
    async with running_front(tmp_path, observe="native") as front:
        hub = front.core.hub
        lamp = hub.directory.device("acme", "lamp")
        assert lamp is not None
        await hub.directory.put_device(replace(lamp, resources=(Resource("/5/0/1"),)))

        assert (await front.ask("PUT", "/v1/devices/lamp/observations/5/0/1")).status == 409
        assert (await front.ask("PUT", "/v1/devices/lamp/observations/9/9/9")).status == 404
        assert (await front.ask("PUT", "/v1/devices/lamp/observations/a%00b")).status == 400


# -- channels -----------------------------------------------------------------------------------------------


async def test_channels_are_listed_and_all_but_default_can_be_deleted(front: Front) -> None:
    await front.ask("POST", "/v1/devices/lamp/calls", {**READ, "channel": "news"})

    names = [channel["name"] for channel in (await front.ask("GET", "/v1/channels")).json]
    news = await front.ask("GET", "/v1/channels/news")
    full = await front.ask("GET", "/v1/channels/shop/news")
    deleted, again = await front.ask("DELETE", "/v1/channels/news"), await front.ask("DELETE", "/v1/channels/news")
    default = await front.ask("DELETE", "/v1/channels/default")

    assert names == ["shop/default", "shop/news"]
    assert (news.json["name"], news.json["head"], news.json["listeners"]) == ("shop/news", 0, 0)
    assert full.json == news.json
    assert (deleted.status, again.status, default.status) == (204, 404, 409)
    assert (await front.ask("GET", "/v1/channels/shop/default", key=FOREIGN)).status == 404


async def test_one_channel_is_looked_up_without_listing_all(front: Front) -> None:
    await front.ask("POST", "/v1/devices/lamp/calls", {**READ, "channel": "news"})
    listed = {channel["name"]: channel for channel in (await front.ask("GET", "/v1/channels")).json}

    async def all_channels(account: str | None = None) -> Any:
        raise AssertionError("all channels were listed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front.core.hub.engine.log, "channels", all_channels)
        answers = [await front.ask("GET", f"/v1/channels/{name}") for name in ("news", "default", "none")]

    assert [answer.status for answer in answers] == [200, 200, 404]
    assert [answer.json for answer in answers[:2]] == [listed["shop/news"], listed["shop/default"]]


async def test_a_poll_without_news_is_204_and_tells_where_to_go_on(front: Front) -> None:
    first = await front.ask("GET", "/v1/channels/default/messages?wait=0")
    epoch, _, offset = first.headers["hub-position"].partition(":")
    await front.ask("POST", "/v1/devices/lamp/calls", READ)
    (await front.core.adapter.next()).reply(200)

    then = await front.ask("GET", f"/v1/channels/default/messages?epoch={epoch}&offset={offset}&wait=5")

    assert (first.status, first.body) == (204, b"")
    assert (then.status, len(then.json["messages"])) == (200, 1)


async def test_a_position_that_means_nothing_is_refused(front: Front) -> None:
    for query in ("offset=5", "offset=x", "offset=-1", "limit=0", "wait=-1", "from=then", "epoch=e&offset="):
        assert (await front.ask("GET", f"/v1/channels/default/messages?wait=0&{query}")).status == 400, query


async def test_a_position_of_another_life_is_answered_by_a_gap(front: Front) -> None:
    answer = await front.ask("GET", "/v1/channels/default/messages?epoch=feed&offset=7&wait=0")

    assert (answer.status, answer.json["messages"]) == (200, [])
    assert (answer.json["gap"]["reason"], answer.json["gap"]["from"]) == ("epoch", None)
    assert answer.json["offset"] == answer.json["gap"]["next"]


async def test_events_are_streamed_from_the_last_event_id(front: Front) -> None:
    channel = await front.core.hub.channels.open("shop/default", "acme")
    await front.ask("POST", "/v1/devices/lamp/calls", {**READ, "ref": "streamed"})
    (await front.core.adapter.next()).reply(200)

    lines = await front.lines(
        "/v1/channels/default/events", {"Last-Event-ID": f"{channel.epoch}:0"}, until=b'"streamed"'
    )

    assert f"id: {channel.epoch}:1" in lines and "event: message" in lines
    assert (await front.ask("GET", "/v1/channels/default/events", headers={"Last-Event-ID": "x"})).status == 400


# -- keys ---------------------------------------------------------------------------------------------------


async def test_me_says_who_the_key_is(front: Front) -> None:
    caller = await front.key(Scope.CALL)

    me = (await front.ask("GET", "/v1/me", key=caller)).json

    assert (me["account"], me["application"], me["scopes"]) == ("acme", "shop", ["call"])
    assert me["limits"]["payload"] == 65536


async def test_a_key_is_made_shown_once_used_and_revoked(front: Front) -> None:
    made = await front.ask("POST", "/v1/keys", {"scopes": ["listen"], "label": "for the wall"})
    listed = await front.ask("GET", "/v1/keys")
    used = await front.ask("GET", "/v1/me", key=made.json["key"])
    revoked = await front.ask("DELETE", f"/v1/keys/{made.json['id']}")

    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    assert made.json["key"].encode() not in listed.body and KEY.encode() not in listed.body
    assert any(key["label"] == "for the wall" for key in listed.json["keys"])
    assert (used.json["scopes"], revoked.status) == (["listen"], 204)
    assert (await front.ask("GET", "/v1/me", key=made.json["key"])).status == 401
    assert (await front.ask("DELETE", f"/v1/keys/{made.json['id']}")).status == 404


async def test_the_audit_tells_once_who_made_and_who_revoked_which_key(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    admin = (await front.ask("GET", "/v1/me")).json["key"]

    with caplog.at_level("INFO", logger="hub.audit"):
        made = (await front.ask("POST", "/v1/keys", {"scopes": ["listen"]})).json
        await front.ask("DELETE", f"/v1/keys/{made['id']}")

    told = [(line.message, line.__dict__["key"], line.__dict__["subject"]) for line in caplog.records]
    assert told == [("key created", admin, made["id"]), ("key revoked", admin, made["id"])]


async def test_keys_are_for_admins_and_for_their_own_application(front: Front) -> None:
    caller = await front.key(Scope.CALL, Scope.LISTEN, Scope.DEVICE)
    [mine, *_] = (await front.ask("GET", "/v1/keys")).json["keys"]

    assert (await front.ask("GET", "/v1/keys", key=caller)).status == 403
    assert (await front.ask("POST", "/v1/keys", {"scopes": ["admin"]}, key=caller)).status == 403
    assert (await front.ask("DELETE", f"/v1/keys/{mine['id']}", key=FOREIGN)).status == 404
    assert (await front.ask("POST", "/v1/keys", {"scopes": ["root"]})).status == 400
    assert (await front.ask("POST", "/v1/keys", {"scopes": []})).status == 400


# -- stream -------------------------------------------------------------------------------------------------


async def conversation(front: Front, subprotocol: str, frame: Mapping[str, Any]) -> tuple[Any, Any]:
    """Subscribe, send a call frame; the `accepted` and the `message` frame that follow."""
    packed = subprotocol.endswith("msgpack")
    async with front.socket("/v1/stream?channel=default", key=None, subprotocols=[subprotocol, f"key.{KEY}"]) as socket:
        assert socket.subprotocol == subprotocol
        frames: dict[str, Any] = {}
        await socket.send(msgpack.packb(frame) if packed else json.dumps(frame))
        (await front.core.adapter.next()).reply(200, b"\xfe")
        async with asyncio.timeout(PATIENCE):
            while not {"accepted", "message"} <= frames.keys():
                found = told(await socket.recv())
                assert found["type"] != "error", found
                frames[found["type"]] = found
    return frames["accepted"], frames["message"]


async def test_a_call_goes_out_and_its_answer_comes_in_on_one_socket(front: Front) -> None:
    frame = {
        "type": "call",
        "id": "c1",
        "device": "lamp",
        "payload-b64": "AAE=",
        "method": "PUT",
        "uri": "/x",
        "ref": "r",
    }

    accepted, message = await conversation(front, "hub.v1.json", frame)

    assert accepted["id"] == "c1"
    assert accepted["call-id"] == message["async-responses"][0]["call-id"]
    assert (accepted["epoch"], accepted["offset"]) == (message["epoch"], message["offset"] - 1)
    assert message["async-responses"][0]["payload"] == "/g=="


async def test_the_same_in_messagepack_carries_bytes(front: Front) -> None:
    frame = {"type": "call", "id": 1, "device": "lamp", "payload": b"\x00\x01", "method": "PUT", "uri": "/x"}

    accepted, message = await conversation(front, "hub.v1.msgpack", frame)

    assert (accepted["id"], message["async-responses"][0]["payload"]) == (1, b"\xfe")


async def test_a_refused_call_frame_is_answered_by_an_error_frame_with_a_problem(front: Front) -> None:
    async with front.socket("/v1/stream") as socket:
        assert told(await socket.recv())["type"] == "welcome"
        for frame, kind in [
            ({"device": "nope", **READ}, "device-not-found"),
            ({"device": 5, **READ}, "device-not-found"),
            ({"device": "lamp"}, "bad-request"),
        ]:
            await socket.send(json.dumps({"type": "call", "id": kind, **frame}))
            answer = told(await socket.recv())
            assert (answer["type"], answer["id"]) == ("error", kind)
            assert answer["problem"]["type"] == f"urn:hub:problem:{kind}"


async def test_a_stream_is_refused_before_the_upgrade_by_a_problem(front: Front) -> None:
    for path, key, subprotocols, status in [
        ("/v1/stream", None, None, 401),
        ("/v1/stream", "ak_nobody_knows_this", None, 401),
        ("/v1/stream", KEY, ["key." + KEY, "hub.v1.json"], 400),
        ("/v1/stream", KEY, ["other"], 400),
        ("/v1/stream?channel=stall/default", KEY, None, 404),
        ("/v1/stream?channel=default&offset=9", KEY, None, 400),
        ("/v1/stream?token=" + KEY, KEY, None, 400),
        ("/v1/nope", KEY, None, 404),
    ]:
        with pytest.raises(InvalidStatus) as refused:
            async with front.socket(path, key=key, subprotocols=subprotocols):
                pass
        response = refused.value.response
        assert (response.status_code, json.loads(response.body or b"")["status"]) == (status, status), path
