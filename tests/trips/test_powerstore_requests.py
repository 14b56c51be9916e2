"""Changes through the PowerStore front: as jobs and waited for, what is refused at once and what fails on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.core.users import Users
from hub.dialects.powerstore import resources
from hub.model.call import CallSpec
from hub.model.event import EventKind
from hub.model.principal import Principal, Scope
from tests.trips.front_rig import PATIENCE, NoticedWaits
from tests.trips.powerstore_rig import GROUP, KEY, READER_KEY, WORLD, basic, serving
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio


async def test_a_job_is_accepted_with_its_id_alone_and_told_where_its_end_will_be(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("PATCH", f"{GROUP}?is_async=true", {"description": "quarter end"})

        assert answer.status == 202
        assert list(answer.json) == ["id"]
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Hub-Call-Id"] == answer.json["id"]
        assert answer.headers["Hub-Channel"] == "shop/default"
        epoch, _, offset = answer.headers["Hub-Position"].partition(":")
        await hub.ended(answer.json["id"])
        [event] = [event for event in await hub.events() if event.kind is EventKind.COMPLETION]
        assert (event.epoch, event.offset) == (epoch, int(offset) + 1)


async def test_a_job_is_asked_for_anywhere_in_the_query_in_any_case(tmp_path: Path) -> None:
    asked = ["is_async=true", "is_async=True", "is_async=TRUE", "select=id&is_async=true", "async=true"]
    asked += ["IS_ASYNC=True", "Async=true"]
    async with serving(tmp_path) as hub:
        for query in [*asked, "a=b&is_async=True&c=d"]:
            assert (await hub.ask("PATCH", f"{GROUP}?{query}", {"description": "x"})).status == 202, query


async def test_without_it_the_answer_is_the_arrays(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for query in ("", "?is_async=false", "?is_async=False"):
            answer = await hub.ask("PATCH", f"{GROUP}{query}", {"description": "x"})
            assert (answer.status, answer.body) == (204, b""), query


async def test_a_get_is_a_plain_query_whatever_it_asks_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("GET", f"{GROUP}?is_async=true&select=name")

        assert (answer.status, answer.json) == (200, {"name": "finance"})
        assert (await hub.ask("GET", "job")).json == []


async def test_a_job_stands_in_its_states_and_gets_its_end_in_one_step(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}?is_async=true", {"description": "x"})
        id = answer.json["id"]
        first = await hub.job(id)
        await hub.until(id, "waiting")
        running = await hub.job(id)
        hub.clock.advance(20)
        done = await hub.ended(id)

        assert first["state"] in ("QUEUED", "IN_PROGRESS")
        assert (running["state"], running["phase"], running["end_time"], running["response_status"]) == (
            "IN_PROGRESS", "In_Progress", None, None,
        )  # fmt: skip
        assert (done["state"], done["phase"], done["response_status"], done["response_body"]) == (
            "COMPLETED", "Completed", "204", None,
        )  # fmt: skip
        assert done["end_time"] > done["start_time"]


async def test_a_change_that_fails_while_it_runs_is_told_by_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        job = await hub.ended(await hub.submitted(GROUP, {"description": "__fail__"}))

        assert (job["state"], job["phase"], job["response_status"]) == ("FAILED", "Failed", "422")
        assert job["response_body"]["response_type"] == "job_error_response"
        assert job["response_body"]["messages"][0]["severity"] == "Error"


async def test_a_change_that_fails_is_told_at_once_to_who_waits(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("PATCH", "volume/0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e01", {"size": 1048576})

        assert answer.status == 422
        assert answer.json["messages"][0]["code"] == "0xE0A07001000D"
        assert "response_type" not in answer.json


async def test_the_answers_of_waiting_requests_are_those_of_the_array(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        created = await hub.ask("POST", "volume_group", {"name": "created"})
        assert (created.status, list(created.json)) == (201, ["id"])
        one = f"volume_group/{created.json['id']}"
        cloned = await hub.ask("POST", f"{one}/clone", {"name": "cloned"})
        assert (cloned.status, list(cloned.json)) == (200, ["id"])
        members = {"volume_ids": ["0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e02"]}
        moved = await hub.ask("POST", f"{one}/add_members", members)
        assert (moved.status, moved.body) == (204, b"")
        assert (await hub.ask("GET", f"{one}?select=volumes(name)")).json == {"volumes": [{"name": "finance-2"}]}
        assert (await hub.ask("DELETE", one)).status == 204
        assert (await hub.ask("GET", one)).status == 404


async def test_the_body_of_a_job_says_what_kind_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        created = await hub.ended(await hub.submitted("volume_group", {"name": "made"}, "POST"))
        cloned = await hub.ended(await hub.submitted(f"{GROUP}/clone", {"name": "copy"}, "POST"))
        deleted = await hub.ended(await hub.submitted(f"volume_group/{created['response_body']['id']}", None, "DELETE"))
        made = created["response_body"]["id"]

        assert (created["response_status"], created["response_body"]["response_type"]) == ("201", "job_create_response")
        assert [created[f"resource_{of}"] for of in ("action", "id", "name")] == ["create", made, "made"]
        assert (cloned["response_status"], cloned["response_body"]["response_type"]) == (
            "200", "job_volume_group_clone_response",
        )  # fmt: skip
        assert (cloned["resource_action"], cloned["resource_id"]) == ("clone", GROUP.partition("/")[2])
        assert (deleted["response_status"], deleted["response_body"]) == ("204", None)


VOLUME = "volume/0b44d1a2-6f63-4d5e-9c1b-7a2f5c1d9e01"
REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("PATCH", f"{GROUP}?is_async=true", b"{", 400, "0xE04040010005"),
    ("PATCH", f"{GROUP}?is_async=true", b"[]", 400, "0xE04040010005"),
    ("PATCH", f"{GROUP}?is_async=true", b"", 400, "0xE04040010005"),
    ("PATCH", f"{GROUP}?is_async=perhaps", {"description": "x"}, 400, "0xE04040010005"),
    ("PATCH", f"{GROUP}?is_async=true", {"descripton": "x"}, 400, "0xE04040030001"),
    ("PATCH", f"{GROUP}?is_async=true", {"description": 7}, 400, "0xE04040030001"),
    ("PATCH", f"{GROUP}?is_async=true", {"name": ""}, 400, "0xE04040030001"),
    ("POST", "volume?is_async=true", {"name": "v", "size": 1}, 400, "0xE04040030001"),
    ("POST", "volume?is_async=true", {"name": "v"}, 400, "0xE04040030001"),
    ("POST", "policy?is_async=true", {"name": "p", "type": "Other"}, 400, "0xE04040030001"),
    *((method, f"{path}?is_async=true", body, 400, "0xE04040030001") for method, path, body in (
        ("PATCH", VOLUME, {"size": None}), ("PATCH", VOLUME, {"name": None}),
        ("POST", f"{GROUP}/add_members", {"volume_ids": None}),
        ("POST", f"{GROUP}/add_members", {"volume_ids": [None]}),
        ("POST", "volume_group", {"name": "g2", "volume_ids": [None]}),
        ("POST", "volume", {"name": None, "size": 5368709120}), ("POST", "volume", {"name": "q", "size": None}),
    )),
    ("PATCH", "volume_group/77?is_async=true", {"description": "x"}, 404, "0xE04040020009"),
    ("PATCH", "nothing/77?is_async=true", {"description": "x"}, 404, "0xE04040020002"),
    ("POST", f"{GROUP}/explode?is_async=true", {}, 404, "0xE04040020002"),
    ("POST", "a/b/c/d?is_async=true", {}, 404, "0xE04040020002"),
    ("PUT", f"{GROUP}?is_async=true", {}, 405, "0xE04040020003"),
    ("DELETE", "appliance/A1?is_async=true", None, 405, "0xE04040020003"),
    ("DELETE", "volume_group?is_async=true", None, 405, "0xE04040020003"),
    ("POST", "login_session", {}, 405, "0xE04040020003"),
    ("DELETE", "job/77", None, 405, "0xE04040020003"),
]


async def test_what_is_invalid_is_refused_at_once_and_leaves_no_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for method, path, body, status, code in REFUSED:
            answer = await hub.ask(method, path, body)
            assert answer.status == status, (method, path, answer)
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json["messages"][0]["code"] == code, (method, path, answer)
            assert answer.json["messages"][0]["message_l10n"]
        assert (await hub.ask("GET", "job")).json == []


async def test_other_forms_than_json_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        other_body = await hub.ask("PATCH", GROUP, b"<x/>", {"Content-Type": "application/xml"})
        other_answer = await hub.ask("GET", GROUP, headers={"Accept": "text/html"})
        both = await hub.ask("GET", GROUP, headers={"Accept": "text/html, application/json;q=0.5"})

        assert (other_body.status, other_answer.status, both.status) == (415, 406, 200)
        assert other_answer.json["messages"]


async def test_a_key_that_only_listens_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        signed = basic("admin", READER_KEY)

        assert (await hub.ask("PATCH", GROUP, {"description": "x"}, signed=signed)).status == 403
        assert (await hub.ask("GET", "job", signed=signed)).status == 200


async def test_a_bug_is_told_as_a_message_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> CallSpec:
        raise ZeroDivisionError

    async with serving(tmp_path) as hub:
        monkeypatch.setattr(resources, "_spec", broken)
        answer = await hub.ask("PATCH", GROUP, {"description": "x"})

        assert answer.status == 500
        assert answer.json["messages"][0]["severity"] == "Error"
        assert "ZeroDivisionError" in caplog.text
        assert "ZeroDivision" not in answer.text


async def test_the_wait_is_bounded_and_then_the_job_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        waits = NoticedWaits(hub.hub)
        asked = asyncio.create_task(hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}", {"description": "x"}))
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        [job] = (await hub.ask("GET", "/arrays/array-2/api/rest/job?select=id")).json
        await hub.until(job["id"], "waiting")
        hub.hub.calls.wake_waiters()  # as a drain does
        answer = await asyncio.wait_for(asked, PATIENCE)

        assert (answer.status, answer.json) == (202, job)
        hub.clock.advance(20)
        assert (await hub.ended(job["id"]))["state"] == "COMPLETED"


async def test_a_request_that_waits_too_long_gets_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path, world=f"{WORLD}\n[powerstore]\nwait = 10\n") as hub:
        waits = NoticedWaits(hub.hub)
        asked = asyncio.create_task(hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}", {"description": "x"}))
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        hub.clock.advance(10)
        answer = await asyncio.wait_for(asked, PATIENCE)

        assert answer.status == 202
        assert list(answer.json) == ["id"]


async def test_a_client_that_vanishes_ends_its_wait_and_not_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        waits = NoticedWaits(hub.hub)
        asked = asyncio.create_task(hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}", {"description": "x"}))
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.wait_for(waits.over.wait(), PATIENCE)

        [job] = (await hub.ask("GET", "/arrays/array-2/api/rest/job?select=id")).json
        await hub.until(job["id"], "waiting")
        hub.clock.advance(20)
        assert (await hub.ended(job["id"]))["state"] == "COMPLETED"


async def test_a_client_that_vanishes_before_it_reads_its_202_finds_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        _, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rpartition(":")[2]))
        head = f"PATCH /api/rest/{GROUP}?is_async=true HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n"
        writer.write(f"{head}Authorization: {basic()['Authorization']}\r\n\r\n".encode() + b'{"description": ""}')
        await writer.drain()
        query = "job?select=id,state&resource_type=eq.volume_group&resource_action=eq.modify&user=eq.admin"
        found = await hub.found(query)
        writer.transport.abort()

        assert (await hub.ended(found[0]["id"]))["state"] == "COMPLETED"


async def test_a_client_that_vanishes_right_after_its_202_finds_its_job(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        at = "/arrays/array-2/api/rest/"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rpartition(":")[2]))
        head = f"PATCH {at}{GROUP}?is_async=true HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n"
        writer.write(f"{head}Authorization: {basic()['Authorization']}\r\n\r\n".encode() + b'{"description": ""}')
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        writer.transport.abort()
        assert answer.startswith(b"HTTP/1.1 202 ")
        (job,) = (await hub.ask("GET", f"{at}job?select=id&resource_type=eq.volume_group&user=eq.admin")).json

        await hub.until(job["id"], "waiting")
        hub.clock.advance(20)
        assert (await hub.ended(job["id"]))["state"] == "COMPLETED"


async def test_only_so_many_requests_of_an_account_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, world=f"{WORLD}\n[powerstore]\nwaiting = 1\n") as hub:
        waits = NoticedWaits(hub.hub)
        path = f"/arrays/array-2/api/rest/{GROUP}"
        asked = asyncio.create_task(hub.ask("PATCH", path, {"description": "x"}))
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        second = await hub.ask("PATCH", path, {"description": "y"})
        as_job = await hub.ask("PATCH", f"{path}?is_async=true", {"description": "y"})
        hub.hub.calls.wake_waiters()
        await asked

        assert (second.status, second.headers["Retry-After"]) == (503, "1")
        assert second.json["messages"]
        assert as_job.status == 202


async def test_what_a_create_has_made_is_told_and_found_by_its_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        job = await hub.submitted("volume_group", {"name": "made"}, "POST")
        failed = await hub.submitted("volume_group", {"name": "made"}, "POST")
        made = (await hub.ended(job))["response_body"]["id"]
        await hub.ended(failed)

        assert ((await hub.job(job))["resource_id"], (await hub.job(failed))["resource_id"]) == (made, None)
        found = (await hub.ask("GET", f"job?select=id,resource_id&resource_id=eq.{made}")).json
        assert found == [{"id": job, "resource_id": made}]
        assert [each["id"] for each in (await hub.ask("GET", "job?resource_id=is.null")).json] == [failed]


async def test_an_idempotency_key_gives_the_same_job_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        same = {"Idempotency-Key": "once"}
        first = await hub.ask("POST", "volume_group?is_async=true", {"name": "once"}, same)
        again = await hub.ask("POST", "volume_group?is_async=true", {"name": "once"}, same)
        other = await hub.ask("POST", "volume_group?is_async=true", {"name": "twice"}, same)

        assert (first.json, again.headers["Idempotent-Replayed"]) == (again.json, "true")
        assert other.status == 422
        assert len((await hub.ask("GET", "job")).json) == 1


async def test_every_end_of_a_job_is_pushed_under_its_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        waited = await hub.ask("PATCH", GROUP, {"description": "x"})
        failed = await hub.submitted(GROUP, {"description": "__fail__"})
        await hub.ended(failed)
        url = f"{hub.url}/v1/channels/default/messages?offset=0&wait=0"
        async with hub.http.get(url, headers={"Authorization": f"Bearer {KEY}"}) as answer:
            messages = (await answer.json())["messages"]

        pushed = [item for message in messages for item in message.get("async-responses", ())]
        assert [item["id"] for item in pushed] == [waited.headers["Hub-Call-Id"], failed]
        assert [item["status"] for item in pushed] == [200, 422]


async def test_reads_are_pushed_to_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        await hub.ask("GET", GROUP)

        assert not [event for event in await hub.events() if event.kind is EventKind.COMPLETION]


async def test_a_job_names_who_is_called_back(tmp_path: Path) -> None:
    public = {"Hub-Callback-Url": "http://192.0.2.1/"}
    async with serving(tmp_path) as hub:

        async def vetted(url: str) -> None:
            assert url == "http://192.0.2.1/"

        hub.hub.intake.vet_callback = vetted
        answer = await hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}?is_async=true", {"description": "x"}, public)
        await hub.until(answer.json["id"], "waiting")
        hub.app.outgoing.courier.halt()
        hub.clock.advance(20)
        await hub.ended(answer.json["id"])

        [row] = await hub.hub.engine.outbox.due(hub.clock.now(), 10)
        event = await hub.hub.engine.outbox.event(row.id)
        assert (row.url, event is not None and event.body["ref"]) == ("http://192.0.2.1/", answer.json["id"])
        assert hub.hub.access.serves(row.attrs["key"] if row.attrs else "")


async def test_the_end_of_a_job_is_brought_to_the_webhook_and_to_who_is_called_back(tmp_path: Path) -> None:
    world = f'{WORLD}\n[callbacks]\nallow = ["127.0.0.0/8"]\n'
    async with receiving() as hook, receiving() as caller, serving(tmp_path, world=world) as hub:
        registration = {"json": {"url": hook.url}, "headers": {"Authorization": f"Bearer {KEY}"}}
        async with hub.http.put(f"{hub.url}/v2/notification/callback", **registration) as answer:
            assert answer.status == 204, await answer.text()
        assert (await hook.next()).json == {}
        asked = {"Hub-Callback-Url": caller.url}
        job = (await hub.ask("PATCH", f"{GROUP}?is_async=true", {"description": "x"}, asked)).json["id"]

        for receiver in (hook, caller):
            # The webhook is told of the devices that come, too.
            while not (items := (await receiver.next()).json.get("async-responses")):
                pass
            assert [(item["id"], item["status"]) for item in items] == [(job, 200)]


async def test_an_address_that_is_not_called_is_refused_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("PATCH", f"{GROUP}?is_async=true", {}, {"Hub-Callback-Url": "http://10.0.0.1/"})
        given = {"description": "x"}
        denied = await hub.ask("PATCH", f"{GROUP}?is_async=true", given, {"Hub-Callback-Url": "http://10.0.0.1/"})

        assert answer.status == 400
        assert denied.status == 422
        assert denied.json["messages"]


async def test_jobs_of_any_dialect_are_jobs_of_the_array(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        body = {"method": "PATCH", "uri": f"/{GROUP}", "payload-b64": "eyJkZXNjcmlwdGlvbiI6ICJ4In0="}
        headers = {"Authorization": f"Bearer {KEY}", "Prefer": "wait=5"}
        async with hub.http.post(f"{hub.url}/v1/devices/array-1/calls", json=body, headers=headers) as answer:
            call = await answer.json()
        [job] = (await hub.ask("GET", "job?select=id,state,user,resource_type")).json

        assert call["status"] == 200
        assert job == {"id": call["id"], "state": "COMPLETED", "user": "shop", "resource_type": "volume_group"}


async def test_the_connect_api_knows_nothing_of_an_array(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        body = {"method": "POST", "uri": "/volume_group"}
        for path in ("/v2/device-requests/array-1?async-id=a", "/v2/endpoints/array-1/volume_group/1"):
            async with hub.http.post(hub.url + path, json=body, headers={"Authorization": f"Bearer {KEY}"}) as answer:
                assert answer.status == 405, await answer.text()


async def test_other_devices_have_no_jobs_and_no_place_here(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        assert (await hub.ask("GET", "/arrays/lamp/api/rest/job")).status == 404


async def test_an_unfriendly_crowd_of_sign_ins_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as hub:
        users: Users = hub.app.users
        users._waiting = 64
        answer = await hub.ask("GET", "login_session", signed=basic("admin", "wrong"))

        assert answer.status == 503


async def test_a_user_is_bounded_as_a_key_is(tmp_path: Path) -> None:
    async with serving(tmp_path, burst=3, calls_per_second=1) as hub:
        statuses = [(await hub.ask("GET", GROUP)).status for _ in range(4)]

        assert statuses == [200, 200, 200, 503]


async def test_a_read_of_a_busy_array_waits_for_its_turn(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        at = "/arrays/array-3/api/rest/"
        id = (await hub.ask("PATCH", f"{at}{GROUP}?is_async=true", {"description": "x"})).json["id"]
        await hub.until(id, "sent")
        spec = CallSpec("acme", "shop", "r", "array-3", "GET", f"/{GROUP}", "shop/default", "powerstore")
        principal = Principal("acme", "shop", "shop", frozenset(Scope))
        asked = asyncio.create_task(hub.hub.reads.read(principal, spec, hub.clock.monotonic() + 90))
        async with asyncio.timeout(PATIENCE):
            while not asked.done():
                hub.clock.advance(1)
                await asyncio.sleep(0)

        assert (await asked).status == 200
        assert (await hub.ended(id))["state"] == "COMPLETED"


async def test_a_read_that_gets_no_turn_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, world=f"{WORLD}\n[powerstore]\nwait = 5\n") as hub:
        at = "/arrays/array-3/api/rest/"
        id = (await hub.ask("PATCH", f"{at}{GROUP}?is_async=true", {"description": "x"})).json["id"]
        await hub.until(id, "sent")
        asked = asyncio.create_task(hub.ask("GET", f"{at}{GROUP}"))
        async with asyncio.timeout(PATIENCE):
            while not asked.done():
                hub.clock.advance(0.01)
                await asyncio.sleep(0)

        assert (await asked).status == 503
        assert (await asked).json["messages"]


async def test_a_read_of_an_array_that_is_away_is_told_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        simulated: Any = hub.hub.adapters["simulated"]
        simulated.link.disconnect(simulated.device("array-1"), None)
        answer = await hub.ask("GET", GROUP)

        assert answer.status == 503
        assert answer.json["messages"][0]["message_l10n"] == "The array has no connection now."
