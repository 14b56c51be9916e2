"""Clients that others wrote, against `hub dev` as it comes: no set-up, and they are there for every front."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub_process import HubProcess
from tests.interop.lwm2m_libcoap.station import run
from tests.interop.lwm2m_node.device import node_device
from tests.require import require

pytestmark = pytest.mark.anyio

LINKS = '</>;rt="oma.lwm2m",</1/0>,</3303/0>'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as running:
        yield running


async def ask(hub: HubProcess, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return await asyncio.to_thread(hub.ask, method, path, body, **headers)


async def listed(hub: HubProcess, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The device as both fronts list it."""
    endpoints = await ask(hub, "GET", "v2/endpoints")
    devices = await ask(hub, "GET", "v1/devices?limit=1000")
    (endpoint,) = [one for one in endpoints if one["name"] == name]
    (device,) = [one for one in devices["devices"] if one["id"] == name]
    return endpoint, device


async def test_a_client_registers_with_no_further_set_up_and_is_listed_by_both_fronts(hub: HubProcess) -> None:
    client = require("coap-client-notls")
    url = f"coap://127.0.0.1:{hub.said['ports']['coap']}/rd?ep=by-hand&lt=300&lwm2m=1.1"
    await run(client, "-m", "post", "-t", "40", "-e", LINKS, url)

    endpoint, device = await listed(hub, "by-hand")
    assert endpoint["status"] == "ACTIVE"
    assert device["registration"] == "registered"
    resources = await ask(hub, "GET", "v2/endpoints/by-hand")
    assert "/3303/0" in [resource["uri"] for resource in resources]


@pytest.mark.parametrize("name", ["coap-client-openssl", "coap-client-gnutls"])
async def test_a_client_with_the_demo_key_registers_and_sends_by_the_secure_port(hub: HubProcess, name: str) -> None:
    client = require(name)
    pytest.importorskip("mbedtls")
    spare = hub.said["coaps"]
    proof = ("-u", spare["identity"], "-k", spare["key"])
    url = f"coaps://127.0.0.1:{hub.said['ports']['coaps']}"
    register = f"{url}/rd?ep={spare['endpoint']}&lt=300&lwm2m=1.1"
    await run(client, *proof, "-m", "post", "-t", "40", "-e", LINKS, register)
    await run(client, *proof, "-m", "post", "-t", "110", "-e", '[{"n":"/3303/0/5700","v":21.5}]', f"{url}/dp")

    _, device = await listed(hub, spare["endpoint"])
    assert device["registration"] == "registered"


@pytest.mark.parametrize("account", ["", "demo/"])
async def test_the_demo_key_cannot_be_passed_by_on_the_plain_port(hub: HubProcess, account: str) -> None:
    client = require("coap-client-notls")
    pytest.importorskip("mbedtls")
    name = account + hub.said["coaps"]["endpoint"]
    url = f"coap://127.0.0.1:{hub.said['ports']['coap']}/rd?ep={name}&lt=300&lwm2m=1.1"
    assert "4.03" in await run(client, "-m", "post", "-t", "40", "-e", LINKS, url)


async def test_the_call_of_the_first_seed_reaches_a_client_that_others_wrote(hub: HubProcess) -> None:
    async with node_device(hub.said["ports"]["coap"], "node-dev"):
        body = {"method": "GET", "uri": "/3303/0/5700"}
        await ask(hub, "POST", "v2/device-requests/node-dev?async-id=seed-1", body)
        view = await ask(hub, "POST", "v1/devices/node-dev/calls", body, Prefer="wait=10")
        page = await ask(hub, "GET", "v1/channels/default/messages?offset=0&limit=1000&wait=1")

    assert view["status"] == 200
    answers = [item for message in page["messages"] for item in message.get("async-responses", ())]
    (answer,) = [item for item in answers if item["id"] == "seed-1"]
    assert (answer["status"], base64.b64decode(answer["payload"])) == (200, b"21.5")
