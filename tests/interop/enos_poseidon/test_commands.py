"""Cloud commands by the vendor's Python REST client, unmodified."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.hub_process import HubProcess
from tests.interop.enos_front import Client, command
from tests.interop.peer import PATIENCE, Peer

KEY = "ak_enos_commands_0123456789"
CONFIG = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[enos.orgs.o1]
account = "acme"
application = "shop"
opaque_from = ["127.0.0.0/8"]
[products.pkPump]
account = "acme"
[products.pkPump.services.add]
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "pump7"
model = "enos"
[[adapters.simulated.devices]]
address = "pump8"
model = "enos"
behaviour = "never"
[devices.pump7]
account = "acme"
adapter = "simulated"
address = "pump7"
aliases = {{ product-device = "pkPump/pump7", asset = "asset-7" }}
[devices.pump8]
account = "acme"
adapter = "simulated"
address = "pump8"
aliases = {{ product-device = "pkPump/pump8" }}
"""
PUMP7 = {"productKey": "pkPump", "deviceKey": "pump7"}
PUMP8 = {"productKey": "pkPump", "deviceKey": "pump8"}


class Commands:
    """Requests of commands by the client as its users write them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, method: str | None, action: str, data: Any = None, **query: Any) -> Any:
        # None: the client itself decides, by whether there is a body.
        path = f"/connect-service/v2.1/commands?{urlencode({'action': action, **query})}"
        return self._client(method, path, data)  # type: ignore[arg-type]

    def until(self, id: str, state: int) -> Any:
        """A command once it stands so."""
        end = time.monotonic() + PATIENCE
        while True:
            shown = self(None, "get", commandId=id, **PUMP8)["data"]
            if shown["state"] == state:
                return shown
            assert time.monotonic() < end, shown


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with (
        HubProcess(tmp_path_factory.mktemp("hub"), config=CONFIG, key=KEY) as hub,
        Peer(command(hub), tmp_path_factory.mktemp("client"), python=True) as peer,
    ):
        yield Commands(Client(hub, peer, "o1"))


def test_a_service_is_invoked_and_a_point_is_set(commands: Commands) -> None:
    sum_ = commands(None, "invokeService", {"inputData": {"a": 1, "b": 2}}, assetId="asset-7", serviceId="add")
    point = commands(None, "setMeasurepoint", {"value": 5}, measurepointId="speed", **PUMP7)
    shown = commands(None, "get", commandId=point["data"]["commandId"], **PUMP7)["data"]

    assert (sum_["code"], sum_["data"]["outputData"]) == (0, {"sum": 3})
    assert (shown["commandType"], shown["inputData"], shown["state"]) == (1, 5, 5)


def test_kept_commands_wait_in_line_are_found_and_called_off(commands: Commands) -> None:
    kept = {"serviceId": "add", "pendingTtl": 1000, "timeout": 60, **PUMP8}
    first, second, third = (commands("POST", "invokeService", {}, **kept)["data"]["commandId"] for _ in range(3))
    commands.until(first, 4)
    waiting = commands(None, "search", {"expression": "state = 1", "pagination": {"pageNo": 1, "pageSize": 5}}, **PUMP8)
    one = commands("POST", "cancel", {}, commandId=second, **PUMP8)["data"]
    rest = commands("POST", "cancel", {}, **PUMP8)["data"]

    assert [shown["commandId"] for shown in waiting["data"]] == [third, second]
    assert waiting["pagination"]["totalSize"] == 2
    assert [(shown["commandId"], shown["state"]) for shown in one + rest] == [(second, 2), (third, 2)]


def test_errors_come_back_as_bodies(commands: Commands) -> None:
    answers = (
        commands(None, "invokeService", {}, serviceId="add", timeout=61, **PUMP7),
        commands(None, "get", commandId="2078724684846989312", **PUMP7),
        commands(None, "search", {"expression": "colour = 1"}, **PUMP7),
        commands("DELETE", "cancel", **PUMP7),
    )

    assert [answer["code"] for answer in answers] == [99400, 11404, 99400, 99404]
