"""The UDP socket: bursts, a full socket, ports that are taken, and errors of one peer that are nobody else's."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adapters.lwm2m import doors
from adapters.lwm2m.adapter import LwM2MAdapter, create
from adapters.lwm2m.endpoint import BURST, MOST_QUEUED, UdpEndpoint
from adapters.lwm2m.settings import LwM2MSettings
from hub.model.errors import CannotListen
from tests.wires.lwm2m_context import LwM2MContext

pytestmark = pytest.mark.anyio


class Full:
    """A socket of which the system takes `room` datagrams and then none."""

    def __init__(self, real: socket.socket, room: int) -> None:
        self._real = real
        self.room = room
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, peer: Any) -> None:
        if self.room <= 0:
            raise BlockingIOError
        self.room -= 1
        self.sent.append(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def opened(**more: Any) -> Iterator[tuple[UdpEndpoint, list[bytes], asyncio.Event]]:
    heard: list[bytes] = []
    news = asyncio.Event()

    def hear(data: bytes, peer: Any) -> None:
        heard.append(data)
        news.set()

    endpoint = UdpEndpoint("127.0.0.1", 0, **more)
    endpoint.open(hear)
    try:
        yield endpoint, heard, news
    finally:
        endpoint.close()


async def until(heard: list[bytes], news: asyncio.Event, n: int) -> None:
    async with asyncio.timeout(5):
        while len(heard) < n:
            news.clear()
            await news.wait()


async def test_at_most_64_datagrams_go_out_per_turn_and_all_in_order() -> None:
    with opened() as (one, _, _):
        full = Full(one._socket, 10_000)  # type: ignore[arg-type]
        one._socket = full  # type: ignore[assignment]
        for n in range(200):
            one.send(b"%d" % n, ("127.0.0.1", 9))
        turns = [len(full.sent)]
        while len(full.sent) < 200:
            await asyncio.sleep(0)
            turns.append(len(full.sent))

        assert max(after - before for before, after in zip([0, *turns], turns, strict=False)) <= BURST
        assert full.sent == [b"%d" % n for n in range(200)]


@pytest.mark.parametrize(("asked", "level"), [(65_536, logging.INFO), (1 << 40, logging.WARNING)])
async def test_how_much_the_system_keeps_of_what_waits_to_be_read_is_asked_for_and_logged(
    asked: int, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hub.adapter.lwm2m")
    wanted = min(asked, (1 << 31) - 1)  # more than that no socket can be asked for
    with opened(receive_buffer=wanted) as (one, _, _):
        assert one.granted == wanted if level == logging.INFO else 0 < one.granted < wanted
    assert [(record.levelno, f"{one.granted} bytes of {wanted}" in record.message) for record in caplog.records] == [
        (level, True)
    ]


async def test_a_full_socket_is_waited_for_and_what_waits_is_bounded() -> None:
    with opened() as (one, _, _):
        full = Full(one._socket, 3)  # type: ignore[arg-type]
        one._socket = full  # type: ignore[assignment]
        for n in range(MOST_QUEUED + 100):
            one.send(b"%d" % n, ("127.0.0.1", 9))
        assert len(full.sent) == 3
        assert one.dropped == 97
        full.room = 100_000
        for _ in range(4 * MOST_QUEUED // BURST):
            await asyncio.sleep(0)
        assert full.sent == [b"%d" % n for n in range(MOST_QUEUED + 3)]


async def test_an_unreachable_peer_harms_no_other() -> None:
    with opened() as (one, _, _), opened() as (other, heard, news):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            nobody = gone.getsockname()
        for n in range(20):
            one.send(b"lost", nobody)
            one.send(b"too long" * 10_000, ("127.0.0.1", other.port))
            one.send(b"%d" % n, ("127.0.0.1", other.port))
        await until(heard, news, 20)
        assert heard == [b"%d" % n for n in range(20)]
        assert one.dropped == 20


async def test_a_port_that_is_taken_is_an_error_or_the_next_one_is_tried() -> None:
    with opened() as (one, _, _):
        taken = one.port
        with pytest.raises(CannotListen, match=str(taken)):
            UdpEndpoint("127.0.0.1", taken).open(lambda data, peer: None)
        moved = UdpEndpoint("127.0.0.1", taken, next_ports=20)
        moved.open(lambda data, peer: None)
        try:
            assert taken < moved.port <= taken + 20
        finally:
            moved.close()


async def test_it_can_be_opened_again_after_it_was_closed() -> None:
    with opened() as (one, _, _):
        one.close()
        assert one.port == 0
        one.send(b"x", ("127.0.0.1", 9))
        one.open(lambda data, peer: None)
        assert one.port


async def test_a_secure_port_that_is_taken_leaves_no_port_open() -> None:
    pytest.importorskip("mbedtls")
    with opened() as (one, _, _):
        adapter = LwM2MAdapter(LwM2MSettings(port=0, dtls=True, dtls_port=one.port))
        with pytest.raises(CannotListen, match=str(one.port)):
            await adapter.start(LwM2MContext())
        assert adapter._endpoint.port == 0
        assert adapter.health() == {"state": "down"}


def test_dtls_without_its_library_is_a_mistake_in_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.lwm2m.adapter.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="dtls"):
        create({"dtls": True})
    assert create({}).health() == {"state": "down"}
    assert doors.SECURE == "dtls"
