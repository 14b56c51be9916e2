"""Plain devices over HTTP: what goes through, what is refused, and what bad servers cannot do."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from adapters.http.breaker import Breaker
from adapters.http.double import Heard
from adapters.http.settings import read
from hub.model.device import Presence
from hub.ports.adapter import CallError, Delivery, EventKind
from tests.contracts.adapter_case import refused
from tests.wires.http_bench import Bench, bench

pytestmark = pytest.mark.anyio


def plain(**more: Any) -> Any:
    return bench(jobs="none", **more)


async def test_method_target_query_payload_and_types_pass_through() -> None:
    async with plain(upstream={"paths": True}) as b:
        await b.call(
            "PUT", "/set/50%25 größe", device="array/lamps/ü", query=(("a", "1 & 2"), ("b", "")), payload=b"\x00\xff",
            content_type="application/x-own", accept="text/plain",
        )  # fmt: skip

        (heard,) = b.server.heard
        assert heard.target == "/api/lamps/%C3%BC/set/50%25%20gr%C3%B6%C3%9Fe?a=1%20%26%202&b="
        assert (heard.method, heard.body) == ("PUT", b"\x00\xff")
        assert (heard.headers["content-type"], heard.headers["accept"]) == ("application/x-own", "text/plain")


@pytest.mark.parametrize("target", ["/../secret", "/a/%2e%2e/b", "/a/./b", "/%zz"])
async def test_a_target_cannot_leave_its_place(target: str) -> None:
    async with plain() as b:
        await refused(b.adapter.call(b.request("GET", target)), "BAD_REQUEST", Delivery.NOT_SENT)
        assert b.server.heard == []


@pytest.mark.parametrize("address", ["array/x", "elsewhere", "http://127.0.0.1:1/", "", "array/"])
async def test_an_address_names_an_upstream_of_the_settings_or_nothing(address: str) -> None:
    async with plain() as b:
        await refused(b.adapter.call(b.request("GET", device=address)), "NOT_CONNECTED", Delivery.NOT_SENT)
        with pytest.raises(CallError):
            b.adapter.check(b.request("GET", device=address))


async def test_a_caller_cannot_add_headers() -> None:
    async with plain() as b:
        request = b.request("GET", accept="text/plain\r\nX-Evil: 1")
        await refused(b.adapter.call(request), "BAD_REQUEST", Delivery.NOT_SENT)
        assert b.server.heard == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with plain() as b:

        async def away(heard: Heard) -> bool:
            await heard.answer(status, headers={"Location": f"{b.server.url}/other"})
            return True

        b.server.script = away
        response = await b.call("GET")

        assert (response.status, response.native["status"], response.native["error"]) == (502, status, "REDIRECTED")
        assert len(b.server.heard) == 1


async def test_a_hundred_megabytes_are_not_read() -> None:
    async with plain() as b:
        sent = 0

        async def flood(heard: Heard) -> bool:
            nonlocal sent
            await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
            while sent < 104857600 and not heard.writer.transport.is_closing():
                await heard.send(b" " * 65536)
                sent += 65536
            return True

        b.server.script = flood
        response = await b.call("POST")

        assert (response.status, response.native["error"], response.payload) == (502, "ANSWER_TOO_LARGE", b"")
        assert response.native["status"] == 200
        assert sent < 20 * 1024 * 1024
        b.server.script = None
        assert (await b.call("POST")).status == 200


async def test_an_answer_that_was_packed_unasked_is_not_taken_for_the_value() -> None:
    async with plain() as b:

        async def packed(heard: Heard) -> bool:
            await heard.answer(200, b"\x1f\x8b...", {"Content-Encoding": "gzip"})
            return True

        b.server.script = packed

        assert (await b.call("GET")).status == 502
        assert b.server.heard[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("value", "age"), [("max-age=600", 600), ("public, max-age=5", 5), ("no-store, max-age=5", None), ("", None)]
)
async def test_how_long_a_value_may_be_kept_is_told(value: str, age: int | None) -> None:
    async with plain() as b:

        async def aged(heard: Heard) -> bool:
            await heard.answer(200, b"21", {"Cache-Control": value})
            return True

        b.server.script = aged

        assert (await b.call("GET")).max_age == age


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("jobs", ["none", "powerstore"])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_who_refuses_the_hub_is_not_heard_as_if_it_refused_the_caller(
    status: int, jobs: str, method: str
) -> None:
    async with bench(jobs=jobs) as b:

        async def refuse(heard: Heard) -> bool:
            told = {"WWW-Authenticate": "Basic", "Retry-After": "1"}
            await heard.answer(status, b'{"messages": [{"code": "0xE04040010001"}]}', told)
            return True

        b.server.script = refuse
        response = await b.call(method)

        assert (response.status, response.payload) == (503, b"")
        # No patience helps: somebody has to see to it.
        assert response.native == {"status": status, "error": "UPSTREAM_REFUSED"}
        assert len(b.server.heard) == 1


@pytest.mark.parametrize("how", ["7", "Thu, 01 Jan 2026 00:00:07 GMT"])
async def test_patience_that_a_device_asks_for_is_told(how: str) -> None:
    async with plain() as b:

        async def busy(heard: Heard) -> bool:
            await heard.answer(503, headers={"Retry-After": how})
            return True

        b.server.script = busy

        assert (await b.call("GET")).native["retry_after"] == 7.0


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_a_connection_that_breaks_is_no_reason_to_ask_twice(method: str) -> None:
    async with plain() as b:
        await b.call("GET")

        async def cut(heard: Heard) -> bool:
            heard.cut()
            return True

        b.server.script = cut
        await refused(b.adapter.call(b.request(method)), "NOT_CONNECTED", Delivery.MAYBE)

        assert len(b.server.heard) == 2


async def test_a_connection_that_was_closed_while_it_rested_costs_no_change() -> None:
    async with plain() as b:
        for _ in range(20):
            await b.call("GET")
            b.server.cut()

            assert (await b.call("POST")).status == 200


async def test_an_answer_that_nobody_asked_for_is_given_to_no_call() -> None:
    async with plain() as b:

        async def twice(heard: Heard) -> bool:
            await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
            await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
            return True

        for _ in range(10):
            b.server.script = twice
            assert (await b.call("GET")).payload == b"true"
            b.server.script = None
            assert (await b.call("GET", "/y")).payload == b""


async def test_garbage_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with plain(failures=1000) as b:
        chance = random.Random(26)
        heads = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"]

        async def garbage(heard: Heard) -> bool:
            await heard.send(chance.choice(heads) + chance.randbytes(chance.randrange(400)))
            heard.writer.close()
            return True

        b.server.script = garbage
        for number in range(300):
            try:
                await b.call(("GET", "POST")[number % 2])
            except CallError as error:
                assert error.delivery is Delivery.MAYBE
        b.server.script = None

        assert (await b.call("POST", payload=b"fine")).payload == b"fine"
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


# -- away and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"), [("text/plain;  charset=utf-8", True), ("text/plain; \x80", False), ("a " * 4000 + "\xe9", False)]
)
async def test_a_content_type_is_told_as_it_is_where_it_is_printable(said: str, told: bool) -> None:
    async with plain() as b:

        async def script(heard: Heard) -> bool:
            lines = f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: {said}\r\n\r\n1"
            await heard.send(lines.encode("latin-1"))
            return True

        b.server.script = script
        assert (await b.call("GET")).content_type == (said if told else None)


async def gone(b: Bench) -> None:
    await b.server.close()
    for _ in range(5):
        await refused(b.adapter.call(b.request("GET")), "UNREACHABLE", Delivery.NOT_SENT)


async def test_after_five_failures_nothing_is_sent_until_somebody_answers() -> None:
    async with plain() as b:
        assert b.adapter.presence("array") is Presence.UNKNOWN
        await b.call("GET")
        assert b.adapter.presence("array") is Presence.ONLINE
        await gone(b)
        await b.ctx.seen(EventKind.OFFLINE, "array")
        assert (b.adapter.window("array"), b.adapter.presence("array")) == (0, Presence.OFFLINE)
        requests = b.adapter.health()["upstreams"]["array"]["requests"]
        await refused(b.adapter.call(b.request("GET")), "NOT_CONNECTED", Delivery.NOT_SENT)
        assert b.adapter.health()["upstreams"]["array"]["requests"] == requests

        await b.server.open()
        b.clock.advance(1)
        await b.ctx.seen(EventKind.AWAKE, "array", 2)

        assert b.adapter.window("array") > 0
        assert (await b.call("GET")).status == 200


async def test_one_looks_again_ever_more_rarely() -> None:
    async with plain() as b:
        await gone(b)
        before = b.adapter.health()["upstreams"]["array"]["requests"]
        for _ in range(240):
            b.clock.advance(0.5)
            for _ in range(30):
                await asyncio.sleep(0)

        assert 4 <= b.adapter.health()["upstreams"]["array"]["requests"] - before <= 9


async def test_many_that_fail_together_put_off_the_first_look_no_longer_than_few() -> None:
    async with plain(inflight=100) as b:
        await b.call("GET")
        held = 0

        async def hold(heard: Heard) -> bool:
            nonlocal held
            held += 1
            return True

        b.server.script = hold
        calls = [b.begin(b.request("GET")) for _ in range(40)]
        await b.server.until(lambda: held == 40)
        await b.server.close()
        await asyncio.gather(*calls, return_exceptions=True)
        await b.ctx.seen(EventKind.OFFLINE, "array")
        b.server.script = None
        await b.server.open()
        b.clock.advance(1)
        await b.ctx.seen(EventKind.AWAKE, "array", 2)

        assert (await b.call("GET")).status == 200


def test_one_who_accepts_and_says_nothing_is_looked_at_ever_more_rarely_too() -> None:
    breaker = Breaker(5, lambda: None, lambda: None)
    for _ in range(50):
        breaker.failed()
    pauses = []
    for _ in range(7):
        pauses.append(breaker.pause)
        breaker.looked_in_vain()

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    breaker.answered()
    assert not breaker.open
    for _ in range(5):
        breaker.failed()
    assert (breaker.open, breaker.pause) == (True, 1)


def test_a_fingerprint_is_needed_where_one_is_set() -> None:
    with pytest.raises(ValueError, match="https"):
        read({"upstreams": {"a": {"url": "http://127.0.0.1/", "tls": "sha256:" + "00" * 32}}})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "upstreams"),
        ({"upstreams": {"a": {}}}, "upstreams.a.url"),
        ({"upstreams": {"a": {"url": "ftp://x/"}}}, "upstreams.a.url"),
        ({"upstreams": {"a": {"url": "http://u:p@x/"}}}, "upstreams.a.url"),
        ({"upstreams": {"a": {"url": "http://x/", "user": "u"}}}, "upstreams.a.password"),
        ({"upstreams": {"a": {"url": "http://x/", "nme": "u"}}}, "upstreams.a.nme"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "jobs": "sometimes"}, "jobs"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "jobs": "powerstore", "job": {"one": "job"}}, "job.one"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "jobs": "powerstore", "job": {"many": "job?{}"}}, "job.many"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "jobs": "powerstore", "idempotent": ["PUT"]}, "idempotent"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "interval": 0}, "interval"),
        ({"upstreams": {"a": {"url": "http://x/"}}, "inflght": 1}, "inflght"),
    ],
)
def test_what_is_wrong_with_the_settings_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}"):
        read(settings)
