"""libcoap's own client and server, by the hand of a person at a shell."""

from __future__ import annotations

import contextlib

import pytest

from adapters.lwm2m.codec import code_text
from hub.ports.adapter import EventKind, ObserveSpec
from hub.ports.clock import SystemClock
from tests.interop.lwm2m_libcoap.station import device_at, run, server, station
from tests.require import require
from tests.wires.lwm2m_context import LwM2MContext

pytestmark = pytest.mark.anyio

LINKS = '</>;rt="oma.lwm2m",</1/0>,</3/0>,</3303/0>;ver=1.1'


async def test_a_person_registers_updates_and_deregisters_by_hand() -> None:
    client = require("coap-client-notls")
    async with station() as here:
        url = f"coap://127.0.0.1:{here.port}/rd"
        await run(client, "-m", "post", "-t", "40", "-e", LINKS, f"{url}?ep=hand&lt=300&lwm2m=1.1&b=U")
        (registered,) = await here.ctx.seen(EventKind.REGISTERED, "hand")
        assert [link.path for link in registered.attrs["links"]] == ["/1/0", "/3/0", "/3303/0"]

        await run(client, "-m", "post", f"coap://127.0.0.1:{here.port}{registered.attrs['location']}?lt=600")
        (updated,) = await here.ctx.seen(EventKind.UPDATED, "hand")
        assert updated.attrs["lifetime"] == 630

        await run(client, "-m", "delete", f"coap://127.0.0.1:{here.port}{registered.attrs['location']}")
        await here.ctx.seen(EventKind.DEREGISTERED, "hand")


async def test_a_long_registration_comes_in_blocks() -> None:
    client = require("coap-client-notls")
    links = ",".join(f"</3303/{n}>" for n in range(400))
    async with station() as here:
        url = f"coap://127.0.0.1:{here.port}/rd?ep=long&lt=300&lwm2m=1.1"
        await run(client, "-m", "post", "-b", "64", "-t", "40", "-e", links, url)

        (registered,) = await here.ctx.seen(EventKind.REGISTERED, "long")
        assert len(registered.attrs["links"]) == 400


async def test_discovery_tells_where_to_register() -> None:
    client = require("coap-client-notls")
    async with station() as here:
        told = await run(client, "-m", "get", f"coap://127.0.0.1:{here.port}/.well-known/core")
        assert "</rd>" in told


async def test_a_server_of_libcoap_is_read_and_written_in_blocks() -> None:
    program = require("coap-server-notls")
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    async with server(program) as port:
        device_at(ctx, "libcoap", port)
        async with station(ctx) as here:
            index = await here.call("libcoap", "GET", "/")
            assert (index.status, index.native["coap"]) == (200, "2.05")

            body = bytes(range(256)) * 24
            kind = "application/octet-stream"
            made = await here.call("libcoap", "PUT", "/example_data", payload=body, content_type=kind)
            assert made.status == 200, made
            read = await here.call("libcoap", "GET", "/example_data")
            assert read.payload == body

            missing = await here.call("libcoap", "GET", "/nothing/here")
            assert missing.status == 404


async def test_a_separate_answer_of_libcoap_is_waited_for() -> None:
    program = require("coap-server-notls")
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    async with server(program) as port:
        device_at(ctx, "libcoap", port)
        async with station(ctx) as here:
            answer = await here.call("libcoap", "GET", "/async", query=(("1", ""),))
            assert answer.payload == b"done"


async def test_an_observation_of_libcoap_tells_until_it_is_cancelled() -> None:
    program = require("coap-server-notls")
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    async with server(program) as port:
        device_at(ctx, "libcoap", port)
        async with station(ctx) as here:
            first, observation = await here.adapter.observe(
                ObserveSpec("libcoap", "/time"), ctx.clock.monotonic() + 10
            )
            assert first.status == 200
            told = await ctx.seen(EventKind.NOTIFICATION, "libcoap", 2)
            assert all(event.target == "/time" for event in told)
            await observation.cancel()
            assert not observation.active
            assert code_text(0x45) == first.native["coap"]


@pytest.mark.parametrize("name", ["coap-client-openssl", "coap-client-gnutls"])
async def test_a_device_with_a_pre_shared_key_registers_and_sends(name: str) -> None:
    client = require(name)
    pytest.importorskip("mbedtls")
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    ctx.psks["ident-7"] = b"secret-of-seven!"
    proof = ("-u", "ident-7", "-k", "secret-of-seven!")
    async with station(ctx, dtls=True) as here:
        url = f"coaps://127.0.0.1:{here.secure}"
        await run(client, *proof, "-m", "post", "-t", "40", "-e", LINKS, f"{url}/rd?ep=ident-7&lt=300&lwm2m=1.1")
        (registered,) = await ctx.seen(EventKind.REGISTERED)
        assert registered.device == "acme/device-ident-7"

        pack = '[{"n":"/3303/0/5700","v":21.5}]'
        await run(client, *proof, "-m", "post", "-t", "110", "-e", pack, f"{url}/dp")
        (sent,) = await ctx.seen(EventKind.NOTIFICATION)
        assert (sent.device, sent.target, sent.payload) == (registered.device, "/3303/0/5700", b"21.5")


@pytest.mark.parametrize("name", ["coap-client-openssl", "coap-client-gnutls"])
async def test_a_wrong_key_gets_nowhere(name: str) -> None:
    client = require(name)
    pytest.importorskip("mbedtls")
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    ctx.psks["ident-7"] = b"secret-of-seven!"
    async with station(ctx, dtls=True) as here:
        url = f"coaps://127.0.0.1:{here.secure}/rd?ep=ident-7&lt=300"
        with contextlib.suppress(AssertionError, TimeoutError):  # how it tells is its own affair
            await run(client, "-u", "ident-7", "-k", "another", "-B", "3", "-m", "post", "-e", LINKS, url, within=6)
        assert ctx.of(EventKind.REGISTERED) == []
        assert here.adapter.health()["handshake_failures"] > 0
        assert here.adapter.health()["sessions"] == 0
