"""A hub with an MQTT listener and declared devices, and the vendor's device SDK at a prompt."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hub_process import HubProcess, free_port
from tests.interop.peer import PATIENCE, SCRIPTS, Peer, environment_of

PRODUCT = "pkPump"
SECRET = "s3cret-of-pump"
REFUSED = "was not admitted"


def config(port: int, key: str) -> str:
    """Account, application and key, a product, and the devices of every test."""
    devices = "".join(
        f'[devices.{name}]\naccount = "acme"\nadapter = "mqtt"\nsecret = "{SECRET}"\n'
        f'aliases = {{ "product-device" = "{PRODUCT}/{name}" }}\n'
        for name in ("pump", "gateway", "sub1", "sub2", "late", "gone", "stranger")
    )
    return (
        '[accounts.acme]\n[applications.shop]\naccount = "acme"\n'
        f'[keys.main]\napplication = "shop"\nscopes = ["call", "listen", "device", "admin"]\nkey = "{key}"\n'
        f'[products.{PRODUCT}]\naccount = "acme"\nactivation = true\nsecret = "s3cret-of-product"\n'
        f'[adapters.mqtt]\nkind = "mqtt"\nport = {port}\n{devices}'
    )


class Plant:
    """A hub process, where its devices dial in, and the prompt of a device."""

    def __init__(self, hub: HubProcess, port: int, peer: Peer) -> None:
        self.hub = hub
        self.peer = peer
        self.url = f"tcp://127.0.0.1:{port}"

    def device(self, name: str, secret: str = SECRET) -> None:
        """Connect a device; it is `name` at the prompt from then on."""
        self.peer(f"{name} = device({self.url!r}, {PRODUCT!r}, {name!r}, {secret!r})")
        assert self.peer(f"connected({name})"), self.peer.complaints[-2000:]

    @contextmanager
    def refusal(self) -> Iterator[None]:
        """Return once the hub has refused somebody who dialled in meanwhile: the SDK tells nobody and tries again."""
        before = self.hub.complaints.count(REFUSED)
        yield
        until = time.monotonic() + PATIENCE
        while self.hub.complaints.count(REFUSED) == before:
            assert time.monotonic() < until, self.hub.complaints[-2000:]
            select.select([], [], [], 0.02)

    def call(self, device: str, **body: Any) -> dict[str, Any]:
        """Send a call through the native API and wait for its end."""
        answer: dict[str, Any] = self.hub.ask("POST", f"v1/devices/{device}/calls", body, Prefer="wait=20")
        return answer


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder: Path = tmp_path_factory.mktemp("enos")
    python = environment_of("enos-mqtt-sdk") / "bin" / "python"
    port, key = free_port(), "ak_hub_process_0123456789"
    with (
        HubProcess(folder, config=config(port, key), key=key) as hub,
        Peer([str(python), "-W", "ignore", str(SCRIPTS / "enos-mqtt-sdk" / "prompt.py")], folder / "peer", python=True)
        as peer,
    ):
        yield Plant(hub, port, peer)
