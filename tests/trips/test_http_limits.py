"""The HTTP class: heads and bodies have a size and a time, shown with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hub.core.limits import Limits
from hub.delivery.listening import Listening
from tests.doubles_listening import Served, served

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: what a transport does when it is full, or half closed, is theirs to decide."""
    return "asyncio", {"use_uvloop": request.param}


QUICK = Limits(head_time=timedelta(seconds=0.3), body_time=timedelta(seconds=0.3), keep_alive=timedelta(seconds=75))
GET = b"GET /echo HTTP/1.1\r\nHost: hub\r\n"


class Raw:
    """A socket that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> int:
        """The status of the next answer, read with its body."""
        with anyio.fail_after(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    await self.reader.readexactly(int(value))
        return int(head.split(b" ")[1])

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        with anyio.fail_after(20):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def raw(hub: Served) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def hub() -> AsyncIterator[Served]:
    async with served(QUICK) as hub:
        yield hub


@pytest.fixture
async def patient() -> AsyncIterator[Served]:
    # Room for a hundred whole requests before the half ones, on a busy machine too.
    async with served(replace(QUICK, head_time=timedelta(seconds=2))) as hub:
        yield hub


async def test_a_hundred_half_sent_heads_are_answered_408_and_closed(patient: Served) -> None:
    hub, answers = patient, list[bytes]()

    async def half(number: int) -> None:
        async with raw(hub) as connection:
            # After a whole request the clock of the next head runs from its first byte, however slow this machine is.
            connection.say(GET + b"\r\n")
            assert await connection.status() == 200
            connection.say(GET + b"X-Half: " + b"x" * number)
            answers.append(await connection.rest())

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(half, number)

    assert len(answers) == 100
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    await hub.until(lambda: not hub.server.server_state.connections)


async def test_a_head_that_trickles_gets_no_longer_than_one_that_stops(hub: Served) -> None:
    async with raw(hub) as connection, anyio.create_task_group() as group:

        async def trickle() -> None:
            for byte in GET * 1000:
                connection.say(bytes([byte]))
                await anyio.sleep(0.02)

        group.start_soon(trickle)
        assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")
        group.cancel_scope.cancel()


async def test_a_connection_that_says_nothing_is_closed_without_a_word(hub: Served) -> None:
    async with raw(hub) as connection:
        assert await connection.rest() == b""


async def test_empty_lines_are_no_head(hub: Served) -> None:
    async with raw(hub) as connection, anyio.create_task_group() as group:

        async def trickle() -> None:
            for _ in range(1000):
                connection.say(b"\r\n")
                await anyio.sleep(0.02)

        group.start_soon(trickle)
        assert await connection.rest() == b""
        group.cancel_scope.cancel()


async def test_an_idle_connection_between_requests_is_kept(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"\r\n")
        assert await connection.status() == 200
        async with raw(hub) as other:
            # Closed for its silence, so the time of a head has passed for the first one, too.
            assert await other.rest() == b""
        connection.say(GET + b"\r\n")
        assert await connection.status() == 200


async def test_a_second_head_that_stops_is_timed_like_the_first(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"\r\n")
        assert await connection.status() == 200
        connection.say(GET)
        assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_never_comes_is_answered_408(hub: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with raw(hub) as connection:
        connection.say(b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")
    await hub.until(lambda: not hub.server.server_state.tasks)
    assert "Exception" not in caplog.text


async def test_a_body_that_trickles_gets_no_longer(hub: Served) -> None:
    async with raw(hub) as connection, anyio.create_task_group() as group:
        connection.say(b"POST /echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def trickle() -> None:
            for _ in range(1000):
                connection.say(b"1\r\nx\r\n")
                await anyio.sleep(0.02)

        group.start_soon(trickle)
        assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")
        group.cancel_scope.cancel()


async def test_a_body_in_pieces_that_comes_in_time_is_taken(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 200000\r\n\r\n")
        for _ in range(20):
            connection.say(b"x" * 10_000)
            await anyio.lowlevel.checkpoint()
        assert await connection.status() == 200


@pytest.mark.parametrize("extra", [b"X-Long: " + b"x" * 17_000 + b"\r\n\r\n", b"X-Long: " + b"x" * 17_000])
async def test_a_head_that_is_too_long_is_answered_431_whether_it_ends_or_not(hub: Served, extra: bytes) -> None:
    async with raw(hub) as connection:
        connection.say(GET + extra)
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


async def test_an_endless_head_is_cut_off_without_being_kept(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"X-Long: ")
        for _ in range(200):
            connection.say(b"x" * 10_000)
            await anyio.lowlevel.checkpoint()
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


async def test_a_url_that_is_too_long_is_answered_431(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_of_too_many_lines_is_answered_431(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"".join(b"X-%d: 1\r\n" % number for number in range(99)) + b"\r\n")
        assert await connection.status() == 200
        connection.say(GET + b"".join(b"X-%d: 1\r\n" % number for number in range(100)) + b"\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_within_the_limits_is_answered(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"X-Long: " + b"x" * 16_000 + b"\r\n\r\n")
        assert await connection.status() == 200


async def test_a_big_body_is_not_counted_as_head(hub: Served) -> None:
    async with raw(hub) as connection:
        for _ in range(3):
            connection.say(b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
            assert await connection.status() == 200


async def test_pipelined_requests_are_answered_in_order(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say((GET + b"\r\n") * 5)
        assert [await connection.status() for _ in range(5)] == [200] * 5


async def test_a_request_that_is_being_answered_is_not_cut_for_the_half_head_behind_it() -> None:
    release = anyio.Event()

    async def held(request: Request) -> Response:
        await release.wait()
        return PlainTextResponse("at last")

    async with served(QUICK, routes=lambda listening: [Route("/held", held)]) as hub, raw(hub) as connection:
        connection.say(b"GET /held HTTP/1.1\r\nHost: hub\r\n\r\n" + GET)
        async with raw(hub) as other:
            assert await other.rest() == b""
        release.set()
        assert await connection.status() == 200
        assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")


async def test_what_is_no_http_is_answered_400(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")


async def test_a_refused_head_is_read_to_its_end_so_that_the_answer_arrives(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(GET + b"X-Long: " + b"x" * 3_000_000 + b"\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_that_only_the_websocket_parser_finds_too_long_is_answered(hub: Served) -> None:
    async with raw(hub) as connection:
        connection.say(
            b"GET /v1/stream HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Long: "
            + b"x" * 9_000
            + b"\r\n\r\n"
        )
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")
    await hub.until(lambda: not hub.server.server_state.connections)


HANDSHAKE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET %s HTTP/1.1\r\nbroken\r\n\r\n", 400),
        (b"GET %s HTTP/1.1\r\nHost: hub\r\n", 408),
        (b"POST %s HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\n\r\nhal", 408),
        (b"GET %s HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET %s HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET %s HTTP/1.1\r\nHost: hub\r\n" + HANDSHAKE + b"\r\n", 400),
        (b"GET %s HTTP/1.1\r\nHost: hub\r\n" + HANDSHAKE.replace(b"13", b"7") + KEY + b"\r\n", 400),
        (b"GET %s HTTP/1.1\r\nHost: hub\r\n" + HANDSHAKE + KEY + b"X: " + b"x" * 9_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_the_server_itself_refuses_is_told_in_the_words_of_its_path(said: bytes, status: int) -> None:
    def worded(path: str, status: int) -> tuple[str, bytes] | None:
        return ("application/x-told", f"{path} {status}".encode()) if path.startswith("/v1/") else None

    async with served(QUICK, worded=worded, routes=_waits_for_its_body) as hub:
        told: dict[bytes, bytes] = {}

        async def refused(path: bytes) -> None:
            async with raw(hub) as connection:
                connection.say(said.replace(b"%s", path + b"?query"))
                told[path] = await connection.rest()

        async with anyio.create_task_group() as group:
            for path in (b"/v1/stream", b"/echo"):
                group.start_soon(refused, path)

    for answer in told.values():
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-length: %d" % len(body) in head.lower()
    head, _, body = told[b"/v1/stream"].partition(b"\r\n\r\n")
    assert b"content-type: application/x-told" in head.lower()
    assert body == b"/v1/stream %d" % status
    assert b"content-type: text/plain" in told[b"/echo"].lower()


def _waits_for_its_body(listening: Listening) -> list[Route]:
    async def taken(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    return [Route("/v1/stream", taken, methods=["POST"])]


@pytest.mark.parametrize("line", [b"Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n", b""])
async def test_a_handshake_that_is_none_is_answered_4xx(hub: Served, line: bytes) -> None:
    async with raw(hub) as connection:
        connection.say(
            b"GET /v1/stream HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + line + b"\r\n"
        )
        assert (await connection.rest()).startswith(b"HTTP/1.1 4")


IMPATIENT = Limits(keep_alive=timedelta(seconds=0.3))
BIG = 8 << 20


@asynccontextmanager
async def with_big_answers() -> AsyncIterator[Served]:
    async def big(request: Request) -> Response:
        return Response(b"x" * BIG)

    async with served(IMPATIENT, routes=lambda listening: [Route("/big", big)]) as hub:
        yield hub


@pytest.mark.parametrize(
    "said",
    [
        b"GET /big HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"GET /big HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
        b"GET /big HTTP/1.1\r\nHost: hub\r\n\r\n" * 2,
        b"GET /big HTTP/1.1\r\nHost: hub\r\n\r\n" + GET + b"\r\n",
    ],
    ids=["kept alive", "to be closed", "two of them", "one and a small one"],
)
async def test_a_client_that_reads_nothing_of_its_last_answer_is_cut(said: bytes) -> None:
    async with with_big_answers() as hub, raw(hub) as connection:
        connection.reader._transport.pause_reading()  # type: ignore[attr-defined]
        connection.say(said)
        await hub.until(lambda: bool(hub.server.server_state.connections))

        with anyio.fail_after(5):
            await hub.until(lambda: not hub.server.server_state.connections)
            await hub.until(lambda: not hub.server.server_state.tasks)


async def test_a_client_that_reads_its_last_answer_slowly_gets_the_whole_of_it() -> None:
    got = 0
    async with with_big_answers() as hub, raw(hub) as connection:
        connection.say(b"GET /big HTTP/1.1\r\nHost: hub\r\n\r\n")
        with anyio.fail_after(20):
            while piece := await connection.reader.read(1 << 17):
                got += len(piece)
                await anyio.sleep(0.02)

    assert got > BIG
