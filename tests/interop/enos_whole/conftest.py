"""Both vendors' SDKs, unmodified, around one hub process: the REST client in front, the device SDK behind a detour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.tls import self_signed
from tests.hub_process import HubProcess, free_port
from tests.interop.detour import Detour
from tests.interop.enos_front import Client, command
from tests.interop.peer import SCRIPTS, Peer, environment_of

KEY = "ak_enos_whole_0123456789"
ORG, STRICT = "o1", "o2"
PRODUCT = "pkPump"
NAMES = ("pump", "killed", "cut", "late", "secured", "absent")
DEVICE_SDK = "enos-mqtt-sdk"
WORLD = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[callbacks]
allow = ["127.0.0.0/8"]
[enos.orgs.{ORG}]
account = "acme"
application = "shop"
opaque_from = ["127.0.0.0/8"]
[enos.orgs.{STRICT}]
account = "acme"
application = "shop"
[products.{PRODUCT}]
account = "acme"
[products.{PRODUCT}.services.add]
name = "Add"
input = {{ a = "number", b = "number" }}
""" + "".join(
    f'[devices.{name}]\naccount = "acme"\nadapter = "mqtt"\nsecret = "s3cret-of-{name}"\n'
    f'aliases = {{ "product-device" = "{PRODUCT}/{name}", asset = "asset-{name}" }}\n'
    for name in NAMES
)


class Whole:
    """The hub, its REST client, where devices dial in, and the prompt that they stand at."""

    def __init__(self, hub: HubProcess, client: Client, ports: dict[str, int], authority: Path, device: Peer) -> None:
        self.hub = hub
        self.client = client
        self.ports = ports
        self.authority = authority
        self.device = device

    def connect(self, name: str, *, port: int | None = None, at: Peer | None = None, ca: Path | None = None) -> None:
        """Let a device dial in; it is `name` at its prompt from then on."""
        peer = at or self.device
        url = f"tcp://127.0.0.1:{port or self.ports['mqtt']}"
        secured = None if ca is None else str(ca)
        peer(f"{name} = device({url!r}, {PRODUCT!r}, {name!r}, {'s3cret-of-' + name!r}, {secured!r})")
        assert peer(f"connected({name})"), peer.complaints[-2000:]

    def call(self, request: str, device: str, service: str, given: dict[str, Any], **members: Any) -> dict[str, Any]:
        """A call as the client writes it."""
        return self.client.call(request, device, service, inputData=given, **members)


@pytest.fixture(scope="module")
def prompt() -> list[str]:
    python = environment_of(DEVICE_SDK) / "bin" / "python"
    return [str(python), "-W", "ignore", str(SCRIPTS / DEVICE_SDK / "prompt.py")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prompt: list[str]) -> Iterator[Callable[[bool], Whole]]:
    folder = tmp_path_factory.mktemp("whole")
    authority, key = self_signed(folder / "tls", "127.0.0.1", datetime.now(UTC))
    ports = {"mqtt": free_port(), "mqtts": free_port()}
    listener = (
        f'[adapters.mqtt]\nkind = "mqtt"\nport = {ports["mqtt"]}\ntls_port = {ports["mqtts"]}\n'
        f'certificate = "{authority}"\nkey = "{key}"\n'
    )
    with (
        HubProcess(folder, config=WORLD + listener, key=KEY) as hub,
        Peer(command(hub), folder / "front", python=True) as front,
        Peer(prompt, folder / "device", python=True) as device,
    ):

        def whole(strict: bool) -> Whole:
            headers = {"Authorization": f"Bearer {KEY}"} if strict else None
            return Whole(hub, Client(hub, front, STRICT if strict else ORG, headers), ports, authority, device)

        yield whole


@pytest.fixture
def whole(request: pytest.FixtureRequest, base: Callable[[bool], Whole]) -> Whole:
    """With a control channel of the test's own. The client shows its own token alone, or, for `bearer`, a key as well
    where no token that cannot be checked is let in."""
    whole = base(getattr(request, "param", "opaque") == "bearer")
    whole.client.make_channel()
    return whole


@pytest.fixture
def detour(whole: Whole) -> Iterator[Detour]:
    with Detour(whole.ports["mqtt"]) as detour:
        yield detour
