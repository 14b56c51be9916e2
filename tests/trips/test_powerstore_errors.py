"""Every answer of 400 and above is a message entity of the API, whoever refuses, and says how long to wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.trips.front_rig import PATIENCE
from tests.trips.powerstore_rig import GROUP, serving

pytestmark = pytest.mark.anyio


async def test_what_the_server_refuses_before_it_is_a_request_is_told_by_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for path in ("/api/rest/job", "/api/rest", "/arrays/array-2/api/rest/job"):
            refused = [
                await hub.ask("GET", path, headers={"X-Long": "x" * 20_000}),
                await hub.ask("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket"}),
            ]
            assert [answer.status for answer in refused] == [431, 400]
            for answer in refused:
                assert answer.headers["Content-Type"] == "application/json"
                (message,) = answer.json["messages"]
                assert (message["code"], message["severity"]) == ("0xE04040010005", "Error")
                assert message["message_l10n"]


@pytest.mark.parametrize("before", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_method_that_http_does_not_know_is_refused_by_a_message(tmp_path: Path, before: bytes) -> None:
    async with serving(tmp_path) as hub:
        port = int(hub.url.rpartition(":")[2])
        for path, in_a_message in (("/api/rest/job?x=1", True), ("/v1/me", False)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(PATIENCE):
                if before:
                    writer.write(before)
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(f"FOO {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answer = await reader.read()
            head, _, body = answer[answer.index(b"HTTP/1.1 400") :].partition(b"\r\n\r\n")
            assert (b"application/json" in head, b"messages" in body) == (in_a_message, in_a_message)
            writer.close()


async def test_a_handshake_of_a_websocket_is_refused_by_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        handshake = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        answer = await hub.ask("GET", "job", headers=handshake)

        assert (answer.status, answer.json["messages"][0]["code"]) == (405, "0xE04040020003")


async def test_elsewhere_the_server_refuses_in_other_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for path in ("/api/restless", "/arrays/array-2/other", "/v1/me"):
            answer = await hub.ask("GET", path, headers={"X-Long": "x" * 20_000})
            assert (answer.status, b"messages" in answer.body) == (431, False)


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, body=1000) as hub:
        answer = await hub.ask("PATCH", GROUP, {"description": "x" * 2000})

        assert answer.status == 400
        assert answer.json["messages"]


async def test_every_address_below_the_front_answers_with_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for path in ("/api/rest", "/api/rest/", "/api/rest//x", "/api/rest/%zz", "/arrays/array-1/api/rest/a/b/c/d/e"):
            answer = await hub.ask("GET", path)
            assert answer.status in (400, 404), path
            assert answer.json["messages"]


async def test_how_long_to_wait_is_told_where_it_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path, burst=1, calls_per_second=0.05) as hub:
        await hub.ask("GET", GROUP)
        busy = await hub.ask("GET", GROUP)

        assert (busy.status, busy.headers["Retry-After"]) == (503, "20")
