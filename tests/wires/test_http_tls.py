"""TLS to an upstream: by an authority, by a fingerprint, and never to somebody else."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.http.adapter import create
from adapters.http.double import Server
from hub.ports.adapter import DeviceRequest, Unreachable
from hub.tls import self_signed
from tests.contracts.adapter_case import within
from tests.contracts.context import ContextDouble

pytestmark = pytest.mark.anyio


async def asked(tls: str, context: ssl.SSLContext) -> int:
    """What an upstream with that certificate answers to an adapter with that setting."""
    server = Server()
    server.tls = context
    await server.open()
    url = server.url.replace("http://", "https://")
    ctx = ContextDouble()
    adapter = create({"upstreams": {"up": {"url": url, "tls": tls}}})
    try:
        await adapter.start(ctx)
        request = DeviceRequest("c", "up", "GET", "/x", ctx.clock.monotonic() + 30)
        return (await within(adapter.call(request))).status
    finally:
        await adapter.stop(1)
        await server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    file, key = self_signed(tmp_path, "127.0.0.1", datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


def fingerprint(file: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    return "sha256:" + hashlib.sha256(der).hexdigest()


async def test_an_authority_or_a_fingerprint_opens_the_connection(certificate: tuple[Path, ssl.SSLContext]) -> None:
    file, context = certificate

    assert await asked(str(file), context) == 200
    assert await asked(fingerprint(file), context) == 200


@pytest.mark.parametrize("tls", ["verify", "sha256:" + "00" * 32])
async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    certificate: tuple[Path, ssl.SSLContext], tls: str
) -> None:
    with pytest.raises(Unreachable):
        await asked(tls, certificate[1])


async def test_a_file_that_is_not_there_is_named_at_the_start(certificate: tuple[Path, ssl.SSLContext]) -> None:
    with pytest.raises(ValueError, match=r"upstreams\.up\.tls"):
        await asked("/nowhere/ca.pem", certificate[1])
