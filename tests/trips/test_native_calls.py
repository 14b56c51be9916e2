"""Native calls over a real server: accepted, answered, looked at, called off."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import msgpack
import pytest

from hub.core.limits import Limits
from hub.model.device import Device, Presence, Registration
from hub.model.principal import Scope
from tests.trips.front_rig import FOREIGN, PATIENCE, Front, NoticedWaits, running_front

pytestmark = pytest.mark.anyio

READ = {"method": "GET", "uri": "/5/0/1"}
CALLS = "/v1/devices/lamp/calls"


async def test_a_call_is_accepted_and_its_answer_is_on_the_channel_after_the_told_position(front: Front) -> None:
    accepted = await front.ask("POST", CALLS, {**READ, "ref": "mine"})
    told = accepted.json
    (await front.core.adapter.next()).reply(200, b"value1\n")

    page = await front.ask("GET", f"/v1/channels/default/messages?epoch={told['epoch']}&offset={told['offset']}&wait=5")

    assert accepted.status == 202, accepted
    assert accepted.headers["location"] == f"/v1/calls/{told['id']}"
    assert accepted.headers["hub-call-id"] == told["id"]
    assert accepted.headers["hub-channel"] == told["channel"] == "shop/default"
    assert accepted.headers["hub-position"] == f"{told['epoch']}:{told['offset']}"
    [message] = page.json["messages"]
    [response] = message["async-responses"]
    assert (response["id"], response["status"], response["call-id"]) == ("mine", 200, told["id"])
    assert base64.b64decode(response["payload"]) == b"value1\n"
    assert (page.json["epoch"], page.json["offset"]) == (message["epoch"], message["offset"])


async def test_the_device_gets_the_decoded_target_and_the_payload(front: Front) -> None:
    body = {
        "method": "PUT",
        "uri": "/5/0/1%20?k1=v1&k2=v2%22",
        "payload-b64": "dmFsdWUxCg==",
        "content-type": "text/plain",
    }
    await front.ask("POST", CALLS, body)

    request = (await front.core.adapter.next()).request

    assert (request.method, request.payload, request.content_type) == ("PUT", b"value1\n", "text/plain")
    assert request.target.startswith("/5/0/1")
    assert request.query == (("k1", "v1"), ("k2", 'v2"'))


async def test_the_view_of_a_call_follows_its_life(front: Front) -> None:
    call = (await front.ask("POST", CALLS, READ)).json["id"]
    attempt = await front.core.adapter.next()
    sent = (await front.ask("GET", f"/v1/calls/{call}")).json
    attempt.reply(404, b"", error="NOT_FOUND")
    await front.ended(call)
    done = (await front.ask("GET", f"/v1/calls/{call}")).json

    assert (sent["state"], sent["attempts"], "ending" in sent) == ("sent", 1, False)
    assert (done["state"], done["ending"], done["status"]) == ("done", "device-error", 404)
    assert done["sent-at"] <= done["ended-at"] and done["offset"] == 1


async def test_prefer_wait_answers_with_the_ended_call(front: Front) -> None:
    asked = asyncio.create_task(front.ask("POST", CALLS, READ, headers={"Prefer": "respond-async, wait=10"}))
    (await front.core.adapter.next()).reply(200, b"x")

    answer = await asked

    assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=10")
    assert (answer.json["state"], answer.json["payload-b64"]) == ("done", "eA==")


async def test_prefer_wait_answers_202_when_the_time_is_over(front: Front) -> None:
    waits = NoticedWaits(front.core.hub)
    asked = asyncio.create_task(front.ask("POST", CALLS, {**READ, "timeout": 60}, headers={"Prefer": "wait=3"}))
    attempt = await front.core.adapter.next()
    await waits.begun.wait()
    front.core.clock.advance(3)

    answer = await asked

    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=3")
    attempt.reply(200)


async def test_who_finds_no_seat_to_wait_gets_the_202_at_once_and_others_keep_theirs(tmp_path: Path) -> None:
    prefer = {"Prefer": "wait=60"}
    async with running_front(tmp_path, limits=Limits(waits_per_account=1)) as front:
        waits = NoticedWaits(front.core.hub)
        asked = asyncio.create_task(front.ask("POST", CALLS, {**READ, "timeout": 60}, headers=prefer))
        seated = await front.core.adapter.next()
        await waits.begun.wait()

        async with asyncio.timeout(PATIENCE):
            unseated = await front.ask("POST", CALLS, {**READ, "order": "parallel"}, headers=prefer)
        seated.reply(200, b"x")
        first = await asked
        (await front.core.adapter.next()).reply(200)
        await front.ended(unseated.json["id"])
        again = asyncio.create_task(front.ask("POST", CALLS, READ, headers=prefer))
        (await front.core.adapter.next()).reply(200, b"y")

        assert unseated.status == 202 and "preference-applied" not in unseated.headers
        assert (first.status, first.json["payload-b64"]) == (200, "eA==")
        assert ((await again).status, (await again).json["payload-b64"]) == (200, "eQ==")


async def test_the_seats_of_one_account_are_not_those_of_another(tmp_path: Path) -> None:
    prefer = {"Prefer": "wait=60"}
    async with running_front(tmp_path, limits=Limits(waits_per_account=1)) as front:
        waits = NoticedWaits(front.core.hub)
        bell = Device(
            "bell", "other", "scripted", "bell", registration=Registration.REGISTERED, presence=Presence.ONLINE
        )
        await front.core.hub.directory.put_device(bell)
        asked = [asyncio.create_task(front.ask("POST", CALLS, READ, headers=prefer))]
        attempts = [await front.core.adapter.next()]
        await waits.begun.wait()
        theirs = front.ask("POST", "/v1/devices/bell/calls", READ, key=FOREIGN, headers=prefer)
        asked.append(asyncio.create_task(theirs))
        attempts.append(await front.core.adapter.next())
        for attempt in attempts:
            attempt.reply(200)

        assert [(await answer).status for answer in asked] == [200, 200]


async def test_a_client_that_leaves_its_wait_cancels_nothing(front: Front) -> None:
    waits = NoticedWaits(front.core.hub)
    asked = asyncio.create_task(front.ask("POST", CALLS, READ, headers={"Prefer": "wait=60"}))
    attempt = await front.core.adapter.next()
    [ticket] = front.core.hub.dispatch.tickets.values()
    await waits.begun.wait()
    asked.cancel()
    await asyncio.wait_for(waits.over.wait(), PATIENCE)  # the server has seen the client leave
    attempt.reply(200)
    state = await front.ended(ticket.call.id)

    assert state.outcome is not None and state.outcome.status == 200


async def test_messagepack_carries_the_same_call_with_bytes(front: Front) -> None:
    body = msgpack.packb({"method": "PUT", "uri": "/x", "payload": b"\x00\xff"})
    headers = {"Content-Type": "application/msgpack", "Prefer": "wait=10"}
    asked = asyncio.create_task(front.ask("POST", CALLS, body, headers=headers))
    attempt = await front.core.adapter.next()
    attempt.reply(200, b"\xfe")

    answer = await asked

    assert attempt.request.payload == b"\x00\xff"
    assert answer.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(answer.body)["payload"] == b"\xfe"


async def test_the_same_idempotency_key_gives_the_first_answer_and_runs_once(front: Front) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await front.ask("POST", CALLS, READ, headers=headers)
    (await front.core.adapter.next()).reply(200)
    await front.ended(first.json["id"])

    again = await front.ask("POST", CALLS, READ, headers=headers)
    other = await front.ask("POST", CALLS, {**READ, "uri": "/5/0/2"}, headers=headers)

    assert (again.status, again.json) == (202, first.json)
    assert (again.headers["idempotent-replayed"], "idempotent-replayed" in first.headers) == ("true", False)
    assert (other.status, other.json["type"]) == (409, "urn:hub:problem:idempotency-conflict")
    assert front.core.adapter.attempts.empty()


async def test_an_idempotency_key_is_remembered_over_a_restart(tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "once"}
    async with running_front(tmp_path) as front:
        first = await front.ask("POST", CALLS, READ, headers=headers)
        (await front.core.adapter.next()).reply(200)
        await front.ended(first.json["id"])
    async with running_front(tmp_path) as front:
        again = await front.ask("POST", CALLS, READ, headers=headers)

        assert (again.status, again.json, again.headers["idempotent-replayed"]) == (202, first.json, "true")
        assert front.core.adapter.attempts.empty()


async def test_calls_are_listed_newest_first_in_pages(front: Front) -> None:
    made = [(await front.ask("POST", CALLS, {**READ, "ref": f"r{n}"})).json["id"] for n in range(5)]

    first = (await front.ask("GET", "/v1/calls?limit=3&device=lamp")).json
    second = (await front.ask("GET", f"/v1/calls?limit=3&after={first['next']}")).json
    one = (await front.ask("GET", "/v1/calls?ref=r2")).json

    assert [call["id"] for call in first["calls"] + second["calls"]] == made[::-1]
    assert "next" not in second
    assert [call["id"] for call in one["calls"]] == [made[2]]


async def test_an_unsent_call_is_called_off_and_a_second_time_changes_nothing(front: Front) -> None:
    await front.ask("POST", CALLS, READ)
    call = (await front.ask("POST", CALLS, READ)).json["id"]

    first = await front.ask("DELETE", f"/v1/calls/{call}")
    second = await front.ask("DELETE", f"/v1/calls/{call}")

    assert (first.status, first.json["ending"], first.json["status"]) == (200, "cancelled", 409)
    assert (second.status, second.json) == (200, first.json)


async def test_a_foreign_call_or_device_looks_exactly_like_a_missing_one(front: Front) -> None:
    call = (await front.ask("POST", CALLS, READ)).json["id"]

    for method, foreign, missing in [
        ("GET", f"/v1/calls/{call}", "/v1/calls/nope"),
        ("DELETE", f"/v1/calls/{call}", "/v1/calls/nope"),
        ("GET", "/v1/devices/lamp", "/v1/devices/nope"),
        ("DELETE", "/v1/devices/lamp", "/v1/devices/nope"),
    ]:
        theirs = await front.ask(method, foreign, key=FOREIGN)
        nobodys = await front.ask(method, missing, key=FOREIGN)
        assert theirs.status == nobodys.status == 404
        assert {**theirs.json, "instance": ""} == {**nobodys.json, "instance": ""}
    refused = await front.ask("POST", CALLS, READ, key=FOREIGN)
    assert (refused.status, refused.json["type"]) == (404, "urn:hub:problem:device-not-found")
    assert (await front.ask("GET", "/v1/calls", key=FOREIGN)).json == {"calls": []}


async def test_a_refused_call_leaves_no_trace(front: Front) -> None:
    for body, status, kind in [
        ({"method": "BREW", "uri": "/x"}, 400, "bad-request"),
        ({**READ, "payload-b64": base64.b64encode(bytes(65537)).decode()}, 413, "payload-too-large"),
        ({**READ, "channel": "stall/default"}, 404, "channel-not-found"),
    ]:
        answer = await front.ask("POST", CALLS, body)
        assert (answer.status, answer.json["type"]) == (status, f"urn:hub:problem:{kind}")
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await front.ask("GET", "/v1/calls")).json == {"calls": []}


async def test_a_full_queue_is_told_with_when_to_come_back(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(waiting=2)) as front:
        answers = [await front.ask("POST", CALLS, READ) for _ in range(4)]

        assert [answer.status for answer in answers] == [202, 202, 202, 429]
        assert answers[-1].json["type"] == "urn:hub:problem:queue-full"
        assert int(answers[-1].headers["retry-after"]) >= 1


async def test_the_rate_of_a_key_is_bounded(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(calls_per_second=1, burst=2)) as front:
        answers = [await front.ask("POST", CALLS, READ) for _ in range(3)]
        front.core.clock.advance(1)
        later = await front.ask("POST", CALLS, READ)

        assert [answer.status for answer in answers] == [202, 202, 429]
        assert later.status == 202


async def test_keys_are_judged_before_anything_else(front: Front) -> None:
    listener = await front.key(Scope.LISTEN)

    assert (await front.ask("POST", CALLS, READ, key=None)).status == 401
    wrong = await front.ask("POST", CALLS, b"{", key="ak_nobody_knows_this")
    assert (wrong.status, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert (await front.ask("POST", CALLS, READ, key=listener)).status == 403
    assert (await front.ask("GET", "/v1/me?key=ak_nobody_knows_this")).json["type"] == "urn:hub:problem:key-in-url"


async def test_unknown_paths_and_wrong_methods_are_problems(front: Front) -> None:
    for method, path, status in [
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1/nope", 404),
        ("POST", "/v1/calls/x/y%0Az", 404),
        ("PATCH", "/v1/me", 405),
        ("GET", CALLS, 405),
        ("OPTIONS", "/v1/calls", 405),
        ("GET", "/v1/stream", 426),
    ]:
        answer = await front.ask(method, path)
        assert (answer.status, answer.json["status"]) == (status, status), (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await front.ask("PUT", "/v1/calls")).headers["allow"] == "GET, HEAD"
    assert (await front.ask("HEAD", "/v1/me")).status == 200


async def test_while_the_hub_drains_new_calls_are_told_to_come_back_and_waits_end(front: Front) -> None:
    waits = NoticedWaits(front.core.hub)
    asked = asyncio.create_task(front.ask("POST", CALLS, READ, headers={"Prefer": "wait=60"}))
    attempt = await front.core.adapter.next()
    await waits.begun.wait()
    draining = asyncio.create_task(front.core.hub.drain(timedelta(seconds=8)))
    await asyncio.sleep(0)  # the drain has begun
    refused = await front.ask("POST", CALLS, READ)
    front.core.clock.advance(8)
    await draining

    assert (refused.status, refused.json["type"]) == (503, "urn:hub:problem:draining")
    assert refused.headers["retry-after"] == "1"
    assert (await asked).status == 202
    attempt.reply(200)
