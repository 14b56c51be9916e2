"""Device requests of the Connect dialect over a real server: immediate answers, and outcomes on the channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.core.limits import Limits
from hub.model.device import Presence, Registration
from hub.model.principal import Scope
from hub.ports.adapter import BadRequest, CallError, Delivery, DeviceRequest
from tests.trips.front_rig import FOREIGN, KEY, Front, running_front

pytestmark = pytest.mark.anyio

READ = {"method": "GET", "uri": "/5/0/1"}
LAMP = "/v2/device-requests/lamp"
ASK = f"{LAMP}?async-id=a1"


async def outcomes(front: Front) -> list[Any]:
    page = await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")
    return [item for message in (page.json["messages"] if page.body else []) for item in message["async-responses"]]


async def test_the_seeds_requests_are_accepted_with_an_empty_body_and_told_with_the_seeds_members(front: Front) -> None:
    first = b'{ "method": "GET", "uri": "/5/0/1" }'
    second = (
        b'{ "method": "PUT", "uri": "/5/0/1%20?k1=v1&k2=v2%22", "accept": "text/plain", '
        b'"content-type": "text/plain", "payload-b64": "dmFsdWUxCg==" }'
    )
    seed = f"{LAMP}?async-id=123e4567-e89b-12d3-a456-426655440000"

    answers = [
        await front.ask("POST", seed, body, headers={"Content-Type": "application/json"}) for body in (first, second)
    ]
    (await front.core.adapter.next()).reply(200, b"value1\n")
    write = await front.core.adapter.next()
    write.reply(204)
    await front.ended(answers[1].headers["hub-call-id"])

    assert [(answer.status, answer.body) for answer in answers] == [(202, b"")] * 2
    assert answers[0].headers["hub-channel"] == "shop/default" and ":" in answers[0].headers["hub-position"]
    assert (write.request.payload, write.request.query) == (b"value1\n", (("k1", "v1"), ("k2", 'v2"')))
    assert [(item["id"], item["status"], item["payload"]) for item in await outcomes(front)] == [
        ("123e4567-e89b-12d3-a456-426655440000", 200, "dmFsdWUxCg=="),
        ("123e4567-e89b-12d3-a456-426655440000", 200, ""),
    ]


async def test_a_bare_key_is_taken(front: Front) -> None:
    assert (await front.ask("POST", ASK, READ, key=None, headers={"Authorization": KEY})).status == 202


async def test_each_immediate_refusal_has_its_word(front: Front) -> None:
    listener = await front.key(Scope.LISTEN)
    await front.core.hub.directory.put_device(
        replace(await front.core.device("declared"), registration=Registration.DECLARED)
    )

    for path, body, key, status, word in [
        (LAMP, READ, KEY, 400, "MALFORMED_ASYNC_ID"),
        (f"{LAMP}?async-id=", READ, KEY, 400, "MALFORMED_ASYNC_ID"),
        (ASK, b"{", KEY, 400, "MALFORMED_JSON_CONTENT"),
        (ASK, b"", KEY, 400, "MALFORMED_JSON_CONTENT"),
        (ASK, {"method": "GET"}, KEY, 400, "MALFORMED_JSON_CONTENT"),
        (f"{ASK}&retry=11", READ, KEY, 400, "INVALID_RETRY"),
        (f"{ASK}&expiry-seconds=5", READ, KEY, 400, "INVALID_EXPIRY_SECONDS"),
        ("/v2/device-requests/nope?async-id=a1", READ, KEY, 404, "DEVICE_NOT_FOUND"),
        ("/v2/device-requests/declared?async-id=a1", READ, KEY, 404, "DEVICE_NOT_FOUND"),
        (ASK, READ, FOREIGN, 404, "DEVICE_NOT_FOUND"),
        (ASK, READ, None, 401, "NOT_AUTHENTICATED"),
        (ASK, READ, "ak_nobody_knows_this", 401, "NOT_AUTHENTICATED"),
        (ASK, READ, listener, 403, "NOT_ALLOWED"),
        (ASK, b" " * (1 << 20) + b"{}", KEY, 413, "BODY_TOO_LARGE"),
        (f"{ASK}&access_token=x", READ, KEY, 400, "KEY_IN_URL"),
        ("/v2/nope", READ, KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
        ("/v2/device-requests", READ, KEY, 404, "URI_PATH_DOES_NOT_EXISTS"),
        ("/v2/notification/channel", READ, KEY, 405, "METHOD_NOT_ALLOWED"),
    ]:
        answer = await front.ask("POST", path, body, key=key)
        assert (answer.status, answer.text) == (status, word), path
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await front.ask("GET", "/v1/calls")).json == {"calls": []}


class NoSuchResource(CallError):
    """The device has no such resource."""

    status = 404


async def test_what_the_adapter_knows_at_once_is_refused_at_once(front: Front) -> None:
    def check(request: DeviceRequest) -> None:
        if request.target.startswith("/9"):
            raise NoSuchResource(delivery=Delivery.NOT_SENT)
        raise BadRequest("no", delivery=Delivery.NOT_SENT)

    front.core.adapter.check = check

    missing = await front.ask("POST", ASK, {"method": "GET", "uri": "/9/9/9"})
    wrong = await front.ask("POST", ASK, READ)

    assert (missing.status, missing.text) == (400, "RESOURCE_NOT_FOUND")
    assert (wrong.status, wrong.text) == (400, "BAD_REQUEST")


async def test_twenty_requests_may_wait_for_a_device(front: Front) -> None:
    answers = [await front.ask("POST", f"{LAMP}?async-id=n{n}", READ) for n in range(22)]

    # The first is on its way, twenty wait.
    assert [answer.status for answer in answers] == [202] * 21 + [400]
    assert answers[-1].text == "QUEUE_IS_FULL"


async def test_too_many_calls_are_told_by_the_dialects_word(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(calls_per_second=1, burst=1)) as front:
        await front.ask("POST", ASK, READ)
        answer = await front.ask("POST", ASK, READ)

        assert (answer.status, answer.text) == (400, "LIMITS_EXCEEDED")
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_same_async_id_is_a_call_of_its_own_each_time(front: Front) -> None:
    answers = [await front.ask("POST", ASK, READ) for _ in range(2)]
    for _ in answers:
        (await front.core.adapter.next()).reply(200)
    await front.ended(answers[1].headers["hub-call-id"])

    assert [item["id"] for item in await outcomes(front)] == ["a1", "a1"]


async def test_an_idempotency_key_makes_a_repetition_safe_and_tells_another_request_apart(front: Front) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again, other = [
        await front.ask("POST", path, READ, headers=headers) for path in (ASK, ASK, f"{LAMP}?async-id=a2")
    ]

    assert (first.status, again.status, again.headers["idempotent-replayed"]) == (202, 202, "true")
    assert again.headers["hub-call-id"] == first.headers["hub-call-id"]
    assert (other.status, other.text) == (409, "IDEMPOTENCY_CONFLICT")


@pytest.mark.parametrize(
    ("query", "status", "error"), [("", 503, "NOT_CONNECTED"), ("&expiry-seconds=7200", 429, "REQUEST_EXPIRED")]
)
async def test_what_was_never_sent_is_told_by_what_the_caller_asked(
    front: Front, query: str, status: int, error: str
) -> None:
    front.core.adapter.away["lamp"] = Presence.OFFLINE
    call = (await front.ask("POST", f"{ASK}{query}", READ)).headers["hub-call-id"]
    front.core.clock.advance(7200)
    await front.ended(call)

    [outcome] = await outcomes(front)
    assert (outcome["status"], outcome["error"]) == (status, error)
