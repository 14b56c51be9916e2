"""Who the hub is at an upstream: sessions that are begun once, begun anew, refused; what a refusal is told as."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from adapters.http.double import Heard
from adapters.http.wire import cookies_of
from hub.ports.adapter import Delivery, Unreachable
from tests.contracts.adapter_case import within
from tests.wires.http_bench import bench

pytestmark = pytest.mark.anyio


class Guarded:
    """An upstream with sessions: the script of a server."""

    def __init__(self) -> None:
        self.sign_ins = 0
        self.valid: set[str] = set()
        self.password = "secret"
        self.refuse_with = 401

    async def __call__(self, heard: Heard) -> bool:
        if heard.path == "/api/login_session":
            self.sign_ins += 1
            if heard.headers.get("authorization") != "Basic aHViOnNlY3JldA==" or self.password != "secret":
                await heard.json(401, {"messages": []})
                return True
            session = f"s{self.sign_ins}"
            self.valid = {session}
            told = {"Set-Cookie": f"auth_cookie={session}; Path=/; HttpOnly", "DELL-EMC-TOKEN": f"t{session}"}
            await heard.json(200, [{"id": session}], told)
            return True
        cookie = heard.headers.get("cookie", "").removeprefix("auth_cookie=")
        if cookie not in self.valid or heard.headers.get("dell-emc-token") != f"t{cookie}":
            await heard.json(self.refuse_with, {"messages": []})
            return True
        return False


SIGNED = {"user": "hub", "password": "secret", "sign_in": "login_session"}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_session_is_begun_once_and_renewed_when_it_is_refused(status: int) -> None:
    async with bench(SIGNED) as b:
        guarded = b.server.script = Guarded()
        guarded.refuse_with = status
        assert [(await b.call("PATCH")).status for _ in range(3)] == [200] * 3
        assert guarded.sign_ins == 1

        guarded.valid.clear()

        assert (await b.call("PATCH")).status == 200
        assert guarded.sign_ins == 2
        assert len(b.server.executed) == 4


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_that_outlives_the_renewal_is_a_refusal_of_the_upstream(status: int) -> None:
    async with bench(SIGNED) as b:
        guarded = Guarded()

        async def never(heard: Heard) -> bool:
            dealt = await guarded(heard)
            if not dealt:
                await heard.json(status, {"messages": []})
            return True

        b.server.script = never
        response = await b.call("PATCH")

        assert (response.status, response.native) == (503, {"status": status, "error": "UPSTREAM_REFUSED"})
        assert guarded.sign_ins == 2
        assert len(b.changes()) == 2


async def test_many_requests_begin_one_session() -> None:
    async with bench(SIGNED) as b:
        guarded = b.server.script = Guarded()
        answers = await within(asyncio.gather(*(b.adapter.call(b.request()) for _ in range(20))))

        assert {answer.status for answer in answers} == {200}
        assert guarded.sign_ins == 1


async def test_a_name_that_was_refused_is_not_tried_again_at_once() -> None:
    async with bench(SIGNED) as b:
        guarded = b.server.script = Guarded()
        guarded.password = "changed"
        for _ in range(3):
            with pytest.raises(Unreachable) as told:
                await b.call()
            assert told.value.delivery is Delivery.NOT_SENT
        assert guarded.sign_ins == 1
        assert b.adapter.health()["upstreams"]["array"]["state"] == "refused"
        guarded.password = "secret"
        b.clock.advance(30)

        assert (await b.call()).status == 200
        assert b.adapter.health()["state"] == "up"


async def test_jobs_are_asked_after_through_a_session_that_ended() -> None:
    async with bench(SIGNED) as b:
        guarded = b.server.script = Guarded()
        b.server.length = timedelta(seconds=1)
        task = await b.submitted()
        guarded.valid.clear()
        await b.pass_time(3)

        assert (await within(task)).status == 204


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_newer_token_is_taken_from_any_answer(status: int) -> None:
    async with bench(SIGNED) as b:
        guarded, shown = Guarded(), []

        async def talk(heard: Heard) -> bool:
            if not await guarded(heard):
                shown.append(heard.headers.get("dell-emc-token"))
                await heard.json(status, {"messages": []}, {"DELL-EMC-TOKEN": "newer"} if len(shown) == 1 else {})
            elif heard.headers.get("dell-emc-token") == "newer":
                shown.append("newer")
            return True

        b.server.script = talk
        await b.call("GET")
        await b.call("GET")

        assert shown[:2] == ["ts1", "newer"]


@pytest.mark.parametrize("token", [b"t\xe9", b"\xff", b""])
async def test_a_token_that_cannot_be_shown_again_is_not_taken(token: bytes) -> None:
    async with bench(SIGNED) as b:
        guarded, bad = Guarded(), token

        async def talk(heard: Heard) -> bool:
            if not await guarded(heard):
                await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDELL-EMC-TOKEN: " + bad + b"\r\n\r\n")
            return True

        b.server.script = talk
        assert [(await b.call("GET")).status for _ in range(3)] == [200] * 3
        assert guarded.sign_ins == 1


def test_a_cookie_that_cannot_be_shown_again_is_not_kept() -> None:
    assert cookies_of(["auth_cookie=ok; Path=/", "other=\udce9", "more=\u00e9", "last=a\tb"]) == {"auth_cookie": "ok"}
