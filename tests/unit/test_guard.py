"""No wish of anybody's makes the hub connect inwards: a hundred hostile URLs, names that change, redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from hub.delivery.outgoing.client import MOST_READ, OPTIONS, outgoing_session, read_some
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.lookup import LookUps
from hub.model.errors import Unprocessable
from tests.clock import ManualClock
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio

# What every name of the tests stands for. `mixed.test` has one good answer among bad ones.
NAMES: dict[str, list[str]] = {
    "inner.test": ["127.0.0.1"],
    "inner6.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "sixtofour.test": ["2002:7f00:1::1"],
    "metadata.test": ["169.254.169.254"],
    "private.test": ["10.1.2.3"],
    "mixed.test": ["198.51.100.7", "127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
}

LITERALS = [
    # loopback in the spellings that resolvers take
    "127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "0x7f.0.0.1",
    "127.0.0.1.", "127.255.255.254", "0", "0.0.0.0", "00000000", "0x0", "0.1.2.3",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    # private, shared, link-local, metadata
    "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "169.254.0.1", "169.254.169.254", "0xa9fea9fe",
    "2852039166", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "3232235521", "0xc0a80001",
    "192.0.0.1", "192.0.0.192", "192.88.99.1", "198.18.0.1", "198.19.255.255",
    # multicast, reserved, broadcast
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "0xffffffff",
    # IPv6: wrapping IPv4, local, documentation, multicast
    "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::1]", "[100::1]", "[2001::1]",
    "[2001:0:53aa:64c:0:fffe:80ff:fffe]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2002:c0a8:1::]", "[2001:db8::1]",
    "[3fff::1]", "[5f00::1]", "[fc00::1]", "[fd12:3456:789a::1]", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25lo]",
    "[fec0::1]", "[ff02::1]", "[ff05::2]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]",
]  # fmt: skip

TEXTS = [
    # other schemes, no host, credentials
    "file:///etc/passwd", "ftp://example.org/", "gopher://127.0.0.1:6379/_INFO", "unix:///run/docker.sock", "dict://a:1/",
    "javascript:alert(1)", "data:text/plain,x", "//example.org/", "/local", "example.org", "", "http:", "http://", "http:///x",
    "http:/example.org", "https:example.org", "HTTP//example.org", "ws://example.org/", "http+unix://%2Frun%2Fx/",
    "http://user@example.org/", "http://user:pass@example.org/", "http://:@example.org/", "http://@example.org/",
    "http://example.org@127.0.0.1/", "http://127.0.0.1:80@example.org/", "http://a:b@c:d@example.org/",
    # two readings of one text
    "http://example.org\\@127.0.0.1/", "http://example.org\\.inner.test/", "http:\\\\127.0.0.1/", "http://[::1", "http://::1/",
    "http://example.org:80:80/", "http://example.org:abc/", "http://example.org:0/", "http://example.org:65536/",
    "http://example.org:-1/", "http://127%2e0%2e0%2e1/", "http://%31%32%37.0.0.1/", "http://example.org%00.evil.test/",
    "http://example.org%0d%0aX-Evil:%201/", "http://exa mple.org/", "http://*.example.org/", "http://-x/", "http://a,b/",
    # injections
    "http://example.org/\r\nX-Evil: 1", "http://example.org/\nHost: x", "http://example.org/ HTTP/1.1\r\nX: y", "http://e\tx/",
    "http://example.org/\x00", "http://example.org/\x7f", "http://example.org/\u2028", "http://\uff11\uff12\uff17.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1/", "http://127\u30020.0.1/", "http://ex\u00e4mple.org/", " http://example.org/",
    "http://example.org/" + "a" * 2048,
]  # fmt: skip


class ScriptedNames:
    """The look-ups of NAMES, as a resolver would answer them; literal spellings go to the real resolver."""

    def __init__(self, names: dict[str, list[str]] | None = None) -> None:
        self.names = dict(NAMES if names is None else names)
        self.asked: list[str] = []
        self.error: OSError | None = None

    def __call__(self, host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if self.error is not None:
            raise self.error
        if host in self.names:
            return [
                (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "",
                 (ip, port, 0, 0) if ":" in ip else (ip, port))
                for ip in self.names[host]
            ]  # fmt: skip
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))


class WatchingGuard(Guard):
    """Remembers for which addresses it gave out a socket."""

    def __init__(self, allow: tuple[str, ...] = (), own_ports: tuple[int, ...] = ()) -> None:
        self.names = ScriptedNames()
        self.clock = ManualClock()
        super().__init__(self.clock, allow, own_ports, LookUps(self.names))
        self.given: list[str] = []

    def socket_for(self, info: tuple[Any, ...]) -> socket.socket:
        made = super().socket_for(info)
        self.given.append(str(info[4][0]))
        return made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def test_there_are_more_than_a_hundred_of_them() -> None:
    assert len({*LITERALS, *TEXTS, *NAMES}) >= 120


@pytest.mark.parametrize("host", LITERALS)
def test_a_denied_literal_address_is_refused_as_it_is_registered(host: str) -> None:
    for scheme, port in (("http", ""), ("https", ":8443")):
        with pytest.raises(Unprocessable) as refused:
            Guard(ManualClock()).parsed(f"{scheme}://{host}{port}/path?query=1")
        assert refused.value.code == "callback-address"


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_could_be_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(Unprocessable):
        Guard(ManualClock()).parsed(text)


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_leads_inwards_is_refused_as_it_is_registered(name: str) -> None:
    with pytest.raises(Unprocessable):
        await WatchingGuard().vet(f"http://{name}/")


@pytest.mark.parametrize("host", [*LITERALS, *NAMES])
async def test_no_connection_is_made_even_if_nobody_looked_before(host: str, receiver: Receiver) -> None:
    guard = WatchingGuard()
    async with outgoing_session(guard) as session:
        with pytest.raises((aiohttp.ClientError, OSError, ValueError)):
            await session.post(URL(f"http://{host}:{receiver.port}/"), data=b"x", **OPTIONS)
    assert guard.given == []
    assert receiver.got.empty()


@pytest.mark.parametrize("url", ["https://example.org", "http://93.184.215.14:8080/x?y=z", "https://[2606:4700::1111]/",
                                 "HTTPS://EXAMPLE.ORG:444/A%20B#here", "http://xn--bcher-kva.example/"])  # fmt: skip
def test_a_public_address_is_taken(url: str) -> None:
    assert Guard(ManualClock()).parsed(url).host


@pytest.mark.parametrize(
    ("ip", "expected"), [("8.8.8.8", True), ("9.255.255.255", True), ("11.0.0.0", True), ("100.63.255.255", True),
                         ("100.128.0.0", True), ("172.15.255.255", True), ("172.32.0.0", True), ("192.0.1.0", True),
                         ("198.17.255.255", True), ("198.20.0.0", True), ("223.255.255.255", True), ("2001:1::1", True),
                         ("2001:4860::1", True), ("64:ff9a::1", True), ("2003::1", True), ("fbff::1", True),
                         ("::ffff:8.8.8.8", True), ("::ffff:10.0.0.1", False), ("1:0::1", True)]
)  # fmt: skip
def test_the_edges_of_the_deny_list(ip: str, expected: bool) -> None:
    assert Guard(ManualClock()).allowed(ipaddress.ip_address(ip)) is expected


# What the operator allows.


async def test_an_allowed_network_is_called(receiver: Receiver) -> None:
    guard = WatchingGuard(("127.0.0.0/8",))
    guard.parsed(receiver.url)
    await guard.vet(f"http://inner.test:{receiver.port}/")
    async with outgoing_session(guard) as session, session.post(
        f"http://inner.test:{receiver.port}/", data=b"x", **OPTIONS
    ) as response:
        assert response.status == 204
    got = await receiver.next()
    assert got.headers["Host"] == f"inner.test:{receiver.port}", "the name is kept for the receiver"


async def test_what_is_allowed_opens_nothing_else() -> None:
    guard = WatchingGuard(("127.0.0.0/8",))
    for url in ("http://[::1]/", "http://10.0.0.1/", "http://[64:ff9b::7f00:1]/", "http://0.0.0.0/"):
        with pytest.raises(Unprocessable):
            guard.parsed(url)


async def test_one_denied_answer_spoils_a_name(receiver: Receiver) -> None:
    guard = WatchingGuard()
    with pytest.raises(Unprocessable):
        await guard.vet("http://mixed.test/")
    async with outgoing_session(guard) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://mixed.test:{receiver.port}/", **OPTIONS)
    assert guard.given == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]"])
def test_the_hubs_own_ports_are_never_called(host: str) -> None:
    guard = WatchingGuard(("127.0.0.0/8", "::1/128"), own_ports=(8080,))
    guard.parsed(f"http://{host}:8081/")
    with pytest.raises(Unprocessable):
        guard.parsed(f"http://{host}:8080/")


def test_an_own_port_of_another_machine_is_not_ours() -> None:
    guard = Guard(ManualClock(), ["10.0.0.0/8"], [8080])
    assert guard.allowed(ipaddress.ip_address("10.254.253.252"), 8080)


# Names that change.


async def test_a_name_that_turns_inwards_after_it_was_vetted_is_not_connected_to(receiver: Receiver) -> None:
    guard = WatchingGuard()
    guard.names.names["rebinding.test"] = ["198.51.100.7"]
    await guard.vet(f"http://rebinding.test:{receiver.port}/")
    guard.names.names["rebinding.test"] = ["127.0.0.1"]
    async with outgoing_session(guard) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://rebinding.test:{receiver.port}/", **OPTIONS)
    assert guard.given == []
    assert receiver.got.empty()


async def test_the_address_that_was_judged_is_the_one_connected_to(receiver: Receiver) -> None:
    """One look-up per connection: a name that answers good, bad, good, bad finds no moment between look and use."""
    guard = WatchingGuard(("127.0.0.1/32",))
    guard.names.names["flip.test"] = ["127.0.0.1"]
    async with outgoing_session(guard) as session, session.post(
        f"http://flip.test:{receiver.port}/", **OPTIONS
    ) as response:
        assert response.status == 204
    assert guard.names.asked == ["flip.test"]


async def test_a_redirect_inwards_is_not_followed(receiver: Receiver) -> None:
    guard = WatchingGuard(("127.0.0.1/32",))
    receiver.status, receiver.headers = 302, {"Location": "http://10.0.0.1/"}
    async with outgoing_session(guard) as session, session.post(receiver.url, **OPTIONS) as response:
        assert response.status == 302
    assert guard.given == ["127.0.0.1"]


async def test_a_name_that_does_not_exist_is_refused_and_one_that_cannot_be_looked_up_now_is_not() -> None:
    guard = WatchingGuard()
    guard.names.error = socket.gaierror(socket.EAI_NONAME, "no such name")
    with pytest.raises(Unprocessable):
        await guard.vet("http://nowhere.test/")
    guard.names.error = socket.gaierror(socket.EAI_AGAIN, "the network is gone")
    await guard.vet("http://somewhere.test/")


async def test_names_are_not_looked_up_for_every_call() -> None:
    guard = WatchingGuard()
    guard.names.names["good.test"] = ["198.51.100.7"]
    for _ in range(100):
        await guard.vet("http://good.test/")
    assert guard.names.asked == ["good.test"]
    guard.clock.advance(11)
    await guard.vet("http://good.test/")
    assert len(guard.names.asked) == 2


async def test_a_resolver_that_hangs_holds_up_no_other_name() -> None:
    hanging = threading.Event()

    def look(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        if host == "slow.test":
            hanging.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.7", port))]

    look_ups = LookUps(look)
    slow = [asyncio.ensure_future(look_ups.addresses("slow.test", 80)) for _ in range(8)]
    try:
        async with asyncio.timeout(5):
            assert await look_ups.addresses("fast.test", 80)
        assert not any(one.done() for one in slow)
    finally:
        hanging.set()
        await asyncio.gather(*slow)


# What comes back.


async def test_at_most_64_kib_are_read_and_nothing_is_unpacked(receiver: Receiver) -> None:
    guard = WatchingGuard(("127.0.0.1/32",))
    receiver.status, receiver.body = 200, b"\x1f\x8b" + b"z" * (4 << 20)
    receiver.headers = {"Content-Encoding": "gzip"}
    async with outgoing_session(guard) as session, session.post(receiver.url, **OPTIONS) as response:
        assert await read_some(response) == receiver.body[:MOST_READ]
