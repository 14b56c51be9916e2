"""Who registers too often, and who does not have to suffer for it."""

from __future__ import annotations

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.exchange import Peer
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio

PLAIN: Peer = ("192.0.2.9", 1)
PROVED: Peer = ("dtls", "192.0.2.1", 2)


async def register(f: Field, name: str, identity: str | None = None) -> int:
    """The code that a Register is answered with."""
    assert f.adapter._parts is not None
    peer = PLAIN if identity is None else PROVED
    return (await f.adapter._parts.registrar.register([("ep", name)], b"", peer, identity)).code


async def test_nobody_locks_a_device_out_that_proves_who_it_is_by_using_its_name() -> None:
    async with field() as f:
        f.ctx.psks["meter"] = b"key"
        plain = [await register(f, "meter") for _ in range(12)]

        assert plain == [codec.FORBIDDEN] * 10 + [codec.TOO_MANY_REQUESTS] * 2
        assert await register(f, "meter", "meter") == codec.CREATED


async def test_a_flood_of_names_leaves_those_who_prove_who_they_are_their_turn() -> None:
    async with field(registrations_per_second=1, registration_burst=5) as f:
        f.ctx.psks["meter"] = b"key"
        flood = [await register(f, f"name-{n}") for n in range(8)]

        assert flood == [codec.CREATED] * 5 + [codec.SERVICE_UNAVAILABLE] * 3
        assert await register(f, "meter", "meter") == codec.CREATED


async def test_a_proven_device_that_registers_without_end_is_refused_under_whatever_name() -> None:
    async with field() as f:
        f.ctx.psks["meter"] = b"key"
        told = [await register(f, ("meter", "name-meter", "device-meter")[n % 3], "meter") for n in range(11)]

        assert told == [codec.CREATED] * 10 + [codec.TOO_MANY_REQUESTS]
        assert await register(f, "name-meter") == codec.CREATED  # another one, who says that this is his name
