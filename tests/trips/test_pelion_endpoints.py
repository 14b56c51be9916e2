"""Endpoints, resources and the deprecated direct calls of the Connect dialect over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.model.device import Device, Presence, Resource
from hub.model.event import EventKind
from hub.model.principal import Scope
from hub.ports.adapter import (
    Busy,
    CallError,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NoSuchResource,
    NotConnected,
)
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

Rig = tuple[Front, Observed]
LAMP = "/v2/endpoints/lamp"
VALUE = f"{LAMP}/3303/0/5700"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


async def outcome(front: Front, ref: str) -> dict[str, Any]:
    """The completion with an id, once it is told."""
    [call] = [t.call.id for t in front.core.hub.dispatch.tickets.values() if t.call.spec.ref == ref] or [None]
    if call is not None:
        await front.core.hub.calls.wait_end(call, 1e12)
    [told] = [event for event in await front.core.events() if event.body.get("ref") == ref]
    return dict(told.body)


# -- endpoints ----------------------------------------------------------------------------------------------


async def test_the_registered_devices_are_listed_and_filtered_by_type(rig: Rig) -> None:
    front, observed = rig
    await observed.register(type="climate")
    await observed.register("sensor", queue_mode=True)
    await front.core.hub.directory.put_device(Device("declared", "acme", "scripted", "declared"))
    await observed.register("gone")
    await observed.heard(Heard.EXPIRED, "gone")

    assert (await front.ask("GET", "/v2/endpoints")).json == [
        {"name": "lamp", "type": "climate", "status": "ACTIVE", "q": False},
        {"name": "sensor", "status": "ACTIVE", "q": True},
    ]
    assert [e["name"] for e in (await front.ask("GET", "/v2/endpoints?type=climate")).json] == ["lamp"]
    assert (await front.ask("GET", "/v2/endpoints", key=FOREIGN)).json == []


async def test_the_resources_of_a_device_are_told_without_asking_it(rig: Rig) -> None:
    front, _ = rig
    answer = await front.ask("GET", LAMP)

    assert answer.json == [
        {"uri": "/3303/0/5700", "rt": "temp", "type": "text/plain", "obs": True},
        {"uri": "/3303/0/5701", "type": "text/plain", "obs": True},
        {"uri": "/3304/0/5700", "obs": True},
        {"uri": "/3303/0/5605", "obs": False},
    ]
    assert (await front.ask("GET", f"{LAMP}/")).json == answer.json
    assert front.core.adapter.attempts.empty()


async def test_a_device_that_is_not_registered_has_no_resources(rig: Rig) -> None:
    front, observed = rig
    await front.core.hub.directory.put_device(Device("declared", "acme", "scripted", "declared"))
    await observed.heard(Heard.DEREGISTERED)

    for path, key in [(LAMP, KEY), ("/v2/endpoints/declared", KEY), ("/v2/endpoints/nobody", KEY), (LAMP, FOREIGN)]:
        answer = await front.ask("GET", path, key=key)
        assert (answer.status, answer.text) == (404, "DEVICE_NOT_FOUND")


async def test_a_registration_tells_all_that_the_device_said_and_no_member_of_what_it_did_not(rig: Rig) -> None:
    front, observed = rig
    whole = Resource("/3303/0/5700", "temp outdoor", "sensor", "text/plain", observable=True)
    await front.ask("PUT", "/v2/notification/websocket")
    async with front.socket("/v2/notification/websocket-connect") as socket:
        await observed.register(
            "sensor", (whole, Resource("/3")), name="greenhouse-4", type="climate", queue_mode=True
        )
        await observed.heard(Heard.UPDATED, "sensor", attrs={"links": (whole,)})
        await observed.register("plain", ())
        told: dict[str, list[Any]] = {"registrations": [], "reg-updates": []}
        async with asyncio.timeout(PATIENCE):
            while len(told["registrations"]) < 2:
                message = json.loads(await socket.recv())
                for kind in told:
                    told[kind] += message.get(kind, [])

    said = {
        "path": "/3303/0/5700", "rt": "temp outdoor", "if": "sensor", "ct": "text/plain", "obs": True,
    }  # fmt: skip
    sensor = {"ep": "sensor", "original-ep": "greenhouse-4", "ept": "climate", "q": True}
    assert told["registrations"][0] == {**sensor, "resources": [said, {"path": "/3", "obs": False}]}
    assert told["reg-updates"] == [{**sensor, "resources": [said]}]
    assert told["registrations"][1] == {"ep": "plain", "q": False, "resources": []}


# -- direct calls -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "headers"),
    [
        ("GET", None, {"Accept": "text/plain"}),
        ("PUT", b"22", {"Content-Type": "text/plain"}),
        ("POST", b"", {}),
        ("DELETE", None, {}),
    ],
)
async def test_a_direct_call_is_202_with_the_id_of_its_outcome(
    rig: Rig, method: str, body: bytes | None, headers: dict[str, str]
) -> None:
    front, _ = rig
    answer = await front.ask(method, f"{LAMP}//3303/0/5700", body, headers=headers)
    attempt = await front.core.adapter.next()
    attempt.reply(204 if method == "PUT" else 200, b"said")
    told = await outcome(front, answer.json["async-response-id"])

    assert answer.status == 202
    assert list(answer.json) == ["async-response-id"]
    assert (attempt.request.method, attempt.request.target) == (method, "/3303/0/5700")
    assert attempt.request.payload == (body or b"")
    assert attempt.request.content_type == ("text/plain" if body else None)
    assert attempt.request.accept == ("text/plain" if method == "GET" else None)
    assert (told["status"], told["payload"]) == (200, b"said")


async def test_a_put_with_a_query_sets_notification_rules_in_the_device(rig: Rig) -> None:
    front, _ = rig
    await front.ask("PUT", f"{VALUE}?pmin=10&noResp=false&gt=30")
    direct = await front.core.adapter.next()
    direct.reply(204)
    body = {"method": "PUT", "uri": "/3303/0/5700?pmin=5&pmax=60"}
    await front.ask("POST", "/v2/device-requests/lamp?async-id=a", body)
    asked = await front.core.adapter.next()
    asked.reply(204)

    assert (direct.request.query, direct.request.payload) == ((("pmin", "10"), ("gt", "30")), b"")
    assert (asked.request.query, asked.request.payload) == ((("pmin", "5"), ("pmax", "60")), b"")


async def test_a_kept_value_is_answered_directly_and_only_that_with_cache_only(rig: Rig) -> None:
    front, observed = rig
    nothing = await front.ask("GET", f"{VALUE}?cacheOnly=true")
    await observed.value(b"21.5", max_age=60)
    kept = await front.ask("GET", f"{VALUE}?cacheOnly=true")
    direct = await front.ask("GET", VALUE)
    front.core.clock.advance(60)
    old = await front.ask("GET", f"{VALUE}?cacheOnly=true")

    assert (nothing.status, nothing.body) == (205, b"")
    for answer in (kept, direct):
        assert (answer.status, answer.body) == (200, b"21.5")
        assert answer.headers["content-type"].startswith("text/plain")
    assert old.status == 205
    assert front.core.adapter.attempts.empty()


async def test_a_call_without_response_is_sent_once_and_leaves_no_trace(rig: Rig) -> None:
    front, observed = rig
    sent: list[DeviceRequest] = []
    front.core.adapter.on_call = lambda request: sent.append(request) or DeviceResponse(200)  # type: ignore[func-returns-value]
    await observed.value(b"21.5", max_age=60)
    answer = await front.ask("PUT", f"{VALUE}?noResp=true", b"22")

    assert (answer.status, answer.body) == (204, b"")
    [request] = sent
    assert (request.target, request.query, request.payload) == ("/3303/0/5700", (), b"22")
    assert request.options["no_response"] is True
    assert (await front.ask("GET", "/v1/calls")).json == {"calls": []}
    assert [event for event in await front.core.events() if event.kind is EventKind.COMPLETION] == []
    assert (await front.ask("GET", f"{VALUE}?cacheOnly=true")).status == 205


async def test_no_response_is_refused_where_the_device_cannot_do_without(tmp_path: Path) -> None:
    async with running_observed(tmp_path, no_response=False) as (front, _):
        impossible = await front.ask("PUT", f"{VALUE}?noResp=true", b"22")
    async with running_observed(tmp_path, again=True) as (front, observed):
        await observed.register(queue_mode=True)
        sleepy = await front.ask("POST", f"{VALUE}?noResp=true")

    assert (impossible.status, sleepy.status) == (409, 409)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (NotConnected(delivery=Delivery.NOT_SENT), 502, "NOT_CONNECTED"),
        (NotConnected(delivery=Delivery.MAYBE), 204, ""),
        (DeviceTimeout(delivery=Delivery.NOT_SENT), 502, "NOT_CONNECTED"),
        (DeviceTimeout(delivery=Delivery.MAYBE), 504, "TIMEOUT"),
        (DeviceTimeout(delivery=Delivery.DELIVERED), 204, ""),
        (Busy(delivery=Delivery.NOT_SENT), 429, "QUEUE_IS_FULL"),
        (NoSuchResource(delivery=Delivery.NOT_SENT), 404, "URI_PATH_DOES_NOT_EXISTS"),
    ],
    ids=str,
)
async def test_what_keeps_a_call_without_response_from_being_sent_is_told_at_once(
    rig: Rig, error: CallError, status: int, word: str
) -> None:
    front, _ = rig

    def fail(request: DeviceRequest) -> DeviceResponse:
        raise error

    front.core.adapter.on_call = fail
    answer = await front.ask("POST", f"{VALUE}?noResp=true")

    assert (answer.status, answer.text) == (status, word)


async def test_a_call_without_response_that_is_not_out_in_time_is_not_told_as_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, _ = rig
    monkeypatch.setattr("hub.core.unanswered.SENDING_TIME", timedelta(milliseconds=50))
    # The adapter of the rig takes it and never comes to an end with it.
    answer = await front.ask("PUT", f"{VALUE}?noResp=true", b"22")

    assert (answer.status, answer.text) == (504, "TIMEOUT")


async def test_each_refusal_of_a_direct_call_has_its_status(rig: Rig) -> None:
    front, _ = rig
    listens = await front.key(Scope.LISTEN)
    await front.core.hub.directory.put_device(Device("declared", "acme", "scripted", "declared"))

    def check(request: DeviceRequest) -> None:
        if request.target == "/9/9/9":
            raise NoSuchResource(delivery=Delivery.NOT_SENT)

    front.core.adapter.check = check  # type: ignore[attr-defined]

    for method, path, key, status, word in [
        ("GET", "/v2/endpoints/nobody/3303/0/5700", KEY, 410, "DEVICE_NOT_FOUND"),
        ("PUT", "/v2/endpoints/declared/3303/0/5700", KEY, 410, "DEVICE_NOT_FOUND"),
        ("GET", "/v2/endpoints/nobody/3303/0/5700?cacheOnly=true", KEY, 410, "DEVICE_NOT_FOUND"),
        ("POST", "/v2/endpoints/nobody/3/0/4?noResp=true", KEY, 410, "DEVICE_NOT_FOUND"),
        ("GET", VALUE, FOREIGN, 410, "DEVICE_NOT_FOUND"),
        ("GET", f"{LAMP}/9/9/9", KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
        ("GET", f"{LAMP}/9/9/9?cacheOnly=true", KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
        ("GET", f"{VALUE}?cacheOnly=maybe", KEY, 400, "INVALID_CACHEONLY"),
        ("PUT", f"{VALUE}?noResp=", KEY, 400, "INVALID_NORESP"),
        ("GET", f"{LAMP}/a%00", KEY, 400, "BAD_REQUEST"),
        ("GET", VALUE, None, 401, "NOT_AUTHENTICATED"),
        ("GET", VALUE, listens, 403, "NOT_ALLOWED"),
        ("PATCH", VALUE, KEY, 405, "METHOD_NOT_ALLOWED"),
        ("HEAD", VALUE, KEY, 405, ""),
        ("PUT", VALUE, KEY, 413, "PAYLOAD_TOO_LARGE"),
    ]:
        answer = await front.ask(method, path, bytes(70_000) if status == 413 else None, key=key)
        assert (answer.status, answer.text) == (status, word), (method, path)


async def test_twenty_direct_calls_wait_and_the_next_is_429(rig: Rig) -> None:
    front, _ = rig
    front.core.adapter.away["lamp"] = Presence.ASLEEP
    answers = [await front.ask("GET", f"{LAMP}/3303/0/570{n % 2}") for n in range(21)]

    assert [answer.status for answer in answers] == [202] * 20 + [429]
    assert answers[-1].text == "QUEUE_IS_FULL"


async def test_a_repeated_direct_call_is_told_the_first_id_again(rig: Rig) -> None:
    front, _ = rig
    first, again = [await front.ask("POST", VALUE, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert first.json == again.json
    assert again.headers["idempotent-replayed"] == "true"
