"""Rows of the vendor's tables of answers, where no other test shows them: who may, what is missing, each method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.core.limits import Limits
from hub.model.device import Presence
from hub.model.principal import Scope
from hub.ports.adapter import Busy, CallError, Delivery, DeviceRequest, NotConnected
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front, running_front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

READ = {"method": "GET", "uri": "/3303/0/5700"}
ASK = "/v2/device-requests/lamp?async-id=a1"
LAMP = "/v2/endpoints/lamp"
VALUE = f"{LAMP}/3303/0/5700"
METHODS = ("GET", "PUT", "POST", "DELETE")

Rig = tuple[Front, Observed]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


class NoSuchResource(CallError):
    """The device has no such resource."""

    status = 404
    word = "resource-not-found"


# -- device requests (2.3) ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Heard.DEREGISTERED, Heard.EXPIRED])
async def test_a_device_whose_registration_is_over_is_not_found(rig: Rig, how: Heard) -> None:
    front, observed = rig
    before = await front.ask("POST", ASK, READ)
    (await front.core.adapter.next()).reply(200)
    await observed.heard(how)
    after, direct = await front.ask("POST", ASK, READ), await front.ask("GET", VALUE)

    assert before.status == 202
    assert (after.status, after.text) == (404, "DEVICE_NOT_FOUND")
    assert (direct.status, direct.text) == (410, "DEVICE_NOT_FOUND")


async def test_a_device_that_cannot_be_reached_is_queued_for_and_no_error(rig: Rig) -> None:
    front, _ = rig
    front.core.adapter.away["lamp"] = Presence.OFFLINE

    assert (await front.ask("POST", ASK, READ)).status == 202


# -- the WebSocket channel (4.3) ----------------------------------------------------------------------------


async def test_who_may_make_look_at_and_delete_channels(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        caller = await front.key(Scope.CALL)
        for path in ("websocket", "callback", "pull", "channel"):
            for method in ("GET", "DELETE") if path != "channel" else ("GET",):
                for key, status in ((None, 401), ("ak_nobody_knows_this", 401), (caller, 403)):
                    answer = await front.ask(method, f"/v2/notification/{path}", key=key)
                    assert answer.status == status, (method, path, answer)
        for key, status in ((None, 401), ("ak_nobody_knows_this", 401), (caller, 403)):
            assert (await front.ask("PUT", "/v2/notification/websocket", key=key)).status == status


@pytest.mark.parametrize(
    "missing", [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Version: 13\r\n"]
)
async def test_a_handshake_without_its_headers_is_a_bad_request(tmp_path: Path, missing: bytes) -> None:
    head = (
        b"GET /v2/notification/websocket-connect HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Authorization: Bearer " + KEY.encode() + b"\r\n\r\n"
    )
    async with running_front(tmp_path) as front:
        await front.ask("PUT", "/v2/notification/websocket")
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(head.replace(missing, b""))
        async with asyncio.timeout(PATIENCE):
            line = await reader.readline()
        writer.close()

    assert int(line.split()[1]) == 400, line


# -- direct calls (5) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_each_answer_of_a_direct_call_is_given_to_each_method(rig: Rig, method: str) -> None:
    front, _ = rig
    body = b"x" if method in ("PUT", "POST") else None

    def check(request: DeviceRequest) -> None:
        if request.target == "/9/9/9":
            raise NoSuchResource(delivery=Delivery.NOT_SENT)

    front.core.adapter.check = check  # type: ignore[attr-defined]
    for path, key, status, word in [
        (f"{LAMP}/3303/0/57%00", KEY, 400, "BAD_REQUEST"),
        (f"{LAMP}/9/9/9", KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
        ("/v2/endpoints/nobody/3303/0/5700", KEY, 410, "DEVICE_NOT_FOUND"),
        (VALUE, FOREIGN, 410, "DEVICE_NOT_FOUND"),
        (VALUE, None, 401, "NOT_AUTHENTICATED"),
    ]:
        answer = await front.ask(method, path, body, key=key)
        assert (answer.status, answer.text) == (status, word), (method, path)
    front.core.adapter.away["lamp"] = Presence.ASLEEP
    answers = [await front.ask(method, VALUE, body) for _ in range(21)]
    assert [answer.status for answer in answers] == [202] * 20 + [429]
    assert all(list(answer.json) == ["async-response-id"] for answer in answers[:20])
    assert answers[-1].text == "QUEUE_IS_FULL"


@pytest.mark.parametrize("method", METHODS)
async def test_a_direct_call_on_a_device_that_cannot_be_reached_waits_for_it(rig: Rig, method: str) -> None:
    # 502 is for a call without response alone: any other is kept until the device is back.
    front, observed = rig
    front.core.adapter.away["lamp"] = Presence.OFFLINE
    await observed.heard(Heard.OFFLINE)
    answer = await front.ask(method, VALUE, b"x" if method in ("PUT", "POST") else None)
    del front.core.adapter.away["lamp"]
    await observed.heard(Heard.AWAKE)
    attempt = await front.core.adapter.next()

    assert (answer.status, list(answer.json)) == (202, ["async-response-id"])
    assert (attempt.request.method, attempt.request.target) == (method, "/3303/0/5700")


@pytest.mark.parametrize("method", METHODS)
async def test_each_answer_without_response_is_given_to_each_method(rig: Rig, method: str) -> None:
    front, observed = rig
    body = b"x" if method in ("PUT", "POST") else None
    told: list[tuple[int, str]] = []
    for error in (None, Busy(delivery=Delivery.NOT_SENT), NotConnected(delivery=Delivery.NOT_SENT)):
        asking = asyncio.ensure_future(front.ask(method, f"{VALUE}?noResp=true", body))
        attempt = await front.core.adapter.next()
        if error is None:
            attempt.reply(200)
        else:
            attempt.fail(error)
        answer = await asking
        told.append((answer.status, answer.text))
    await observed.register(queue_mode=True)
    asleep = await front.ask(method, f"{VALUE}?noResp=true", body)

    assert told == [(204, ""), (429, "QUEUE_IS_FULL"), (502, "NOT_CONNECTED")]
    assert (asleep.status, asleep.text) == (409, "NO_RESPONSE_IMPOSSIBLE")


async def test_the_rate_of_a_key_is_429_on_direct_calls_and_400_on_device_requests(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, _):
        assert Limits().burst > 2
        front.core.hub.access.take_call(front.core.hub.access.authenticate(KEY), Limits().burst)
        direct, request = await front.ask("GET", VALUE), await front.ask("POST", ASK, READ)

    assert (direct.status, direct.text) == (429, "LIMITS_EXCEEDED")
    assert (request.status, request.text) == (400, "LIMITS_EXCEEDED")


# -- paths that the spec names and the hub does not have ----------------------------------------------------


async def test_what_is_not_offered_is_a_plain_not_found(rig: Rig) -> None:
    front, _ = rig
    answer = await front.ask("GET", "/v3/devices/lamp/echo")

    assert (answer.status, answer.json["object"]) == (404, "error")


@pytest.mark.parametrize("method", METHODS)
async def test_a_direct_call_that_contradicts_the_one_it_claims_to_repeat_is_409(rig: Rig, method: str) -> None:
    front, _ = rig
    once = {"Idempotency-Key": "k"}
    first = await front.ask(method, VALUE, headers=once)
    other = await front.ask(method, f"{LAMP}/3303/0/5701", headers=once)

    assert first.status == 202
    assert (other.status, other.text) == (409, "IDEMPOTENCY_CONFLICT")


# -- the length of a resource path (5) ----------------------------------------------------------------------

LONGEST = "3303/0/" + "5" * 248
DOUBLED = LONGEST.replace("/", "//")


@pytest.mark.parametrize(
    ("method", "prefix", "status"),
    [
        *((method, LAMP, 202) for method in METHODS),
        ("GET", "/v2/subscriptions/lamp", 404),
        ("PUT", "/v2/subscriptions/lamp", 404),
        ("DELETE", "/v2/subscriptions/lamp", 204),
    ],
)
async def test_a_resource_path_has_at_most_255_characters(rig: Rig, method: str, prefix: str, status: int) -> None:
    front, _ = rig
    longest = await front.ask(method, f"{prefix}/{LONGEST}?a={'b' * 50}")
    doubled = await front.ask(method, f"{prefix}//{DOUBLED}")
    longer = await front.ask(method, f"{prefix}/{LONGEST}5")

    assert (longest.status, doubled.status) == (status, status), (longest, doubled)
    assert (longer.status, longer.text) == (400, "BAD_REQUEST")


async def test_the_uri_of_a_device_request_has_a_path_of_at_most_255_characters(rig: Rig) -> None:
    front, _ = rig
    taken = [await front.ask("POST", ASK, {"method": "GET", "uri": uri}) for uri in (LONGEST, f"/{LONGEST}?pmin=5")]
    longer = await front.ask("POST", ASK, {"method": "GET", "uri": f"/{LONGEST}5"})

    assert [answer.status for answer in taken] == [202, 202]
    assert (longer.status, longer.text) == (400, "MALFORMED_JSON_CONTENT")
