"""The demo identity of `hub dev` on the secure CoAP port: declared and waiting, where the library for DTLS is there."""

from __future__ import annotations

import hmac
import tomllib
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

IDENTITY = "spare-coap"


@dataclass(frozen=True, slots=True)
class SpareCoap:
    """How the device proves itself, and its endpoint name. The key is text: its bytes are the pre-shared key."""

    identity: str
    key: str = field(repr=False)

    @property
    def members(self) -> dict[str, str]:
        """What tools read."""
        return {"identity": self.identity, "key": self.key, "endpoint": self.identity}


def spare_coap(key: str) -> SpareCoap | None:
    """The demo identity of a hub with this API key: the same at every start, and nothing is told of the key. None
    without the library (extra `dtls`)."""
    if find_spec("mbedtls") is None:
        return None
    return SpareCoap(IDENTITY, hmac.digest(key.encode(), b"spare coap", "sha256").hex()[:32])


def coap_tables(
    spare: SpareCoap | None, world: str, port: int | None, secure: int | None
) -> dict[str, dict[str, Any]]:
    """The tables of the demo world's CoAP ports, at these where they are given; with the demo identity, they declare
    it and open the secure port beside the plain one."""
    plain = tomllib.loads(world)["adapters"]["lwm2m"]
    if port is not None:
        plain["port"] = port
    if spare is None:
        return {"adapters": {"lwm2m": plain}}
    if secure is not None:
        plain["dtls_port"] = secure
    device = {
        "account": plain["account"],
        "adapter": "lwm2m",
        "name": spare.identity,
        "aliases": {"psk-identity": spare.identity},
        "secret": spare.key,
    }
    return {"adapters": {"lwm2m": {**plain, "dtls": True}}, "devices": {spare.identity: device}}
